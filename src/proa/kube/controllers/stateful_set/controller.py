"""StatefulSets: one pod an ordinal, made in order, ended and updated in reverse order.

Rules: kube-controller-manager's StatefulSet controller and the API documentation of apps/v1. With
OrderedReady a turn does one thing and waits until that pod is ready or gone; with Parallel it does
all at once. Updates go one pod at a time either way, from the highest ordinal down to the
partition.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import orjson

from proa.kube.api.call import ApiError, Call
from proa.kube.controllers.common import (
    claim,
    delete,
    owner_reference,
    patch,
    service_account,
)
from proa.kube.controllers.owners import owners_of_pod
from proa.kube.controllers.revisions import HASH_LABEL, History, history, owner_in, superfluous
from proa.kube.controllers.stateful_set.identity import (
    claim_calls,
    claim_name,
    ordinal_of,
    pod_call,
)
from proa.kube.controllers.steps import Attempt
from proa.kube.controllers.tally import available_at
from proa.kube.events import Said, event_call
from proa.kube.keys import object_key
from proa.kube.objects import Pod
from proa.kube.set_objects import StatefulSet
from proa.kube.tables import CLAIMS, PODS, REVISIONS, STATEFUL_SETS, cluster_of, namespace_of
from proa.reconcile.controller import Trigger
from proa.reconcile.plan import NOTHING, Plan
from proa.reconcile.runner import row_key
from proa.reconcile.view import Change, Entry, View

USER = service_account("statefulset-controller")
COMPONENT = "statefulset-controller"
Pods = dict[int, Entry[Pod]]


class StatefulSetController:
    """Key: the StatefulSet's store key."""

    name = "stateful-set"

    def __init__(self) -> None:
        self.triggers: Sequence[Trigger] = (
            Trigger(STATEFUL_SETS, row_key),
            Trigger(PODS, _sets_of_pod),
            Trigger(REVISIONS, owner_in(STATEFUL_SETS)),
        )

    def reconcile(self, view: View, key: str, now: float) -> Plan:
        entry = view.rows(STATEFUL_SETS).get(key)
        if entry is None:
            return NOTHING
        value, meta = entry.value, entry.value.metadata
        cluster, pods = cluster_of(key), view.rows(PODS)
        claimed = claim(
            meta,
            owner_reference("apps/v1", "StatefulSet", meta),
            value.spec.selector,
            pods.by("controller", f"{cluster}/{meta.uid}"),
            [
                pod
                for pod in pods.by("orphans", f"{cluster}/{meta.namespace}")
                if ordinal_of(value, pod.value) is not None
            ],
            USER,
        )
        if claimed.calls:
            return Plan(tuple(claimed.calls))
        collisions = value.status.collision_count
        past = history(view, entry, "StatefulSet", value.spec.template, collisions, USER)
        if past.calls:
            return Plan(past.calls)
        return _Turn(view, entry, claimed.owned, past, now).plan()


