"""The Kubernetes API as kubectl and the Python client see it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import kubernetes
import pytest

from tests.live import Proa, eventually


@pytest.fixture(scope="module")
def space(proa: Proa) -> Iterator[Proa]:
    proa.kubectl("create namespace api")
    yield proa
    proa.kubectl("delete namespace api --timeout=60s")


def configmap(name: str, **data: str) -> str:
    lines = "".join(f"  {key}: '{value}'\n" for key, value in data.items())
    return (
        f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: api}}\n"
        f"data:\n{lines}"
    )


def refusal(proa: Proa, line: str) -> str:
    done = proa.run(["bash", "-c", line], ok=False)
    assert done.returncode != 0, done.stdout
    return done.stderr


def test_versions_health_and_discovery_answer(space: Proa) -> None:
    shown = json.loads(space.kubectl("version -o json"))
    assert shown["serverVersion"]["minor"] == "36"
    assert space.kubectl("get --raw /readyz") == "ok"
    names = space.kubectl("api-resources -o name").split()
    assert {"pods", "deployments.apps", "horizontalpodautoscalers.autoscaling"} <= set(names)
    assert len(names) > 60
    explained = space.kubectl("explain deployment.spec.strategy")
    assert "rollingUpdate" in explained


def test_apply_patches_what_it_wrote_before(space: Proa) -> None:
    assert "created" in space.apply(configmap("applied", a="1", b="2"))
    assert "unchanged" in space.apply(configmap("applied", a="1", b="2"))
    assert "configured" in space.apply(configmap("applied", a="3"))
    stored = json.loads(space.kubectl("get configmap applied -n api -o json"))
    assert stored["data"] == {"a": "3"}


@pytest.mark.parametrize(
    ("kind", "patch"),
    [
        ("json", '[{"op": "add", "path": "/data/x", "value": "1"}]'),
        ("merge", '{"data": {"x": "1"}}'),
        ("strategic", '{"data": {"x": "1"}}'),
    ],
)
def test_every_patch_type_changes_the_object(space: Proa, kind: str, patch: str) -> None:
    space.apply(configmap(f"patched-{kind}", a="1"))
    space.run(
        ["kubectl", "patch", "configmap", f"patched-{kind}", "-n", "api", f"--type={kind}",
         "-p", patch]
    )  # fmt: skip
    stored = json.loads(space.kubectl(f"get configmap patched-{kind} -n api -o json"))
    assert stored["data"] == {"a": "1", "x": "1"}


def test_dry_run_writes_nothing(space: Proa) -> None:
    space.kubectl("create configmap dry -n api --from-literal=a=1 --dry-run=server")
    assert "NotFound" in refusal(space, "kubectl get configmap dry -n api")


def test_generators_that_send_protobuf_are_understood(space: Proa) -> None:
    assert space.kubectl("auth can-i create pods").strip() == "yes"
    assert "kubernetes-admin" in space.kubectl("auth whoami")
    space.kubectl("create deployment made -n api --image=busybox --replicas=0")
    space.kubectl("create secret generic made -n api --from-literal=k=v")
    assert space.kubectl("create token default -n api").count(".") == 2


def test_errors_have_kubernetes_own_words(space: Proa) -> None:
    assert 'pods "none" not found' in refusal(space, "kubectl get pod none -n api")
    assert "already exists" in refusal(space, "kubectl create namespace api")
    assert 'namespaces "gone" not found' in refusal(
        space, "kubectl create configmap a -n gone --from-literal=a=1"
    )
    unknown = configmap("odd", a="1").replace("\ndata:", "\nspec: {}\ndata:")
    shown = refusal(space, f"kubectl apply -f - <<'E'\n{unknown}\nE")
    assert 'unknown field "spec"' in shown
    wrong = configmap("odd", a="1").replace("'1'", "[1]")
    assert "data" in refusal(space, f"kubectl apply -f - --validate=false <<'E'\n{wrong}\nE")


def test_stale_version_is_a_conflict(space: Proa) -> None:
    space.apply(configmap("stale", a="1"))
    old = json.loads(space.kubectl("get configmap stale -n api -o json"))
    space.apply(configmap("stale", a="2"))
    text = json.dumps({**old, "data": {"a": "3"}})
    shown = refusal(space, f"kubectl replace -f - <<'E'\n{text}\nE")
    assert "the object has been modified" in shown


def client(proa: Proa) -> kubernetes.client.CoreV1Api:
    made = kubernetes.config.new_client_from_config(proa.environment["KUBECONFIG"])
    return kubernetes.client.CoreV1Api(made)


def test_watch_resumes_where_a_list_ended(space: Proa) -> None:
    core = client(space)
    listed = core.list_namespaced_config_map("api")
    space.apply(configmap("seen", a="1"))
    space.apply(configmap("seen", a="2"))
    space.kubectl("delete configmap seen -n api")
    seen = []
    stream = kubernetes.watch.Watch().stream(
        core.list_namespaced_config_map,
        "api",
        resource_version=listed.metadata.resource_version,
        timeout_seconds=3,
    )
    for event in stream:
        if event["object"].metadata.name == "seen":
            seen.append(event["type"])
    assert seen == ["ADDED", "MODIFIED", "DELETED"]


def test_lists_are_paged_to_the_end(space: Proa) -> None:
    for number in range(5):
        space.apply(configmap(f"page-{number}", a="1"))
    core, names, token = client(space), [], None
    while True:
        page = core.list_namespaced_config_map("api", limit=2, _continue=token)
        names += [item.metadata.name for item in page.items]
        token = page.metadata._continue
        if not token:
            break
    assert len(names) == len(set(names))
    assert {f"page-{number}" for number in range(5)} <= set(names)


def test_service_accounts_token_may_do_what_its_role_says_and_no_more(space: Proa) -> None:
    space.kubectl("create role reader -n api --verb=get,list --resource=configmaps")
    space.kubectl("create rolebinding reader -n api --role=reader --serviceaccount=api:default")
    token = space.kubectl("create token default -n api").strip()
    server = space.kubectl("config view -o jsonpath={.clusters[0].cluster.server}")
    base = f"kubectl --kubeconfig=/dev/null --server={server} --insecure-skip-tls-verify"
    line = f"{base} --token={token} get configmaps -n api -o name"
    eventually(lambda: space.run(["bash", "-c", line], ok=False).returncode == 0)
    shown = refusal(space, f"{base} --token={token} get secrets -n api")
    assert (
        'User "system:serviceaccount:api:default" cannot list resource "secrets" in API group ""'
        ' in the namespace "api"'
    ) in shown
    denied = refusal(space, f"{base} --token=nonsense get pods -n api")
    assert "Unauthorized" in denied or "must be logged in" in denied


def test_owned_objects_go_with_their_owner(space: Proa) -> None:
    space.kubectl("create deployment owner -n api --image=busybox --replicas=0")
    eventually(lambda: "owner-" in space.kubectl("get rs -n api -o name"))
    space.kubectl("delete deployment owner -n api")
    eventually(lambda: "owner-" not in space.kubectl("get rs -n api -o name"))
