"""Projections that are known before a body is decoded.

A bow's tables decode by a ``Told``; who makes a body of a projection, and commits it in this
process, hands the projection over, and the view need not decode what was encoded a moment ago.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

S = TypeVar("S")
REMEMBERED = 4096  # bodies, until they are decoded
_HEAD = 128  # bytes at the beginning of a body, within which most records are named


class Told(Generic[S]):
    """A decoder that may be told the outcome beforehand. It must be what decoding would give. What
    is not told, or no more remembered, is decoded."""

    def __init__(self, decode: Callable[[bytes], S]) -> None:
        self._decode = decode
        self._told: dict[bytes, tuple[bytes, S]] = {}

    def __call__(self, body: bytes) -> S:
        """The projection of a stored body. Raises ValueError."""
        told = self._told.pop(body[:_HEAD], None)
        if told is not None and told[0] == body:
            return told[1]
        return self._decode(body)

    def tell(self, body: bytes, value: S) -> None:
        """``value`` is what ``body`` decodes to."""
        if len(self._told) >= REMEMBERED:
            self._told.clear()
        self._told[body[:_HEAD]] = body, value
