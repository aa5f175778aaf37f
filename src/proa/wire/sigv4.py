"""AWS Signature Version 4, without I/O: read a request's claim, verify it, sign, presign.

``read_claim`` says who a request says it is from, ``verify`` whether that is so; both raise
``SignatureFault``, whose ``kind`` the gateway turns into the code of the service's protocol.
Source: "AWS Signature Version 4 for API requests" and the S3 notes on payload hashes. The host
header must be signed, and every ``x-amz-*`` header that is sent. Comparison is constant-time.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from urllib.parse import quote, unquote, urlsplit

from msgspec.structs import replace

from proa.base.errors import CallerFault
from proa.base.http import Request

ALGORITHM = "AWS4-HMAC-SHA256"
MAX_SKEW_S = 15 * 60
PRESIGNED_EARLY_S = 5 * 60
PRESIGNED_MAX_S = 7 * 24 * 3600
UNSIGNED = "UNSIGNED-PAYLOAD"
STREAMING = "STREAMING-"
KEY_CACHE_SIZE = 512
_UNRESERVED = "-_.~"
_REGION = re.compile(r"Credential=[^/,]*/[^/,]*/([^/,]*)/[^/,]*/aws4_request")
KNOWN_LENGTH = 1024  # of what is remembered of a header
_EXPIRES = re.compile(r"[0-9]{1,9}")
_TIMESTAMP = re.compile(r"[0-9]{8}T[0-9]{6}Z")
_MISMATCH = (
    "The request signature we calculated does not match the signature you provided. Check your "
    "AWS Secret Access Key and signing method. Consult the service documentation for details."
)


class SignatureFault(CallerFault):
    """``kind`` is one of incomplete, mismatch, expired, early, body."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind, self.message = kind, message


@dataclass(slots=True, frozen=True)
class Claim:
    """What a request says about its signer. ``expires_s`` is set for presigned requests."""

    access_key: str
    date: str
    region: str
    service: str
    signed_headers: tuple[str, ...]
    signature: str
    timestamp: str
    token: str = ""
    expires_s: int | None = None
    version: int = 4

    @property
    def scope(self) -> str:
        """The credential scope."""
        return f"{self.date}/{self.region}/{self.service}/aws4_request"

    @property
    def presigned(self) -> bool:
        """Whether the signature came in the query."""
        return self.expires_s is not None


def _incomplete(message: str) -> SignatureFault:
    return SignatureFault("incomplete", message)


def _scope(credential: str) -> tuple[str, str, str, str]:
    # An access key holds no slash, so the scope is what follows the first one.
    parts = credential.split("/")
    if len(parts) != 5 or parts[4] != "aws4_request":
        raise _incomplete(
            "Credential must have exactly 5 slash-delimited elements, e.g. "
            "keyid/date/region/service/term, got "
            f"'{credential}'"
        )
    return parts[0], parts[1], parts[2], parts[3]


def read_claim(request: Request) -> Claim | None:
    """The claim of a signed request; None for one that is not signed by Signature Version 4."""
    authorization = request.headers.get("authorization", "")
    if authorization.startswith(ALGORITHM):
        return _header_claim(request, authorization)
    if request.param("X-Amz-Algorithm") == ALGORITHM:
        return _query_claim(request)
    return None


def claimed_region(request: Request) -> str:
    """The region that a signed request is for, "" for one that names none; cheaper than its claim,
    and as little to be believed."""
    found = _REGION.search(request.headers.get("authorization", ""))
    if found is None and request.query:
        found = _REGION.search(f"Credential={request.param('X-Amz-Credential')}")
    return found[1] if found else ""


