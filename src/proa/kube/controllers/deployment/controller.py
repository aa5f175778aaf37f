"""The Deployment controller: one look at a Deployment and its ReplicaSets, one next step.

A turn does the first of these that is needed and then reports the status: adopt or release;
note a pause; number the current ReplicaSet; pass a scaling on in proportion; make the new
ReplicaSet; grow it; shrink the old ones; drop old history.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import msgspec

from proa.kube.api.call import ApiError, Call
from proa.kube.controllers.common import (
    claim,
    delete,
    if_meant,
    owner_reference,
    patch,
    service_account,
)
from proa.kube.controllers.deployment import revisions, sizes, status
from proa.kube.controllers.deployment.sizes import Set, Sets
from proa.kube.controllers.steps import Attempt, together
from proa.kube.events import Said, event_call
from proa.kube.keys import object_key
from proa.kube.objects import Deployment, DeploymentStatus, Pod, ReplicaSet, condition
from proa.kube.tables import DEPLOYMENTS, PODS, REPLICA_SETS, cluster_of, namespace_of
from proa.reconcile.controller import Trigger
from proa.reconcile.plan import NOTHING, Plan
from proa.reconcile.view import Change, Entry, View

USER = service_account("deployment-controller")
COMPONENT = "deployment-controller"
_DEADLINE_SLACK_S = 1.0  # instants are stored in whole seconds


class DeploymentController:
    """Key: the Deployment's store key."""

    name = "deployment"
    triggers: Sequence[Trigger]

    def __init__(self) -> None:
        self.triggers = (
            Trigger(DEPLOYMENTS, if_meant),
            Trigger(REPLICA_SETS, deployments_of_set),
            Trigger(PODS, deployments_of_gone_pod, ("status.phase",)),
        )

    def reconcile(self, view: View, key: str, now: float) -> Plan:
        entry = view.rows(DEPLOYMENTS).get(key)
        if entry is None:
            return NOTHING
        return Turn(view, entry, now).plan()


