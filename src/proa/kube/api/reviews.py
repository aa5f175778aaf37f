"""Reviews: kinds that are answered and forgotten, and tokens for service accounts.

``server`` calls these once the caller may create them. Nothing is stored. Errors are in
kube-apiserver's words (authorization and authentication validation).
"""

from __future__ import annotations

from typing import TypeVar

import orjson

from proa.base.clock import iso8601
from proa.kube.api.authn import ForeignTokens, authenticated, user_of_claims
from proa.kube.api.call import ApiConflict, ApiError
from proa.kube.api.context import Api, Json, User
from proa.kube.api.failures import bad_request, invalid, not_found
from proa.kube.api.rbac import Attributes, Rbac
from proa.kube.api.tokens import TokenIssuer
from proa.kube.keys import object_key
from proa.kube.objects import Pod
from proa.kube.schema.errors import INVALID, FieldError
from proa.kube.schema.kinds import Resource
from proa.kube.tables import PODS, SERVICE_ACCOUNTS

T = TypeVar("T")
TOKEN_MIN_S, TOKEN_DEFAULT_S, TOKEN_MAX_S = 600, 3600, 1 << 32
_AUTHORIZATION, _AUTHENTICATION = "authorization.k8s.io", "authentication.k8s.io"


async def review(
    api: Api,
    rbac: Rbac,
    issuer: TokenIssuer,
    foreign: ForeignTokens,
    user: User,
    kind: str,
    namespace: str,
    body: Json,
) -> Json:
    """The body with its status. Raises ApiError: 400, 422, and 501 for kinds without an answer."""
    spec = _object(body, "spec")
    if kind == "SelfSubjectReview":
        status: Json = {"userInfo": _shown(user)}
    elif kind == "SelfSubjectAccessReview":
        status = {"allowed": rbac.allows(user, _attributes(kind, spec))}
    elif kind == "SubjectAccessReview":
        status = {"allowed": rbac.allows(_subject(kind, spec), _attributes(kind, spec))}
    elif kind == "LocalSubjectAccessReview":
        attributes = _local(kind, spec, namespace)
        status = {"allowed": rbac.allows(_subject(kind, spec), attributes)}
    elif kind == "SelfSubjectRulesReview":
        status = _rules(rbac, user, _text(spec, "namespace"))
    elif kind == "TokenReview":
        status = await _token(api, issuer, foreign, spec)
    else:
        raise ApiError(501, "NotImplemented", f"{kind} is not served yet")
    metadata = {"creationTimestamp": None, **_object(body, "metadata")}
    return {**body, "metadata": metadata, "spec": spec, "status": status}


def _object(parent: Json, name: str) -> Json:
    empty: Json = {}
    return _typed(parent, name, dict, empty)


def _text(parent: Json, name: str) -> str:
    return _typed(parent, name, str, "")


def _texts(parent: Json, name: str) -> list[str]:
    empty: list[str] = []
    found = _typed(parent, name, list, empty)
    if not all(isinstance(item, str) for item in found):
        raise bad_request(f"json: cannot unmarshal into field {name} of type []string")
    return found


def _typed(parent: Json, name: str, kind: type[T], default: T) -> T:
    """A field; ``default`` where it is missing or null. Raises 400 for another type."""
    found = parent.get(name)
    if found is None:
        return default
    if not isinstance(found, kind):
        raise bad_request(f"json: cannot unmarshal into field {name} of type {kind.__name__}")
    return found


def _wrong(group: str, kind: str, field: str, detail: str, value: object) -> ApiError:
    """422 of one field."""
    resource = Resource(group, "v1", f"{kind.lower()}s", kind, kind.lower(), False)
    return invalid(resource, "", [FieldError(INVALID, field, detail, value)])


def _attributes(kind: str, spec: Json) -> Attributes:
    """What a review asks about: a resource or a path, never both."""
    resource, other = _object(spec, "resourceAttributes"), _object(spec, "nonResourceAttributes")
    if resource and other:
        detail = "cannot be specified in combination with resourceAttributes"
        raise _wrong(_AUTHORIZATION, kind, "spec.nonResourceAttributes", detail, other)
    if not resource and not other:
        detail = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        raise _wrong(_AUTHORIZATION, kind, "spec.resourceAttributes", detail, None)
    if other:
        return Attributes(_text(other, "verb"), path=_text(other, "path"))
    names = ("verb", "group", "resource", "subresource", "namespace", "name")
    return Attributes(*(_text(resource, name) for name in names))


def _local(kind: str, spec: Json, namespace: str) -> Attributes:
    """The same within a namespace: who may ask there learns nothing about other places."""
    other = _object(spec, "nonResourceAttributes")
    if other:
        detail = "disallowed on this kind of request"
        raise _wrong(_AUTHORIZATION, kind, "spec.nonResourceAttributes", detail, other)
    attributes = _attributes(kind, spec)
    if attributes.namespace != namespace:
        field, detail = "spec.resourceAttributes.namespace", "must match metadata.namespace"
        raise _wrong(_AUTHORIZATION, kind, field, detail, attributes.namespace)
    return attributes


def _subject(kind: str, spec: Json) -> User:
    """Whom a review asks about."""
    name, groups = _text(spec, "user"), _texts(spec, "groups")
    if not name and not groups:
        detail = "at least one of user or group must be specified"
        raise _wrong(_AUTHORIZATION, kind, "spec.user", detail, name)
    return User(name, tuple(groups), _text(spec, "uid"))


