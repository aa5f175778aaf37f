"""Who calls: the gateway's ports for credentials and authorisation, and auth errors by protocol.

``authenticate`` turns a signed request into its ``Credential`` or raises the AWS error that the
service's protocol family gives; the families differ in code, status and words (each service's
"Common errors" reference).
"""

from __future__ import annotations

import hmac
from typing import Protocol

from proa.aws.gateway.service import AwsError, Context, Input
from proa.base.http import Request
from proa.cloud.identity import Credential
from proa.wire import sigv2
from proa.wire.aws.hosts import bucket_of_host
from proa.wire.sigv4 import Claim, SignatureFault, SigningKeys, verify


class CredentialSource(Protocol):
    """Where access keys are known."""

    def lookup(self, access_key: str) -> Credential | None:
        """The credential of an active access key."""
        ...


class Authorizer(Protocol):
    """Who may do what. Returns the denial's message, or None when the call is allowed."""

    def __call__(self, context: Context, action: str, given: Input) -> str | None: ...


# kind of fault → protocol family → (code, status)
_CODES: dict[str, dict[str, tuple[str, int]]] = {
    "missing": {
        "json": ("MissingAuthenticationTokenException", 400),
        "rest-json": ("MissingAuthenticationTokenException", 403),
        "query": ("MissingAuthenticationToken", 403),
        "ec2": ("MissingAuthenticationToken", 403),
        "rest-xml": ("AccessDenied", 403),
    },
    "unknown": {
        "json": ("UnrecognizedClientException", 400),
        "rest-json": ("UnrecognizedClientException", 403),
        "query": ("InvalidClientTokenId", 403),
        "ec2": ("AuthFailure", 401),
        "rest-xml": ("InvalidAccessKeyId", 403),
    },
    "incomplete": {
        "json": ("IncompleteSignatureException", 400),
        "rest-json": ("IncompleteSignatureException", 403),
        "query": ("IncompleteSignature", 400),
        "ec2": ("IncompleteSignature", 400),
        "rest-xml": ("AuthorizationHeaderMalformed", 400),
    },
    "mismatch": {
        "json": ("InvalidSignatureException", 400),
        "rest-json": ("InvalidSignatureException", 403),
        "query": ("SignatureDoesNotMatch", 403),
        "ec2": ("AuthFailure", 401),
        "rest-xml": ("SignatureDoesNotMatch", 403),
    },
    "time": {
        "json": ("InvalidSignatureException", 400),
        "rest-json": ("InvalidSignatureException", 403),
        "query": ("SignatureDoesNotMatch", 403),
        "ec2": ("RequestExpired", 400),
        "rest-xml": ("RequestTimeTooSkewed", 403),
    },
    "presigned": {
        "json": ("InvalidSignatureException", 400),
        "rest-json": ("InvalidSignatureException", 403),
        "query": ("RequestExpired", 400),
        "ec2": ("RequestExpired", 400),
        "rest-xml": ("AccessDenied", 403),
    },
    "session": {
        "json": ("ExpiredTokenException", 400),
        "rest-json": ("ExpiredTokenException", 403),
        "query": ("ExpiredToken", 403),
        "ec2": ("RequestExpired", 400),
        "rest-xml": ("ExpiredToken", 400),
    },
    "denied": {
        "json": ("AccessDeniedException", 400),
        "rest-json": ("AccessDeniedException", 403),
        "query": ("AccessDenied", 403),
        "ec2": ("UnauthorizedOperation", 403),
        "rest-xml": ("AccessDenied", 403),
    },
}
_INVALID_TOKEN = "The security token included in the request is invalid."
_EC2_INVALID = "AWS was not able to validate the provided access credentials"


def auth_error(kind: str, protocol: str, message: str) -> AwsError:
    """The error of one kind of refusal as a protocol family words it."""
    family = "json" if protocol == "smithy-rpc-v2-cbor" else protocol
    code, status = _CODES[kind].get(family, _CODES[kind]["json"])
    if code == "AuthFailure":
        message = _EC2_INVALID
    elif code == "UnauthorizedOperation":
        message = f"You are not authorized to perform this operation. {message}"
    elif family == "ec2" and code == "RequestExpired":
        message = "Request has expired."
    return AwsError(code, message, status)


def missing(protocol: str) -> AwsError:
    """The error for an unsigned request."""
    family_says = "Missing Authentication Token"
    if protocol in ("query", "ec2"):
        family_says = "Request is missing Authentication Token"
    return auth_error("missing", protocol, family_says)


def signature_error(fault: SignatureFault, protocol: str, presigned: bool) -> AwsError:
    """A signature fault in a protocol family's words."""
    kind = fault.kind
    if kind in ("expired", "early"):
        kind = "presigned" if presigned else "time"
    elif kind == "body":
        kind = "mismatch"
    return auth_error(kind, protocol, fault.message)


def authenticate(
    request: Request,
    claim: Claim,
    source: CredentialSource,
    now: float,
    keys: SigningKeys,
    protocol: str,
) -> Credential:
    """The credential a request was signed with; raises AwsError."""
    credential = source.lookup(claim.access_key)
    if credential is None or not hmac.compare_digest(
        credential.session_token.encode(), claim.token.encode(errors="replace")
    ):
        raise auth_error("unknown", protocol, _INVALID_TOKEN)
    try:
        if claim.version == sigv2.VERSION:
            bucket = bucket_of_host(request.headers.get("host", ""))
            sigv2.verify(request, claim, credential.secret, now, bucket)
        else:
            verify(request, claim, credential.secret, now, keys)
    except SignatureFault as fault:
        raise signature_error(fault, protocol, claim.presigned) from fault
    if credential.expires_at and credential.expires_at <= now:
        raise auth_error(
            "session", protocol, "The security token included in the request is expired"
        )
    return credential
