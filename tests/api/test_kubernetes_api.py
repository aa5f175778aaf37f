"""What the Kubernetes API promises beyond single objects, as kubectl and its libraries use it."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from collections.abc import Iterator

import kubernetes
import pytest

from tests.live import Proa, eventually

SPACE = "promises"
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: promises}
spec:
  replicas: 0
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: main, image: "busybox:1"}]}
"""


@pytest.fixture(scope="module")
def space(proa: Proa) -> Iterator[Proa]:
    proa.kubectl(f"create namespace {SPACE}")
    proa.apply(DEPLOYMENT)
    eventually(lambda: "web-" in proa.kubectl(f"get rs -n {SPACE} -o name"))
    yield proa
    proa.kubectl(f"delete namespace {SPACE} --wait=false")


def told(proa: Proa, line: str, *, fails: bool = False) -> str:
    """What a line of shell says on both outputs."""
    done = proa.run(["bash", "-c", line], ok=False)
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return done.stdout + done.stderr


def kube(line: str) -> str:
    return f"kubectl -n {SPACE} {line}"


def test_who_may_impersonate_sees_what_the_other_may(space: Proa) -> None:
    told(space, kube("create role reader --verb=get,list --resource=pods"))
    told(space, kube("create rolebinding bob --role=reader --user=bob"))
    eventually(lambda: told(space, kube("get pods --as=bob")))
    said = told(space, kube("get secrets --as=bob"), fails=True)
    assert 'User "bob" cannot list resource "secrets"' in said
    assert told(space, kube("auth can-i list pods --as=bob")).strip() == "yes"
    assert "no" in told(space, kube("auth can-i create pods --as=bob"), fails=True)
    shown = told(space, kube("auth whoami --as=bob --as-group=dev -o yaml"))
    assert "username: bob" in shown
    assert "- dev" in shown


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ("create configmap dry --from-literal=a=b --dry-run=server", "get configmap dry"),
        ("scale deployment web --replicas=3 --dry-run=server", ""),
        ("set image deployment/web main=busybox:9 --dry-run=server", ""),
        ("label deployment web extra=yes --dry-run=server", ""),
        ("annotate deployment web extra=yes --dry-run=server", ""),
        ("delete deployment web --dry-run=server", ""),
        ("delete rs --all --dry-run=server", ""),
        ("autoscale deployment web --max=3 --dry-run=server", "get hpa web"),
    ],
)
def test_a_dry_run_of_any_verb_leaves_everything_as_it_was(
    space: Proa, line: str, left: str
) -> None:
    def picture() -> str:
        return told(space, kube("get deployments,rs,configmaps,hpa -o json"))

    before = picture()
    told(space, kube(line))
    assert picture() == before
    if left:
        assert "NotFound" in told(space, kube(left), fails=True)


def test_appliers_on_the_server_are_told_of_each_other(space: Proa) -> None:
    apply = "apply --server-side --field-manager={} -f - <<'E'\n{}\nE"
    mine = (
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: shared, namespace: promises}\n"
        "data: {a: '1'}"
    )
    told(space, kube(apply.format("one", mine)))
    said = told(space, kube(apply.format("two", mine.replace("'1'", "'2'"))), fails=True)
    assert 'conflict with "one"' in said
    assert ".data.a" in said
    told(space, kube(apply.format("two --force-conflicts", mine.replace("'1'", "'2'"))))
    found = json.loads(told(space, kube("get cm shared -o json --show-managed-fields")))
    assert found["data"] == {"a": "2"}
    assert [item["manager"] for item in found["metadata"]["managedFields"]] == ["two"]


def test_unknown_fields_are_refused_with_their_paths(space: Proa) -> None:
    text = DEPLOYMENT.replace("replicas: 0", "replicas: 0\n  odd: true")
    text = text.replace("image: ", "imagee: x, image: ")
    said = told(space, f"kubectl apply -f - <<'E'\n{text}\nE", fails=True)
    assert 'unknown field "spec.odd"' in said
    assert 'unknown field "spec.template.spec.containers[0].imagee"' in said
    warned = told(space, f"kubectl apply --validate=warn --dry-run=server -f - <<'E'\n{text}\nE")
    assert 'Warning: unknown field "spec.odd"' in warned


def test_waits_end_with_what_they_wait_for(space: Proa) -> None:
    told(space, kube("create configmap awaited --from-literal=a=1"))
    line = kube("wait configmap/awaited --for=jsonpath='{.data.a}'=2 --timeout=20s")
    waiting = subprocess.Popen(["bash", "-c", line], env=space.environment)
    time.sleep(0.5)
    told(space, kube('patch configmap awaited -p \'{"data":{"a":"2"}}\''))
    assert waiting.wait(20) == 0
    line = kube("wait configmap/awaited --for=delete --timeout=20s")
    waiting = subprocess.Popen(["bash", "-c", line], env=space.environment)
    time.sleep(0.5)
    told(space, kube("delete configmap awaited"))
    assert waiting.wait(20) == 0


