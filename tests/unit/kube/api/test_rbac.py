"""Who may do what, by roles and bindings in the view."""

from __future__ import annotations

from typing import Any

import pytest

from proa.kube.api.call import ApiError
from proa.kube.api.context import ANONYMOUS, LOOPBACK, Api, Grant, User
from proa.kube.api.rbac import Attributes, Rbac
from tests.unit.kube.api.cluster import binding, given, put, role, rule, user
from tests.unit.kube.world import MemoryStore

ANN = User("ann", ("system:authenticated",))
LIST_PODS = Attributes("list", "", "pods", "", "default")


def answers(objects: list[dict[str, Any]], asked: dict[Attributes, bool], who: User = ANN) -> None:
    def check(api: Api, _store: MemoryStore) -> None:
        rbac = Rbac(api)
        assert {item: rbac.allows(who, item) for item in asked} == asked

    given(objects, check)


def test_nothing_is_allowed_without_a_binding() -> None:
    answers([role("reader", rule("*", "*", "*"))], {LIST_PODS: False})


def test_masters_may_do_everything() -> None:
    path = Attributes("get", path="/metrics")
    answers([], {LIST_PODS: True, path: True}, LOOPBACK)
    answers([], {LIST_PODS: False, path: False}, ANONYMOUS)


def test_a_cluster_binding_holds_everywhere_and_a_role_binding_in_its_namespace() -> None:
    reader = role("reader", rule("get,list", "pods"))
    here = LIST_PODS
    there = Attributes("list", "", "pods", "", "kube-system")
    cluster = Attributes("list", "", "pods")
    answers([reader, binding("b", "reader", user("ann"))], {here: True, there: True, cluster: True})
    inside = binding("b", "reader", user("ann"), "default")
    answers([reader, inside], {here: True, there: False, cluster: False})


def test_a_role_is_found_in_the_namespace_of_its_binding_only() -> None:
    local = role("reader", rule("list", "pods"), namespace="default")
    answers([local, binding("b", "reader", user("ann"), "default", "Role")], {LIST_PODS: True})
    answers([local, binding("b", "reader", user("ann"), "default")], {LIST_PODS: False})


def test_groups_and_service_accounts_are_subjects() -> None:
    reader = role("reader", rule("list", "pods"))
    group = {"kind": "Group", "name": "system:authenticated"}
    answers([reader, binding("b", "reader", group)], {LIST_PODS: True})
    robot = User("system:serviceaccount:default:robot")
    local = binding("b", "reader", {"kind": "ServiceAccount", "name": "robot"}, "default")
    answers([reader, local], {LIST_PODS: True}, robot)
    answers([reader, local], {LIST_PODS: False}, User("robot"))
    cluster = binding("b", "reader", {"kind": "ServiceAccount", "name": "robot"})
    answers([reader, cluster], {LIST_PODS: False}, robot)


def test_verbs_groups_and_resources_must_all_match() -> None:
    objects = [
        role("r", rule("get", "deployments,replicasets", "apps")),
        binding("b", "r", user("ann")),
    ]
    answers(
        objects,
        {
            Attributes("get", "apps", "deployments", "", "default"): True,
            Attributes("list", "apps", "deployments", "", "default"): False,
            Attributes("get", "", "deployments", "", "default"): False,
            Attributes("get", "apps", "statefulsets", "", "default"): False,
        },
    )


def test_a_subresource_needs_a_rule_of_its_own() -> None:
    rules = [rule("get", "pods"), rule("update", "*/scale", "apps"), rule("create", "pods/exec")]
    answers(
        [role("r", *rules), binding("b", "r", user("ann"))],
        {
            Attributes("get", "", "pods", "", "default", "web"): True,
            Attributes("get", "", "pods", "log", "default", "web"): False,
            Attributes("update", "apps", "deployments", "scale", "default", "web"): True,
            Attributes("update", "apps", "deployments", "status", "default", "web"): False,
            Attributes("create", "", "pods", "exec", "default", "web"): True,
            Attributes("create", "", "pods", "", "default"): False,
        },
    )


def test_resource_names_limit_a_rule_to_objects() -> None:
    only = rule("get,list", "secrets", resourceNames=["token"])
    answers(
        [role("r", only), binding("b", "r", user("ann"))],
        {
            Attributes("get", "", "secrets", "", "default", "token"): True,
            Attributes("get", "", "secrets", "", "default", "other"): False,
            Attributes("list", "", "secrets", "", "default"): False,
        },
    )


def test_paths_match_whole_or_by_a_trailing_star() -> None:
    paths = {"verbs": ["get"], "nonResourceURLs": ["/healthz", "/api/*"]}
    answers(
        [role("r", paths), binding("b", "r", user("ann"))],
        {
            Attributes("get", path="/healthz"): True,
            Attributes("get", path="/healthz/"): False,
            Attributes("get", path="/api/v1"): True,
            Attributes("get", path="/apis"): False,
            Attributes("post", path="/healthz"): False,
            LIST_PODS: False,
        },
    )


def test_aggregates_are_resolved_through_each_other_and_circles_end() -> None:
    objects = [
        role("admin", selects="to-admin"),
        role("edit", labels={"to-admin": "true"}, selects="to-edit"),
        role("circle", labels={"to-edit": "true"}, selects="to-admin"),
        role("part", rule("list", "pods"), labels={"to-edit": "true"}),
        role("apart", rule("list", "nodes"), labels={"to-edit": "false"}),
        binding("b", "admin", user("ann")),
    ]
    answers(objects, {LIST_PODS: True, Attributes("list", "", "nodes"): False})


