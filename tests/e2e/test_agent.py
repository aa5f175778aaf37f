"""The node agent as the real clients see it: attach, groups and sidecars of a pod, and what a
killed agent and a restart of everything leave as they were."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.test_room import proa_flags
from tests.live import Proa, eventually

PODS = """
apiVersion: v1
kind: Secret
metadata: {name: words, namespace: agent}
stringData: {key: value}
---
apiVersion: v1
kind: Pod
metadata: {name: whole, namespace: agent}
spec:
  terminationGracePeriodSeconds: 4
  securityContext: {fsGroup: 2000, supplementalGroups: [3000]}
  initContainers:
  - name: proxy
    image: busybox
    restartPolicy: Always
    command: [sh, -c, "sleep 1; touch /tmp/up; trap 'echo proxy; exit' TERM;
      while true; do sleep 0.1; done"]
    startupProbe: {exec: {command: [test, -e, /tmp/up]}, periodSeconds: 1, failureThreshold: 20}
  - {name: setup, image: busybox, command: [echo, prepared]}
  containers:
  - name: main
    image: busybox
    command: [sh, -c, "date +%s >/tmp/began; httpd -p 8080 -h /tmp; trap 'exit' TERM;
      while true; do sleep 0.1; done"]
    readinessProbe: {httpGet: {path: /began, port: 8080}, periodSeconds: 1}
    livenessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
    lifecycle: {preStop: {sleep: {seconds: 1}}}
    volumeMounts: [{name: words, mountPath: /words}]
  - {name: echo, image: busybox, stdin: true,
     command: [sh, -c, "trap exit TERM; while read line; do echo got $line; done; sleep 1000"]}
  volumes:
  - {name: words, secret: {secretName: words, defaultMode: 256}}
---
apiVersion: v1
kind: Pod
metadata: {name: stuck, namespace: agent}
spec:
  containers: [{name: main, image: "absent.invalid/none:1"}]
"""
BRIDGE = [
    {
        "name": "web",
        "image": "busybox",
        "memory": 32,
        "stopTimeout": 2,
        "command": ["sh", "-c", "echo hello >/tmp/index.html; exec httpd -f -p 80 -h /tmp"],
    },
    {
        "name": "client",
        "image": "busybox",
        "memory": 32,
        "stopTimeout": 2,
        "links": ["web"],
        "command": [
            "sh",
            "-c",
            "while true; do wget -q -O- http://web/ || echo no; sleep 0.3; done",
        ],
    },
]


@pytest.fixture(scope="module")
def pods(proa: Proa) -> Iterator[Proa]:
    proa.kubectl("create namespace agent")
    proa.apply(PODS)
    proa.kubectl("wait --for=condition=Ready pod/whole -n agent --timeout=60s")
    yield proa
    proa.kubectl("delete namespace agent --wait=false")


def container(proa: Proa, name: str) -> dict[str, object]:
    """A container's status in the pod ``whole``."""
    status = json.loads(proa.kubectl("get pod whole -n agent -o json"))["status"]
    every = status["containerStatuses"] + status["initContainerStatuses"]
    found: dict[str, object] = next(item for item in every if item["name"] == name)
    return found


def agent_says(proa: Proa, path: str) -> str:
    """An answer of the agent's own API."""
    socket = str(proa.data_dir / "run" / "agent.sock")
    return proa.run(["curl", "-sf", "--unix-socket", socket, f"http://agent{path}"]).stdout


def kill_agent(proa: Proa) -> None:
    """``kill -9``, and wait until another has adopted everything."""
    before = proa.process("agent")
    os.kill(before, signal.SIGKILL)
    eventually(lambda: proa.process("agent") != before, what="a new agent")
    eventually(lambda: proa.run(
        ["curl", "-sf", "--unix-socket", str(proa.data_dir / "run" / "agent.sock"),
         "http://agent/sandboxes"], ok=False,
    ).stdout.strip() not in ("", "[]"))  # fmt: skip


def test_a_pod_has_its_groups_and_secrets_on_no_disk(pods: Proa) -> None:
    look = (
        "id -G; cat /words/key; echo; stat -Lc '%a %g' /words/key;"
        "grep -c '/words tmpfs' /proc/mounts"
    )
    said = pods.run(f'kubectl exec whole -n agent -c main -- sh -c "{look}"').stdout
    groups, *rest = said.splitlines()
    assert {"2000", "3000"} <= set(groups.split())
    assert rest == ["value", "440 2000", "1"]


def test_a_sidecar_gates_the_start_of_the_rest(pods: Proa) -> None:
    assert container(pods, "proxy")["started"] is True
    began = container(pods, "proxy")["state"]["running"]["startedAt"]  # type: ignore[index]
    ended = container(pods, "setup")["state"]["terminated"]["startedAt"]  # type: ignore[index]
    assert began < ended


def test_a_container_is_attached_to_with_input(pods: Proa) -> None:
    line = "(echo hello; sleep 3) | timeout 15 kubectl attach -i whole -n agent -c echo"
    assert "got hello" in pods.run(line).stdout


def test_a_pod_run_attached_gives_its_output_and_exit_code(pods: Proa) -> None:
    run = "kubectl run brief -n agent --image=busybox --restart=Never -i --rm --quiet"
    done = pods.run(f"printf 'a\\nb\\n' | {run} -- sh -c 'wc -l; exit 3'", ok=False)
    assert (done.returncode, done.stdout.split()) == (3, ["2"])


def test_a_container_that_waits_refuses_streams_with_a_reason(pods: Proa) -> None:
    for line in ("exec stuck -n agent -- ls", "attach stuck -n agent"):
        said = pods.run(f"kubectl {line}", ok=False).stderr
        assert "is waiting to start" in said
        assert "WebSocket" not in said


def test_a_killed_agent_cuts_streams_and_restarts_nothing(pods: Proa) -> None:
    before = {name: container(pods, name)["containerID"] for name in ("main", "proxy", "echo")}
    command = ["kubectl", "attach", "whole", "-n", "agent", "-c", "echo"]
    user = subprocess.Popen(command, env=pods.environment, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT)  # fmt: skip
    try:
        kill_agent(pods)
        user.communicate(timeout=20)
    finally:
        user.kill()
    pods.kubectl("wait --for=condition=Ready pod/whole -n agent --timeout=20s")
    after = {name: container(pods, name)["containerID"] for name in before}
    assert after == before
    line = "(echo again; sleep 3) | timeout 15 kubectl attach -i whole -n agent -c echo"
    assert "got again" in pods.run(line).stdout


def test_a_killed_agent_keeps_the_networks_of_single_containers(pods: Proa) -> None:
    (pods.data_dir / "home" / "bridge.json").write_text(json.dumps(BRIDGE))
    pods.aws(
        "ecs register-task-definition --family links --network-mode bridge"
        f" --container-definitions file://{pods.data_dir}/home/bridge.json"
    )
    task = pods.aws("ecs run-task --task-definition links --launch-type EC2")["tasks"][0]
    arn, uid = task["taskArn"], task["taskArn"].rpartition("/")[2]
    state = f"ecs describe-tasks --tasks {arn} --query tasks[0].lastStatus --output text"
    eventually(lambda: pods.aws(state) == "RUNNING")
    folder = Path(pods.data_dir, "run", "netns")
    eventually(lambda: "hello" in agent_says(pods, f"/logs/{uid}/client"))
    own = sorted(folder.glob("*#*"))
    assert own
    kill_agent(pods)
    assert sorted(folder.glob("*#*")) == own
    lines = len(agent_says(pods, f"/logs/{uid}/client").splitlines())
    eventually(lambda: len(agent_says(pods, f"/logs/{uid}/client").splitlines()) > lines + 2)
    assert agent_says(pods, f"/logs/{uid}/client").splitlines()[-1] == "hello"
    pods.aws(f"ecs stop-task --task {arn}")
    eventually(lambda: pods.aws(state) == "STOPPED")
    eventually(lambda: not list(folder.glob("*#*")))


def test_after_a_restart_of_everything_the_first_start_succeeds(pods: Proa) -> None:
    pods.kubectl("delete events --all -n agent")
    pods.down()
    assert str(pods.data_dir) not in Path("/proc/mounts").read_text()
    pods.up(*proa_flags(pods))
    eventually(lambda: "running" in container(pods, "main")["state"])  # type: ignore[operator]
    reasons = pods.kubectl(
        "get events -n agent --field-selector involvedObject.name=whole"
        " -o jsonpath={.items[*].reason}"
    ).split()
    assert not {"Failed", "FailedCreatePodSandBox", "FailedMount", "BackOff"} & set(reasons)


def test_sidecars_end_after_the_others_within_the_grace(pods: Proa) -> None:
    pods.kubectl("wait --for=condition=Ready pod/whole -n agent --timeout=30s")
    follow = ["kubectl", "logs", "-f", "whole", "-n", "agent", "-c", "proxy", "--timestamps"]
    reader = subprocess.Popen(follow, env=pods.environment, stdout=subprocess.PIPE)
    pods.kubectl("delete pod whole -n agent --timeout=30s")
    out, _ = reader.communicate(timeout=20)
    assert out.decode().split()[-1] == "proxy"