def test_a_watch_of_kubectl_shows_each_change(space: Proa) -> None:
    line = kube("get configmaps -w --output-watch-events --field-selector metadata.name=seen")
    watching = subprocess.Popen(
        ["timeout", "4", "bash", "-c", f"exec {line}"], env=space.environment,
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    time.sleep(1)
    told(space, kube("create configmap seen --from-literal=a=1"))
    told(space, kube("delete configmap seen"))
    shown, _ = watching.communicate()
    assert [row.split()[:2] for row in shown.splitlines()[1:]] == [
        ["ADDED", "seen"],
        ["DELETED", "seen"],
    ]


def test_pages_of_the_library_are_one_picture(space: Proa) -> None:
    for name in ("p1", "p2", "p3"):
        told(space, kube(f"create configmap {name}"))
    api = kubernetes.client.CoreV1Api(
        kubernetes.config.new_client_from_config(space.environment["KUBECONFIG"])
    )
    page = api.list_namespaced_config_map(SPACE, limit=1)
    told(space, kube("create configmap p0"))
    names, versions = [item.metadata.name for item in page.items], {page.metadata.resource_version}
    while page.metadata._continue:
        page = api.list_namespaced_config_map(SPACE, limit=1, _continue=page.metadata._continue)
        names += [item.metadata.name for item in page.items]
        versions.add(page.metadata.resource_version)
    assert "p0" not in names
    assert {"p1", "p2", "p3"} <= set(names)
    assert len(versions) == 1


def test_autoscalers_are_shown_in_both_versions(space: Proa) -> None:
    told(space, kube("autoscale deployment web --name=both --max=3 --cpu=50%"))
    kind = "horizontalpodautoscalers.{}.autoscaling"
    older = json.loads(told(space, kube(f"get {kind.format('v1')} both -o json")))
    newer = json.loads(told(space, kube(f"get {kind.format('v2')} both -o json")))
    assert older["spec"]["targetCPUUtilizationPercentage"] == 50
    assert newer["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == 50


def test_a_token_in_a_secret_is_good_until_the_secret_goes(space: Proa) -> None:
    note = "{kubernetes.io/service-account.name: default}"
    space.apply(
        "apiVersion: v1\nkind: Secret\ntype: kubernetes.io/service-account-token\n"
        f"metadata: {{name: held, namespace: {SPACE}, annotations: {note}}}\n"
    )
    data = json.loads(told(space, kube("get secret held -o json")))["data"]
    token = base64.b64decode(data["token"]).decode()
    assert b"BEGIN CERTIFICATE" in base64.b64decode(data["ca.crt"])
    server = space.kubectl("config view -o jsonpath={.clusters[0].cluster.server}")
    line = (
        f"kubectl --kubeconfig=/dev/null --server={server} --insecure-skip-tls-verify "
        f"--token={token} auth whoami"
    )
    assert f"system:serviceaccount:{SPACE}:default" in told(space, line)
    told(space, kube("delete secret held"))
    assert "logged in" in told(space, line, fails=True)


def test_secrets_lie_sealed_on_the_disk(space: Proa) -> None:
    told(space, kube("create secret generic sealed --from-literal=key=tales-of-the-deep"))
    plain = base64.b64encode(b"tales-of-the-deep")
    shown = told(space, kube("get secret sealed -o jsonpath={.data.key}"))
    assert shown.encode() == plain
    for file in space.data_dir.glob("store.db*"):
        content = file.read_bytes()
        assert plain not in content
        assert b"tales-of-the-deep" not in content


def test_documents_are_there_for_tools_old_and_new(space: Proa) -> None:
    assert "readyz check passed" in space.kubectl("get --raw /readyz?verbose")
    assert "apiserver_request_total{" in space.kubectl("get --raw /metrics")
    explained = space.kubectl("explain pods.spec.containers --output=plaintext-openapiv2")
    assert "RESOURCE: containers" in explained
    keys = json.loads(space.kubectl("get --raw /openid/v1/jwks"))
    assert keys["keys"][0]["kty"] == "EC"


def test_what_is_not_served_yet_is_refused_by_name(space: Proa) -> None:
    told(space, kube("run lonely --image=busybox --restart=Never --overrides='"
                     '{"spec":{"schedulingGates":[{"name":"example.com/held"}]}}\''))  # fmt: skip
    said = told(space, kube("debug lonely --image=busybox --attach=false"), fails=True)
    assert "ephemeralcontainers of pods is not served yet" in said
