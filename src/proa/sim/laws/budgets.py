"""The law of budgets: Proa itself never takes away more than a workload may lose.

A Deployment's maxUnavailable and an ECS service's minimumHealthyPercent are held against what
Proa stops on its own account. What a fault or a user has taken shortly before is credited, for a
decision is made on the picture of a moment ago: only then is the loss not Proa's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from proa.aws.ecs import rollout
from proa.aws.ecs.records import Service, Task
from proa.aws.ecs.tables import SERVICES, TASKS
from proa.kube.controllers.deployment.sizes import is_rolling, max_unavailable
from proa.kube.objects import Deployment, Pod, condition
from proa.kube.tables import (
    DEPLOYMENTS,
    PODS,
    REPLICA_SETS,
    cluster_of,
    namespace_of,
    node_of,
)
from proa.reconcile.view import Change, Entry, View

if TYPE_CHECKING:
    from proa.sim.laws import Changes

MEMORY_S = 30.0  # how long a loss or a changed wish excuses a decision


class _Ledger:
    """What a workload needed and lost in the last moments."""

    def __init__(self) -> None:
        self.needs: deque[tuple[float, int]] = deque()  # (until when it held, how many)
        self.losses: deque[float] = deque()
        self.need = 0

    def wants(self, need: int, now: float) -> None:
        """A user, or a fault of ours, changed what must be there."""
        if need != self.need:
            self.needs.append((now, self.need))
            self.need = need

    def least(self, now: float) -> int:
        """The smallest need that a decision of the last moments may have been based on."""
        while self.needs and now - self.needs[0][0] > MEMORY_S:
            self.needs.popleft()
        return min([self.need, *(need for _, need in self.needs)])

    def credit(self, now: float) -> int:
        """How many were lost lately, and not by Proa."""
        while self.losses and now - self.losses[0] > MEMORY_S:
            self.losses.popleft()
        return len(self.losses)


class Budgets:
    """``calm`` says whether commits take their usual time; while they do not, decisions may be of
    any age and nothing is judged."""

    def __init__(self, view: View, now: Callable[[], float], calm: Callable[[], bool]) -> None:
        self._view, self._now, self._calm = view, now, calm
        self._ledgers: dict[str, _Ledger] = {}
        self.excused: set[str] = set()  # pods that a user deletes

    def _ledger(self, key: str) -> _Ledger:
        return self._ledgers.setdefault(key, _Ledger())

    def committed(self, changes: Changes) -> Iterator[str]:
        """Every stop of ours that leaves too few."""
        for table, change in changes:
            if table is DEPLOYMENTS and change.new is not None:
                self._ledger(change.key).wants(_needed(change.new.value), self._now())
            elif table is SERVICES and change.new is not None:
                self._ledger(change.key).wants(_floor(change.new.value), self._now())
            elif table is PODS and change.old is not None and change.old.value.active:
                yield from self._pod(change, change.old)
            elif table is TASKS and change.old is not None:
                yield from self._task(change, change.old)

    # Deployments

    def _pod(self, change: Change[Pod], old: Entry[Pod]) -> Iterator[str]:
        new = change.new
        if old.value.ready_since is None:
            return
        deployment = self._deployment_of(old)
        if deployment is None:
            return
        if new is not None and not new.value.metadata.deleting:
            if new.value.ready_since is None or new.value.terminal:
                self._ledger(deployment.key).losses.append(self._now())
            return
        if self._excused(old, new, deployment):
            self._ledger(deployment.key).losses.append(self._now())
            return
        ledger = self._ledger(deployment.key)
        left = self._ready_of(deployment)
        least, credit = ledger.least(self._now()), ledger.credit(self._now())
        if self._calm() and left + credit < least:
            yield (
                f"{old.key} was deleted, which leaves {left} ready of {deployment.key}, "
                f"which needs {least}"
            )

    def _deployment_of(self, pod: Entry[Pod]) -> Entry[Deployment] | None:
        owner = pod.value.metadata.controller
        cluster = cluster_of(pod.key)
        if owner is None or owner.kind != "ReplicaSet":
            return None
        for found in self._view.rows(REPLICA_SETS).by("uid", f"{cluster}/{owner.uid}"):
            above = found.value.metadata.controller
            if above is None or found.value.metadata.deleting:
                return None
            rows = self._view.rows(DEPLOYMENTS).by("uid", f"{cluster}/{above.uid}")
            return rows[0] if rows else None
        return None

    def _excused(
        self, old: Entry[Pod], new: Entry[Pod] | None, deployment: Entry[Deployment]
    ) -> bool:
        """Whether somebody else is behind it: the workload is going, or the namespace with all
        that is in it, the node is, or the pod was told to leave."""
        meta = deployment.value.metadata
        if old.key in self.excused or meta.deleting or not is_rolling(deployment.value):
            return True
        home = namespace_of(self._view, cluster_of(old.key), meta.namespace)
        if home is None or home.value.metadata.deleting:
            return True
        node = node_of(self._view, cluster_of(old.key), old.value.spec.node_name)
        if node is None or any(taint.effect == "NoExecute" for taint in node.value.spec.taints):
            return True
        pod = (new or old).value
        return condition(pod.status.conditions, "DisruptionTarget") is not None

    def _ready_of(self, deployment: Entry[Deployment]) -> int:
        cluster = cluster_of(deployment.key)
        uid = deployment.value.metadata.uid
        count = 0
        for owned in self._view.rows(REPLICA_SETS).by("controller", f"{cluster}/{uid}"):
            pods = self._view.rows(PODS).by("controller", f"{cluster}/{owned.value.metadata.uid}")
            count += sum(pod.value.active and pod.value.ready_since is not None for pod in pods)
        return count

    # ECS

    def _task(self, change: Change[Task], old: Entry[Task]) -> Iterator[str]:
        before = old.value
        if not _serves(before) or not before.service:
            return
        ledger = self._ledger(before.service_key)
        after = change.new.value if change.new else None
        if after is not None and _serves(after):
            return
        if after is None or after.stop_code != "ServiceSchedulerInitiated":
            ledger.losses.append(self._now())
            return
        service = self._view.rows(SERVICES).get(before.service_key)
        if service is None or service.value.status != "ACTIVE":
            return
        tasks = self._view.rows(TASKS).by("service", before.service_key)
        left = sum(_serves(entry.value) for entry in tasks)
        least, credit = ledger.least(self._now()), ledger.credit(self._now())
        if self._calm() and left + credit < least:
            yield (
                f"{change.key} was stopped, which leaves {left} running of {service.key}, "
                f"which needs {least}"
            )


def _serves(task: Task) -> bool:
    return (
        task.last_status == "RUNNING"
        and task.desired_status == "RUNNING"
        and task.health != "UNHEALTHY"
    )


def _needed(deployment: Deployment) -> int:
    return deployment.spec.replicas - max_unavailable(deployment)


def _floor(service: Service) -> int:
    if service.scheduling != "REPLICA":
        return 0
    return rollout.bounds(service.desired_count, service.configuration)[0]
