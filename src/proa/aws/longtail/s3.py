"""What S3's requests have and other services' have not, taken out before moto sees them.

Buckets in host names become part of the path, signatures in the query go, chunked bodies become
whole, and checksums are verified. Called by the gateway's door to the long tail.
"""

from __future__ import annotations

from urllib.parse import unquote_plus

from msgspec.structs import replace

from proa.aws.gateway.service import AwsError
from proa.base.http import Request
from proa.wire.aws.chunked import (
    KINDS,
    UNSIGNED_TRAILER,
    Chain,
    broken_checksum,
    unchunk,
)
from proa.wire.aws.faults import Malformed
from proa.wire.aws.hosts import bucket_of_host
from proa.wire.sigv4 import Claim

_SIGNING = frozenset(
    {"x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-expires", "x-amz-signedheaders",
     "x-amz-signature", "x-amz-security-token", "x-amz-content-sha256", "awsaccesskeyid",
     "signature", "expires"}
)  # fmt: skip


def in_path(request: Request) -> Request:
    """The request in path style, without a signature in its query."""
    bucket = bucket_of_host(request.headers.get("host", ""))
    kept = [
        part
        for part in request.raw_query.split("&")
        if unquote_plus(part.partition("=")[0]).lower() not in _SIGNING
    ]
    return replace(
        request,
        path=f"/{bucket}{request.path}" if bucket else request.path,
        raw_query="&".join(kept),
        query=tuple(pair for pair in request.query if pair[0].lower() not in _SIGNING),
    )


def whole(request: Request, claim: Claim, key: bytes) -> Request:
    """The request with a plain body whose checksums are right. ``key`` is the signing key of the
    request's scope. Raises AwsError, and SignatureFault for a chunk's signature."""
    kind = request.headers.get("x-amz-content-sha256", "")
    if kind.startswith("STREAMING-"):
        if kind not in KINDS:
            raise AwsError("NotImplemented", f"Proa does not understand {kind}.", 501)
        request = _unchunked(request, None if kind == UNSIGNED_TRAILER else _chain(claim, key))
    broken = broken_checksum(request.headers, request.body)
    if broken == "content-md5":
        raise AwsError("BadDigest", "The Content-MD5 you specified did not match what we received.")
    if broken:
        algorithm = broken.rpartition("-")[2].upper()
        message = f"The {algorithm} you specified did not match the calculated checksum."
        raise AwsError("BadDigest", message)
    return request


def _chain(claim: Claim, key: bytes) -> Chain:
    return Chain(key, claim, claim.signature)


def _unchunked(request: Request, chain: Chain | None) -> Request:
    try:
        body, trailers = unchunk(request.body, chain)
    except Malformed as error:
        raise AwsError("IncompleteBody", str(error)) from error
    headers = dict(request.headers)
    said = headers.pop("x-amz-decoded-content-length", "")
    if said and said != str(len(body)):
        message = (
            "You did not provide the number of bytes specified by the "
            "x-amz-decoded-content-length HTTP header."
        )
        raise AwsError("IncompleteBody", message)
    announced = {name.strip().lower() for name in headers.pop("x-amz-trailer", "").split(",")}
    headers.update({name: text for name, text in trailers.items() if name in announced})
    encodings = [part.strip() for part in headers.pop("content-encoding", "").split(",")]
    kept = [part for part in encodings if part and part != "aws-chunked"]
    if kept:
        headers["content-encoding"] = ",".join(kept)
    return replace(request, body=body, headers=headers)