def _fields(authorization: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    for part in authorization[len(ALGORITHM) :].split(","):
        name, _, value = part.strip().partition("=")
        fields[name] = value
    return fields


_known_fields = lru_cache(maxsize=KEY_CACHE_SIZE)(_fields)


def _header_claim(request: Request, authorization: str) -> Claim:
    # What stands before the signature is the same in all of a client's requests of a day.
    before, mark, signature = authorization.rpartition(" Signature=")
    if mark and "," not in signature and len(before) < KNOWN_LENGTH:
        fields = {**_known_fields(before), "Signature": signature.strip()}
    else:
        fields = _fields(authorization)
    for name in ("Credential", "Signature", "SignedHeaders"):
        if not fields.get(name):
            raise _incomplete(f"Authorization header requires '{name}' parameter.")
    timestamp = request.headers.get("x-amz-date", "") or _date_header(request)
    if not timestamp:
        raise _incomplete(
            "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header."
        )
    access_key, date, region, service = _scope(fields["Credential"])
    claim = Claim(
        access_key, date, region, service, tuple(fields["SignedHeaders"].split(";")),
        fields["Signature"], timestamp, request.headers.get("x-amz-security-token", ""),
    )  # fmt: skip
    _check_signed(request, claim)
    return claim


def _date_header(request: Request) -> str:
    date = request.headers.get("date", "")
    return date if date[8:9] == "T" else ""


def _query_claim(request: Request) -> Claim:
    fields = dict(request.query)
    for name in ("Credential", "Signature", "SignedHeaders", "Date", "Expires"):
        if not fields.get(f"X-Amz-{name}"):
            raise _incomplete(f"AWS query-string parameters must include 'X-Amz-{name}'.")
    expires = fields["X-Amz-Expires"]
    if not _EXPIRES.fullmatch(expires) or not 0 < int(expires) <= PRESIGNED_MAX_S:
        raise _incomplete("X-Amz-Expires must be between 1 and 604800 seconds")
    access_key, date, region, service = _scope(fields["X-Amz-Credential"])
    claim = Claim(
        access_key, date, region, service, tuple(fields["X-Amz-SignedHeaders"].split(";")),
        fields["X-Amz-Signature"], fields["X-Amz-Date"], fields.get("X-Amz-Security-Token", ""),
        int(expires),
    )  # fmt: skip
    _check_signed(request, claim)
    return claim


def _check_signed(request: Request, claim: Claim) -> None:
    if "host" not in claim.signed_headers:
        raise _incomplete("'Host' or ':authority' must be a 'SignedHeader' in the request.")
    for name in request.headers:
        if name.startswith("x-amz-") and name not in claim.signed_headers:
            if name == "x-amz-content-sha256":
                continue  # covered by the canonical request's last line
            raise SignatureFault("mismatch", f"'{name}' must be a 'SignedHeader' in the request.")
    for name in claim.signed_headers:
        if name not in request.headers:
            raise SignatureFault("mismatch", _MISMATCH)


class SigningKeys:
    """Derived keys, kept for the most recently used scopes."""

    def __init__(self, size: int = KEY_CACHE_SIZE) -> None:
        self._size = size
        self._keys: OrderedDict[tuple[str, str, str, str], bytes] = OrderedDict()

    def get(self, secret: str, date: str, region: str, service: str) -> bytes:
        """The signing key of a secret for one day, region and service."""
        name = (secret, date, region, service)
        key = self._keys.get(name)
        if key is None:
            key = ("AWS4" + secret).encode()
            for part in (date, region, service, "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._keys[name] = key
            if len(self._keys) > self._size:
                self._keys.popitem(last=False)
        else:
            self._keys.move_to_end(name)
        return key


@lru_cache(maxsize=1024)
def parse_timestamp(text: str) -> float:
    """Seconds since the epoch of ``20240101T000000Z``; raises SignatureFault."""
    try:
        if _TIMESTAMP.fullmatch(text) is None:
            raise ValueError(text)
        return datetime.fromisoformat(text).timestamp()
    except ValueError as error:
        raise _incomplete(
            f"Date must be in ISO-8601 'basic format'. Got '{text}'. See "
            "http://en.wikipedia.org/wiki/ISO_8601"
        ) from error


def format_timestamp(seconds: float) -> str:
    """The inverse of ``parse_timestamp``, whole seconds."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y%m%dT%H%M%SZ")


def check_time(claim: Claim, now: float) -> None:
    """Raise SignatureFault for a claim that is too old or from the future."""
    signed_at = parse_timestamp(claim.timestamp)
    if claim.timestamp[:8] != claim.date:
        raise SignatureFault(
            "mismatch",
            f"Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date "
            f"from HTTP: '{claim.date}' != '{claim.timestamp[:8]}', from '{claim.timestamp}'.",
        )
    lifetime = claim.expires_s if claim.expires_s is not None else MAX_SKEW_S
    if claim.service == "sts":  # STS ignores X-Amz-Expires (aws-iam-authenticator, "API")
        lifetime = MAX_SKEW_S
    early = PRESIGNED_EARLY_S if claim.presigned else MAX_SKEW_S
    if now - signed_at > lifetime:
        oldest = format_timestamp(now - lifetime)
        raise SignatureFault(
            "expired",
            f"Signature expired: {claim.timestamp} is now earlier than {oldest} "
            f"({format_timestamp(now)} - {_span(lifetime)})",
        )
    if signed_at - now > early:
        latest = format_timestamp(now + early)
        raise SignatureFault(
            "early",
            f"Signature not yet current: {claim.timestamp} is still later than {latest} "
            f"({format_timestamp(now)} + {_span(early)})",
        )


def _span(seconds: int) -> str:
    return f"{seconds // 60} min." if seconds % 60 == 0 else f"{seconds} sec."


def verify(request: Request, claim: Claim, secret: str, now: float, keys: SigningKeys) -> None:
    """Raise SignatureFault unless the request was signed with ``secret`` and is current."""
    check_time(claim, now)
    payload = _payload_hash(request, claim)
    canonical = canonical_request(request, claim.signed_headers, payload, claim.service)
    key = keys.get(secret, claim.date, claim.region, claim.service)
    wanted = _signature(key, claim, canonical)
    if not hmac.compare_digest(wanted.encode(), claim.signature.encode(errors="replace")):
        raise SignatureFault("mismatch", _MISMATCH)


def _payload_hash(request: Request, claim: Claim) -> str:
    declared = request.headers.get("x-amz-content-sha256", "")
    if not declared and claim.presigned:
        declared = request.param("X-Amz-Content-Sha256")
        if not declared and claim.service == "s3":
            declared = UNSIGNED
    if claim.service == "s3" and (declared == UNSIGNED or declared.startswith(STREAMING)):
        return declared  # what other services get is always covered by the signature
    actual = hashlib.sha256(request.body).hexdigest()
    if declared and not hmac.compare_digest(declared.encode(), actual.encode()):
        raise SignatureFault(
            "body", "The provided 'x-amz-content-sha256' header does not match what was computed."
        )
    return actual


def _signature(key: bytes, claim: Claim, canonical: str) -> str:
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = f"{ALGORITHM}\n{claim.timestamp}\n{claim.scope}\n{digest}"
    return hmac.digest(key, text.encode(), "sha256").hex()


def canonical_request(
    request: Request, signed_headers: Iterable[str], payload: str, service: str
) -> str:
    """The canonical request; S3 neither normalises nor re-encodes the path."""
    path = request.path or "/"
    if service != "s3" and path != "/":
        path = quote(_normal_path(path), safe="/" + _UNRESERVED)
    names = sorted(signed_headers)
    headers = "".join(f"{name}:{' '.join(request.headers[name].split())}\n" for name in names)
    return "\n".join(
        [request.method, path, _canonical_query(request.raw_query), headers, ";".join(names),
         payload]
    )  # fmt: skip


def _normal_path(path: str) -> str:
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            if parts:
                parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    trailing = "/" if path.endswith("/") and parts else ""
    return "/" + "/".join(parts) + trailing


def _canonical_query(raw: str) -> str:
    pairs = []
    for part in raw.split("&"):
        name, _, value = part.partition("=")
        if name and name != "X-Amz-Signature":
            pairs.append((_encode(name), _encode(value)))
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))


def _encode(text: str) -> str:
    return quote(unquote(text), safe=_UNRESERVED)


@dataclass(slots=True, frozen=True)
class Signer:
    """Credentials to sign with."""

    access_key: str
    secret: str
    region: str
    service: str
    token: str = ""


def sign(request: Request, signer: Signer, now: float, *, payload: str = "") -> Request:
    """The request with an Authorization header. ``host`` must be among its headers;
    ``payload`` overrides the body's hash (UNSIGNED-PAYLOAD)."""
    timestamp = format_timestamp(now)
    headers = {**request.headers, "x-amz-date": timestamp}
    if signer.token:
        headers["x-amz-security-token"] = signer.token
    if payload:
        headers["x-amz-content-sha256"] = payload
    names = tuple(sorted(n for n in headers if n in ("host", "content-type") or n[:6] == "x-amz-"))
    ready = replace(request, headers=headers)
    claim = Claim(
        signer.access_key, timestamp[:8], signer.region, signer.service, names, "", timestamp
    )
    digest = payload or hashlib.sha256(request.body).hexdigest()
    canonical = canonical_request(ready, names, digest, signer.service)
    key = SigningKeys().get(signer.secret, claim.date, signer.region, signer.service)
    headers["authorization"] = (
        f"{ALGORITHM} Credential={signer.access_key}/{claim.scope}, "
        f"SignedHeaders={';'.join(names)}, Signature={_signature(key, claim, canonical)}"
    )
    return replace(request, headers=headers)


def presign(url: str, signer: Signer, now: float, expires_s: int, method: str = "GET") -> str:
    """The URL with a signature in its query, valid for ``expires_s`` seconds."""
    parts = urlsplit(url)
    timestamp = format_timestamp(now)
    claim = Claim(
        signer.access_key, timestamp[:8], signer.region, signer.service, ("host",), "", timestamp,
        expires_s=expires_s,
    )  # fmt: skip
    added = [
        ("X-Amz-Algorithm", ALGORITHM),
        ("X-Amz-Credential", f"{signer.access_key}/{claim.scope}"),
        ("X-Amz-Date", timestamp),
        ("X-Amz-Expires", str(expires_s)),
        ("X-Amz-SignedHeaders", "host"),
    ]
    if signer.token:
        added.append(("X-Amz-Security-Token", signer.token))
    query = "&".join(f"{name}={quote(value, safe=_UNRESERVED)}" for name, value in added)
    raw = f"{parts.query}&{query}" if parts.query else query
    request = Request(method, parts.path or "/", headers={"host": parts.netloc}, raw_query=raw)
    payload = UNSIGNED if signer.service == "s3" else hashlib.sha256(b"").hexdigest()
    canonical = canonical_request(request, ("host",), payload, signer.service)
    key = SigningKeys().get(signer.secret, claim.date, signer.region, signer.service)
    signature = _signature(key, claim, canonical)
    return f"{parts.scheme}://{parts.netloc}{parts.path or '/'}?{raw}&X-Amz-Signature={signature}"