def _shown(user: User) -> Json:
    shown: Json = {"username": user.name, "groups": list(user.groups)}
    if user.uid:
        shown["uid"] = user.uid
    if user.extra:
        shown["extra"] = {name: list(values) for name, values in user.extra.items()}
    return shown


def _rules(rbac: Rbac, user: User, namespace: str) -> Json:
    if not namespace:
        raise bad_request("no namespace on request")
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


async def _token(api: Api, issuer: TokenIssuer, foreign: ForeignTokens, spec: Json) -> Json:
    token, audiences = _text(spec, "token"), _texts(spec, "audiences") or [issuer.issuer]
    if not token:
        raise bad_request("token is required for TokenReview in authentication")
    try:
        claims = issuer.verify(token, api.clock.now(), audiences)
        user, meant = user_of_claims(api, claims), claims.audiences
    except ValueError as error:
        # Tokens of another kind are meant for this API.
        other = await foreign(token) if issuer.issuer in audiences else None
        if other is None:
            return {"authenticated": False, "user": {}, "error": str(error)}
        user, meant = authenticated(other), (issuer.issuer,)
    shared = [audience for audience in audiences if audience in meant]
    return {"authenticated": True, "user": _shown(user), "audiences": shared}


def token_request(
    api: Api, issuer: TokenIssuer, namespace: str, name: str, body: Json, now: float
) -> Json:
    """serviceaccounts/token: the TokenRequest with its token. Raises ApiError: 400 and 422 for a
    wrong request, 404 for what is not there, 409 for a pod that is another by now."""
    account = api.view.rows(SERVICE_ACCOUNTS).get(
        object_key(api.cluster.uid, "", "serviceaccounts", namespace, name)
    )
    if account is None:
        raise not_found(api.builtin("", "serviceaccounts"), name)
    spec = _object(body, "spec")
    expires_s = _expiration(spec)
    audiences = _texts(spec, "audiences") or [issuer.issuer]
    reference = _object(spec, "boundObjectRef")
    pod, other = None, None
    if _text(reference, "kind") in ("Secret", "Node"):
        other = _bound_object(api, namespace, reference)
    else:
        pod = _bound_pod(api, namespace, name, reference)
    token, expires_at = issuer.mint(
        namespace,
        name,
        account.value.metadata.uid,
        audiences=audiences,
        expires_s=expires_s,
        now=now,
        pod=(pod.metadata.name, pod.metadata.uid) if pod else None,
        node=pod.spec.node_name if pod else "",
        id=api.chance.uid(),
        bound_to=other,
    )
    return {
        "kind": "TokenRequest",
        "apiVersion": f"{_AUTHENTICATION}/v1",
        "metadata": {"name": name, "namespace": namespace, "creationTimestamp": iso8601(now)},
        "spec": {**spec, "audiences": audiences, "expirationSeconds": expires_s},
        "status": {"token": token, "expirationTimestamp": iso8601(expires_at)},
    }


def _expiration(spec: Json) -> int:
    """Seconds that the token shall hold."""
    seconds = _typed(spec, "expirationSeconds", int, TOKEN_DEFAULT_S)
    if TOKEN_MIN_S <= seconds <= TOKEN_MAX_S:
        return seconds
    limit = "less than 10 minutes" if seconds < TOKEN_MIN_S else "larger than 2^32 seconds"
    detail = f"may not specify a duration {limit}"
    raise _wrong(_AUTHENTICATION, "TokenRequest", "spec.expirationSeconds", detail, seconds)


def _bound_object(api: Api, namespace: str, reference: Json) -> tuple[str, str, str]:
    """(kind, name, uid) of the Secret or the Node that a token shall be bound to."""
    kind, name, uid = (_text(reference, part) for part in ("kind", "name", "uid"))
    resource = api.builtin("", f"{kind.lower()}s")
    entry = api.entry(resource, namespace, name)
    if entry is None:
        raise not_found(resource, name)
    found = entry.value.metadata.uid
    if uid and uid != found:
        raise _other(kind, name, uid)
    return kind.lower(), name, found


def _other(kind: str, name: str, uid: str) -> ApiConflict:
    """409 for an object that was deleted and made again."""
    return ApiConflict(
        f'Operation cannot be fulfilled on {kind} "{name}": the UID in the bound object reference '
        f"({uid}) does not match the UID in record. The object might have been deleted and "
        "then recreated",
        {"name": name, "kind": kind},
    )


def _bound_pod(api: Api, namespace: str, account: str, reference: Json) -> Pod | None:
    """The pod that a token shall be bound to, which must run as the account."""
    if not reference:
        return None
    kind, name, uid = (_text(reference, part) for part in ("kind", "name", "uid"))
    if kind != "Pod":
        shown = f"{_text(reference, 'apiVersion')}, Kind={kind}"
        raise bad_request(f"cannot bind token to object of type {shown}")
    entry = api.view.rows(PODS).get(object_key(api.cluster.uid, "", "pods", namespace, name))
    if entry is None:
        raise not_found(api.builtin("", "pods"), name)
    pod = entry.value
    if orjson.loads(entry.body)["spec"].get("serviceAccountName") != account:
        raise bad_request(
            f'cannot bind token for serviceaccount "{account}" to pod running with different '
            "serviceaccount name."
        )
    if uid and uid != pod.metadata.uid:
        raise _other(kind, name, uid)
    return pod
