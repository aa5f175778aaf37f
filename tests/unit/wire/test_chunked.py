"""aws-chunked bodies, made as S3's clients make them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import zlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proa.base.http import Request
from proa.wire.aws.chunked import Chain, broken_checksum, unchunk
from proa.wire.aws.faults import Malformed
from proa.wire.sigv4 import Claim, SignatureFault, Signer, SigningKeys, read_claim, sign

SIGNER = Signer("AKIDEXAMPLE", "secret", "us-east-1", "s3")
EMPTY = hashlib.sha256(b"").hexdigest()


def seed() -> tuple[Claim, bytes]:
    """A signed request's claim, and its signing key."""
    request = Request("PUT", "/b/k", headers={"host": "h"})
    claim = read_claim(sign(request, SIGNER, 1_700_000_000.0, payload="STREAMING-X"))
    assert claim is not None
    return claim, SigningKeys().get(SIGNER.secret, claim.date, claim.region, claim.service)


def signature(key: bytes, claim: Claim, previous: str, part: str, digests: str) -> str:
    text = f"AWS4-HMAC-SHA256-{part}\n{claim.timestamp}\n{claim.scope}\n{previous}\n{digests}"
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def signed_body(chunks: list[bytes], trailers: dict[str, str]) -> tuple[bytes, Chain]:
    """The body a client would send, and the chain that verifies it."""
    claim, key = seed()
    previous, body = claim.signature, b""
    for chunk in [*chunks, b""]:
        digest = hashlib.sha256(chunk).hexdigest()
        previous = signature(key, claim, previous, "PAYLOAD", f"{EMPTY}\n{digest}")
        body += f"{len(chunk):x};chunk-signature={previous}\r\n".encode()
        body += chunk + b"\r\n" if chunk else b""
    if trailers:
        text = "".join(f"{name}:{value}\n" for name, value in sorted(trailers.items()))
        digest = hashlib.sha256(text.encode()).hexdigest()
        last = signature(key, claim, previous, "TRAILER", digest)
        lines = [f"{name}:{value}" for name, value in trailers.items()]
        body += "\r\n".join([*lines, f"x-amz-trailer-signature:{last}", "", ""]).encode()
    else:
        body += b"\r\n"
    return body, Chain(key, claim, claim.signature)


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=4))
def test_signed_chunks_come_back_whole(chunks: list[bytes]) -> None:
    trailers = {"x-amz-checksum-crc32": "AAAAAA=="}
    body, chain = signed_body(chunks, trailers)
    assert unchunk(body, chain) == (b"".join(chunks), trailers)
    body, chain = signed_body(chunks, {})
    assert unchunk(body, chain) == (b"".join(chunks), {})


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=4))
def test_unsigned_chunks_come_back_whole(chunks: list[bytes]) -> None:
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    body += b"0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n"
    assert unchunk(body, None) == (b"".join(chunks), {"x-amz-checksum-crc32": "AAAAAA=="})


def test_changed_moved_or_missing_chunk_breaks_its_signature() -> None:
    body, chain = signed_body([b"first", b"other"], {})
    with pytest.raises(SignatureFault):
        unchunk(body.replace(b"first", b"FIRST"), chain)
    body, chain = signed_body([b"first", b"other"], {})
    start, end = body.index(b"5;"), body.index(b"5;", 3)
    with pytest.raises(SignatureFault):
        unchunk(body[:start] + body[end:], chain)


def test_changed_trailer_breaks_its_signature() -> None:
    body, chain = signed_body([b"x"], {"x-amz-checksum-crc32": "AAAAAA=="})
    with pytest.raises(SignatureFault):
        unchunk(body.replace(b"AAAAAA==", b"BBBBBB=="), chain)


def test_chain_of_another_request_does_not_fit() -> None:
    body, chain = signed_body([b"x"], {})
    with pytest.raises(SignatureFault):
        unchunk(body, replace(chain, previous="0" * 64))


@pytest.mark.parametrize(
    "body",
    [b"", b"5", b"5\r\nab", b"5\r\nabcdeXX0\r\n\r\n", b"zz\r\nab\r\n", b"-1\r\n\r\n", b"\r\n\r\n",
     b"fffffffff\r\n", b"1\r\na\r\n", b"0\r\nno colon\r\n\r\n", b"x" * 10_000],
)  # fmt: skip
def test_what_is_no_chunked_body_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        unchunk(body, None)


def test_too_many_trailers_are_malformed() -> None:
    with pytest.raises(Malformed):
        unchunk(b"0\r\n" + b"".join(b"a%d:b\r\n" % number for number in range(99)), None)


@given(st.binary(max_size=50))
def test_checksums_are_held_against_the_body(body: bytes) -> None:
    right = base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()
    assert not broken_checksum({"x-amz-checksum-crc32": right}, body)
    assert broken_checksum({"x-amz-checksum-crc32": right}, body + b"x") == "x-amz-checksum-crc32"
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    assert not broken_checksum({"x-amz-checksum-sha256": digest}, body)
    assert broken_checksum({"content-md5": "AAAA"}, body) == "content-md5"