def test_a_changed_role_counts_at_once() -> None:
    async def check(api: Api, store: MemoryStore) -> None:
        rbac = Rbac(api)
        assert not rbac.allows(ANN, LIST_PODS)
        put(store, role("r", rule("list", "pods")))
        await api.fresh()
        assert rbac.allows(ANN, LIST_PODS)

    given([role("r", rule("get", "pods")), binding("b", "r", user("ann"))], check)


@pytest.mark.parametrize(
    ("asked", "text", "details"),
    [
        (
            Attributes("list", "", "pods", "", "default"),
            'pods is forbidden: User "ann" cannot list resource "pods" in API group "" '
            'in the namespace "default"',
            {"kind": "pods"},
        ),
        (
            Attributes("create", "", "pods", "exec", "default", "web"),
            'pods "web" is forbidden: User "ann" cannot create resource "pods/exec" in API group '
            '"" in the namespace "default"',
            {"kind": "pods", "name": "web"},
        ),
        (
            Attributes("get", "apps", "deployments", "", "", "web"),
            'deployments.apps "web" is forbidden: User "ann" cannot get resource "deployments" in '
            'API group "apps" at the cluster scope',
            {"kind": "deployments", "name": "web", "group": "apps"},
        ),
        (
            Attributes("get", path="/metrics"),
            'forbidden: User "ann" cannot get path "/metrics"',
            {},
        ),
    ],
)
def test_a_denial_is_worded_as_kubernetes_does(
    asked: Attributes, text: str, details: dict[str, str]
) -> None:
    def check(api: Api, _store: MemoryStore) -> None:
        error = Rbac(api).denial(ANN, asked)
        assert (error.code, error.reason, error.message) == (403, "Forbidden", text)
        assert error.details == details

    given([], check)


HELD = [
    role("ops", rule("get,list", "pods,pods/log"), rule("*", "deployments", "apps")),
    role("all", rule("*", "*", "*")),
    binding("b", "ops", user("ann"), "default"),
]


def granted(name: str, body: dict[str, Any], *more: dict[str, Any], who: User = ANN) -> bool:
    found: list[bool] = []

    def check(api: Api, _store: MemoryStore) -> None:
        try:
            Rbac(api).check_grant(who, name, "default", body)
            found.append(True)
        except ApiError as error:
            assert (error.code, error.reason) == (403, "Forbidden")
            assert "attempting to grant RBAC permissions not currently held" in error.message
            found.append(False)

    given([*HELD, *more], check)
    return found[0]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (rule("get", "pods/log"), True),
        (rule("*", "deployments", "apps"), True),
        (rule("get", "pods", resourceNames=["web"]), True),
        (rule("get,delete", "pods"), False),
        (rule("*", "pods"), False),
        (rule("get", "*"), False),
        (rule("get", "pods", "*"), False),
        (rule("get", "pods/exec"), False),
        ({"verbs": ["get"], "nonResourceURLs": ["/metrics"]}, False),
        (rule(",".join(["get"] * 200), ",".join(["pods"] * 200)), False),
    ],
)
def test_a_role_may_be_written_only_by_who_holds_its_rules(
    asked: dict[str, Any], expected: bool
) -> None:
    body = role("new", asked, namespace="default")
    assert granted("roles", body) == expected
    assert granted("roles", body, who=LOOPBACK)


def test_who_may_escalate_writes_any_role() -> None:
    waiver = role("waiver", rule("escalate", "roles", "rbac.authorization.k8s.io"))
    more = (waiver, binding("w", "waiver", user("ann"), "default"))
    assert granted("roles", role("new", rule("*", "*", "*"), namespace="default"), *more)


def test_a_binding_needs_the_rules_of_its_role_or_the_right_to_bind_it() -> None:
    everything = binding("new", "all", user("ann"), "default")
    assert granted("rolebindings", binding("new", "ops", user("bob"), "default"))
    assert not granted("rolebindings", everything)
    only = rule("bind", "clusterroles", "rbac.authorization.k8s.io", resourceNames=["all"])
    waiver = (role("waiver", only), binding("w", "waiver", user("ann"), "default"))
    assert granted("rolebindings", everything, *waiver)


def test_other_kinds_and_aggregates_are_told_apart() -> None:
    assert granted("pods", {"metadata": {"name": "web"}})
    assert not granted("clusterroles", role("new", selects="to-admin"))


def test_a_grant_holds_everywhere_or_in_the_namespaces_that_match() -> None:
    objects = [role("view", rule("list", "pods"))]
    far = Attributes("list", "", "pods", "", "team-a")
    everywhere = Attributes("list", "", "pods")
    answers(
        objects,
        {LIST_PODS: True, far: True, everywhere: True},
        User("ann", grants=(Grant("view"),)),
    )
    answers(
        objects,
        {LIST_PODS: False, far: True, everywhere: False},
        User("ann", grants=(Grant("view", ("team-*",)),)),
    )
    answers(objects, {LIST_PODS: False}, User("ann", grants=(Grant("edit"),)))
