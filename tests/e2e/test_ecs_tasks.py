"""What a task definition asks of its containers, seen from inside and outside of real ones."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest

from tests.live import Proa, eventually, fetch

GROUP = "/e2e/tasks"


class Tasks:
    """Registers and runs tasks of small containers on EC2, whose first container's output is
    kept."""

    def __init__(self, proa: Proa) -> None:
        self.proa, self.ecs, self.logs = proa, proa.boto("ecs"), proa.boto("logs")

    def start(
        self, family: str, *containers: dict[str, Any], run: Any = None, **document: Any
    ) -> str:
        """The ARN of a started task; containers are named a, b … and are busyboxes."""
        options = {
            "awslogs-group": GROUP,
            "awslogs-region": self.ecs.meta.region_name,
            "awslogs-stream-prefix": family,
            "awslogs-create-group": "true",
        }
        made = [
            {"name": letter, "image": "busybox", "memory": 32, **container}
            for letter, container in zip("abcd", containers, strict=False)
        ]
        made[0]["logConfiguration"] = {"logDriver": "awslogs", "options": options}
        self.ecs.register_task_definition(family=family, containerDefinitions=made, **document)
        answer = self.ecs.run_task(taskDefinition=family, **(run or {}))
        assert answer["failures"] == []
        return str(answer["tasks"][0]["taskArn"])

    def task(self, arn: str) -> dict[str, Any]:
        found: dict[str, Any] = self.ecs.describe_tasks(tasks=[arn])["tasks"][0]
        return found

    def until(self, arn: str, status: str) -> dict[str, Any]:
        eventually(lambda: self.task(arn)["lastStatus"] == status, what=f"{arn} is {status}")
        return self.task(arn)

    def said(self, arn: str, last: str) -> list[str]:
        """What the first container has written, once its ``last`` line is there."""
        task = self.task(arn)
        family = task["taskDefinitionArn"].rpartition("/")[2].partition(":")[0]
        stream = f"{family}/a/{arn.rpartition('/')[2]}"

        def lines() -> list[str]:
            try:
                events = self.logs.get_log_events(
                    logGroupName=GROUP, logStreamName=stream, startFromHead=True
                )["events"]
            except self.logs.exceptions.ResourceNotFoundException:
                return []
            found = [event["message"] for event in events]
            return found if last in found else []

        found: list[str] = eventually(lines, what=f"{stream} says {last}")
        return found


@pytest.fixture(scope="module")
def tasks(proa: Proa) -> Tasks:
    return Tasks(proa)


def shell(*lines: str) -> list[str]:
    return ["sh", "-c", "; ".join((*lines, "echo over"))]


def test_linux_settings_files_and_mounts_reach_the_container(tasks: Tasks) -> None:
    arn = tasks.start(
        "linux",
        {
            "command": shell(
                "echo limits $(ulimit -n) $(ulimit -Hn)",
                "echo shm $(df -m /dev/shm | tail -1 | awk '{print $2}')",
                "echo init $(cat /proc/1/comm)",
                "grep -c ' /scratch tmpfs .*noexec' /proc/mounts",
                "echo kernel $(cat /proc/sys/net/core/somaxconn) $(cat /proc/sys/kernel/msgmax)",
                "echo user $(id -u) $(id -g) $(pwd) $GREETING",
                "touch /x 2>/dev/null || echo read-only",
                "grep example /etc/hosts",
            ),
            "user": "1000:1001",
            "workingDirectory": "/tmp",
            "environment": [{"name": "GREETING", "value": "hello"}],
            "readonlyRootFilesystem": True,
            "ulimits": [{"name": "nofile", "softLimit": 100, "hardLimit": 200}],
            "extraHosts": [{"hostname": "db.example", "ipAddress": "192.0.2.7"}],
            "linuxParameters": {
                "initProcessEnabled": True,
                "sharedMemorySize": 16,
                "tmpfs": [{"containerPath": "/scratch", "size": 1, "mountOptions": ["noexec"]}],
            },
            "systemControls": [
                {"namespace": "net.core.somaxconn", "value": "77"},
                {"namespace": "kernel.msgmax", "value": "4096"},
            ],
        },
    )
    said = tasks.said(arn, "over")
    assert said[:2] == ["limits 100 200", "shm 16"]
    assert said[2].startswith("init ") and "sh" not in said[2]
    assert said[3:] == [
        "1",
        "kernel 77 4096",
        "user 1000 1001 /tmp hello",
        "read-only",
        "192.0.2.7\tdb.example",
        "over",
    ]


def test_bridge_containers_have_addresses_links_and_host_ports(tasks: Tasks) -> None:
    web = {
        "image": "nginx",
        "memory": 64,
        "portMappings": [{"containerPort": 80, "hostPort": 8097}, {"containerPort": 80}],
    }
    visitor = {
        "command": shell(
            "grep -c 80 /proc/net/tcp",
            "for i in 1 2 3 4 5; do wget -qO- http://site/ >/tmp/page && break; sleep 1; done",
            "grep -o 'Welcome to nginx' /tmp/page | head -1",
        ),
        "links": ["b:site"],
        "essential": False,
    }
    arn = tasks.start("bridge", visitor, web)
    assert "Welcome to nginx" in tasks.said(arn, "over")
    task = tasks.task(arn)
    bindings = task["containers"][1]["networkBindings"]
    assert bindings[0]["hostPort"] == 8097 and 32768 <= bindings[1]["hostPort"] <= 60999
    for binding in bindings:
        assert "Welcome to nginx" in fetch(f"http://127.0.0.1:{binding['hostPort']}/")
    again = tasks.ecs.run_task(taskDefinition="bridge")
    assert [item["reason"] for item in again["failures"]] == ["RESOURCE:PORTS"]
    tasks.ecs.stop_task(task=arn, reason="seen")
    ended = tasks.until(arn, "STOPPED")
    assert (ended["stopCode"], ended["stoppedReason"]) == ("UserInitiated", "seen")


def test_containers_wait_for_each_other_and_share_volumes(tasks: Tasks) -> None:
    arn = tasks.start(
        "order",
        {
            "command": shell("cat /data/made", "touch /data/mine 2>/dev/null || echo read-only"),
            "volumesFrom": [{"sourceContainer": "b", "readOnly": True}],
            "dependsOn": [
                {"containerName": "b", "condition": "SUCCESS"},
                {"containerName": "c", "condition": "HEALTHY"},
                {"containerName": "d", "condition": "COMPLETE"},
            ],
        },
        {
            "command": ["sh", "-c", "sleep 1; echo first >/data/made"],
            "mountPoints": [{"sourceVolume": "data", "containerPath": "/data"}],
            "essential": False,
        },
        {
            "command": ["sh", "-c", "sleep 2; touch /tmp/up; exec sleep 60"],
            "healthCheck": {"command": ["CMD-SHELL", "test -e /tmp/up"], "interval": 5},
            "linuxParameters": {"initProcessEnabled": True},
            "essential": False,
        },
        {"command": ["false"], "essential": False},
        volumes=[{"name": "data"}],
    )
    assert tasks.said(arn, "over") == ["first", "read-only", "over"]
    ended = tasks.until(arn, "STOPPED")
    assert ended["stopCode"] == "EssentialContainerExited"
    codes = {item["name"]: item.get("exitCode") for item in ended["containers"]}
    assert (codes["a"], codes["b"], codes["d"]) == (0, 0, 1)
    healthy = next(item for item in ended["containers"] if item["name"] == "c")
    assert healthy["healthStatus"] == "HEALTHY"


def test_a_shared_volume_outlives_its_task_and_a_task_s_own_does_not(tasks: Tasks) -> None:
    volumes = [
        {"name": "kept", "dockerVolumeConfiguration": {"scope": "shared", "autoprovision": True}},
        {"name": "gone", "dockerVolumeConfiguration": {"scope": "task"}},
    ]
    container = {
        "command": shell("ls /kept /gone", "touch /kept/here /gone/here"),
        "mountPoints": [
            {"sourceVolume": name, "containerPath": f"/{name}"} for name in ("kept", "gone")
        ],
    }
    first = tasks.start("volumes", container, volumes=volumes)
    assert "here" not in tasks.said(first, "over")
    second = tasks.start("volumes", container, volumes=volumes)
    assert tasks.said(second, "over").count("here") == 1


@pytest.mark.parametrize(
    ("family", "container", "code", "reason"),
    [
        ("no-image", {"image": "127.0.0.1:9/nothing:1"}, "TaskFailedToStart",
         "CannotPullContainerError: "),
        ("no-command", {"command": ["/nothing"]}, "TaskFailedToStart",
         "CannotStartContainerError: "),
        ("memory", {"memory": 8, "command": ["sh", "-c", "x=$(yes | head -c 64m)"]},
         "EssentialContainerExited", "Essential container in task exited"),
        ("exit", {"command": ["sh", "-c", "exit 3"]}, "EssentialContainerExited",
         "Essential container in task exited"),
        ("unready", {"command": ["sleep", "60"], "stopTimeout": 2,
                     "dependsOn": [{"containerName": "b", "condition": "SUCCESS"}]},
         "TaskFailedToStart", "Task failed to start"),
    ],
)  # fmt: skip
def test_a_stopped_task_says_why(
    tasks: Tasks, family: str, container: dict[str, Any], code: str, reason: str
) -> None:
    others = [{"command": ["false"], "essential": False}] if "dependsOn" in container else []
    ended = tasks.until(tasks.start(family, container, *others), "STOPPED")
    assert ended["stopCode"] == code
    assert ended["stoppedReason"].startswith(reason)
    first = ended["containers"][0]
    if family == "memory":
        assert first["exitCode"] == 137
        assert first["reason"].startswith("OutOfMemoryError: Container killed due to memory usage")
    if family == "exit":
        assert first["exitCode"] == 3 and ended["executionStoppedAt"] <= ended["stoppedAt"]
    assert ("startedAt" in ended) == (code == "EssentialContainerExited")


def test_overrides_replace_what_the_definition_says(tasks: Tasks) -> None:
    override = {
        "containerOverrides": [
            {
                "name": "a",
                "command": shell("echo $WHO"),
                "environment": [{"name": "WHO", "value": "override"}],
            }
        ]
    }
    container = {"command": ["false"], "environment": [{"name": "WHO", "value": "definition"}]}
    arn = tasks.start("override", container, run={"overrides": override})
    assert tasks.said(arn, "over") == ["override", "over"]
    shown = tasks.task(arn)["overrides"]["containerOverrides"][0]
    assert shown["environment"] == [{"name": "WHO", "value": "override"}]


def test_environment_files_come_from_s3(proa: Proa, tasks: Tasks) -> None:
    s3 = proa.boto("s3")
    s3.create_bucket(Bucket="task-files")
    s3.put_object(Bucket="task-files", Key="app.env", Body=b"# ours\nMODE=from file\nWHO=file\n")

    def container(key: str) -> dict[str, Any]:
        return {
            "command": shell("echo $WHO $MODE"),
            "environment": [{"name": "WHO", "value": "definition"}],
            "environmentFiles": [{"type": "s3", "value": f"arn:aws:s3:::task-files/{key}"}],
        }

    arn = tasks.start("env-file", container("app.env"))
    assert tasks.said(arn, "over") == ["definition from file", "over"]
    ended = tasks.until(tasks.start("no-env-file", container("other.env")), "STOPPED")
    assert ended["stopCode"] == "TaskFailedToStart"
    assert ended["stoppedReason"].startswith("ResourceInitializationError: failed to download env")
    assert "NoSuchKey" in ended["stoppedReason"]


def test_host_and_none_modes_attach_as_they_say(tasks: Tasks) -> None:
    look = {"command": shell("echo $(ls /sys/class/net)")}
    alone = tasks.start("none", look, {**look, "essential": False}, networkMode="none")
    host = tasks.start("host", look, networkMode="host")
    assert tasks.said(alone, "over")[0] == "lo"
    assert tasks.said(host, "over")[0] != "lo"


def test_a_task_definition_is_found_by_every_name(proa: Proa, tasks: Tasks) -> None:
    containers = json.dumps([{"name": "a", "image": "busybox", "memory": 16}])
    register = "ecs register-task-definition --family named --container-definitions"
    first = proa.aws(f"{register} {shlex.quote(containers)}")["taskDefinition"]
    assert first["containerDefinitions"][0]["mountPoints"] == []
    arn = first["taskDefinitionArn"]
    for name in ("named", "named:1", arn.rpartition(":")[0], arn):
        found = tasks.ecs.describe_task_definition(taskDefinition=name)["taskDefinition"]
        assert found["taskDefinitionArn"] == arn
