"""Who signed a GetCallerIdentity URL: what an EKS token holds.

``Presigned.verify`` is called by the Kubernetes door with the URL of a token that ``aws eks
get-token`` made, and with the headers that the signature covers but a URL cannot carry. The URL
is verified here, against Proa's own keys, and never sent anywhere. What a URL may hold follows
aws-iam-authenticator's README ("API Authorization from Outside a Cluster"): one plain GET of one
operation, each parameter once, so that nothing else can hide behind a signature.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from proa.aws.gateway.auth import CredentialSource, authenticate, signature_error
from proa.base.errors import CallerFault
from proa.base.http import Request
from proa.cloud.identity import user_id_of
from proa.cloud.policy import role_of_session
from proa.reconcile.view import View
from proa.wire.sigv4 import SignatureFault, SigningKeys, read_claim

CLUSTER_HEADER = "x-k8s-aws-id"
MAX_URL = 16 * 1024
_PARAMETERS = frozenset(
    {"action", "version", "x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-expires",
     "x-amz-security-token", "x-amz-signature", "x-amz-signedheaders"}
)  # fmt: skip


@dataclass(slots=True, frozen=True)
class Caller:
    """Who signed. ``arn`` is the caller's own (a session's, for temporary credentials of a
    role), ``user_id`` what GetCallerIdentity calls UserId."""

    account: str
    arn: str
    user_id: str
    access_key: str

    @property
    def canonical_arn(self) -> str:
        """The ARN that access entries name: a session's role, without its path; else ``arn``."""
        return role_of_session(self.arn) or self.arn

    @property
    def session_name(self) -> str:
        """The name of a role's session; "" for users and root."""
        return self.arn.rpartition("/")[2] if role_of_session(self.arn) else ""


class Presigned:
    """Verifies presigned GetCallerIdentity URLs over the identities in the view."""

    def __init__(self, view: View, credentials: CredentialSource) -> None:
        self._view, self._credentials = view, credentials
        self._keys = SigningKeys()

    def verify(self, url: str, headers: Mapping[str, str], now: float) -> Caller:
        """The caller that signed ``url`` together with ``headers`` (lower-case names, without
        host) no more than 15 minutes before ``now`` (wall seconds). Every one of the headers must
        be signed. Raises CallerFault."""
        request = _request(url, headers)
        try:
            claim = read_claim(request)
        except SignatureFault as fault:
            raise signature_error(fault, "query", presigned=True) from fault
        if claim is None:
            raise CallerFault("the URL is not signed")
        if claim.service != "sts":
            raise CallerFault(f"the URL is signed for {claim.service!r}, not for sts")
        unsigned = sorted(headers.keys() - set(claim.signed_headers))
        if unsigned:
            raise CallerFault(f"the signature does not cover {unsigned[0]}")
        found = authenticate(request, claim, self._credentials, now, self._keys, "query")
        user_id = user_id_of(self._view, found.account, found.principal_arn, found.access_key)
        return Caller(found.account, found.principal_arn, user_id, found.access_key)


def _request(url: str, headers: Mapping[str, str]) -> Request:
    """The GET that a URL stands for. Raises CallerFault for any but a GetCallerIdentity."""
    if len(url) > MAX_URL:
        raise CallerFault("the URL is too long")
    try:
        parts = urlsplit(url)
        query = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True)
    except ValueError as error:
        raise CallerFault("the URL could not be read") from error
    if parts.scheme not in ("http", "https") or not parts.netloc or "@" in parts.netloc:
        raise CallerFault("the URL is no HTTP address")
    if parts.path not in ("", "/") or parts.fragment:
        raise CallerFault(f"unexpected path {parts.path!r} in the URL")
    names = [name.lower() for name, _ in query]
    strange = sorted(set(names) - _PARAMETERS)
    if strange:
        raise CallerFault(f"unexpected parameter {strange[0]!r} in the URL")
    if len(set(names)) != len(names):
        raise CallerFault("a parameter of the URL is given twice")
    if dict(zip(names, query, strict=True)).get("action", ("", ""))[1] != "GetCallerIdentity":
        raise CallerFault("the URL asks for another action than GetCallerIdentity")
    return Request(
        "GET", "/", tuple(query), {**headers, "host": parts.netloc}, raw_query=parts.query
    )
