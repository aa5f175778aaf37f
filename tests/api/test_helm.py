"""Helm 4 as its users know it: install, upgrade, roll back, uninstall, with server-side apply."""

from __future__ import annotations

from pathlib import Path

from tests.live import Proa, eventually


def test_chart_lives_through_its_releases(proa: Proa, tmp_path: Path) -> None:
    proa.run(["helm", "create", "demo"], cwd=tmp_path)
    options = "-n helm --set image.tag=alpine --wait --timeout 60s"
    proa.run(f"helm install demo ./demo --create-namespace {options}", cwd=tmp_path)
    replicas = "get deployment demo -n helm -o jsonpath={.status.readyReplicas}"
    assert proa.kubectl(replicas) == "1"
    proa.run(f"helm upgrade demo ./demo {options} --set replicaCount=2", cwd=tmp_path)
    assert proa.kubectl(replicas) == "2"
    proa.run("helm rollback demo 1 -n helm")
    eventually(lambda: proa.kubectl(replicas) == "1")
    proa.run("helm uninstall demo -n helm")
    eventually(lambda: not proa.objects("deployments -n helm"))
    proa.kubectl("delete namespace helm --timeout=60s")


def test_server_side_apply_names_whose_field_it_would_take(proa: Proa) -> None:
    manifest = (
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: owned, namespace: default}\n"
        "data: {a: '%s'}\n"
    )
    apply = "kubectl apply --server-side --field-manager=%s -f - <<'E'\n%s\nE"
    proa.run(apply % ("one", manifest % "1"))
    refused = proa.run(apply % ("two", manifest % "2"), ok=False)
    assert 'conflict with "one"' in refused.stderr and ".data.a" in refused.stderr
    proa.run(apply.replace("--field", "--force-conflicts --field") % ("two", manifest % "2"))
    assert proa.kubectl("get configmap owned -o jsonpath={.data.a}") == "2"
    proa.kubectl("delete configmap owned")
