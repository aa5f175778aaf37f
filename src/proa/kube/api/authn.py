"""Authentication: a client certificate of our authority, a service account token, or nobody."""

from __future__ import annotations

from functools import lru_cache

from cryptography import x509
from cryptography.x509.oid import NameOID

from proa.base.http import Request
from proa.kube.api.call import ApiError
from proa.kube.api.context import ANONYMOUS, Api, User
from proa.kube.api.tokens import Claims, TokenIssuer
from proa.kube.keys import object_key
from proa.kube.tables import PODS, SERVICE_ACCOUNTS

AUTHENTICATED = "system:authenticated"


def authenticate(request: Request, api: Api, issuer: TokenIssuer) -> User:
    """Who asks. Raises 401 for a token that is none."""
    if request.peer.certificate_der is not None:
        return user_of_certificate(request.peer.certificate_der)
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token:
        try:
            return user_of_claims(api, issuer.verify(token, api.clock.now(), (issuer.issuer,)))
        except ValueError:
            raise ApiError(401, "Unauthorized", "Unauthorized") from None
    return ANONYMOUS


@lru_cache(maxsize=1024)
def user_of_certificate(der: bytes) -> User:
    """CN is the name, each O a group. The TLS layer has verified the certificate."""
    subject = x509.load_der_x509_certificate(der).subject
    names = [str(item.value) for item in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    groups = [str(item.value) for item in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    return User(names[0] if names else "", (*groups, AUTHENTICATED))


def user_of_claims(api: Api, claims: Claims) -> User:
    """The service account behind a token, if it and the pod it is bound to are still there.

    Raises ValueError."""
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
        extra = {
            "authentication.kubernetes.io/pod-name": (claims.pod,),
            "authentication.kubernetes.io/pod-uid": (claims.pod_uid,),
        }
    groups = (
        "system:serviceaccounts",
        f"system:serviceaccounts:{claims.namespace}",
        AUTHENTICATED,
    )
    name = f"system:serviceaccount:{claims.namespace}:{claims.name}"
    return User(name, groups, claims.uid, extra)
