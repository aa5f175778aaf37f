"""Authentication: a client certificate of our authority, a token, or nobody.

``server`` asks at each request. The transport has verified the certificate. A service account's
token is believed only while the account, and the pod that it is bound to, are still the same
objects; tokens of another kind (an EKS cluster's presigned ones) are for ``ForeignTokens``.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import lru_cache

import orjson
from cryptography import x509
from cryptography.x509.oid import NameOID

from proa.base.http import Request
from proa.kube.api.call import ApiError
from proa.kube.api.context import ANONYMOUS, Api, User
from proa.kube.api.tokens import Claims, TokenIssuer
from proa.kube.keys import object_key
from proa.kube.tables import NODES, PODS, SECRETS, SERVICE_ACCOUNTS

AUTHENTICATED = "system:authenticated"
EXTRA = "authentication.kubernetes.io/"
ACCOUNT_UID = "kubernetes.io/service-account.uid"
ForeignTokens = Callable[[str], Awaitable[User | None]]
"""Who a bearer token that is none of ours stands for; None where it is no token of theirs either,
or is not valid. ``AUTHENTICATED`` is added to the user's groups here."""


async def nobodys_tokens(token: str) -> User | None:
    """Where a cluster knows only its own tokens."""
    del token
    return None


def certified(request: Request) -> User | None:
    """Who asks by a certificate, which counts before a token; None where there is none, or it
    stands for nobody."""
    if request.peer.certificate_der is None:
        return None
    user = user_of_certificate(request.peer.certificate_der)
    return user if user.name else None


async def bearer(
    request: Request, api: Api, issuer: TokenIssuer, foreign: ForeignTokens = nobodys_tokens
) -> User:
    """Who asks by a token, or nobody. Raises ApiError 401 for a token that is none: who shows one
    does not ask as nobody."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return await user_of_token(token.strip(), api, issuer, (issuer.issuer,), foreign)
    return ANONYMOUS


async def user_of_token(
    token: str,
    api: Api,
    issuer: TokenIssuer,
    audiences: tuple[str, ...],
    foreign: ForeignTokens = nobodys_tokens,
) -> User:
    """Who a bearer token stands for. Raises ApiError 401."""
    try:
        return user_of_claims(api, issuer.verify(token, api.clock.now(), audiences))
    except ValueError:
        user = await foreign(token)
    if user is None:
        raise ApiError(401, "Unauthorized", "Unauthorized")
    return authenticated(user)


def authenticated(user: User) -> User:
    """A foreign token's user, as one of those who are known."""
    if AUTHENTICATED in user.groups:
        return user
    return replace(user, groups=(*user.groups, AUTHENTICATED))


@lru_cache(maxsize=1024)
def user_of_certificate(der: bytes) -> User:
    """CN is the name ("" where there is none: it stands for nobody), each O a group."""
    subject = x509.load_der_x509_certificate(der).subject
    names = [str(item.value) for item in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    groups = [str(item.value) for item in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    return User(names[0] if names else "", (*groups, AUTHENTICATED))


def user_of_claims(api: Api, claims: Claims) -> User:
    """The service account behind a token, if it and what it is bound to are still there.

    ``extra`` as in KEP-4193. Raises ValueError."""
    cluster = api.cluster.uid
    account = api.view.rows(SERVICE_ACCOUNTS).get(
        object_key(cluster, "", "serviceaccounts", claims.namespace, claims.name)
    )
    if account is None or account.value.metadata.uid != claims.uid:
        raise ValueError("the service account has gone")
    extra: dict[str, tuple[str, ...]] = {}
    if claims.pod:
        pod = api.view.rows(PODS).get(object_key(cluster, "", "pods", claims.namespace, claims.pod))
        if pod is None or pod.value.metadata.uid != claims.pod_uid:
            raise ValueError("the pod has gone")
        extra[f"{EXTRA}pod-name"] = (claims.pod,)
        extra[f"{EXTRA}pod-uid"] = (claims.pod_uid,)
    _check_bound(api, claims)
    if claims.node:
        extra[f"{EXTRA}node-name"] = (claims.node,)
    if claims.id:
        extra[f"{EXTRA}credential-id"] = (f"JTI={claims.id}",)
    groups = (
        "system:serviceaccounts",
        f"system:serviceaccounts:{claims.namespace}",
        AUTHENTICATED,
    )
    name = f"system:serviceaccount:{claims.namespace}:{claims.name}"
    return User(name, groups, claims.uid, extra)


def _holds(body: bytes, token: str) -> bool:
    """Whether a Secret holds just this token: one that was made anew under its name does not."""
    kept = (orjson.loads(body).get("data") or {}).get("token", "")
    return hmac.compare_digest(str(kept).encode(), base64.b64encode(token.encode()))


def _check_bound(api: Api, claims: Claims) -> None:
    """Raises ValueError where the Secret or the Node that a token is bound to has gone."""
    if claims.secret:
        key = object_key(api.cluster.uid, "", "secrets", claims.namespace, claims.secret)
        secret = api.view.rows(SECRETS).get(key)
        if secret is None or claims.secret_uid not in ("", secret.value.metadata.uid):
            raise ValueError("the secret has gone")
        if not claims.secret_uid and (
            secret.value.metadata.annotations.get(ACCOUNT_UID) != claims.uid
        ):
            raise ValueError("the secret is another")
        if claims.lies_there and not _holds(secret.body, claims.lies_there):
            raise ValueError("the secret holds another token")
    if claims.node_uid:
        node = api.view.rows(NODES).get(object_key(api.cluster.uid, "", "nodes", "", claims.node))
        if node is None or node.value.metadata.uid != claims.node_uid:
            raise ValueError("the node has gone")
