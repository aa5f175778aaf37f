"""JSON Web Tokens signed with ES256 by one key (RFC 7515, RFC 7518 section 3.4).

``tokens`` signs and reads service account tokens with it. One algorithm and one key leave nothing
to choose: a token that names anything else, or wants something understood (``crit``), is refused.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Any

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

_SIZE = 32  # bytes of a coordinate, and of each half of a signature
_ALGORITHM = ec.ECDSA(hashes.SHA256())


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decoded(part: str) -> bytes:
    """Strictly: nothing but the alphabet, no padding, no bits left over."""
    data = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    if _encoded(data) != part:
        raise ValueError("a part is not base64url")
    return data


class TokenKey:
    """A private key on P-256. ``id`` is its thumbprint (RFC 7638)."""

    def __init__(self, pem: bytes) -> None:
        key = serialization.load_pem_private_key(pem, None)
        assert isinstance(key, ec.EllipticCurvePrivateKey), "it was drawn as one"
        assert isinstance(key.curve, ec.SECP256R1), "it was drawn on P-256"
        self._key, self._public = key, key.public_key()
        numbers = self._public.public_numbers()
        x, y = (_encoded(number.to_bytes(_SIZE, "big")) for number in (numbers.x, numbers.y))
        self.public = {"crv": "P-256", "kty": "EC", "x": x, "y": y}
        self.id = _encoded(hashlib.sha256(orjson.dumps(self.public)).digest())
        header = {"typ": "JWT", "alg": "ES256", "kid": self.id}
        self._header = _encoded(orjson.dumps(header))

    def sign(self, claims: dict[str, Any]) -> str:
        """The token that says this."""
        signed = f"{self._header}.{_encoded(orjson.dumps(claims))}"
        r, s = decode_dss_signature(self._key.sign(signed.encode(), _ALGORITHM))
        return f"{signed}.{_encoded(r.to_bytes(_SIZE, 'big') + s.to_bytes(_SIZE, 'big'))}"

    def read(self, token: str) -> dict[str, Any]:
        """What a token says that this key has signed. Raises ValueError for every other."""
        parts = token.split(".")
        if len(parts) != 3 or not token.isascii():
            raise ValueError("a token has three parts")
        try:
            header, claims = (orjson.loads(_decoded(part)) for part in parts[:2])
            signature = _decoded(parts[2])
        except (binascii.Error, ValueError) as error:
            raise ValueError("a part of the token cannot be read") from error
        if not isinstance(header, dict) or header.get("alg") != "ES256" or "crit" in header:
            raise ValueError("the token is signed in another way")
        if not isinstance(claims, dict) or len(signature) != 2 * _SIZE:
            raise ValueError("the token is malformed")
        halves = (int.from_bytes(half, "big") for half in (signature[:_SIZE], signature[_SIZE:]))
        signed = f"{parts[0]}.{parts[1]}".encode()
        try:
            self._public.verify(encode_dss_signature(*halves), signed, _ALGORITHM)
        except InvalidSignature as error:
            raise ValueError("the signature is not this key's") from error
        return claims