class _Turn:
    """One look at one StatefulSet."""

    def __init__(
        self,
        view: View,
        entry: Entry[StatefulSet],
        owned: list[Entry[Pod]],
        past: History,
        now: float,
    ) -> None:
        self.view, self.entry, self.past, self.now = view, entry, past, now
        self.set, self.spec = entry.value, entry.value.spec
        self.pods: Pods = {}
        for pod in owned:
            ordinal = ordinal_of(self.set, pod.value)
            if ordinal is not None:
                self.pods[ordinal] = pod
        first = self.spec.ordinals.start
        self.wanted = range(first, first + self.spec.replicas)
        self.current = self.set.status.current_revision or past.name
        self.in_order = self.spec.pod_management_policy != "Parallel"
        self.steps: list[Any] = []
        self.events: list[Call] = []
        self.again_at = 0.0

    def plan(self) -> Plan:
        home = namespace_of(self.view, cluster_of(self.entry.key), self.set.metadata.namespace)
        ending = home is not None and home.value.metadata.deleting
        if not self.set.metadata.deleting and not ending:
            done = self._fill() and self._cut() and self._update()
            if done:
                keep = (self.current, self.past.name)
                limit = self.spec.revision_history_limit
                pods = self.pods.values()
                self.steps += superfluous(self.past, pods, keep, limit, USER)
        return Plan((*self.steps, *self._status(), *self.events), self.again_at)

    # Each returns whether the next may go on.

    def _fill(self) -> bool:
        """Make the pods that are missing; replace those that have ended."""
        for ordinal in self.wanted:
            entry = self.pods.get(ordinal)
            if entry is None:
                self._create(ordinal)
                if self.in_order:
                    return False
            elif entry.value.terminal and not entry.value.metadata.deleting:
                self._delete(entry)
                if self.in_order:
                    return False
            elif self.in_order and not self._is_available(entry):
                return False
        return True

    def _cut(self) -> bool:
        """Take away the pods beyond the last wanted, the highest first."""
        surplus = sorted((n for n in self.pods if n not in self.wanted), reverse=True)
        for ordinal in surplus:
            entry = self.pods[ordinal]
            if not entry.value.metadata.deleting:
                self._delete(entry)
            if self.in_order:
                return False
        return True

    def _update(self) -> bool:
        """Replace the highest pod that is not of the update revision, if all above are well."""
        if self.spec.update_strategy.type == "OnDelete":
            return True
        for ordinal in reversed(self.wanted):
            if ordinal < self.wanted.start + self._partition():
                break
            entry = self.pods.get(ordinal)
            if entry is None:
                return False
            pod = entry.value
            if pod.metadata.labels.get(HASH_LABEL) != self.past.hash:
                if not pod.metadata.deleting:
                    self._delete(entry)
                return False
            if not self._is_available(entry):
                return False
        return True

    def _partition(self) -> int:
        rolling = self.spec.update_strategy.rolling_update
        return rolling.partition if rolling else 0

    def _is_available(self, entry: Entry[Pod]) -> bool:
        """Ready, not ending, and for long enough."""
        pod = entry.value
        due = available_at(pod, self.spec.min_ready_seconds)
        if due is None or pod.metadata.deleting:
            return False
        if due > self.now:
            self.again_at = min(self.again_at or due, due)
        return due <= self.now

    # Doing

    def _create(self, ordinal: int) -> None:
        meta = self.set.metadata
        name = f"{meta.name}-{ordinal}"
        for call in claim_calls(self.entry, ordinal, USER):
            key = object_key(call.cluster, "", call.resource, call.namespace, call.name)
            if self.view.rows(CLAIMS).get(key) is None:
                self.steps.append(call)
                text = f"create Claim {call.name} Pod {name} in StatefulSet {meta.name} success"
                self._say("SuccessfulCreate", text)
        below = ordinal < self.wanted.start + self._partition()
        old = self.past.template_of(self.current) if below else None
        template = old or self.spec.template
        hash = self.current.removeprefix(f"{meta.name}-") if old else self.past.hash
        call = pod_call(self.entry, ordinal, template, hash, USER)
        self.steps.append(Attempt(call, partial(self._refused, name)))
        self._say("SuccessfulCreate", f"create Pod {name} in StatefulSet {meta.name} successful")

    def _refused(self, pod: str, error: ApiError) -> Sequence[Call]:
        name = self.set.metadata.name
        text = f"create Pod {pod} in StatefulSet {name} failed error: {error.message}"
        said = Said("FailedCreate", text, "Warning", COMPONENT)
        return event_call(self.view, self.entry, said, self.now)

    def _delete(self, entry: Entry[Pod]) -> None:
        pod, name = entry.value.metadata.name, self.set.metadata.name
        self.steps.append(delete(entry, USER))
        self._say("SuccessfulDelete", f"delete Pod {pod} in StatefulSet {name} successful")
        ordinal = ordinal_of(self.set, entry.value)
        retention = self.spec.persistent_volume_claim_retention_policy
        if ordinal not in self.wanted and retention.when_scaled == "Delete":
            cluster, namespace = cluster_of(self.entry.key), self.set.metadata.namespace
            for template in self.spec.volume_claim_templates:
                key = object_key(
                    cluster, "", "persistentvolumeclaims", namespace, claim_name(template, pod)
                )
                found = self.view.rows(CLAIMS).get(key)
                if found is not None:
                    self.steps.append(delete(found, USER))

    def _say(self, reason: str, text: str, kind: str = "Normal") -> None:
        said = Said(reason, text, kind, COMPONENT)
        self.events += event_call(self.view, self.entry, said, self.now)

    # Reports

    def _status(self) -> Sequence[Call]:
        living = [pod for pod in self.pods.values() if not pod.value.metadata.deleting]
        hashes = [pod.value.metadata.labels.get(HASH_LABEL) for pod in living]
        ready = [pod for pod in living if pod.value.ready_since]
        available = [pod for pod in ready if self._is_available(pod)]
        updated = hashes.count(self.past.hash)
        count = self.spec.replicas
        current = self.current
        if current != self.past.name and updated == len(self.pods) == len(ready) == count:
            current = self.past.name
        current_hash = current.removeprefix(f"{self.set.metadata.name}-")
        wanted = {
            "observedGeneration": self.set.metadata.generation,
            "replicas": len(self.pods),
            "readyReplicas": len(ready) or None,
            "availableReplicas": len(available),
            "currentReplicas": hashes.count(current_hash) or None,
            "updatedReplicas": updated or None,
            "currentRevision": current,
            "updateRevision": self.past.name,
            "collisionCount": self.set.status.collision_count,
        }
        present = orjson.loads(self.entry.body).get("status") or {}
        news = {name: value for name, value in wanted.items() if present.get(name) != value}
        return [patch(self.entry, {"status": news}, USER, "status")] if news else []


def _sets_of_pod(view: View, change: Change[Pod]) -> Iterable[str]:
    return owners_of_pod(view, change, STATEFUL_SETS, "StatefulSet", _numbers)


def _numbers(owner: Entry[StatefulSet], pod: Entry[Pod]) -> bool:
    return ordinal_of(owner.value, pod.value) is not None
