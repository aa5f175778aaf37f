"""Stored bodies into projections of them (``kube.objects``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


def decoder(kind: type[T]) -> Callable[[bytes], T]:
    """A decoder of stored bodies. An explicit null means absent, as in Kubernetes; it is rare, so
    only a body that does not decode as it is pays for it. Raises ValueError."""
    typed = msgspec.json.Decoder(kind)

    def decode(body: bytes) -> T:
        try:
            return typed.decode(body)
        except msgspec.ValidationError:
            return msgspec.convert(without_nulls(msgspec.json.decode(body)), kind)

    return decode


# An object by its members, none of them read: who changes one leaves the others as they are.
members = msgspec.json.Decoder(dict[str, msgspec.Raw])
whole = msgspec.json.Encoder()


def without_nulls(value: Any) -> Any:
    """A JSON value without members that are null."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value if item is not None]
    return value
