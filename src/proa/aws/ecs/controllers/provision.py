"""Provision: what a new task needs before it can be placed or started.

awslogs needs its log groups: they are made where ``awslogs-create-group`` says so, and a missing
one ends the task with the words that Fargate and the ECS agent have for it. A task that knows its
place already (RunTask) is then handed to its agent; the others wait for placement.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from proa.aws.ecs import binding, launch, status, writes
from proa.aws.ecs.hull import definition_of
from proa.aws.ecs.ports import LogGroups, Vpc
from proa.aws.ecs.records import Task
from proa.aws.ecs.tables import TASKS
from proa.dispatch.skin import Parts
from proa.reconcile.controller import Trigger
from proa.reconcile.plan import NOTHING, Commit, Plan
from proa.reconcile.view import Change, View

_NO_GROUP = "ResourceNotFoundException: The specified log group does not exist."
NO_GROUP = {
    "FARGATE": (
        "ResourceInitializationError: failed to validate logger args: create stream has been "
        f"retried 1 times: failed to create Cloudwatch log stream: {_NO_GROUP} : exit status 1"
    ),
    "EC2": (
        "CannotStartContainerError: Error response from daemon: failed to create task for "
        "container: failed to initialize logging driver: failed to create Cloudwatch log "
        f"stream: {_NO_GROUP}"
    ),
}


def _waiting(_view: View, change: Change[Task]) -> Iterable[str]:
    task = change.new.value if change.new else None
    if task is None or task.last_status != "PROVISIONING" or task.desired_status != "RUNNING":
        return ()
    return (change.key,) if task.instance or not task.prepared else ()


class Provision:
    """Keys are tasks'."""

    name = "ecs-provision"

    def __init__(self, vpc: Vpc, logs: LogGroups) -> None:
        self._vpc, self._logs = vpc, logs
        self.triggers: Sequence[Trigger] = (Trigger(TASKS, _waiting),)

    def reconcile(self, view: View, key: str, now: float) -> Plan:
        """One step: prepared, started, or ended for want of a log group."""
        entry = view.rows(TASKS).get(key)
        if entry is None:
            return NOTHING
        task = entry.value
        if task.last_status != "PROVISIONING" or task.desired_status != "RUNNING":
            return NOTHING
        if task.prepared and not task.instance:
            return NOTHING
        groups: list[Parts] = []
        for region, group, create in launch.log_groups(definition_of(view, task)):
            if self._logs.exists(task.account, region, group):
                continue
            if not create:
                ended = status.failed(task, NO_GROUP[task.launch_type], now)
                parts = writes.task_changed(entry, ended, self._vpc)
                return Plan((Commit(writes.transaction(parts)),))
            groups.append(self._logs.plan_create(task.account, region, group, now))
        ready = msgspec.structs.replace(task, prepared=True)
        if task.instance:
            ready = binding.started(ready)
        parts = writes.task_changed(entry, ready, self._vpc)
        return Plan((Commit(writes.transaction(parts, *groups)),))
