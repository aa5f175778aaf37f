"""PodDisruptionBudgets: how many of a budget's pods may go at this moment.

Rules: "Specifying a Disruption Budget for your Application" and kube-controller-manager's
disruption controller. The eviction subresource spends ``disruptionsAllowed`` and notes the pod in
``disruptedPods``; this controller takes the note away when the pod goes, or after two minutes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from msgspec.structs import replace

from proa.base.clock import iso8601
from proa.kube.api.call import Call
from proa.kube.budget_objects import Budget
from proa.kube.controllers.common import instant, patch, scaled, service_account
from proa.kube.events import Said, event_call
from proa.kube.objects import Pod, condition
from proa.kube.tables import (
    BUDGETS,
    DEPLOYMENTS,
    PODS,
    REPLICA_SETS,
    STATEFUL_SETS,
    cluster_of,
)
from proa.reconcile.controller import Trigger
from proa.reconcile.plan import NOTHING, Plan
from proa.reconcile.view import Change, Entry, View

USER = service_account("disruption-controller")
DISRUPTED_S = 120.0  # DeletionTimeout
COMPONENT = "controllermanager"


class DisruptionController:
    """Key: the PodDisruptionBudget's store key."""

    name = "disruption"

    def __init__(self) -> None:
        self.triggers: Sequence[Trigger] = (
            Trigger(BUDGETS, lambda _view, change: (change.key,) if change.new else ()),
            Trigger(PODS, _of_pod),
            Trigger(DEPLOYMENTS, _of_namespace),
            Trigger(REPLICA_SETS, _of_namespace),
            Trigger(STATEFUL_SETS, _of_namespace),
        )

    def reconcile(self, view: View, key: str, now: float) -> Plan:
        entry = view.rows(BUDGETS).get(key)
        if entry is None or entry.value.metadata.deleting:
            return NOTHING
        pods = pods_of(view, entry)
        try:
            expected, desired = _wanted(view, entry.value, cluster_of(key), pods)
        except ValueError as error:
            said = Said("CalculateExpectedPodCountFailed", str(error), "Warning", COMPONENT)
            failed = _status(entry, 0, "SyncFailed", str(error), now)
            return Plan((*failed, *(event_call(view, entry, said, now) if failed else ())))
        noted, again_at = _noted(entry.value, pods, now)
        healthy = sum(
            pod.value.active and is_ready(pod.value) and pod.value.metadata.name not in noted
            for pod in pods
        )
        allowed = max(0, healthy - desired) if expected > 0 else 0
        reason = "SufficientPods" if allowed else "InsufficientPods"
        counts = {
            "currentHealthy": healthy,
            "desiredHealthy": desired,
            "expectedPods": expected,
        }
        calls = _status(entry, allowed, reason, "", now, counts, noted)
        return Plan(tuple(calls), again_at)


def is_ready(pod: Pod) -> bool:
    """Whether a pod counts as healthy."""
    return pod.ready_since is not None


def pods_of(view: View, entry: Entry[Budget]) -> list[Entry[Pod]]:
    """A budget's pods: those of its namespace that its selector selects (all, if it is empty;
    none, if there is none)."""
    selector, meta = entry.value.spec.selector, entry.value.metadata
    if selector is None:
        return []
    found = view.rows(PODS).by("namespace", f"{cluster_of(entry.key)}/{meta.namespace}")
    return [pod for pod in found if selector.matches(pod.value.metadata.labels)]


def _wanted(
    view: View, budget: Budget, cluster: str, pods: Sequence[Entry[Pod]]
) -> tuple[int, int]:
    """(expected pods, healthy ones that must stay). Raises ValueError."""
    spec = budget.spec
    if spec.max_unavailable is not None:
        expected = _scale(view, cluster, pods)
        return expected, max(0, expected - scaled(spec.max_unavailable, expected, True))
    if isinstance(spec.min_available, int):
        return len(pods), spec.min_available
    if spec.min_available is not None:
        expected = _scale(view, cluster, pods)
        return expected, scaled(spec.min_available, expected, True)
    return len(pods), 0


def _scale(view: View, cluster: str, pods: Sequence[Entry[Pod]]) -> int:
    """How many pods their controllers are asked for in all. Raises ValueError."""
    scales: dict[str, int] = {}
    for pod in pods:
        owner = pod.value.metadata.controller
        if owner is None:
            raise ValueError(f'found no controller ref for pod "{pod.value.metadata.name}"')
        if owner.uid not in scales:
            found = _scale_of(view, cluster, owner.uid)
            if found is None:
                raise ValueError(
                    f"found no controllers for pod {pod.value.metadata.name}: {owner.kind} "
                    f"{owner.name} has no scale"
                )
            scales[found[0]] = found[1]
            scales.setdefault(owner.uid, 0)
    return sum(scales.values())


