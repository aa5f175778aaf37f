"""Secrets at rest: what the store keeps of a secret is sealed with a key it does not hold.

``Sealer`` is AES-256-GCM with a random nonce before the ciphertext; its key comes from a file
that only root may read (``Sealer.from_file``). Sealed text is bound to a context, usually the
record's key, so that it cannot be moved to another record.
"""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from proa.base.chance import Chance
from proa.base.errors import CallerFault

KEY_BYTES = 32
NONCE_BYTES = 12


class CannotOpen(CallerFault):
    """Sealed with another key, for another context, or altered."""


class Sealer:
    """Seals and opens small secrets. ``chance`` draws the nonces."""

    def __init__(self, key: bytes, chance: Chance | None = None) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a sealing key has {KEY_BYTES} bytes, not {len(key)}")
        self._cipher = AESGCM(key)
        self._chance = chance or Chance()

    @classmethod
    def from_file(cls, path: Path, chance: Chance) -> Sealer:
        """The sealer of a key file, which is made on first use with mode 600."""
        try:
            return cls(path.read_bytes(), chance)
        except FileNotFoundError:
            key = chance.token(KEY_BYTES)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(key)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        return cls(key, chance)

    def seal(self, secret: bytes, context: str = "") -> bytes:
        """The secret, sealed for ``context``."""
        nonce = self._chance.token(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, secret, context.encode())

    def open(self, sealed: bytes, context: str = "") -> bytes:
        """The secret; raises CannotOpen."""
        try:
            return self._cipher.decrypt(
                sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], context.encode()
            )
        except (InvalidTag, ValueError) as error:
            raise CannotOpen("a sealed secret could not be opened") from error
