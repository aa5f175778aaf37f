"""A service's tasks as one round of its controller sees them, looked at once.

The service controller is called with every step of every task, and nearly always finds nothing to
do: what it decides by is gathered here in a single pass over the tasks.
"""

from __future__ import annotations

from collections.abc import Sequence

from proa.aws.ecs.controllers.deployments import is_available
from proa.aws.ecs.records import COUNTED, Task
from proa.aws.ecs.rollout import Unit
from proa.cloud.compute import INSTANCES, instance_key
from proa.reconcile.view import Entry, View

DRAINED = "draining"  # stands for the deployment of a task that has to leave its Instance


class Muster:
    """``primary`` is the deployment that is judged by. ``units`` are the tasks that are not
    STOPPED; ``available`` those of the primary deployment that serve; ``ended`` those whose end
    nobody has taken note of; ``settling`` when the running ones will have settled; ``left`` the
    deployments that have tasks, of which ``counted`` are RUNNING or PENDING; ``starved`` is the
    first that placement has found no room for."""

    __slots__ = (
        "available", "by_key", "counted", "ended", "left", "primary", "settling", "starved",
        "units",
    )  # fmt: skip

    def __init__(
        self, view: View, tasks: Sequence[Entry[Task]], primary: str, now: float, settle_s: float
    ) -> None:
        self.primary = primary
        self.units: list[Unit] = []
        self.available: list[Task] = []
        self.ended: list[Entry[Task]] = []
        self.settling: list[float] = []
        self.left: set[str] = set()
        self.counted = 0
        self.starved: Task | None = None
        self.by_key = {item.key: item for item in tasks}
        instances = view.rows(INSTANCES)
        for item in tasks:
            task = item.value
            if task.desired_status == "STOPPED" and not task.counted:
                self.ended.append(item)
            if task.last_status == "STOPPED":
                continue
            place = instances.get(instance_key(task.instance)) if task.instance else None
            is_drained = place is not None and place.value.state == "draining"
            self._add(item.key, task, DRAINED if is_drained else task.deployment, now, settle_s)

    def _add(self, key: str, task: Task, deployment: str, now: float, settle_s: float) -> None:
        """A task on a DRAINING container instance is replaced as an older deployment's is."""
        is_primary, status = task.deployment == self.primary, task.last_status
        available = is_available(task, now, settle_s if is_primary else 0.0)
        counted = status in COUNTED
        if counted:
            self.counted += 1
            self.left.add(task.deployment)
        if is_primary and status == "RUNNING":
            self.settling.append(task.started_at + settle_s)
            if available:
                self.available.append(task)
        starved = status == "PROVISIONING" and bool(task.unplaced)
        if starved and self.starved is None:
            self.starved = task
        unit = Unit(
            key,
            deployment,
            task.desired_status == "RUNNING",
            counted,
            available,
            status == "RUNNING" and task.health == "UNHEALTHY",
            starved,
            task.zone,
            task.instance,
            task.created_at,
        )
        self.units.append(unit)
