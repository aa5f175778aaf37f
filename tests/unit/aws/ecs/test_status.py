"""What an agent's report makes of a task record, and what it does not."""

from __future__ import annotations

import msgspec
import pytest

from proa.aws.ecs.records import Task, TaskContainer, TaskInterface
from proa.aws.ecs.status import after_report, asked_to_stop, failed
from proa.model.sandbox import ContainerStatus, SandboxStatus

NOW = 1000.0


def task(*containers: TaskContainer, **more: object) -> Task:
    given = containers or (TaskContainer("c1", "web", "nginx"),)
    base = Task(
        "1", "us-east-1", "default", "abc", "web", 1, "FARGATE", network_mode="awsvpc",
        last_status="PENDING", instance="i-1", containers=given,
        interface=TaskInterface("eni", "a", "s", "z", "v", "10.0.0.1", status="ATTACHING"),
    )  # fmt: skip
    return msgspec.structs.replace(base, **more)


def report(*containers: ContainerStatus, phase: str = "running", **more: object) -> SandboxStatus:
    return msgspec.structs.replace(SandboxStatus("abc", phase, containers=containers), **more)


RUNNING = ContainerStatus("web", "running", started_at=990.0)


def test_a_repeated_report_changes_nothing() -> None:
    first = after_report(task(), report(RUNNING, serial=1), NOW)
    assert first is not None and first.last_status == "RUNNING"
    assert after_report(first, report(RUNNING, serial=2), NOW + 1) is None


def test_a_task_runs_once_every_container_has_started() -> None:
    two = (TaskContainer("1", "web", "x"), TaskContainer("2", "init", "y", essential=False))
    waiting = after_report(task(*two), report(RUNNING, phase="pending"), NOW)
    assert waiting is not None and waiting.last_status == "PENDING"
    done = ContainerStatus("init", "exited", exit_code=0, started_at=980.0, finished_at=985.0)
    running = after_report(waiting, report(RUNNING, done), NOW)
    assert running is not None
    assert (running.last_status, running.started_at) == ("RUNNING", 990.0)
    assert running.containers[1].last_status == "STOPPED"


def test_a_stop_goes_by_stopping_and_deprovisioning_to_stopped() -> None:
    running = task(last_status="RUNNING", started_at=990.0)
    asked = asked_to_stop(running, "UserInitiated", "why", NOW)
    assert (asked.last_status, asked.desired_status) == ("RUNNING", "STOPPED")
    stopping = after_report(asked, report(RUNNING, stopping=True), NOW + 1)
    assert stopping is not None and stopping.last_status == "STOPPING"
    ended = ContainerStatus("web", "exited", exit_code=0, started_at=990.0, finished_at=1002.0)
    over = after_report(stopping, report(ended, phase="succeeded"), NOW + 3)
    assert over is not None and over.last_status == "DEPROVISIONING"
    assert over.execution_stopped_at == 1002.0
    gone = after_report(over, report(ended, phase="succeeded", gone=True), NOW + 4)
    assert gone is not None and (gone.last_status, gone.stopped_at) == ("STOPPED", NOW + 4)
    assert gone.stopped_reason == "why"
    assert after_report(gone, report(ended, gone=True), NOW + 5) is None


def test_the_first_reason_to_stop_is_kept() -> None:
    once = asked_to_stop(task(last_status="RUNNING"), "UserInitiated", "first", NOW)
    assert asked_to_stop(once, "ServiceSchedulerInitiated", "second", NOW + 1) == once


def test_a_task_that_no_agent_knows_of_is_stopped_at_once() -> None:
    ended = failed(task(last_status="PROVISIONING", instance=""), "no room", NOW)
    assert (ended.last_status, ended.stop_code) == ("STOPPED", "TaskFailedToStart")
    assert ended.interface is not None and ended.interface.status == "DELETED"


