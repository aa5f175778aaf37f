"""kill -9 of anything: the wanted state returns, nothing acknowledged is lost, and containers
that were not killed keep their processes."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live import Proa, eventually, fetch

MANIFEST = """
apiVersion: v1
kind: Namespace
metadata: {name: survival}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: survival}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
        - name: web
          image: nginx:alpine
          ports: [{containerPort: 80}]
"""


@pytest.fixture(scope="module")
def world(proa: Proa) -> Iterator[Proa]:
    """Two pods and a service of two tasks, all running."""
    proa.apply(MANIFEST)
    proa.run(
        "aws ecs register-task-definition --family survival --network-mode awsvpc"
        " --requires-compatibilities FARGATE --cpu 256 --memory 512"
        ' --container-definitions \'[{"name": "web", "image": "nginx:alpine"}]\''
    )
    subnet = proa.aws(
        "ec2 describe-subnets --filters Name=default-for-az,Values=true"
        " --query Subnets[0].SubnetId --output text"
    )
    proa.aws(
        "ecs create-service --service-name survival --task-definition survival --desired-count 2"
        f" --launch-type FARGATE --network-configuration awsvpcConfiguration={{subnets=[{subnet}]}}"
    )
    proa.kubectl("rollout status deployment/web -n survival --timeout=60s")
    eventually(lambda: len(addresses(proa)) == 4, what="two pods and two tasks run")
    yield proa
    proa.aws("ecs delete-service --service survival --force")
    proa.kubectl("delete namespace survival --timeout=60s")


def sandboxes(proa: Proa) -> list[dict]:
    """Of this world, running."""
    return [
        item
        for item in proa.status()["sandboxes"]
        if item["status"].upper() == "RUNNING"
        and (item["where"] == "survival" or item["owner"] == "service:survival")
    ]


def addresses(proa: Proa) -> list[str]:
    return sorted(item["address"] for item in sandboxes(proa) if item["address"])


def masters(world: Proa) -> dict[int, str]:
    """nginx master processes of this Proa's containers: pid to network namespace."""
    found = {}
    ours = str(world.data_dir).encode() + b"/"
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and b"nginx: master" in (folder / "cmdline").read_bytes():
                parent = (folder / "stat").read_text().rsplit(")", 1)[1].split()[1]
                if ours in Path(f"/proc/{parent}/cmdline").read_bytes():
                    found[int(folder.name)] = os.readlink(folder / "ns" / "net")
        except OSError:
            continue
    return found


def all_answer(proa: Proa) -> bool:
    found = addresses(proa)
    try:
        return len(found) == 4 and all("nginx" in fetch(f"http://{ip}/", 2) for ip in found)
    except OSError:
        return False


@pytest.mark.parametrize("component", ["agent", "control", "containerd", "supervisor-less"])
def test_killed_component_returns_and_no_container_is_restarted(
    world: Proa, component: str
) -> None:
    name = "agent" if component == "supervisor-less" else component
    before, old = masters(world), world.process(name)
    os.kill(old, signal.SIGKILL)
    eventually(lambda: world.process(name) != old, what=f"a new {name}")
    eventually(lambda: world.run(["kubectl", "get", "--raw", "/readyz"], ok=False).stdout == "ok")
    world.kubectl("annotate deployment web -n survival --overwrite killed=" + component)
    eventually(lambda: all_answer(world), what="everything answers again")
    assert masters(world) == before


def test_acknowledged_write_survives_the_control_planes_death(world: Proa) -> None:
    world.kubectl("create configmap kept -n survival --from-literal=a=1")
    os.kill(world.process("control"), signal.SIGKILL)
    shown = eventually(
        lambda: (
            world.run(
                [
                    "kubectl",
                    "get",
                    "configmap",
                    "kept",
                    "-n",
                    "survival",
                    "-o",
                    "jsonpath={.data.a}",
                ],
                ok=False,
            ).stdout
        )
    )
    assert shown == "1"


def test_killed_containers_are_replaced_and_the_others_stay(world: Proa) -> None:
    eventually(lambda: all_answer(world))
    before = masters(world)
    pods = {pod["status"]["podIP"]: pod for pod in world.objects("pods -n survival")}
    victims = [pid for pid in before if namespace_address(pid) in pods][:1]
    tasks = [pid for pid in before if namespace_address(pid) in set(addresses(world)) - set(pods)]
    victims += tasks[:1]
    assert len(victims) == 2
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: len(set(masters(world)) - set(before)) == 2 and all_answer(world), 60)
    assert set(before) - set(masters(world)) == set(victims)
    restarts = [
        pod["status"]["containerStatuses"][0]["restartCount"]
        for pod in world.objects("pods -n survival")
    ]
    assert sorted(restarts) == [0, 1], "the pod restarts its container in place"


def namespace_address(pid: int) -> str:
    """The eth0 address in a process's network namespace."""
    shown = subprocess.run(
        ["nsenter", "-t", str(pid), "-n", "ip", "-4", "-o", "addr", "show", "eth0"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split()
    return shown[3].split("/")[0] if len(shown) > 3 else ""


def test_killed_shim_costs_only_its_own_sandbox(world: Proa) -> None:
    eventually(lambda: all_answer(world))
    before = masters(world)
    mark = f"{world.data_dir}/run/containerd.sock".encode()
    victim = next(iter(before))
    shim = parent(victim)
    assert mark in Path(f"/proc/{shim}/cmdline").read_bytes()
    os.kill(shim, signal.SIGKILL)
    eventually(lambda: len(set(masters(world)) - set(before)) >= 1 and all_answer(world), 60)
    assert set(before) - set(masters(world)) <= {victim}


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
