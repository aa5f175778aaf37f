"""What every cluster starts with, and what its roles allow."""

from __future__ import annotations

import pytest

from proa.kube.api import bootstrap
from proa.kube.api.context import ANONYMOUS, Api, User
from proa.kube.api.rbac import Attributes, Rbac
from tests.unit.kube.api.cluster import CLUSTER, NOW, binding, given, user
from tests.unit.kube.world import MemoryStore

ROLES = [body for body in bootstrap.objects(CLUSTER, NOW) if "Role" in body["kind"]]


def allowed(role: str, *asked: Attributes) -> list[bool]:
    """What a user with one of the roles in namespace default may do."""
    found: list[bool] = []

    def check(api: Api, _store: MemoryStore) -> None:
        rbac = Rbac(api)
        found.extend(rbac.allows(User("ann"), attributes) for attributes in asked)

    given([*ROLES, binding("b", role, user("ann"), "default")], check)
    return found


def here(verb: str, group: str, resource: str, subresource: str = "") -> Attributes:
    return Attributes(verb, group, resource, subresource, "default")


ASKED = (
    here("list", "", "pods"),
    here("get", "", "pods", "log"),
    here("get", "", "secrets"),
    here("create", "apps", "deployments"),
    here("create", "", "pods", "exec"),
    here("create", "rbac.authorization.k8s.io", "roles"),
    here("delete", "", "nodes"),
)


@pytest.mark.parametrize(
    ("role", "expected"),
    [
        ("view", [True, True, False, False, False, False, False]),
        ("edit", [True, True, True, True, True, False, False]),
        ("admin", [True, True, True, True, True, True, False]),
        ("cluster-admin", [True] * 7),
    ],
)
def test_each_default_role_allows_what_its_parts_allow(role: str, expected: list[bool]) -> None:
    assert allowed(role, *ASKED) == expected
    assert allowed(role, Attributes("list", "", "pods", "", "other")) == [False]


def test_groups_get_the_paths_and_reviews_that_are_everybodys() -> None:
    version, metrics = Attributes("get", path="/version"), Attributes("get", path="/metrics")
    discovery = Attributes("get", path="/apis/apps/v1")
    question = Attributes("create", "authorization.k8s.io", "selfsubjectaccessreviews")
    known = User("ann", ("system:authenticated",))
    monitor = User("m", ("system:monitoring",))

    def check(api: Api, _store: MemoryStore) -> None:
        rbac = Rbac(api)
        asked = (version, discovery, question, metrics)
        assert [rbac.allows(ANONYMOUS, item) for item in asked] == [True, False, False, False]
        assert [rbac.allows(known, item) for item in asked] == [True, True, True, False]
        assert rbac.allows(monitor, metrics)

    given(ROLES, check)


def test_every_binding_has_its_role() -> None:
    names = {body["metadata"]["name"] for body in ROLES if body["kind"] == "ClusterRole"}
    bound = [body["roleRef"]["name"] for body in ROLES if body["kind"] == "ClusterRoleBinding"]
    assert bound
    assert set(bound) <= names


def test_services_have_the_addresses_that_pods_are_told() -> None:
    services = {
        body["metadata"]["name"]: body["spec"]
        for body in bootstrap.objects(CLUSTER, NOW)
        if body["kind"] == "Service"
    }
    assert services["kubernetes"]["clusterIP"] == "10.96.0.1"
    assert services["kubernetes"]["ports"] == [
        {"name": "https", "port": 443, "protocol": "TCP", "targetPort": 6443}
    ]
    assert services["kube-dns"]["clusterIP"] == "10.96.0.10"
    assert [port["protocol"] for port in services["kube-dns"]["ports"]] == ["UDP", "TCP"]
    assert all("selector" not in spec for spec in services.values())


def test_namespaces_come_before_what_lies_in_them() -> None:
    made = bootstrap.objects(CLUSTER, NOW)
    seen: set[str] = set()
    for body in made:
        assert body["metadata"].get("namespace", "") in {*seen, ""}
        if body["kind"] == "Namespace":
            seen.add(body["metadata"]["name"])
    assert seen == {"default", "kube-system", "kube-public", "kube-node-lease"}