@pytest.mark.parametrize(
    ("seen", "code", "reason"),
    [
        (
            ContainerStatus("web", "waiting", "ImagePullBackOff", "denied"),
            "TaskFailedToStart",
            "CannotPullContainerError: denied",
        ),
        (
            ContainerStatus("web", "waiting", "CreateContainerError", "bad mount"),
            "TaskFailedToStart",
            "CannotCreateContainerError: bad mount",
        ),
        (
            ContainerStatus("web", "exited", "StartError", "no such file", exit_code=128),
            "TaskFailedToStart",
            "CannotStartContainerError: no such file",
        ),
        (
            ContainerStatus(
                "web",
                "waiting",
                "CreateContainerConfigError",
                "ResourceInitializationError: unable to pull secrets",
            ),
            "TaskFailedToStart",
            "ResourceInitializationError: unable to pull secrets",
        ),
        (
            ContainerStatus("web", "exited", "Error", exit_code=1, started_at=1.0),
            "EssentialContainerExited",
            "Essential container in task exited",
        ),
    ],
)
def test_a_container_that_does_not_run_ends_the_task(
    seen: ContainerStatus, code: str, reason: str
) -> None:
    after = after_report(task(), report(seen, phase="pending"), NOW)
    assert after is not None and after.desired_status == "STOPPED"
    assert (after.stop_code, after.stopped_reason) == (code, reason)


def test_a_non_essential_container_may_end_alone() -> None:
    two = (TaskContainer("1", "web", "x"), TaskContainer("2", "side", "y", essential=False))
    side = ContainerStatus("side", "exited", "Error", exit_code=1, started_at=980.0)
    after = after_report(task(*two), report(RUNNING, side), NOW)
    assert after is not None and after.desired_status == "RUNNING"
    assert after.containers[1].exit_code == 1


def test_health_is_that_of_the_essential_containers_that_have_a_check() -> None:
    checked = TaskContainer("1", "web", "x", health_checked=True)
    plain = TaskContainer("2", "side", "y", essential=False, health_checked=True)
    healthy = msgspec.structs.replace(RUNNING, healthy=True)
    sick = ContainerStatus("side", "running", started_at=990.0, healthy=False)
    after = after_report(task(checked, plain), report(healthy, sick), NOW)
    assert after is not None and (after.health, after.healthy_at) == ("HEALTHY", NOW)
    assert after.containers[1].health == "UNHEALTHY"


def test_a_command_that_cannot_be_started_is_a_failure_to_start() -> None:
    text = 'exec: "nope": executable file not found in $PATH'
    seen = ContainerStatus("web", "exited", "StartError", text, exit_code=128, started_at=990.0)
    ended = after_report(task(), report(seen, phase="failed"), NOW)
    assert ended is not None and ended.stop_code == "TaskFailedToStart"
    assert ended.stopped_reason == f"CannotStartContainerError: {text}"
    assert ended.started_at == 0.0


def test_a_dependency_that_never_holds_fails_the_task_to_start() -> None:
    two = (TaskContainer("1", "web", "x"), TaskContainer("2", "init", "y", essential=False))
    failed_init = ContainerStatus("init", "exited", exit_code=1, started_at=980.0)
    waiting = ContainerStatus("web", "waiting")
    ended = after_report(task(*two), report(waiting, failed_init, phase="failed"), NOW)
    assert ended is not None
    assert (ended.stop_code, ended.stopped_reason) == ("TaskFailedToStart", "Task failed to start")


def test_a_container_with_a_restart_policy_is_still_running_between_two_attempts() -> None:
    container = TaskContainer("1", "web", "x", restarts=True)
    first = after_report(task(container), report(RUNNING), NOW)
    assert first is not None
    between = ContainerStatus("web", "exited", exit_code=1, restarts=1, started_at=995.0)
    again = after_report(first, report(between, phase="running"), NOW + 1) or first
    assert (again.last_status, again.desired_status) == ("RUNNING", "RUNNING")
    assert again.containers[0].last_status == "RUNNING"
    over = after_report(again, report(between, phase="failed"), NOW + 2)
    assert over is not None and over.stop_code == "EssentialContainerExited"
    assert over.containers[0].exit_code == 1
