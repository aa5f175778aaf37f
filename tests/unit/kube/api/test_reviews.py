"""Reviews and token requests: what is answered, and what is refused in which words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from proa.base.clock import iso8601
from proa.kube import pki
from proa.kube.api.call import ApiConflict, ApiError
from proa.kube.api.context import LOOPBACK, Api, User
from proa.kube.api.rbac import Rbac
from proa.kube.api.reviews import review, token_request
from proa.kube.api.tokens import TokenIssuer
from tests.unit.kube.api.cluster import CLUSTER, NOW, account, binding, given, pod, role, rule, user
from tests.unit.kube.world import MemoryStore

ISSUER = TokenIssuer(pki.key_bytes(pki.new_key()), CLUSTER.issuer)
ANN = User("ann", ("system:authenticated",), "u-1", {"scopes": ("a", "b")})
READER = [role("reader", rule("get,list", "pods")), binding("b", "reader", user("ann"), "default")]
Json = dict[str, Any]


async def vouch(token: str) -> User | None:
    """Tokens of another kind."""
    return User("arn:ann", ("ops",)) if token == "foreign" else None


def ask(
    kind: str, spec: Json, *, who: User = ANN, namespace: str = "", objects: Iterable[Json] = READER
) -> Json:
    found: list[Json] = []

    async def check(api: Api, _store: MemoryStore) -> None:
        body = {"kind": kind, "apiVersion": "authorization.k8s.io/v1", "spec": spec}
        asked = (api, Rbac(api), ISSUER, vouch)
        found.append(await review(*asked, who, kind, namespace, body))

    given(objects, check)
    assert (found[0]["kind"], found[0]["spec"]) == (kind, spec)
    status: Json = found[0]["status"]
    return status


def refusal(kind: str, spec: Json, **more: Any) -> tuple[int, str]:
    with pytest.raises(ApiError) as caught:
        ask(kind, spec, **more)
    return caught.value.code, caught.value.message


def pods(verb: str, namespace: str = "default") -> Json:
    return {"resourceAttributes": {"verb": verb, "resource": "pods", "namespace": namespace}}


def test_who_am_i() -> None:
    assert ask("SelfSubjectReview", {}) == {
        "userInfo": {
            "username": "ann",
            "uid": "u-1",
            "groups": ["system:authenticated"],
            "extra": {"scopes": ["a", "b"]},
        }
    }


def test_may_i() -> None:
    kind = "SelfSubjectAccessReview"
    assert ask(kind, pods("list")) == {"allowed": True}
    assert ask(kind, pods("delete")) == {"allowed": False}
    assert ask(kind, pods("list", "kube-system")) == {"allowed": False}
    assert ask(kind, pods("list", "")) == {"allowed": False}
    path = {"nonResourceAttributes": {"verb": "get", "path": "/metrics"}}
    assert ask(kind, path) == {"allowed": False}
    assert ask(kind, path, who=LOOPBACK) == {"allowed": True}


def test_may_another() -> None:
    kind = "SubjectAccessReview"
    assert ask(kind, {"user": "ann", **pods("list")}, who=LOOPBACK) == {"allowed": True}
    assert ask(kind, {"user": "bob", **pods("list")}, who=LOOPBACK) == {"allowed": False}
    masters = {"groups": ["system:masters"], **pods("delete")}
    assert ask(kind, masters, who=ANN) == {"allowed": True}


def test_may_another_here_asks_about_its_own_namespace_only() -> None:
    kind, spec = "LocalSubjectAccessReview", {"user": "ann", **pods("list")}
    assert ask(kind, spec, namespace="default") == {"allowed": True}
    code, message = refusal(kind, spec, namespace="other")
    assert code == 422
    assert 'spec.resourceAttributes.namespace: Invalid value: "default": must match' in message
    path = {"user": "ann", "nonResourceAttributes": {"verb": "get", "path": "/"}}
    assert "disallowed on this kind of request" in refusal(kind, path, namespace="default")[1]


def test_questions_without_object_or_subject_are_invalid() -> None:
    kind = "SelfSubjectAccessReview"
    assert refusal(kind, {}) == (
        422,
        'SelfSubjectAccessReview.authorization.k8s.io "" is invalid: spec.resourceAttributes: '
        "Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be "
        "specified",
    )
    both = {**pods("get"), "nonResourceAttributes": {"verb": "get", "path": "/"}}
    assert "cannot be specified in combination" in refusal(kind, both)[1]
    nobody = refusal("SubjectAccessReview", pods("get"))
    assert nobody[0] == 422
    assert 'spec.user: Invalid value: "": at least one of user or group' in nobody[1]


@pytest.mark.parametrize(
    "spec",
    [
        {"user": "ann", "resourceAttributes": "pods"},
        {"user": "ann", "resourceAttributes": {"verb": ["get"]}},
        {"user": "ann", "groups": "dev", **pods("get")},
        {"user": "ann", "groups": [1], **pods("get")},
    ],
)
def test_fields_of_another_type_are_bad_requests(spec: Json) -> None:
    assert refusal("SubjectAccessReview", spec)[0] == 400


def test_what_may_i_here() -> None:
    kind = "SelfSubjectRulesReview"
    assert ask(kind, {"namespace": "default"}) == {
        "resourceRules": [{"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]}],
        "nonResourceRules": [],
        "incomplete": False,
    }
    assert ask(kind, {"namespace": "other"})["resourceRules"] == []
    everything = ask(kind, {"namespace": "other"}, who=LOOPBACK)
    assert everything["resourceRules"][0]["verbs"] == ["*"]
    assert refusal(kind, {}) == (400, "no namespace on request")


def test_a_token_is_reviewed() -> None:
    kind, objects = "TokenReview", [account()]
    token, _ = ISSUER.mint(
        "default", "robot", "sa-1", audiences=[CLUSTER.issuer, "b"], expires_s=600, now=NOW
    )
    good = ask(kind, {"token": token}, objects=objects)
    assert good["authenticated"]
    assert good["user"]["username"] == "system:serviceaccount:default:robot"
    assert good["audiences"] == [CLUSTER.issuer]
    other = ask(kind, {"token": token, "audiences": ["c", "b"]}, objects=objects)
    assert other["audiences"] == ["b"]
    for bad in (
        ask(kind, {"token": token, "audiences": ["c"]}, objects=objects),
        ask(kind, {"token": token}, objects=[]),
        ask(kind, {"token": "nonsense"}, objects=objects),
    ):
        assert bad["authenticated"] is False
        assert bad["user"] == {}
        assert bad["error"]
    assert refusal(kind, {})[0] == 400


def test_a_kind_without_an_answer_says_so() -> None:
    assert refusal("OtherReview", {})[0] == 501


def request(spec: Json, objects: Iterable[Json] | None = None) -> Json:
    found: list[Json] = []
    shown = [account(), pod()] if objects is None else objects

    def check(api: Api, _store: MemoryStore) -> None:
        body = {"spec": spec}
        found.append(token_request(api, ISSUER, "default", "robot", body, api.clock.now()))

    given(shown, check)
    return found[0]


def test_a_token_request_is_answered_with_a_token_that_is_believed() -> None:
    answer = request({})
    assert answer["kind"] == "TokenRequest"
    assert answer["spec"] == {"audiences": [CLUSTER.issuer], "expirationSeconds": 3600}
    assert answer["status"]["expirationTimestamp"] == iso8601(NOW + 3600)
    claims = ISSUER.verify(answer["status"]["token"], NOW, [CLUSTER.issuer])
    assert (claims.namespace, claims.name, claims.uid) == ("default", "robot", "sa-1")
    assert claims.id


def test_a_token_is_bound_to_the_pod_that_is_named() -> None:
    running = pod()
    running["spec"]["nodeName"] = "node-1"
    reference = {"kind": "Pod", "apiVersion": "v1", "name": "web", "uid": "pod-1"}
    spec = {"audiences": ["sts.amazonaws.com"], "boundObjectRef": reference}
    answer = request(spec, [account(), running])
    claims = ISSUER.verify(answer["status"]["token"], NOW, ["sts.amazonaws.com"])
    assert (claims.pod, claims.pod_uid, claims.node) == ("web", "pod-1", "node-1")
    assert answer["spec"]["boundObjectRef"] == reference


@pytest.mark.parametrize(
    ("spec", "code", "words"),
    [
        ({"expirationSeconds": 599}, 422, "may not specify a duration less than 10 minutes"),
        ({"expirationSeconds": 0}, 422, "Invalid value: 0"),
        ({"expirationSeconds": 2**32 + 1}, 422, "larger than 2^32 seconds"),
        ({"expirationSeconds": "600"}, 400, "expirationSeconds"),
        ({"audiences": "a"}, 400, "audiences"),
        ({"boundObjectRef": {"kind": "ConfigMap", "name": "s"}}, 400, "cannot bind token"),
        ({"boundObjectRef": {"kind": "Pod", "name": "gone"}}, 404, 'pods "gone" not found'),
        ({"boundObjectRef": {"kind": "Pod", "name": "web", "uid": "x"}}, 409, "UID"),
        ({"boundObjectRef": {"kind": "Pod", "name": "other"}}, 400, "different"),
    ],
)
def test_wrong_token_requests_are_refused(spec: Json, code: int, words: str) -> None:
    objects = [account(), pod(), pod("other", uid="pod-2", sa="default")]
    with pytest.raises(ApiError) as caught:
        request(spec, objects)
    assert caught.value.code == code
    assert words in caught.value.message
    assert isinstance(caught.value, ApiConflict) == (code == 409)


def test_no_token_is_made_for_an_account_that_is_not_there() -> None:
    with pytest.raises(ApiError, match='serviceaccounts "robot" not found'):
        request({}, [])


def test_a_token_of_another_kind_is_reviewed_by_who_vouches_for_it() -> None:
    status = ask("TokenReview", {"token": "foreign"})
    assert status["authenticated"]
    assert status["user"]["username"] == "arn:ann"
    assert status["user"]["groups"] == ["ops", "system:authenticated"]
    assert not ask("TokenReview", {"token": "foreign", "audiences": ["else"]})["authenticated"]
