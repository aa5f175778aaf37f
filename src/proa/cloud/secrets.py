"""Secrets at rest: what the store keeps of a secret is sealed with a key it does not hold.

``Sealer`` is AES-256-GCM with a random nonce before the ciphertext; its key comes from a file
that only root may read (``Sealer.from_file``). Sealed text is bound to a context, usually the
record's key, so that it cannot be moved to another record. The file holds the keys of all time,
the newest first: that one seals, each of them opens (``rotate``).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from proa.base.chance import Chance
from proa.base.errors import CallerFault

KEY_BYTES = 32
MAX_KEYS = 16
NONCE_BYTES = 12


class CannotOpen(CallerFault):
    """Sealed with another key, for another context, or altered."""


class Sealer:
    """Seals and opens small secrets. ``chance`` draws the nonces; ``older`` keys only open."""

    def __init__(
        self, key: bytes, chance: Chance | None = None, older: Sequence[bytes] = ()
    ) -> None:
        for one in (key, *older):
            if len(one) != KEY_BYTES:
                raise ValueError(f"a sealing key has {KEY_BYTES} bytes, not {len(one)}")
        self._ciphers = [AESGCM(one) for one in (key, *older)]
        self._chance = chance or Chance()

    @classmethod
    def from_file(cls, path: Path, chance: Chance) -> Sealer:
        """The sealer of a key file, which is made on first use with mode 600."""
        try:
            key, *older = _keys_of(path)
        except FileNotFoundError:
            key, older = chance.token(KEY_BYTES), []
            _write_private(path, key)
        return cls(key, chance, older)

    def seal(self, secret: bytes, context: str = "") -> bytes:
        """The secret, sealed for ``context``."""
        nonce = self._chance.token(NONCE_BYTES)
        return nonce + self._ciphers[0].encrypt(nonce, secret, context.encode())

    def open(self, sealed: bytes, context: str = "") -> bytes:
        """The secret; raises CannotOpen."""
        nonce, closed, bound = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], context.encode()
        for cipher in self._ciphers:
            with suppress(InvalidTag, ValueError):
                return cipher.decrypt(nonce, closed, bound)
        raise CannotOpen("a sealed secret could not be opened")


def rotate(path: Path, chance: Chance) -> int:
    """Put a new key before those of a key file, so that whoever opens it next seals with the new
    one; the number of keys it then holds. Raises CallerFault where there is no file, or no room
    for another key."""
    try:
        keys = _keys_of(path)
    except FileNotFoundError as error:
        raise CallerFault(f"there is no {path}") from error
    if len(keys) >= MAX_KEYS:
        raise CallerFault(f"{path} holds {len(keys)} keys already, and more are not kept")
    _write_private(path, b"".join((chance.token(KEY_BYTES), *keys)))
    return len(keys) + 1


def _keys_of(path: Path) -> list[bytes]:
    """The keys of a file, the newest first. What is no whole key at its end is shown to
    ``Sealer``, which refuses it."""
    content = path.read_bytes()
    return [content[at : at + KEY_BYTES] for at in range(0, len(content) or 1, KEY_BYTES)]


def _write_private(path: Path, content: bytes) -> None:
    """Replace a file that only its owner may read, at once and durably."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
