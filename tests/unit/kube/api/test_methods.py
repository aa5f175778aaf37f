"""A verb reaches what it names and nothing else: subresources take their own methods, and a right
in one namespace does not reach what lies in none."""

from __future__ import annotations

import pytest

from tests.unit.kube.api.served import DEFAULT, Client, Json, pod, said, serving

RBAC = "/apis/rbac.authorization.k8s.io/v1"
READER = "system:serviceaccount:default:reader"
ADMIN = "system:serviceaccount:default:admin"
BODIES: dict[str, Json] = {
    "serviceaccounts/admin/token": {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {},
    },
    "pods/web/eviction": {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": "web"},
    },
    "pods/web/binding": {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": "web"},
        "target": {"kind": "Node", "name": "node-1"},
    },
}


def role(kind: str, name: str, verbs: list[str]) -> Json:
    rules = [{"apiGroups": ["*"], "resources": ["*"], "verbs": verbs}]
    return {"kind": kind, "metadata": {"name": name}, "rules": rules}


def binding(kind: str, of: str, name: str, user: str) -> Json:
    group = "rbac.authorization.k8s.io"
    return {
        "kind": kind,
        "metadata": {"name": name},
        "roleRef": {"apiGroup": group, "kind": of, "name": name},
        "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
    }


async def prepare(client: Client) -> None:
    """A pod, a service account, who may read everything, and who rules over one namespace."""
    await client.make(f"{DEFAULT}/pods", pod("web"))
    await client.make(f"{DEFAULT}/serviceaccounts", {"metadata": {"name": "admin"}})
    await client.make(
        f"{RBAC}/clusterroles", role("ClusterRole", "reads", ["get", "list", "watch"])
    )
    await client.make(
        f"{RBAC}/clusterrolebindings", binding("ClusterRoleBinding", "ClusterRole", "reads", READER)
    )
    space = f"{RBAC}/namespaces/default"
    await client.make(f"{space}/roles", role("Role", "rules", ["*"]))
    await client.make(f"{space}/rolebindings", binding("RoleBinding", "Role", "rules", ADMIN))


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("path", BODIES)
def test_what_only_a_create_may_do_is_done_by_no_other_method(method: str, path: str) -> None:
    async def check(client: Client) -> None:
        await prepare(client)
        answer = await client.ask(method, f"{DEFAULT}/{path}", BODIES[path])
        assert answer.status == 405, answer.body
        left = said(await client.ask("GET", f"{DEFAULT}/pods/web"))
        assert "nodeName" not in left["spec"]

    serving(check)


def test_who_reads_everything_gets_no_token_of_another() -> None:
    async def check(client: Client) -> None:
        await prepare(client)
        path = "serviceaccounts/admin/token"
        for method, status in (("GET", 405), ("POST", 403)):
            answer = await client.ask(
                method, f"{DEFAULT}/{path}", BODIES[path], impersonate_user=READER
            )
            assert answer.status == status, answer.body

    serving(check)


@pytest.mark.parametrize("what", ["exec?command=id&stdout=true", "attach?stdout=true",
                                  "portforward"])  # fmt: skip
def test_who_only_reads_opens_no_stream_into_a_container(what: str) -> None:
    async def check(client: Client) -> None:
        await prepare(client)
        path = f"{DEFAULT}/pods/web/{what}"
        answer = await client.ask("GET", path, upgrade="websocket", impersonate_user=READER)
        assert answer.status == 403
        assert "cannot create resource" in said(answer)["message"]
        # who may reads the pod's own refusal instead
        assert (await client.ask("GET", path, upgrade="websocket")).status == 400

    serving(check)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/namespaces/default/namespaces/kube-system"),
        ("DELETE", "/api/v1/namespaces/default/namespaces/kube-public"),
        ("GET", "/api/v1/namespaces/default/nodes"),
        ("GET", f"{RBAC}/namespaces/default/clusterroles/cluster-admin"),
        ("DELETE", f"{RBAC}/namespaces/default/clusterrolebindings/reads"),
    ],
)
def test_a_right_in_a_namespace_does_not_reach_what_lies_in_none(method: str, path: str) -> None:
    async def check(client: Client) -> None:
        await prepare(client)
        answer = await client.ask(method, path, impersonate_user=ADMIN)
        assert answer.status == 404, answer.body
        for left in ("/api/v1/namespaces/kube-public", f"{RBAC}/clusterrolebindings/reads"):
            assert "deletionTimestamp" not in said(await client.ask("GET", left))["metadata"]
        own = await client.ask("GET", "/api/v1/namespaces/default", impersonate_user=ADMIN)
        assert own.status == 200

    serving(check)


@pytest.mark.parametrize("name", ["default", "kube-system", "kube-public"])
def test_a_namespace_that_every_cluster_needs_is_neither_deleted_nor_marked(name: str) -> None:
    async def play(client: Client) -> None:
        before = await client.ask("GET", f"/api/v1/namespaces/{name}")
        answer = await client.ask("DELETE", f"/api/v1/namespaces/{name}")
        assert answer.status == 403
        assert said(answer)["message"] == (
            f'namespaces "{name}" is forbidden: this namespace may not be deleted'
        )
        assert (await client.ask("GET", f"/api/v1/namespaces/{name}")).body == before.body

    serving(play)