class Turn:
    """One reconcile of one Deployment."""

    def __init__(self, view: View, entry: Entry[Deployment], now: float) -> None:
        self.view, self.entry, self.now = view, entry, now
        self.deployment = entry.value
        self.cluster = cluster_of(entry.key)

    def plan(self) -> Plan:
        deployment, meta = self.deployment, self.deployment.metadata
        if deployment.spec.selector.empty:
            return Plan(tuple(self._event("SelectingAll", _SELECTS_ALL, "Warning")))
        rows = self.view.rows(REPLICA_SETS)
        claimed = claim(
            meta,
            owner_reference("apps/v1", "Deployment", meta),
            deployment.spec.selector,
            rows.by("controller", f"{self.cluster}/{meta.uid}"),
            rows.by("orphans", f"{self.cluster}/{meta.namespace}"),
            USER,
        )
        if claimed.calls:
            return Plan(tuple(claimed.calls))
        sets = revisions.split(deployment, claimed.owned)
        if meta.deleting:
            return self._reported((), status.counted(deployment, sets, self.now))
        noted = status.pause_noted(deployment, self.now)
        if noted is not None:
            known = msgspec.structs.replace(deployment.status, conditions=noted)
            return Plan(tuple(self._status(known)), self.now)
        numbered = self._number(sets)
        if numbered:
            return Plan(tuple(numbered), self.now)
        rescaled = self._rescaled(sets)
        if deployment.spec.paused or rescaled:
            return self._reported(rescaled, status.counted(deployment, sets, self.now))
        return self._roll(sets) if sizes.is_rolling(deployment) else self._recreate(sets)

    # Numbers and names

    def _number(self, sets: Sets) -> list[Call]:
        """Bring the current ReplicaSet's annotations and the Deployment's revision up to date."""
        if sets.new is None:
            return []
        calls: list[Call] = []
        deployment, new = self.deployment, sets.new.value
        number = max(revisions.next_revision(sets), revisions.revision(new))
        annotations = revisions.annotations_for(deployment, new.metadata.annotations, number)
        body: dict[str, Any] = {}
        if annotations:
            body["metadata"] = {"annotations": annotations}
        if new.spec.min_ready_seconds != deployment.spec.min_ready_seconds:
            body["spec"] = {"minReadySeconds": deployment.spec.min_ready_seconds}
        if body:
            calls.append(patch(sets.new, body, USER))
        calls += self._revised(number)
        if not condition(deployment.status.conditions, status.PROGRESSING):
            calls += self._noted("FoundNewReplicaSet", f'Found new replica set "{_name(sets.new)}"')
        return calls

    def _revised(self, number: int) -> list[Call]:
        if self.deployment.metadata.annotations.get(revisions.REVISION) == str(number):
            return []
        annotations = {revisions.REVISION: str(number)}
        return [patch(self.entry, {"metadata": {"annotations": annotations}}, USER)]

    def _noted(self, reason: str, text: str, value: str = "True") -> list[Call]:
        """The status patch that sets Progressing, if the Deployment is watched for progress."""
        if not status.has_deadline(self.deployment):
            return []
        new = status.made(status.PROGRESSING, value, reason, text, self.now)
        conditions = status.with_condition(self.deployment.status.conditions, new)
        return self._status(msgspec.structs.replace(self.deployment.status, conditions=conditions))

    def _make_new(self, sets: Sets) -> Plan:
        deployment, meta = self.deployment, self.deployment.metadata
        collisions = deployment.status.collision_count or 0
        digest = revisions.template_hash(deployment.spec.template, collisions)
        name = f"{meta.name}-{digest}"
        key = object_key(self.cluster, "apps", "replicasets", meta.namespace, name)
        if self.view.rows(REPLICA_SETS).get(key) is not None:
            more = msgspec.structs.replace(deployment.status, collision_count=collisions + 1)
            return Plan(tuple(self._status(more)), self.now)
        home = namespace_of(self.view, self.cluster, meta.namespace)
        if home is not None and home.value.metadata.deleting:
            return self._reported((), status.judged(deployment, sets, self.now))
        number = revisions.next_revision(sets)
        replicas = sizes.size_of_new(deployment, sets.all, 0)
        annotations = revisions.annotations_for(deployment, None, number)
        body = revisions.new_set_body(self.entry, digest, replicas, annotations)
        create = Call(
            self.cluster,
            "create",
            "apps",
            "replicasets",
            meta.namespace,
            name,
            body=body,
            user=USER,
        )
        events = self._scaled(name, 0, replicas) if replicas else ()
        text = f'Created new replica set "{name}"'
        return Plan(
            (
                Attempt(create, partial(self._set_refused, name)),
                *self._revised(number),
                *together([*self._noted("NewReplicaSetCreated", text), *events]),
            ),
            self.now,
        )

    def _set_refused(self, name: str, error: ApiError) -> list[Call]:
        text = f'Failed to create new replica set "{name}": {error.message}'
        return [
            *self._noted("ReplicaSetCreateError", text, "False"),
            *self._event("ReplicaSetCreateError", text, "Warning"),
        ]

    # Sizes

    def _rescaled(self, sets: Sets) -> list[Call]:
        """Pass the Deployment's own scaling on. A paused one does nothing else but tidy up."""
        if self.deployment.spec.paused:
            return [*self._resize(sizes.rescaled(self.deployment, sets)), *self._tidied(sets)]
        if not sizes.is_scaling(self.deployment, sets):
            return []
        return self._resize(sizes.rescaled(self.deployment, sets))

    def _roll(self, sets: Sets) -> Plan:
        if sets.new is None:
            return self._make_new(sets)
        present = sets.new.value.spec.replicas
        wanted = sizes.size_of_new(self.deployment, sets.all, present)
        steps: list[Call] = []
        if wanted != present:
            steps = self._resize([(sets.new, wanted)])
        else:
            steps = self._resize(sizes.shrink_old(self.deployment, sets))
        return self._progressed(steps, sets)

    def _recreate(self, sets: Sets) -> Plan:
        """Old pods must be gone, not only deleted, before the first new one is asked for."""
        active = [(entry, 0) for entry in sets.old if entry.value.spec.replicas > 0]
        if active:
            return self._progressed(self._resize(active), sets)
        if self._old_pods_run(sets):
            return self._progressed([], sets)
        if sets.new is None:
            return self._make_new(sets)
        return self._progressed(
            self._resize([(sets.new, self.deployment.spec.replicas)], only_sizes=True), sets
        )

    def _old_pods_run(self, sets: Sets) -> bool:
        if sum(entry.value.status.replicas for entry in sets.old) > 0:
            return True
        pods = self.view.rows(PODS)
        return any(
            not pod.value.terminal
            for entry in sets.old
            for pod in pods.by("controller", f"{self.cluster}/{entry.value.metadata.uid}")
        )

    def _progressed(self, steps: list[Call], sets: Sets) -> Plan:
        wanted = status.judged(self.deployment, sets, self.now)
        if not steps and status.is_complete(self.deployment, wanted):
            steps = self._tidied(sets)
        return self._reported(steps, wanted)

    def _resize(self, changes: Iterable[tuple[Set, int]], only_sizes: bool = False) -> list[Call]:
        """The patches of sizes, with what each ReplicaSet is to remember, and their events."""
        calls: list[Call] = []
        events: list[Call] = []
        for entry, size in changes:
            remembered = revisions.size_annotations(self.deployment)
            present = entry.value.spec.replicas
            known = entry.value.metadata.annotations
            stale = {name: text for name, text in remembered.items() if known.get(name) != text}
            if size == present and (only_sizes or not stale):
                continue
            body: dict[str, Any] = {"metadata": {"annotations": stale}} if stale else {}
            if size != present:
                body["spec"] = {"replicas": size}
                events += self._scaled(_name(entry), present, size)
            calls.append(patch(entry, body, USER))
        return [*calls, *events]

    def _tidied(self, sets: Sets) -> list[Call]:
        return [delete(entry, USER) for entry in revisions.superfluous(self.deployment, sets)]

    # Reports

    def _reported(self, steps: Iterable[Call], wanted: DeploymentStatus) -> Plan:
        """``steps``, then the status if it has changed; look again when a deadline may be over."""
        due = status.deadline_at(self.deployment, wanted) + _DEADLINE_SLACK_S
        calls = together([*steps, *self._status(wanted)])
        return Plan(calls, due if due > self.now else 0.0)

    def _status(self, wanted: DeploymentStatus) -> list[Call]:
        if wanted == self.deployment.status:
            return []
        return [patch(self.entry, {"status": status.status_json(wanted)}, USER, "status")]

    def _scaled(self, name: str, old: int, new: int) -> Sequence[Call]:
        way = "up" if new > old else "down"
        text = f"Scaled {way} replica set {name} from {old} to {new}"
        return self._event("ScalingReplicaSet", text)

    def _event(self, reason: str, text: str, kind: str = "Normal") -> Sequence[Call]:
        return event_call(self.view, self.entry, Said(reason, text, kind, COMPONENT), self.now)


