"""S3's older query signature, which boto3 still makes for presigned URLs in us-east-1.

``read_claim`` and ``verify`` are the counterparts of ``sigv4``'s, for ``AWSAccessKeyId``,
``Expires`` and ``Signature`` in the query; other requests of Signature Version 2 are not taken.
Source: "Signing and authenticating REST requests (AWS Signature Version 2)", "Query string
request authentication alternative".
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from urllib.parse import unquote

from proa.base.http import Request
from proa.wire.sigv4 import PRESIGNED_MAX_S, Claim, SignatureFault

VERSION = 2
_SECONDS = re.compile(r"[0-9]{1,15}")
_SUBRESOURCES = frozenset(
    {"accelerate", "acl", "analytics", "cors", "delete", "encryption", "inventory", "lifecycle",
     "location", "logging", "metrics", "notification", "object-lock", "partNumber", "policy",
     "replication", "requestPayment", "response-cache-control", "response-content-disposition",
     "response-content-encoding", "response-content-language", "response-content-type",
     "response-expires", "restore", "select", "select-type", "storageClass", "tagging", "torrent",
     "uploadId", "uploads", "versionId", "versioning", "versions", "website"}
)  # fmt: skip
_MISMATCH = (
    "The request signature we calculated does not match the signature you provided. Check your "
    "key and signing method."
)


def read_claim(request: Request) -> Claim | None:
    """The claim of a presigned URL; None for a request that is none."""
    fields = dict(request.query)
    if not all(name in fields for name in ("AWSAccessKeyId", "Signature", "Expires")):
        return None
    if not _SECONDS.fullmatch(fields["Expires"]):
        raise SignatureFault("incomplete", "Invalid date (should be seconds since epoch)")
    return Claim(
        fields["AWSAccessKeyId"], "", "us-east-1", "s3", ("host",), fields["Signature"],
        fields["Expires"], fields.get("x-amz-security-token", ""), PRESIGNED_MAX_S, VERSION,
    )  # fmt: skip


def verify(request: Request, claim: Claim, secret: str, now: float, bucket: str = "") -> None:
    """Raise SignatureFault unless the URL was signed with ``secret`` and has not expired.
    ``bucket`` is what the host name carries."""
    if now > int(claim.timestamp):
        raise SignatureFault("expired", "Request has expired")
    text = _string_to_sign(request, claim.timestamp, bucket)
    digest = hmac.new(secret.encode(), text.encode(), hashlib.sha1).digest()
    if not hmac.compare_digest(base64.b64encode(digest), claim.signature.encode(errors="replace")):
        raise SignatureFault("mismatch", _MISMATCH)


def _string_to_sign(request: Request, expires: str, bucket: str) -> str:
    moved = {name.lower(): text for name, text in request.query}
    fields = {**moved, **request.headers}
    amazon = sorted(name for name in fields if name.startswith("x-amz-"))
    headers = "".join(f"{name}:{fields[name].strip()}\n" for name in amazon)
    parts = (part.partition("=") for part in request.raw_query.split("&"))
    chosen = sorted((name, value) for name, _, value in parts if name in _SUBRESOURCES)
    query = "&".join(f"{name}={unquote(value)}" if value else name for name, value in chosen)
    resource = f"/{bucket}{request.path}" if bucket else request.path
    resource += f"?{query}" if query else ""
    return (
        "\n".join(
            [request.method, fields.get("content-md5", ""), fields.get("content-type", ""), expires]
        )
        + f"\n{headers}{resource}"
    )
