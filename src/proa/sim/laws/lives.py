"""The law of lives: tasks and pods only ever move forward, and stay where they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from proa.aws.ecs.records import Task
from proa.aws.ecs.tables import TASKS
from proa.kube.objects import Pod
from proa.kube.tables import PODS

if TYPE_CHECKING:
    from proa.sim.laws import Changes

# "Task lifecycle" of the ECS developer guide.
_STATES = (
    "PROVISIONING", "PENDING", "ACTIVATING", "RUNNING", "DEACTIVATING", "STOPPING",
    "DEPROVISIONING", "STOPPED", "DELETED",
)  # fmt: skip
_TERMINAL = ("Succeeded", "Failed")


class Lives:
    """Compares each record with the one before it."""

    def committed(self, changes: Changes) -> Iterator[str]:
        """Every step back."""
        for table, change in changes:
            old, new = change.old, change.new
            if new is None:
                continue
            if table is TASKS:
                yield from _task(change.key, old.value if old else None, new.value)
            elif table is PODS:
                yield from _pod(change.key, old.value if old else None, new.value)


def _task(key: str, old: Task | None, new: Task) -> Iterator[str]:
    if new.last_status == "RUNNING" and not new.instance:
        yield f"{key} is RUNNING without an instance"
    if old is None:
        return
    if _STATES.index(new.last_status) < _STATES.index(old.last_status):
        yield f"{key} went from {old.last_status} back to {new.last_status}"
    if old.desired_status == "STOPPED" and new.desired_status != "STOPPED":
        yield f"{key} is wanted again after it was told to stop"
    if old.instance and new.instance != old.instance:
        yield f"{key} moved from {old.instance} to {new.instance or 'nowhere'}"
    if old.stop_code and new.stop_code != old.stop_code:
        yield f"{key} stopped by {old.stop_code}, then by {new.stop_code}"


def _pod(key: str, old: Pod | None, new: Pod) -> Iterator[str]:
    if old is None:
        return
    if old.metadata.uid != new.metadata.uid:
        yield f"{key} became another pod without being deleted"
        return
    if old.status.phase in _TERMINAL and new.status.phase != old.status.phase:
        yield f"{key} went from {old.status.phase} to {new.status.phase}"
    if old.status.phase == "Running" and new.status.phase == "Pending":
        yield f"{key} went from Running back to Pending"
    if old.spec.node_name and new.spec.node_name != old.spec.node_name:
        yield f"{key} moved from {old.spec.node_name} to {new.spec.node_name or 'nowhere'}"
    if old.metadata.deleting and not new.metadata.deleting:
        yield f"{key} is wanted again after it was deleted"
