"""Reviews: kinds that are answered and forgotten, and tokens for service accounts."""

from __future__ import annotations

from typing import Any

from proa.base.clock import iso8601
from proa.kube.api.authn import user_of_claims
from proa.kube.api.call import ApiError
from proa.kube.api.context import Api, Json, User
from proa.kube.api.failures import bad_request, not_found
from proa.kube.api.rbac import Attributes, Rbac
from proa.kube.api.tokens import TokenIssuer
from proa.kube.keys import object_key
from proa.kube.tables import PODS, SERVICE_ACCOUNTS

TOKEN_MIN_S, TOKEN_DEFAULT_S, TOKEN_MAX_S = 600, 3600, 1 << 32


def review(
    api: Api, rbac: Rbac, issuer: TokenIssuer, user: User, kind: str, namespace: str, body: Json
) -> Json:
    """The body with its status. Raises ApiError for kinds that are not answered."""
    spec = body.get("spec") or {}
    if kind == "SelfSubjectReview":
        status: dict[str, Any] = {"userInfo": _shown(user)}
    elif kind == "SelfSubjectAccessReview":
        status = _access(rbac, user, spec, namespace)
    elif kind in ("SubjectAccessReview", "LocalSubjectAccessReview"):
        other = User(spec.get("user", ""), tuple(spec.get("groups") or ()))
        status = _access(rbac, other, spec, namespace)
    elif kind == "SelfSubjectRulesReview":
        status = _rules(rbac, user, spec.get("namespace", ""))
    elif kind == "TokenReview":
        status = _token(api, issuer, spec)
    else:
        raise ApiError(501, "NotImplemented", f"{kind} is not served yet")
    metadata = {"creationTimestamp": None, **(body.get("metadata") or {})}
    return {**body, "metadata": metadata, "status": status}


def _shown(user: User) -> Json:
    shown: Json = {"username": user.name, "groups": list(user.groups)}
    if user.uid:
        shown["uid"] = user.uid
    if user.extra:
        shown["extra"] = {name: list(values) for name, values in user.extra.items()}
    return shown


def _access(rbac: Rbac, user: User, spec: Json, namespace: str) -> Json:
    resource, other = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if resource:
        attributes = Attributes(
            resource.get("verb", ""),
            resource.get("group", ""),
            resource.get("resource", ""),
            resource.get("subresource", ""),
            resource.get("namespace", "") or namespace,
            resource.get("name", ""),
        )
    elif other:
        attributes = Attributes(other.get("verb", ""), path=other.get("path", ""))
    else:
        raise bad_request("exactly one of nonResourceAttributes or resourceAttributes must be set")
    return {"allowed": rbac.allows(user, attributes)}


def _rules(rbac: Rbac, user: User, namespace: str) -> Json:
    if "system:masters" in user.groups:
        found = [
            {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
            {"verbs": ["*"], "nonResourceURLs": ["*"]},
        ]
    else:
        found = list(rbac.rules_for(user, namespace))
    return {
        "resourceRules": [rule for rule in found if rule.get("resources")],
        "nonResourceRules": [rule for rule in found if rule.get("nonResourceURLs")],
        "incomplete": False,
    }


def _token(api: Api, issuer: TokenIssuer, spec: Json) -> Json:
    audiences = spec.get("audiences") or [issuer.issuer]
    try:
        claims = issuer.verify(spec.get("token", ""), api.clock.now(), audiences)
        user = user_of_claims(api, claims)
    except ValueError as error:
        return {"authenticated": False, "error": str(error)}
    shared = [audience for audience in audiences if audience in claims.audiences]
    return {"authenticated": True, "user": _shown(user), "audiences": shared}


def token_request(
    api: Api, issuer: TokenIssuer, namespace: str, name: str, body: Json, now: float
) -> Json:
    """serviceaccounts/token: the TokenRequest with its token. Raises ApiError."""
    account = api.view.rows(SERVICE_ACCOUNTS).get(
        object_key(api.cluster.uid, "", "serviceaccounts", namespace, name)
    )
    if account is None:
        raise not_found(api.builtin("", "serviceaccounts"), name)
    spec = body.get("spec") or {}
    expires_s = int(spec.get("expirationSeconds") or TOKEN_DEFAULT_S)
    if not TOKEN_MIN_S <= expires_s <= TOKEN_MAX_S:
        raise ApiError(
            422,
            "Invalid",
            f"spec.expirationSeconds: Invalid value: {expires_s}: may not specify a duration less "
            "than 10 minutes",
        )
    bound = spec.get("boundObjectRef") or {}
    pod = None
    if bound.get("kind") == "Pod":
        key = object_key(api.cluster.uid, "", "pods", namespace, bound.get("name", ""))
        entry = api.view.rows(PODS).get(key)
        if entry is None:
            raise not_found(api.builtin("", "pods"), bound.get("name", ""))
        pod = (entry.value.metadata.name, entry.value.metadata.uid)
    token, expires_at = issuer.mint(
        namespace,
        name,
        account.value.metadata.uid,
        audiences=spec.get("audiences") or [issuer.issuer],
        expires_s=expires_s,
        now=now,
        pod=pod,
        id=api.chance.uid(),
    )
    return {
        "kind": "TokenRequest",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": {"name": name, "namespace": namespace, "creationTimestamp": iso8601(now)},
        "spec": {
            **spec,
            "audiences": spec.get("audiences") or [issuer.issuer],
            "expirationSeconds": expires_s,
        },
        "status": {"token": token, "expirationTimestamp": iso8601(expires_at)},
    }
