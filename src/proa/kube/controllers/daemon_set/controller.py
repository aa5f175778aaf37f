"""DaemonSets: a pod on every node that should have one, updated a few nodes at a time.

Rules: kube-controller-manager's DaemonSet controller and the API documentation of apps/v1: 250
pods a turn; an ended pod is removed and made anew; a rolling update keeps within maxUnavailable,
or with maxSurge brings the new pod up before the old one goes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from proa.base.chance import Chance
from proa.kube.api.call import ApiError, Call
from proa.kube.controllers.common import (
    claim,
    copied,
    delete,
    instant,
    owner_reference,
    patch,
    scaled,
    service_account,
)
from proa.kube.controllers.daemon_set.nodes import Fit, bound_to, fits, spec_of, target_of
from proa.kube.controllers.owners import owners_of_pod
from proa.kube.controllers.revisions import HASH_LABEL, History, history, owner_in, superfluous
from proa.kube.controllers.steps import Attempt
from proa.kube.controllers.tally import available_at
from proa.kube.events import Said, event_call
from proa.kube.objects import Node, Pod
from proa.kube.set_objects import DaemonSet
from proa.kube.tables import DAEMON_SETS, NODES, PODS, PREFIX, REVISIONS, cluster_of, namespace_of
from proa.reconcile.controller import Trigger
from proa.reconcile.plan import NOTHING, Plan
from proa.reconcile.runner import row_key
from proa.reconcile.view import Change, Entry, View

BURST = 250
USER = service_account("daemon-set-controller")
COMPONENT = "daemonset-controller"
GENERATION = "pod-template-generation"
_NAME_BASE_LIMIT = 58  # generateName leaves room for five characters
_RETRY_FIRST_S, _RETRY_MAX_S = 1.0, 900.0  # of pods that ended on their node
Pods = list[Entry[Pod]]


class DaemonSetController:
    """Key: the DaemonSet's store key."""

    name = "daemon-set"

    def __init__(self, chance: Chance) -> None:
        self._chance = chance
        self._failures: dict[tuple[str, str], tuple[int, float]] = {}  # (uid, node) → count, at
        self.triggers: Sequence[Trigger] = (
            Trigger(DAEMON_SETS, row_key),
            Trigger(PODS, _sets_of_pod),
            Trigger(NODES, _sets_of_node),
            Trigger(REVISIONS, owner_in(DAEMON_SETS)),
        )

    def reconcile(self, view: View, key: str, now: float) -> Plan:
        entry = view.rows(DAEMON_SETS).get(key)
        if entry is None:
            return NOTHING
        value, meta = entry.value, entry.value.metadata
        cluster, pods = cluster_of(key), view.rows(PODS)
        claimed = claim(
            meta,
            owner_reference("apps/v1", "DaemonSet", meta),
            value.spec.selector,
            pods.by("controller", f"{cluster}/{meta.uid}"),
            [pod for pod in pods.by("orphans", f"{cluster}/{meta.namespace}") if pod.value.active],
            USER,
        )
        if claimed.calls:
            return Plan(tuple(claimed.calls))
        collisions = value.status.collision_count
        past = history(view, entry, "DaemonSet", value.spec.template, collisions, USER)
        if past.calls:
            return Plan(past.calls)
        return _Turn(self, view, entry, claimed.owned, past, now).plan()

    def failed(self, owner: str, node: str, now: float) -> float:
        """Note that a pod ended on a node; returns from when on it may be removed."""
        count, at = self._failures.get((owner, node), (0, 0.0))
        if now - at > 2 * _RETRY_MAX_S:
            count = 0
        wait_s = min(_RETRY_MAX_S, _RETRY_FIRST_S * 2 ** min(count, 10)) if count else 0.0
        if at + wait_s > now:
            return at + wait_s
        self._failures.pop((owner, node), None)
        while len(self._failures) >= 10_000:
            del self._failures[next(iter(self._failures))]
        self._failures[owner, node] = (count + 1, now)
        return now

    def suffix(self) -> str:
        return self._chance.suffix()


