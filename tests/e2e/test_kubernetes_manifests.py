"""The articles' Kubernetes manifests, applied with the real kubectl."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.live import SEEDS, Proa, eventually, fetch


@pytest.fixture
def clean(proa: Proa) -> Iterator[Proa]:
    yield proa
    proa.kubectl("delete namespace production --ignore-not-found --timeout=60s")


def test_third_articles_flow_runs(clean: Proa) -> None:
    folder = SEEDS / "003"
    clean.kubectl("apply -f namespace.yaml", cwd=folder)
    shown = clean.run((folder / "eks-flow.sh").read_text(), cwd=folder, timeout_s=120).stdout
    assert 'deployment "web-app" successfully rolled out' in shown
    rows = [line.split() for line in shown.splitlines() if line.startswith("web-app-")]
    assert len(rows) == 3
    assert {(row[1], row[2]) for row in rows} == {("1/1", "Running")}
    assert len({row[5] for row in rows}) == 3, "each pod has an address of its own"
    for row in rows:
        assert "nginx" in fetch(f"http://{row[5]}/").lower()


def test_pod_reaches_a_service_by_name(clean: Proa) -> None:
    folder = SEEDS / "003"
    clean.kubectl("apply -f namespace.yaml -f deployment.yaml -f service.yaml", cwd=folder)
    clean.kubectl("rollout status deployment/web-app -n production --timeout=60s")
    clean.apply(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: client, namespace: production}\n"
        "spec: {containers: [{name: sh, image: busybox, command: [sleep, '3600']}]}\n"
    )
    clean.kubectl("wait pod/client -n production --for=condition=Ready --timeout=60s")
    for name in (
        "web-service.production",
        "web-service",
        "web-service.production.svc.cluster.local",
    ):
        page = clean.kubectl(f"exec -n production client -- wget -qO- http://{name}")
        assert "nginx" in page.lower()
    missing = clean.run(
        ["kubectl", "exec", "-n", "production", "client", "--", "nslookup", "no.production"],
        ok=False,
    )
    assert missing.returncode != 0


def test_first_articles_deployment_runs_with_its_probes_and_secret(clean: Proa) -> None:
    folder = SEEDS / "000"
    clean.kubectl("apply -f namespace-and-deployment.yaml", cwd=folder)
    waiting = eventually(
        lambda: [
            state["waiting"]["reason"]
            for pod in clean.objects("pods -n production")
            for status in pod["status"].get("containerStatuses", [])
            if "waiting" in (state := status["state"])
        ]
    )
    assert set(waiting) <= {"CreateContainerConfigError", "ContainerCreating"}
    clean.kubectl("apply -f secret.yaml", cwd=folder)
    clean.kubectl("rollout status deployment/web-app -n production --timeout=90s", timeout_s=120)
    pods = clean.objects("pods -n production -l app=web-app")
    assert len(pods) == 3
    environment = clean.kubectl(f"exec -n production {pods[0]['metadata']['name']} -- env")
    assert "DATABASE_URL=postgres://app:example@db" in environment
    assert "NODE_ENV=production" in environment


@pytest.mark.parametrize(("folder", "name"), [("000", "web-app"), ("003", "web-hpa")])
def test_autoscalers_are_stored_and_say_that_nothing_acts_on_them(
    clean: Proa, folder: str, name: str
) -> None:
    clean.kubectl("create namespace production")
    done = clean.run(["kubectl", "apply", "-f", str(SEEDS / folder / "hpa.yaml")])
    assert "Warning" in done.stderr
    stored = clean.kubectl(f"get hpa {name} -n production -o jsonpath={{.spec.maxReplicas}}")
    assert int(stored) in (10, 20)
    assert "HorizontalPodAutoscaler" in str(clean.status()["inert"])
