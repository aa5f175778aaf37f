"""ReplicaSets: as many active pods as asked for, no more.

Rules: kube-controller-manager's ReplicaSet controller (500 pods a turn, ranking of deletions)
and its API documentation. A turn first adopts and releases, then creates or deletes, or reports
the status it saw. What it creates or deletes is in the status that is written with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from proa.base.chance import Chance
from proa.base.clock import iso8601
from proa.kube.api.call import ApiError, Call
from proa.kube.controllers.births import children
from proa.kube.controllers.common import (
    Claim,
    claim,
    condition_json,
    delete,
    if_meant,
    owner_reference,
    patch,
    service_account,
)
from proa.kube.controllers.owners import owners_of_pod
from proa.kube.controllers.ranking import deletion_order
from proa.kube.controllers.steps import Births, together
from proa.kube.controllers.tally import Tally, available_at, counted, present_in, tallied
from proa.kube.events import Said, event_call
from proa.kube.objects import Condition, Pod, ReplicaSet, condition
from proa.kube.tables import PODS, REPLICA_SETS, cluster_of, namespace_of
from proa.reconcile.controller import Trigger
from proa.reconcile.plan import NOTHING, Plan
from proa.reconcile.view import Change, Entry, View

BURST = 500
USER = service_account("replicaset-controller")
COMPONENT = "replicaset-controller"
_NAME_BASE_LIMIT = 58  # generateName leaves room for five characters
Set = Entry[ReplicaSet]
Pods = list[Entry[Pod]]


class ReplicaSetController:
    """Key: the ReplicaSet's store key."""

    name = "replica-set"

    def __init__(self, chance: Chance) -> None:
        self._chance = chance
        self.triggers: Sequence[Trigger] = (
            Trigger(REPLICA_SETS, if_meant),
            Trigger(PODS, sets_of_pod),
        )

    def reconcile(self, view: View, key: str, now: float) -> Plan:
        entry = view.rows(REPLICA_SETS).get(key)
        if entry is None:
            return NOTHING
        meta, spec = entry.value.metadata, entry.value.spec
        tally = counted(view, entry)
        if tally is None:
            claimed = _claimed(view, entry)
            if claimed.calls:
                return Plan(tuple(claimed.calls))
            tally = tallied(entry.value, claimed.owned, now)
        surplus = tally.replicas - spec.replicas
        work: Sequence[Any] = ()
        if surplus and not meta.deleting:
            work = self._manage(view, entry, tally, now)
        steps = work or _status(entry, tally)
        return Plan(tuple(steps), _next_look(view, entry, now))

    def _manage(self, view: View, entry: Set, tally: Tally, now: float) -> Sequence[Any]:
        """What creates or deletes pods, the events that tell of it, and the status after it."""
        surplus = tally.replicas - entry.value.spec.replicas
        if surplus < 0:
            home = namespace_of(view, cluster_of(entry.key), entry.value.metadata.namespace)
            if home is not None and home.value.metadata.deleting:
                return ()
            count = min(-surplus, BURST)
            draws = [partial(self._pod, entry)] * count
            born = children(view, entry, draws, COMPONENT, self._chance, now)
            refused = partial(_refused, view, entry, tally, now)
            return (Births(born, refused, tuple(_status(entry, tally.with_new(count)))),)
        active = [pod for pod in _pods_of(view, entry) if pod.value.active]
        doomed = deletion_order(view, entry, active)[: min(surplus, BURST)]
        return together([*_deletions(view, entry, doomed, now), *_left(view, entry, doomed, now)])

    def _pod(self, entry: Set) -> Call:
        """A pod of the template, its name drawn as generateName would draw it."""
        meta, template = entry.value.metadata, entry.value.spec.template
        prefix = f"{meta.name}-"
        name = prefix[:_NAME_BASE_LIMIT] + self._chance.suffix()
        metadata: dict[str, Any] = {
            "name": name,
            "generateName": prefix,
            "namespace": meta.namespace,
            "labels": template.metadata.get("labels", {}),
            "ownerReferences": [owner_reference("apps/v1", "ReplicaSet", meta)],
        }
        for part in ("annotations", "finalizers"):
            if template.metadata.get(part):
                metadata[part] = template.metadata[part]
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template.spec}
        cluster = cluster_of(entry.key)
        return Call(cluster, "create", "", "pods", meta.namespace, name, body=body, user=USER)


