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
    claim,
    condition_json,
    delete,
    if_meant,
    instant,
    owner_reference,
    patch,
    service_account,
)
from proa.kube.controllers.owners import owners_of_pod
from proa.kube.controllers.ranking import deletion_order
from proa.kube.controllers.steps import Births, together
from proa.kube.events import Said, event_call
from proa.kube.objects import TERMINAL, Condition, Pod, ReplicaSet, ReplicaSetSpec, condition
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
        cluster = cluster_of(key)
        pods = view.rows(PODS)
        claimed = claim(
            meta,
            owner_reference("apps/v1", "ReplicaSet", meta),
            spec.selector,
            pods.filed("controller", f"{cluster}/{meta.uid}"),
            [pod for pod in pods.by("orphans", f"{cluster}/{meta.namespace}") if pod.value.active],
            USER,
        )
        if claimed.calls:
            return Plan(tuple(claimed.calls))
        status = status_of(entry.value, claimed.owned, now, "")
        surplus = status["replicas"] - spec.replicas
        work: Sequence[Any] = ()
        if surplus and not meta.deleting:
            work = self._manage(view, entry, claimed.owned, status, now)
        steps = work or _status(entry, status)
        return Plan(tuple(steps), _next_look(entry.value, claimed.owned, now))

    def _manage(
        self, view: View, entry: Set, owned: Pods, status: dict[str, Any], now: float
    ) -> Sequence[Any]:
        """What creates or deletes pods, the events that tell of it, and the status after it."""
        active = [pod for pod in owned if pod.value.active]
        surplus = status["replicas"] - entry.value.spec.replicas
        if surplus < 0:
            home = namespace_of(view, cluster_of(entry.key), entry.value.metadata.namespace)
            if home is not None and home.value.metadata.deleting:
                return ()
            count = min(-surplus, BURST)
            for number in ("replicas", "fullyLabeledReplicas"):
                status[number] += count
            draws = [partial(self._pod, entry)] * count
            born = children(view, entry, draws, COMPONENT, self._chance, now)
            refused = partial(_refused, view, entry, active, now)
            return (Births(born, refused, tuple(_status(entry, status))),)
        doomed = deletion_order(view, entry, active)[: min(surplus, BURST)]
        return together([*_deletions(view, entry, doomed, now), *_left(entry, owned, doomed, now)])

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


def _left(entry: Set, owned: Pods, doomed: Pods, now: float) -> list[Call]:
    """The status once some are deleted: those that need time for it are still terminating."""
    gone = {pod.key for pod in doomed}
    status = status_of(entry.value, [pod for pod in owned if pod.key not in gone], now, "")
    status["terminatingReplicas"] += sum(_takes_time(pod.value) for pod in doomed)
    return _status(entry, status)


def _takes_time(pod: Pod) -> bool:
    """Whether a pod that is deleted is there for a while."""
    graceful = pod.spec.node_name and pod.spec.termination_grace_period_seconds > 0
    return bool(graceful or pod.metadata.finalizers)


def _refused(view: View, entry: Set, active: Pods, now: float, error: ApiError) -> list[Call]:
    """Record that pods cannot be created: condition ReplicaFailure and an event."""
    said = Said("FailedCreate", f"Error creating: {error.message}", "Warning", COMPONENT)
    wanted = status_of(entry.value, active, now, error.message)
    return [*_status(entry, wanted), *event_call(view, entry, said, now)]


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


def available_at(pod: Pod, min_ready_s: int) -> float | None:
    """When a pod becomes or became available: Ready for ``min_ready_s``; None if not Ready."""
    since = pod.ready_since
    return None if since is None else instant(since) + min_ready_s


def status_of(replica_set: ReplicaSet, owned: Pods, now: float, failure: str) -> dict[str, Any]:
    """The status as the pods are. ``failure`` is the API's refusal of the last creation."""
    spec = replica_set.spec
    wanted = spec.template.metadata.get("labels", {})
    active = labelled = ready = available = terminating = 0
    labels: dict[str, str] | None = None
    fully = False
    for entry in owned:
        pod = entry.value
        meta = pod.metadata
        if pod.status.phase in TERMINAL:
            continue
        if meta.deletion_timestamp:
            terminating += 1
            continue
        active += 1
        if meta.labels is not labels:  # most often all are of one template, and share them
            labels = meta.labels
            fully = labels == wanted or wanted.items() <= labels.items()
        labelled += fully
        if pod.ready_since is not None:
            ready += 1
            available += not spec.min_ready_seconds or _is_available(pod, spec, now)
    return {
        "replicas": active,
        "fullyLabeledReplicas": labelled,
        "readyReplicas": ready,
        "availableReplicas": available,
        "terminatingReplicas": terminating,
        "observedGeneration": replica_set.metadata.generation,
        "conditions": _conditions(replica_set, failure, now),
    }


def _is_available(pod: Pod, spec: ReplicaSetSpec, now: float) -> bool:
    """Whether a pod that is Ready has been so for long enough."""
    at = available_at(pod, spec.min_ready_seconds)
    return at is not None and at <= now


def _conditions(replica_set: ReplicaSet, failure: str, now: float) -> list[Any] | None:
    if not failure:
        return None
    known = condition(replica_set.status.conditions, "ReplicaFailure")
    if known is not None:
        return [condition_json(known)]
    found = Condition(
        "ReplicaFailure", "True", "FailedCreate", failure, last_transition_time=iso8601(now)
    )
    return [condition_json(found)]


def _status(entry: Set, wanted: dict[str, Any]) -> list[Call]:
    """The patch that brings the status up to date; none if it is."""
    status = entry.value.status
    present = {
        "replicas": status.replicas,
        "fullyLabeledReplicas": status.fully_labeled_replicas,
        "readyReplicas": status.ready_replicas,
        "availableReplicas": status.available_replicas,
        "terminatingReplicas": status.terminating_replicas,
        "observedGeneration": status.observed_generation,
        "conditions": [condition_json(item) for item in status.conditions] or None,
    }
    return [] if present == wanted else [patch(entry, {"status": wanted}, USER, "status")]


def _next_look(replica_set: ReplicaSet, owned: Pods, now: float) -> float:
    """When the next Ready pod becomes available."""
    minimum = replica_set.spec.min_ready_seconds
    if not minimum:
        return 0.0
    active = [pod.value for pod in owned if pod.value.active]
    due = [at for pod in active if (at := available_at(pod, minimum)) is not None]
    return min((at for at in due if at > now), default=0.0)
