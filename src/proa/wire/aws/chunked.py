"""S3's ``aws-chunked`` bodies: chunks with or without signatures, and trailing checksums.

``unchunk`` is called by the long tail's door once the request's own signature, which seeds those
of the chunks, is verified. Source: "Signature calculations for the Authorization header:
transferring payload in multiple chunks", with and without trailing headers.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from proa.wire.aws.faults import Malformed
from proa.wire.sigv4 import Claim, SignatureFault

SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
SIGNED_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
KINDS = frozenset({SIGNED, SIGNED_TRAILER, UNSIGNED_TRAILER})
MAX_LINE = 4096
MAX_TRAILERS = 16
_EMPTY = hashlib.sha256(b"").hexdigest()
_TRAILER_SIGNATURE = "x-amz-trailer-signature"


@dataclass(slots=True)
class Chain:
    """The signatures of a request's chunks: each covers the one before."""

    key: bytes
    claim: Claim
    previous: str

    def check_chunk(self, data: bytes, given: str) -> None:
        """Raise SignatureFault unless ``given`` is the next chunk's signature."""
        self._check("PAYLOAD", f"{_EMPTY}\n{hashlib.sha256(data).hexdigest()}", given)

    def check_trailer(self, trailers: Mapping[str, str], given: str) -> None:
        """Raise SignatureFault unless ``given`` signs the trailing headers."""
        text = "".join(f"{name}:{value}\n" for name, value in sorted(trailers.items()))
        self._check("TRAILER", hashlib.sha256(text.encode()).hexdigest(), given)

    def _check(self, part: str, digests: str, given: str) -> None:
        claim = self.claim
        text = (
            f"AWS4-HMAC-SHA256-{part}\n{claim.timestamp}\n{claim.scope}\n{self.previous}\n{digests}"
        )
        wanted = hmac.new(self.key, text.encode(), hashlib.sha256).hexdigest()
        if not hmac.compare_digest(wanted.encode(), given.encode()):
            raise SignatureFault(
                "mismatch", "The chunk signature we calculated does not match the one provided."
            )
        self.previous = given


@dataclass(slots=True)
class _Reader:
    body: bytes
    position: int = 0
    parts: list[bytes] = field(default_factory=list)

    def line(self) -> str:
        end = self.body.find(b"\r\n", self.position, self.position + MAX_LINE)
        if end < 0:
            raise Malformed("The request body terminated unexpectedly")
        text = self.body[self.position : end].decode("latin-1")
        self.position = end + 2
        return text

    def take(self, size: int) -> bytes:
        data = self.body[self.position : self.position + size]
        if len(data) < size or self.body[self.position + size :][:2] != b"\r\n":
            raise Malformed("The request body terminated unexpectedly")
        self.position += size + 2
        return data


def unchunk(body: bytes, chain: Chain | None) -> tuple[bytes, dict[str, str]]:
    """The content and the trailing headers (lower-case names) of a chunked body; ``chain`` where
    its chunks are signed. Raises Malformed and SignatureFault."""
    reader = _Reader(body)
    while True:
        size_text, _, extension = reader.line().partition(";")
        size = _size(size_text)
        data = reader.take(size) if size else b""
        if chain is not None:
            chain.check_chunk(data, extension.removeprefix("chunk-signature="))
        if not size:
            break
        reader.parts.append(data)
    return b"".join(reader.parts), _trailers(reader, chain)


def _size(text: str) -> int:
    try:
        if not text or len(text) > 8:
            raise ValueError(text)
        return int(text, 16)
    except ValueError as error:
        raise Malformed(f"Invalid chunk size {text[:20]!r}") from error


def _trailers(reader: _Reader, chain: Chain | None) -> dict[str, str]:
    found: dict[str, str] = {}
    while reader.position < len(reader.body):
        line = reader.line()
        if not line:
            break
        name, colon, value = line.partition(":")
        if not colon or len(found) >= MAX_TRAILERS:
            raise Malformed("The trailing headers could not be read")
        found[name.strip().lower()] = value.strip()
    signature = found.pop(_TRAILER_SIGNATURE, "")
    if chain is not None and found:
        chain.check_trailer(found, signature)
    return found


_CHECKSUMS: Mapping[str, Callable[[bytes], bytes]] = {
    "content-md5": lambda data: hashlib.md5(data, usedforsecurity=False).digest(),
    "x-amz-checksum-crc32": lambda data: zlib.crc32(data).to_bytes(4, "big"),
    "x-amz-checksum-sha1": lambda data: hashlib.sha1(data, usedforsecurity=False).digest(),
    "x-amz-checksum-sha256": lambda data: hashlib.sha256(data).digest(),
}


def broken_checksum(headers: Mapping[str, str], body: bytes) -> str:
    """The name of a header whose checksum is not the body's, or "". CRC-32C and CRC-64/NVME are
    taken on trust."""
    for name, digest in _CHECKSUMS.items():
        if name in headers:
            wanted = base64.b64encode(digest(body)).decode()
            if not hmac.compare_digest(wanted.encode(), headers[name].encode()):
                return name
    return ""
