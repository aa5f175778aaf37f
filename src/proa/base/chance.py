"""Chance, seeded: the only module that may draw random numbers.

Whoever needs randomness holds a ``Chance``. In production it is seeded by the operating
system; in simulation and in decisions that must be repeatable it is seeded by a text, and
``child`` gives independent streams by name, so that one consumer's draws never shift
another's.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import MutableSequence, Sequence
from typing import Any, TypeVar

T = TypeVar("T")
_LOWER = "bcdfghjklmnpqrstvwxz2456789"  # Kubernetes' own alphabet for generated names


_VARIANT = {f"{number:x}": "89ab"[number & 3] for number in range(16)}


def _uuid(digits: str) -> str:
    """Of 32 random hexadecimal digits, two of which give way to version and variant (RFC 9562)."""
    version, variant = "4" + digits[13:16], _VARIANT[digits[16]] + digits[17:20]
    return f"{digits[:8]}-{digits[8:12]}-{version}-{variant}-{digits[20:]}"


class _Entropy(random.SystemRandom):
    """The operating system's randomness, drawn by the page: a call for each number costs more than
    what is done with it. A piece is given out once, also to threads; a forked child draws anew."""

    _PAGE, _PIECE, _UIDS = 4096, 16, 64

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes] = []
        self._uids: list[str] = []
        os.register_at_fork(after_in_child=self._pieces.clear)
        os.register_at_fork(after_in_child=self._uids.clear)

    def getrandbits(self, k: int) -> int:
        if not 0 < k <= self._PIECE * 8:
            return super().getrandbits(k)
        try:
            piece = self._pieces.pop()
        except IndexError:
            page, size = os.urandom(self._PAGE), self._PIECE
            piece = page[:size]
            self._pieces += [page[at : at + size] for at in range(size, self._PAGE, size)]
        return int.from_bytes(piece) >> (self._PIECE * 8 - k)

    def uid(self) -> str:
        """A version 4 UUID. They are written together, which takes a third of the time."""
        try:
            return self._uids.pop()
        except IndexError:
            digits = os.urandom(self._UIDS * 16).hex()
            first, *more = (_uuid(digits[at : at + 32]) for at in range(0, len(digits), 32))
            self._uids += more
            return first


_ENTROPY = _Entropy()


class Chance:
    """A stream of random draws; the same seed gives the same stream on every machine."""

    def __init__(self, seed: str | bytes | None = None) -> None:
        self._seed = seed.encode() if isinstance(seed, str) else seed
        self._random = random.Random(self._seed) if seed is not None else _ENTROPY

    def child(self, name: str) -> Chance:
        """An independent stream; unseeded parents have unseeded children."""
        if self._seed is None:
            return Chance()
        return Chance(hashlib.sha256(self._seed + b"\x00" + name.encode()).digest())

    def random(self) -> float:
        """A float in [0, 1)."""
        return self._random.random()

    def integer(self, low: int, high: int) -> int:
        """A whole number in [low, high]."""
        return self._random.randint(low, high)

    def choice(self, items: Sequence[T]) -> T:
        """One of the items."""
        return self._random.choice(items)

    def shuffle(self, items: MutableSequence[Any]) -> None:
        """Reorder in place."""
        self._random.shuffle(items)

    def token(self, size: int) -> bytes:
        """Secret bytes: from the operating system unless this stream is seeded."""
        return os.urandom(size) if self._seed is None else self._random.randbytes(size)

    def hex(self, digits: int) -> str:
        """Lower-case hexadecimal digits, for identifiers."""
        return f"{self._random.getrandbits(digits * 4):0{digits}x}"

    def uid(self) -> str:
        """A version 4 UUID."""
        return _ENTROPY.uid() if self._seed is None else _uuid(self.hex(32))

    def suffix(self, length: int = 5) -> str:
        """A name suffix in Kubernetes' generateName alphabet."""
        left = self._random.getrandbits(
            64 + 5 * length
        )  # far more than it takes: all are as likely
        letters = []
        for _ in range(length):
            left, number = divmod(left, len(_LOWER))
            letters.append(_LOWER[number])
        return "".join(letters)