def _scale_of(view: View, cluster: str, uid: str) -> tuple[str, int] | None:
    """(uid, replicas) of what decides about a controller's pods: the Deployment of a
    ReplicaSet."""
    for owned in view.rows(REPLICA_SETS).by("uid", f"{cluster}/{uid}"):
        above = owned.value.metadata.controller
        if above is not None:
            for entry in view.rows(DEPLOYMENTS).by("uid", f"{cluster}/{above.uid}"):
                return above.uid, entry.value.spec.replicas
        return uid, owned.value.spec.replicas
    for found in view.rows(STATEFUL_SETS).by("uid", f"{cluster}/{uid}"):
        return uid, found.value.spec.replicas
    return None


def _noted(budget: Budget, pods: Sequence[Entry[Pod]], now: float) -> tuple[dict[str, str], float]:
    """(the notes of evicted pods that still hold, when the next of them ends)."""
    there = {pod.value.metadata.name for pod in pods if pod.value.active}
    noted = {
        name: at
        for name, at in budget.status.disrupted_pods.items()
        if name in there and instant(at) + DISRUPTED_S > now
    }
    return noted, min((instant(at) + DISRUPTED_S for at in noted.values()), default=0.0)


def _status(
    entry: Entry[Budget],
    allowed: int,
    reason: str,
    message: str,
    now: float,
    counts: dict[str, int] | None = None,
    noted: dict[str, str] | None = None,
) -> list[Call]:
    """The status, if it is another than before. Guarded by the version: an eviction that spends
    from it meanwhile must not be undone."""
    budget = entry.value
    old = condition(budget.status.conditions, "DisruptionAllowed")
    state = "True" if allowed else "False"
    since = old.last_transition_time if old and old.status == state else iso8601(now)
    status: dict[str, Any] = {
        "disruptionsAllowed": allowed,
        "observedGeneration": budget.metadata.generation,
        **(counts or {}),
    }
    before = {
        "disruptionsAllowed": budget.status.disruptions_allowed,
        "observedGeneration": budget.status.observed_generation,
        "currentHealthy": budget.status.current_healthy,
        "desiredHealthy": budget.status.desired_healthy,
        "expectedPods": budget.status.expected_pods,
    }
    same = old is not None and (old.reason, old.message, old.status) == (reason, message, state)
    gone = [
        name for name in budget.status.disrupted_pods if noted is not None and name not in noted
    ]
    if same and not gone and all(before[name] == value for name, value in status.items()):
        return []
    new = {
        "type": "DisruptionAllowed",
        "status": state,
        "reason": reason,
        "message": message,
        "observedGeneration": budget.metadata.generation,
        "lastTransitionTime": since,
    }
    if gone:
        status["disruptedPods"] = dict.fromkeys(gone)
    body = {"status": {**status, "conditions": [new]}}
    return [replace(patch(entry, body, USER, "status"), version=entry.version)]


def _of_pod(view: View, change: Change[Pod]) -> Iterable[str]:
    """The budgets that speak, or spoke, of a pod."""
    if not view.rows(BUDGETS):
        return ()
    pods = [item.value for item in (change.old, change.new) if item is not None]
    if len(pods) == 2 and _facts(pods[0]) == _facts(pods[1]):
        return ()
    where = f"{cluster_of(change.key)}/{pods[0].metadata.namespace}"
    return [
        entry.key
        for entry in view.rows(BUDGETS).by("namespace", where)
        if entry.value.spec.selector is not None
        and any(entry.value.spec.selector.matches(pod.metadata.labels) for pod in pods)
    ]


def _facts(pod: Pod) -> tuple[object, ...]:
    return pod.metadata.labels, pod.active, is_ready(pod), pod.metadata.controller


def _of_namespace(view: View, change: Change[Any]) -> Iterable[str]:
    """A workload's scale has changed: every budget of its namespace."""
    old, new = change.old, change.new
    if old is not None and new is not None and old.value.spec.replicas == new.value.spec.replicas:
        return ()
    row = new or old
    assert row is not None, "a change has a side"
    where = f"{cluster_of(change.key)}/{row.value.metadata.namespace}"
    return [entry.key for entry in view.rows(BUDGETS).by("namespace", where)]
