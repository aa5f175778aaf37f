"""A Proa that is gone comes back from its backup, with its workloads, secrets and images."""

from __future__ import annotations

import json
from pathlib import Path

from tests.live import PROA, eventually, proa_at

PORTS = (24566, 26443, 24510)
RANGES = ("--vpc-cidr", "10.71.0.0/16", "--service-cidr", "10.72.0.0/16")  # kept by the backup
DEFINITION = '[{"name":"main","image":"nginx:alpine","memory":64}]'


def test_a_purged_proa_comes_back_from_its_backup(tmp_path: Path) -> None:
    file = tmp_path / "all.proa"
    with proa_at(tmp_path / "first", PORTS, *RANGES) as first:
        first.kubectl("create deployment web --image=nginx:alpine")
        first.kubectl("create secret generic word --from-literal=is=kept")
        first.kubectl("rollout status deployment/web --timeout=60s")
        first.aws(
            "ecs register-task-definition --family back --network-mode host "
            f"--container-definitions '{DEFINITION}'"
        )
        first.aws("ecs create-service --service-name back --task-definition back --desired-count 1")
        (pod,) = first.objects("pods")
        version = pod["metadata"]["resourceVersion"]
        first.run([str(PROA), "backup", str(file)])
        first.kubectl("create configmap later")
        refused = first.run([str(PROA), "restore", str(file)], ok=False)
        assert refused.returncode == 1
        assert "a Proa runs from" in refused.stderr

    second = tmp_path / "second"
    command = [str(PROA), "restore", "--data-dir", str(second), str(file)]
    cut = tmp_path / "cut.proa"
    cut.write_bytes(file.read_bytes()[:-1000])
    failed = first.run([*command[:-1], str(cut)], ok=False)
    assert failed.returncode == 1
    assert not second.exists()
    first.run(command)
    again = first.run(command, ok=False)
    assert "holds a Proa already" in again.stderr
    with proa_at(second, PORTS) as back:
        (found,) = back.objects("pods")
        assert found["metadata"]["uid"] == pod["metadata"]["uid"]
        back.kubectl("wait --for=condition=Ready pods --all --timeout=60s")
        assert back.kubectl("get secret word -o jsonpath={.data.is}") == "a2VwdA=="
        assert "later" not in back.kubectl("get configmaps -o name")
        eventually(
            lambda: (
                back.aws("ecs describe-services --services back")["services"][0]["runningCount"]
                == 1
            ),
            60,
        )
        path = f"/api/v1/pods?watch=1&resourceVersion={version}&timeoutSeconds=5"
        event = json.loads(back.kubectl(f"get --raw {path}").splitlines()[0])
        assert (event["type"], event["object"]["code"]) == ("ERROR", 410)