_SELECTS_ALL = "This deployment is selecting all pods. A non-empty selector is required."


def _name(entry: Set) -> str:
    return entry.value.metadata.name


def deployments_of_set(view: View, change: Change[ReplicaSet]) -> Iterable[str]:
    """The Deployments that a ReplicaSet's change concerns: its owner before and after, or those
    that might adopt it."""
    keys: dict[str, None] = {}
    old, new = change.old, change.new
    if old is not None and new is not None and old.value.metadata == new.value.metadata:
        old = None  # whose it was and whose it is are the same
    for entry in (old, new):
        if entry is None:
            continue
        cluster, meta = cluster_of(entry.key), entry.value.metadata
        if meta.controller is not None:
            found = view.rows(DEPLOYMENTS).by("uid", f"{cluster}/{meta.controller.uid}")
        elif entry is new:
            found = [
                row
                for row in view.rows(DEPLOYMENTS).by("namespace", f"{cluster}/{meta.namespace}")
                if not row.value.spec.selector.empty
                and row.value.spec.selector.matches(meta.labels)
            ]
        else:
            found = []
        keys.update(dict.fromkeys(row.key for row in found))
    return keys


def deployments_of_gone_pod(view: View, change: Change[Pod]) -> Iterable[str]:
    """A pod's end matters to a Deployment that recreates: it waits for the last old one."""
    if change.old is None or (change.new is not None and not change.new.value.terminal):
        return ()
    owner = change.old.value.metadata.controller
    if owner is None:
        return ()
    cluster = cluster_of(change.key)
    keys: list[str] = []
    for entry in view.rows(REPLICA_SETS).by("uid", f"{cluster}/{owner.uid}"):
        above = entry.value.metadata.controller
        for found in view.rows(DEPLOYMENTS).by("uid", f"{cluster}/{above.uid}") if above else ():
            if not sizes.is_rolling(found.value):
                keys.append(found.key)
    return keys
