"""Start timeouts: a task whose container waits for another for too long is given up.

A container's ``startTimeout`` bounds how long others wait for it to be COMPLETE, SUCCESS or
HEALTHY, counted from its start; then the waiting container does not start and the task stops
(ContainerDefinition.startTimeout, service model).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from proa.aws.ecs import status, writes
from proa.aws.ecs.hull import definition_of
from proa.aws.ecs.ports import Vpc
from proa.aws.ecs.records import Task, TaskContainer, TaskDefinition
from proa.aws.ecs.tables import TASKS
from proa.reconcile.controller import Trigger
from proa.reconcile.plan import NOTHING, Commit, Plan
from proa.reconcile.view import Change, View

TIMED_OUT = (
    "DependentContainerNotResolvedErr: container ordering dependency [{other}] for container "
    "[{name}] has timed out"
)


def _starting(_view: View, change: Change[Task]) -> Iterable[str]:
    task = change.new.value if change.new else None
    return (change.key,) if task is not None and _waits(task) else ()


def _waits(task: Task) -> bool:
    """Whether some containers have started and others have not."""
    if len(task.containers) == 1:
        return False
    started = [bool(item.started_at) for item in task.containers]
    return task.desired_status == "RUNNING" and any(started) and not all(started)


class StartTimeouts:
    """Keys are tasks'."""

    name = "ecs-start-timeouts"

    def __init__(self, vpc: Vpc) -> None:
        self._vpc = vpc
        self.triggers: Sequence[Trigger] = (Trigger(TASKS, _starting),)

    def reconcile(self, view: View, key: str, now: float) -> Plan:
        """End the task if a timeout has passed, or say when the next one will."""
        entry = view.rows(TASKS).get(key)
        if entry is None or not _waits(entry.value):
            return NOTHING
        pending = sorted(_deadlines(entry.value, definition_of(view, entry.value)))
        if not pending:
            return NOTHING
        deadline, name, other = pending[0]
        if now < deadline:
            return Plan(again_at=deadline)
        reason = TIMED_OUT.format(other=other, name=name)
        containers = tuple(
            msgspec.structs.replace(item, reason=reason) if item.name == name else item
            for item in entry.value.containers
        )
        task = msgspec.structs.replace(entry.value, containers=containers)
        task = status.asked_to_stop(task, "TaskFailedToStart", status.FAILED_TO_START, now)
        return Plan((Commit(writes.transaction(writes.task_changed(entry, task, self._vpc))),))


def _deadlines(task: Task, definition: TaskDefinition) -> Iterator[tuple[float, str, str]]:
    """(when, who waits, for whom) of every dependency that does not hold yet and has a limit."""
    records = {item.name: item for item in task.containers}
    limits = {item["name"]: item.get("startTimeout") for item in definition.containers}
    for container in definition.containers:
        if records[container["name"]].started_at:
            continue
        for dependency in container.get("dependsOn") or []:
            other = records[dependency["containerName"]]
            limit = limits[other.name]
            if limit and other.started_at and not _holds(other, dependency):
                yield other.started_at + limit, container["name"], other.name


def _holds(other: TaskContainer, dependency: dict[str, Any]) -> bool:
    match dependency["condition"]:
        case "HEALTHY":
            return other.health == "HEALTHY"
        case "COMPLETE":
            return other.last_status == "STOPPED"
        case "SUCCESS":
            return other.last_status == "STOPPED" and other.exit_code == 0
    return True
