"""One machine, two APIs, no double booking: filled from both sides under --strict, through
placement and around it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live import Proa, eventually, proa_at

POD = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: default}}
spec:
  {node}
  terminationGracePeriodSeconds: 0
  containers:
    - name: sleep
      image: busybox
      command: [sleep, "3600"]
      resources: {{requests: {{cpu: {cpu}}}}}
"""


@pytest.fixture(scope="module")
def strict(proa: Proa, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proa]:
    """A strict Proa of its own; the shared one makes room for it on the machine's routes."""
    proa.down()
    try:
        with proa_at(tmp_path_factory.mktemp("strict"), (24566, 26443, 24510), "--strict") as made:
            yield made
    finally:
        proa.up(*proa_flags(proa))


def proa_flags(proa: Proa) -> list[str]:
    """The flags the shared Proa was started with."""
    saved = json.loads((proa.data_dir / "config.json").read_text())
    return [
        text
        for name in ("aws_port", "kube_port", "registry_port")
        for text in (f"--{name.replace('_', '-')}", str(saved[name]))
    ]


def left_millicores(proa: Proa) -> int:
    """What the Pool has left, in thousandths of a CPU."""
    used, pool, _ = proa.status()["hosts"][0]["cpu"]
    return int((pool - used) * 1000)


def task_definition(proa: Proa, family: str, cpu: int) -> None:
    containers = [
        {"name": "sleep", "image": "busybox", "command": ["sleep", "3600"], "cpu": cpu,
         "memory": 64, "stopTimeout": 2}
    ]  # fmt: skip
    proa.run(
        ["aws", "ecs", "register-task-definition", "--family", family, "--network-mode", "host",
         "--container-definitions", json.dumps(containers)]
    )  # fmt: skip


def test_strict_pool_is_what_the_machine_has(strict: Proa) -> None:
    _, pool, physical = strict.status()["hosts"][0]["cpu"]
    assert pool == physical


def test_machine_filled_from_both_sides_refuses_each_in_its_own_words(strict: Proa) -> None:
    task_definition(strict, "half", left_millicores(strict) * 1024 // 2000)
    run = strict.aws("ecs run-task --task-definition half --launch-type EC2")
    assert run["failures"] == []
    strict.apply(POD.format(name="rest", node="", cpu=f"{left_millicores(strict) - 50}m"))
    strict.kubectl("wait pod/rest --for=condition=Ready --timeout=60s")

    refused = strict.aws("ecs run-task --task-definition half --launch-type EC2")
    assert refused["tasks"] == []
    assert {failure["reason"] for failure in refused["failures"]} == {"RESOURCE:CPU"}

    strict.apply(POD.format(name="waits", node="", cpu="100m"))
    message = eventually(lambda: condition(strict, "waits", "PodScheduled").get("message"))
    assert "Insufficient cpu" in message
    events = strict.kubectl("get events --field-selector reason=FailedScheduling")
    assert "Insufficient cpu" in events

    node = strict.kubectl("get nodes -o jsonpath={.items[0].metadata.name}")
    strict.apply(POD.format(name="around", node=f"nodeName: {node}", cpu="100m"))
    status = eventually(
        lambda: (found := pod(strict, "around")["status"]).get("reason") and found,
        what="the agent refuses what bypassed placement",
    )
    assert (status["phase"], status["reason"]) == ("Failed", "OutOfcpu")

    instance = strict.aws("ecs list-container-instances")["containerInstanceArns"][0]
    started = strict.aws(f"ecs start-task --task-definition half --container-instances {instance}")
    assert {failure["reason"] for failure in started["failures"]} == {"RESOURCE:CPU"}


def test_room_given_back_by_one_side_is_taken_by_the_other(strict: Proa) -> None:
    for arn in strict.aws("ecs list-tasks")["taskArns"]:
        strict.aws(f"ecs stop-task --task {arn}")
    strict.kubectl("wait pod/waits --for=condition=Ready --timeout=60s")


def pod(proa: Proa, name: str) -> dict:
    found: dict = json.loads(proa.kubectl(f"get pod {name} -o json"))
    return found


def condition(proa: Proa, name: str, kind: str) -> dict:
    conditions = pod(proa, name)["status"].get("conditions") or []
    return next((item for item in conditions if item["type"] == kind), {})


def test_strict_proa_leaves_the_data_directory_private(strict: Proa) -> None:
    for name in ("credentials.json", "sealing.key", "kubeconfig"):
        assert Path(strict.data_dir / name).stat().st_mode & 0o077 == 0