def _deletions(view: View, entry: Set, doomed: Pods, now: float) -> list[Call]:
    events: list[Call] = []
    for pod in doomed:
        text = f"Deleted pod: {pod.value.metadata.name}"
        said = Said("SuccessfulDelete", text, component=COMPONENT)
        events.extend(event_call(view, entry, said, now))
    return [*(delete(pod, USER) for pod in doomed), *events]


def _pods_of(view: View, entry: Set) -> Pods:
    """Whose controller the ReplicaSet is."""
    uid = f"{cluster_of(entry.key)}/{entry.value.metadata.uid}"
    return view.rows(PODS).filed("controller", uid)


def _claimed(view: View, entry: Set) -> Claim[Pod]:
    """The pods that are the ReplicaSet's, and what adopts or releases others."""
    meta = entry.value.metadata
    home = f"{cluster_of(entry.key)}/{meta.namespace}"
    return claim(
        meta,
        owner_reference("apps/v1", "ReplicaSet", meta),
        entry.value.spec.selector,
        _pods_of(view, entry),
        [pod for pod in view.rows(PODS).by("orphans", home) if pod.value.active],
        USER,
    )


def _left(view: View, entry: Set, doomed: Pods, now: float) -> list[Call]:
    """The status once some are deleted: those that need time for it are still terminating."""
    gone = {pod.key for pod in doomed}
    rest = tallied(entry.value, [pod for pod in _pods_of(view, entry) if pod.key not in gone], now)
    return _status(entry, rest.with_ending(sum(_takes_time(pod.value) for pod in doomed)))


def _takes_time(pod: Pod) -> bool:
    """Whether a pod that is deleted is there for a while."""
    graceful = pod.spec.node_name and pod.spec.termination_grace_period_seconds > 0
    return bool(graceful or pod.metadata.finalizers)


def _refused(view: View, entry: Set, tally: Tally, now: float, error: ApiError) -> list[Call]:
    """Record that pods cannot be created: condition ReplicaFailure and an event."""
    said = Said("FailedCreate", f"Error creating: {error.message}", "Warning", COMPONENT)
    failed = _failed(entry.value, error.message, now)
    return [*_status(entry, tally, [failed]), *event_call(view, entry, said, now)]


def sets_of_pod(view: View, change: Change[Pod]) -> Iterable[str]:
    """The ReplicaSets that a pod's change concerns. Where it runs is nothing to them."""
    if change.old is not None and change.new is not None and _stands_alike(change.old, change.new):
        return ()
    return owners_of_pod(view, change, REPLICA_SETS, "ReplicaSet")


def _stands_alike(one: Entry[Pod], other: Entry[Pod]) -> bool:
    """Whether a pod counts the same before and after a change."""
    old, new = one.value, other.value
    return (
        old.metadata == new.metadata
        and old.terminal == new.terminal
        and old.ready_since == new.ready_since
    )


def _failed(replica_set: ReplicaSet, failure: str, now: float) -> dict[str, Any]:
    """The condition that tells of the API's refusal of the last creation."""
    known = condition(replica_set.status.conditions, "ReplicaFailure")
    if known is not None:
        return condition_json(known)
    found = Condition(
        "ReplicaFailure", "True", "FailedCreate", failure, last_transition_time=iso8601(now)
    )
    return condition_json(found)


def _status(entry: Set, tally: Tally, conditions: list[dict[str, Any]] | None = None) -> list[Call]:
    """The patch that brings the status up to date; none if it is."""
    status, generation = entry.value.status, entry.value.metadata.generation
    known = [condition_json(item) for item in status.conditions] or None
    same = tally == present_in(status) and status.observed_generation == generation
    if same and conditions == known:
        return []
    wanted = {**tally.shown(), "observedGeneration": generation, "conditions": conditions}
    return [patch(entry, {"status": wanted}, USER, "status")]


def _next_look(view: View, entry: Set, now: float) -> float:
    """When the next Ready pod becomes available."""
    minimum = entry.value.spec.min_ready_seconds
    if not minimum:
        return 0.0
    active = [pod.value for pod in _pods_of(view, entry) if pod.value.active]
    due = [at for pod in active if (at := available_at(pod, minimum)) is not None]
    return min((at for at in due if at > now), default=0.0)
