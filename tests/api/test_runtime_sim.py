"""``proa up --runtime sim``: both APIs by their clients, as a user without rights."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live import TOP, VENV, Proa, eventually

NOBODY = 65534
PORTS = ("24566", "26443")
TASK = {
    "family": "batch",
    "containerDefinitions": [
        {
            "name": "main",
            "image": "any.registry/what/ever:1",
            "memory": 64,
            "command": ["sh", "-c", "echo from-a-task; sleep 1; exit 3"],
            "logConfiguration": {
                "logDriver": "awslogs",
                "options": {
                    "awslogs-group": "batch",
                    "awslogs-region": "us-east-1",
                    "awslogs-stream-prefix": "s",
                    "awslogs-create-group": "true",
                },
            },
        }
    ],
}


HUGE = """
apiVersion: v1
kind: Pod
metadata: {name: huge, namespace: default}
spec: {containers: [{name: c, image: x, resources: {requests: {cpu: "99"}}}]}
"""


def unprivileged() -> list[str]:
    """What a command begins with to run without rights; nothing where this is so already."""
    if os.geteuid() != 0:
        return []
    user = str(NOBODY)
    return ["setpriv", "--reuid", user, "--regid", user, "--clear-groups"]


def python() -> str:
    """A Python of this version that anybody may start: a developer's own may lie in his home."""
    own = Path(sys.executable).resolve()
    if os.geteuid() != 0 or all(folder.stat().st_mode & 0o005 for folder in own.parents):
        return sys.executable
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    found = shutil.which(name, path="/usr/bin:/usr/local/bin")
    if found is None:
        pytest.skip(f"no {name} that an unprivileged user may start")
    return found


class SimProa(Proa):
    """Its commands run as nobody, its clients as whoever tests."""

    def proa(self, *words: str, ok: bool = True) -> str:
        site = next(path for path in sys.path if path.endswith("site-packages"))
        environment = {**self.environment, "PYTHONPATH": f"{TOP / 'src'}:{site}"}
        command = [*unprivileged(), python(), "-m", "proa.cli.main", *words]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=90, check=False
        )
        assert not ok or done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def sim() -> Iterator[SimProa]:
    with tempfile.TemporaryDirectory(prefix="proa-sim-") as folder:
        home = Path(folder)
        home.chmod(0o777)
        data_dir = home / ".local" / "share" / "proa"
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
            "HOME": folder,
            "AWS_PAGER": "",
            "PATH": f"{VENV / 'clients'}:{os.environ['PATH']}",
        }
        environment.pop("PROA_DATA_DIR", None)
        environment.pop("XDG_DATA_HOME", None)
        if os.geteuid() != 0:
            environment["PROA_DATA_DIR"] = str(data_dir)
        sim = SimProa(data_dir, environment)
        aws, kube = PORTS
        try:
            sim.proa("up", "--runtime", "sim", "--detach", "--aws-port", aws, "--kube-port", kube,
                     "--hosts", "3")  # fmt: skip
            environment.update(json.loads(sim.proa("env", "--json")))
            yield sim
        finally:
            sim.proa("down", "--purge", ok=False)


def test_pods_run_and_jobs_end_as_their_commands_say(sim: SimProa) -> None:
    assert len(sim.objects("nodes")) == 3
    sim.kubectl("create deployment web --image=nginx --replicas=4")
    sim.kubectl("create job good --image=busybox -- sh -c 'echo hello; sleep 1'")
    sim.kubectl("create job bad --image=busybox -- false")
    sim.kubectl("run once --image=perl --restart=Never -- perl -e 1")
    sim.kubectl("rollout status deployment/web --timeout=30s")
    sim.kubectl("wait --for=condition=complete job/good --timeout=30s")
    sim.kubectl("wait --for=jsonpath={.status.failed} job/bad --timeout=30s")
    sim.kubectl("wait --for=jsonpath={.status.phase}=Succeeded pod/once --timeout=30s")
    assert sim.kubectl("logs job/good") == "hello\n"
    assert sim.kubectl("exec deploy/web -- echo hi there") == "hi there\n"
    refused = sim.run(["kubectl", "exec", "deploy/web", "--", "nginx", "-v"], ok=False)
    assert refused.returncode == 127 and "answers in the behaviour file" in refused.stderr


def test_tasks_run_and_their_lines_reach_cloudwatch(sim: SimProa) -> None:
    ecs, logs = sim.boto("ecs"), sim.boto("logs")
    ecs.register_task_definition(**TASK)
    arn = ecs.run_task(taskDefinition="batch")["tasks"][0]["taskArn"]

    def stopped() -> bool:
        task = ecs.describe_tasks(tasks=[arn])["tasks"][0]
        return bool(task["lastStatus"] == "STOPPED" and task["containers"][0]["exitCode"] == 3)

    eventually(stopped)
    stream = f"s/main/{arn.rpartition('/')[2]}"
    events = logs.get_log_events(logGroupName="batch", logStreamName=stream)["events"]
    assert [event["message"] for event in events] == ["from-a-task"]
    named = sim.aws("ecs list-container-instances")["containerInstanceArns"]
    assert len(named) == 3


def test_commands_of_the_user_work_without_rights(sim: SimProa) -> None:
    assert "Everything is as it should be" in sim.proa("doctor")
    assert "host-00002" in sim.proa("status")
    sim.apply(HUGE)
    eventually(lambda: "Insufficient cpu" in sim.proa("why", "pod/huge"))
    assert "pod default/huge" in sim.proa("watch", "--once")
    aws, kube = PORTS
    again = ("up", "--detach", "--aws-port", aws, "--kube-port", kube)
    assert "another --hosts" in sim.proa(*again, "--hosts", "5", ok=False)
    assert "running already" in sim.proa(*again, "--hosts", "3")


def test_many_hosts_join_die_and_leave(sim: SimProa) -> None:
    name = ("--name", "many")
    said = sim.proa("sim", "hosts", "--count", "200", *name, "--detach",
                    "--label", "crowd=yes", "--taint", "crowd=yes:NoSchedule")  # fmt: skip
    assert "200 simulated hosts joined" in said
    assert len(sim.objects("nodes -l crowd=yes")) == 200
    assert "200 of 200 joined" in sim.proa("sim", "hosts")
    again = sim.proa("sim", "hosts", "--count", "1", *name, "--detach", ok=False)
    assert "are there already" in again
    assert "many-00007: lose" in sim.proa("sim", "hosts", "--kill", "many-00007")
    assert "1 away" in sim.proa("sim", "hosts")
    assert "no simulated host x-1" in sim.proa("sim", "hosts", "--kill", "x-1", ok=False)
    assert "are gone" in sim.proa("sim", "hosts", "--stop", *name)
    assert not sim.objects("nodes -l crowd=yes")
    assert "no simulated hosts named many" in sim.proa("sim", "hosts", "--stop", *name, ok=False)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--count", "1", "--taint", "x"), "give KEY=VALUE:EFFECT"),
        (("--count", "1", "--name", "Bad Name"), "small letters"),
        (
            (
                "--count",
                "-3",
            ),
            "--count -3",
        ),
        (("--count", "1", "--behaviour", "/nowhere.yaml"), "/nowhere.yaml"),
    ],
)
def test_crowd_that_cannot_be_is_refused_in_a_line(
    sim: SimProa, words: tuple[str, ...], why: str
) -> None:
    said = sim.proa("sim", "hosts", *words, ok=False)
    assert why in said and "Traceback" not in said
