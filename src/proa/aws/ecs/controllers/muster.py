"""A service's tasks as one round of its controller sees them, looked at once.

The service controller is called with every step of every task, and nearly always finds nothing to
do: what it decides by is gathered here in a single pass over the tasks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from proa.aws.ecs.controllers.deployments import is_available
from proa.aws.ecs.records import COUNTED, Task
from proa.aws.ecs.rollout import Unit
from proa.cloud.compute import draining_instances
from proa.reconcile.view import Entry, View

TOGETHER = 1 / 8  # of the time to settle: 5 s of ECS's 40 s
DRAINED = "draining"  # stands for the deployment of a task that has to leave its Instance


class Muster:
    """``primary`` is the deployment that is judged by. ``available`` are its tasks that serve;
    ``ended`` those whose end nobody has taken note of; ``settling`` when its other running ones
    will have settled; ``left`` the deployments that have tasks, of which ``counted`` are RUNNING or
    PENDING; ``starved`` is the first that placement has found no room for."""

    __slots__ = (
        "_amiss", "_sound", "_standing", "available", "by_key", "counted", "ended", "left",
        "primary", "settling", "starved",
    )  # fmt: skip

    def __init__(
        self, view: View, tasks: Sequence[Entry[Task]], primary: str, now: float, settle_s: float
    ) -> None:
        self.primary = primary
        self.available: list[Task] = []
        self.ended: list[Entry[Task]] = []
        self.settling: list[float] = []
        self.left: set[str] = set()
        self.counted = 0
        self.starved: Task | None = None
        self.by_key = {item.key: item for item in tasks}
        self._standing: list[tuple[Entry[Task], str, bool]] = []  # deployment, available
        self._sound, self._amiss = 0, False
        draining = draining_instances(view)
        for item in tasks:
            task = item.value
            status, wanted = task.last_status, task.desired_status == "RUNNING"
            if not wanted and task.is_unnoted:
                self.ended.append(item)
            if status == "STOPPED":
                continue
            # A task on a DRAINING container instance is replaced as an older deployment's is.
            deployment = DRAINED if task.instance in draining else task.deployment
            is_primary, available = task.deployment == primary, False
            if status == "RUNNING":
                available = is_available(task, now, settle_s if is_primary else 0.0)
                if is_primary and available:
                    self.available.append(task)
                elif is_primary:
                    self.settling.append(looked_at(task.started_at, settle_s))
            elif status == "PROVISIONING" and task.unplaced and self.starved is None:
                self.starved = task
            self._standing.append((item, deployment, available))
            if status in COUNTED:
                self.counted += 1
                self.left.add(task.deployment)
                self._sound += wanted
                self._amiss |= wanted and (deployment != primary or task.health == "UNHEALTHY")

    def is_as_wanted(self, desired: int) -> bool:
        """Whether there is nothing to start and nothing to stop: as many tasks as are desired, all
        of the primary deployment and none of them unhealthy."""
        return self._sound == desired and not self._amiss

    def units(self) -> list[Unit]:
        """The tasks that are not STOPPED, as ``rollout.decide`` sees them."""
        return [
            Unit(
                item.key,
                deployment,
                item.value.desired_status == "RUNNING",
                item.value.last_status in COUNTED,
                available,
                item.value.last_status == "RUNNING" and item.value.health == "UNHEALTHY",
                item.value.last_status == "PROVISIONING" and bool(item.value.unplaced),
                item.value.zone,
                item.value.instance,
                item.value.created_at,
            )
            for item, deployment, available in self._standing
        ]


def looked_at(started_at: float, settle_s: float) -> float:
    """When a task is asked whether it has settled: those that started at nearly the same time are
    asked together, or each step of a deployment would be a round of its own."""
    settled_at, step_s = started_at + settle_s, settle_s * TOGETHER
    return max(settled_at, math.ceil(settled_at / step_s) * step_s) if step_s else settled_at