class _Turn:
    """One look at one DaemonSet."""

    def __init__(
        self,
        controller: DaemonSetController,
        view: View,
        entry: Entry[DaemonSet],
        owned: Pods,
        past: History,
        now: float,
    ) -> None:
        self.controller, self.view, self.entry = controller, view, entry
        self.past, self.now, self.owned = past, now, owned
        self.set, self.spec = entry.value, entry.value.spec
        prefix = f"{PREFIX}{cluster_of(entry.key)}/core/nodes/"
        self.nodes: dict[str, Entry[Node]] = {
            node.value.metadata.name: node for node in view.rows(NODES).scan(prefix)
        }
        spec = spec_of(self.spec.template)
        self.fit: dict[str, Fit] = {
            name: fits(spec, node.value) for name, node in self.nodes.items()
        }
        self.on: dict[str, Pods] = {}
        for pod in owned:
            self.on.setdefault(_node_of(pod.value), []).append(pod)
        self.steps: list[Any] = []
        self.events: list[Call] = []
        self.again_at = 0.0

    def plan(self) -> Plan:
        home = namespace_of(self.view, cluster_of(self.entry.key), self.set.metadata.namespace)
        ending = home is not None and home.value.metadata.deleting
        if not self.set.metadata.deleting and not ending:
            self._place()
            if not self.steps and self.spec.update_strategy.type == "RollingUpdate":
                self._roll()
            if not self.steps:
                limit = self.spec.revision_history_limit
                keep = (self.past.name,)
                self.steps += superfluous(self.past, self.owned, keep, limit, USER)
        return Plan((*self.steps, *self._status(), *self.events), self.again_at)

    # One pod a node

    def _place(self) -> None:
        missing: list[str] = []
        for name in self.nodes:
            here, fit = self.on.get(name, []), self.fit[name]
            if not here:
                if fit.runs:
                    missing.append(name)
                continue
            for pod in self._doomed(name, here, fit):
                self._delete(pod)
        for name in missing[:BURST]:
            self._create(name)

    def _doomed(self, node: str, here: Pods, fit: Fit) -> Iterable[Entry[Pod]]:
        """Pods that must leave a node: where none may be, those that ended, and all but the
        oldest of a revision."""
        living: Pods = []
        for pod in here:
            if pod.value.metadata.deleting:
                continue
            if not fit.stays:
                yield pod
            elif pod.value.terminal:
                due = self.controller.failed(self.set.metadata.uid, node, self.now)
                if due > self.now:
                    self._look_at(due)
                    continue
                text = f"Found failed daemon pod {_name(pod)} on node {node}, will try to kill it"
                self._say("FailedDaemonPod", text, "Warning")
                yield pod
            else:
                living.append(pod)
        for group in (self._old(living), self._new(living)):
            yield from sorted(group, key=_age)[1:]

    def _old(self, pods: Pods) -> Pods:
        return [pod for pod in pods if pod.value.metadata.labels.get(HASH_LABEL) != self.past.hash]

    def _new(self, pods: Pods) -> Pods:
        return [pod for pod in pods if pod.value.metadata.labels.get(HASH_LABEL) == self.past.hash]

    # Updates

    def _roll(self) -> None:
        desired = [name for name in self.nodes if self.fit[name].runs]
        rolling = self.spec.update_strategy.rolling_update
        surge = scaled(rolling.max_surge, len(desired), round_up=True)
        unavailable = scaled(rolling.max_unavailable, len(desired), round_up=True)
        if surge:
            self._surge(desired, surge)
            return
        down = 0
        candidates: Pods = []
        for name in desired:
            living = [pod for pod in self.on.get(name, ()) if not pod.value.metadata.deleting]
            if not any(self._is_available(pod) for pod in living):
                down += 1
                old = self._old(living)
                if old:  # it serves nobody: it may go at once
                    self._delete(old[0])
            else:
                candidates += self._old(living)
        for pod in candidates[: max(0, max(unavailable, 1) - down)]:
            self._delete(pod)

    def _surge(self, desired: list[str], surge: int) -> None:
        """The new pod comes up beside the old one, which goes when the new one is available."""
        beside = 0
        for name in desired:
            living = [pod for pod in self.on.get(name, ()) if not pod.value.metadata.deleting]
            old, new = self._old(living), self._new(living)
            if old and new:
                if self._is_available(new[0]):
                    self._delete(old[0])
                else:
                    beside += 1
        for name in desired:
            living = [pod for pod in self.on.get(name, ()) if not pod.value.metadata.deleting]
            if beside < surge and self._old(living) and not self._new(living):
                self._create(name)
                beside += 1

    def _is_available(self, entry: Entry[Pod]) -> bool:
        due = available_at(entry.value, self.spec.min_ready_seconds)
        if due is not None and due > self.now:
            self._look_at(due)
        return due is not None and due <= self.now

    # Doing

    def _create(self, node: str) -> None:
        meta, template = self.set.metadata, copied(self.spec.template)
        prefix = f"{meta.name}-"
        name = prefix[:_NAME_BASE_LIMIT] + self.controller.suffix()
        labels = {
            **template.metadata.get("labels", {}),
            HASH_LABEL: self.past.hash,
            GENERATION: str(meta.generation),
        }
        metadata: dict[str, Any] = {
            "name": name,
            "generateName": prefix,
            "namespace": meta.namespace,
            "labels": labels,
            "ownerReferences": [owner_reference("apps/v1", "DaemonSet", meta)],
        }
        for part in ("annotations", "finalizers"):
            if template.metadata.get(part):
                metadata[part] = template.metadata[part]
        bound_to(template.spec, node)
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template.spec}
        cluster = cluster_of(self.entry.key)
        call = Call(cluster, "create", "", "pods", meta.namespace, name, body=body, user=USER)
        self.steps.append(Attempt(call, self._refused))
        self._say("SuccessfulCreate", f"Created pod: {name}")

    def _refused(self, error: ApiError) -> Sequence[Call]:
        said = Said("FailedCreate", f"Error creating: {error.message}", "Warning", COMPONENT)
        return event_call(self.view, self.entry, said, self.now)

    def _delete(self, pod: Entry[Pod]) -> None:
        self.steps.append(delete(pod, USER))
        self._say("SuccessfulDelete", f"Deleted pod: {pod.value.metadata.name}")

    def _say(self, reason: str, text: str, kind: str = "Normal") -> None:
        said = Said(reason, text, kind, COMPONENT)
        self.events += event_call(self.view, self.entry, said, self.now)

    def _look_at(self, due: float) -> None:
        self.again_at = min(self.again_at or due, due)

    # Reports

    def _status(self) -> Sequence[Call]:
        desired = [name for name in self.nodes if self.fit[name].runs]
        placed = [sorted(self.on[name], key=_age)[0] for name in desired if self.on.get(name)]
        misplaced = [name for name in self.nodes if not self.fit[name].runs and self.on.get(name)]
        available = sum(1 for pod in placed if self._is_available(pod))
        newest = [self._new(self.on.get(name, [])) for name in desired]
        wanted = {
            "observedGeneration": self.set.metadata.generation,
            "desiredNumberScheduled": len(desired),
            "currentNumberScheduled": len(placed),
            "numberMisscheduled": len(misplaced),
            "numberReady": sum(1 for pod in placed if pod.value.ready_since),
            "updatedNumberScheduled": sum(1 for pods in newest if pods) or None,
            "numberAvailable": available or None,
            "numberUnavailable": (len(desired) - available) or None,
        }
        present = orjson.loads(self.entry.body).get("status") or {}
        news = {name: value for name, value in wanted.items() if present.get(name) != value}
        return [patch(self.entry, {"status": news}, USER, "status")] if news else []


def _node_of(pod: Pod) -> str:
    return pod.spec.node_name or target_of(pod.spec.affinity)


def _name(pod: Entry[Pod]) -> str:
    return f"{pod.value.metadata.namespace}/{pod.value.metadata.name}"


def _age(pod: Entry[Pod]) -> tuple[float, str]:
    return instant(pod.value.metadata.creation_timestamp), pod.key


def _sets_of_pod(view: View, change: Change[Pod]) -> Iterable[str]:
    return owners_of_pod(view, change, DAEMON_SETS, "DaemonSet")


def _sets_of_node(view: View, change: Change[Node]) -> Iterable[str]:
    """Every DaemonSet, when a node comes, goes, or changes its labels or taints."""

    def seen(side: Entry[Node] | None) -> Any:
        return side and (side.value.metadata.labels, side.value.spec.taints)

    if change.old is not None and change.new is not None and seen(change.old) == seen(change.new):
        return ()
    prefix = f"{PREFIX}{cluster_of(change.key)}/apps/daemonsets/"
    return [entry.key for entry in view.rows(DAEMON_SETS).scan(prefix)]
