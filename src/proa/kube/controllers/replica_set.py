"""ReplicaSets: as many active pods as asked for, no more.

Rules: kube-controller-manager's ReplicaSet controller (500 pods a turn, ranking of deletions)
and its API documentation. A turn first adopts and releases, then creates or deletes, or reports
the status it saw: what it has created or deleted calls it again at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from proa.base.chance import Chance
from proa.base.clock import iso8601
from proa.dispatch.skin import Parts
from proa.kube.api.call import ApiError, Call
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
from proa.kube.controllers.steps import Births, Together, together
from proa.kube.events import Said, event_call, event_parts
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
        cluster = cluster_of(key)
        pods = view.rows(PODS)
        claimed = claim(
            meta,
            owner_reference("apps/v1", "ReplicaSet", meta),
            spec.selector,
            pods.by("controller", f"{cluster}/{meta.uid}"),
            [pod for pod in pods.by("orphans", f"{cluster}/{meta.namespace}") if pod.value.active],
            USER,
        )
        if claimed.calls:
            return Plan(tuple(claimed.calls))
        status = status_of(entry.value, claimed.owned, now, "")
        surplus = status["replicas"] - spec.replicas
        work: Sequence[Any] = ()
        if surplus and not meta.deleting:
            work = self._manage(view, entry, claimed.owned, surplus, now)
        steps = work or _status(entry, status)
        return Plan(tuple(steps), _next_look(entry.value, claimed.owned, now))

    def _manage(
        self, view: View, entry: Set, owned: Pods, surplus: int, now: float
    ) -> Sequence[Any]:
        """What creates or deletes pods, and the events that tell of it."""
        active = [pod for pod in owned if pod.value.active]
        if surplus < 0:
            home = namespace_of(view, cluster_of(entry.key), entry.value.metadata.namespace)
            if home is not None and home.value.metadata.deleting:
                return ()
            return (self._births(view, entry, active, min(-surplus, BURST), now),)
        return _delete(view, entry, active, min(surplus, BURST), now)

    def _births(self, view: View, entry: Set, active: Pods, count: int, now: float) -> Births:
        children: list[tuple[Call, Sequence[Parts]]] = []
        told: set[str] = set()
        for _ in range(count):
            call = self._pod(entry)
            said = Said("SuccessfulCreate", f"Created pod: {call.name}", component=COMPONENT)
            parts = event_parts(view, entry, said, self._chance, now)
            keys = {write.key for part in parts for write in part.writes}
            children.append((call, () if keys & told else parts))  # one that combines is told once
            told |= keys
        return Births(tuple(children), partial(_refused, view, entry, active, now))

    def _pod(self, entry: Set) -> Call:
        """A pod of the template. Its name is drawn here as generateName would draw it, so that
        the event can name it."""
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


def _delete(
    view: View, entry: Set, active: Pods, count: int, now: float
) -> tuple[Call | Together, ...]:
    doomed = deletion_order(view, entry, active)[:count]
    events: list[Call] = []
    for pod in doomed:
        text = f"Deleted pod: {pod.value.metadata.name}"
        said = Said("SuccessfulDelete", text, component=COMPONENT)
        events.extend(event_call(view, entry, said, now))
    return together([*(delete(pod, USER) for pod in doomed), *events])


def _refused(view: View, entry: Set, active: Pods, now: float, error: ApiError) -> list[Call]:
    """Record that pods cannot be created: condition ReplicaFailure and an event."""
    said = Said("FailedCreate", f"Error creating: {error.message}", "Warning", COMPONENT)
    wanted = status_of(entry.value, active, now, error.message)
    return [*_status(entry, wanted), *event_call(view, entry, said, now)]


def sets_of_pod(view: View, change: Change[Pod]) -> Iterable[str]:
    """The ReplicaSets that a pod's change concerns."""
    if not counts_otherwise(change):
        return ()
    return owners_of_pod(view, change, REPLICA_SETS, "ReplicaSet")


def counts_otherwise(change: Change[Pod]) -> bool:
    """Whether who counts replicas may come to another number after a pod's change."""
    if change.old is None or change.new is None:
        return True
    old, new = change.old.value, change.new.value
    return (
        old.metadata != new.metadata
        or old.terminal != new.terminal
        or old.ready_since != new.ready_since
        or old.spec.node_name != new.spec.node_name
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
    for entry in owned:
        pod = entry.value
        if pod.terminal:
            continue
        meta = pod.metadata
        if meta.deletion_timestamp:
            terminating += 1
            continue
        active += 1
        labels = meta.labels
        labelled += labels == wanted or wanted.items() <= labels.items()
        if pod.ready_since is not None:
            ready += 1
            available += _is_available(pod, spec.min_ready_seconds, now)
    return {
        "replicas": active,
        "fullyLabeledReplicas": labelled,
        "readyReplicas": ready,
        "availableReplicas": available,
        "terminatingReplicas": terminating,
        "observedGeneration": replica_set.metadata.generation,
        "conditions": _conditions(replica_set, failure, now),
    }


def _is_available(pod: Pod, min_ready_s: int, now: float) -> bool:
    """Whether a pod that is Ready has been so for long enough."""
    at = available_at(pod, min_ready_s) if min_ready_s else now
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
