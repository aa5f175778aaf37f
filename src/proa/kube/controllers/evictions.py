"""Pods that must leave: by NoExecute taints, because their node has gone, because they are old.

Rules: "Taints and Tolerations" (taint based evictions, tolerationSeconds), "Pod Lifecycle" (pod
garbage collection, 12,500 ended pods), "Disruptions" (condition DisruptionTarget).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from proa.base.clock import iso8601
from proa.kube.api.call import Call
from proa.kube.controllers.common import delete, instant, patch_conditions, service_account
from proa.kube.events import Said, event_call
from proa.kube.objects import Node, Pod, Taint, Toleration
from proa.kube.tables import NODES, PODS, cluster_of, describe, node_of
from proa.reconcile.controller import Trigger
from proa.reconcile.plan import NOTHING, Plan
from proa.reconcile.view import Change, Entry, View

ORPHAN_QUARANTINE_S = 40.0
ENDED_LIMIT = 12_500
NODE_USER = service_account("node-controller")
GC_USER = service_account("pod-garbage-collector")


class TaintEvictionController:
    """Evicts pods that do not, or no longer, tolerate their node's NoExecute taints. Key: pod."""

    name = "taint-eviction"

    def __init__(self) -> None:
        self.triggers: Sequence[Trigger] = (
            Trigger(PODS, _if_on_tainted, ("spec.node_name", "spec.tolerations")),
            Trigger(NODES, _pods_of_tainted),
        )

    def reconcile(self, view: View, key: str, now: float) -> Plan:
        entry = view.rows(PODS).get(key)
        if entry is None or not entry.value.active or not entry.value.spec.node_name:
            return NOTHING
        node = node_of(view, cluster_of(key), entry.value.spec.node_name)
        if node is None:
            return NOTHING
        due = leaves_at(entry.value, node.value, now)
        if due is None:
            return NOTHING
        if due > now:
            return Plan(again_at=due)
        text = "Taint manager: deleting due to NoExecute taint"
        marked = _disrupted(entry, "DeletionByTaintManager", text, NODE_USER, now)
        said = Said(
            "TaintManagerEviction",
            f"Marking for deletion Pod {describe(entry.value.metadata)}",
            component="taint-eviction-controller",
        )
        return Plan((marked, delete(entry, NODE_USER), *event_call(view, entry, said, now)))


def leaves_at(pod: Pod, node: Node, now: float) -> float | None:
    """When a pod has to leave its node: never (None), at once for a taint it does not tolerate,
    else after the shortest tolerationSeconds of those it tolerates for a time."""
    due: float | None = None
    for taint in node.spec.taints:
        if taint.effect != "NoExecute":
            continue
        matching = [item for item in pod.spec.tolerations if tolerates(item, taint)]
        if not matching:
            return now
        limits = [
            item.toleration_seconds for item in matching if item.toleration_seconds is not None
        ]
        if not limits:
            continue
        at = (instant(taint.time_added) or now) + max(0, min(limits))
        due = at if due is None else min(due, at)
    return due


def tolerates(toleration: Toleration, taint: Taint) -> bool:
    """Whether a toleration matches a taint: an empty effect matches all, an empty key with Exists
    matches all keys."""
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if toleration.key and toleration.key != taint.key:
        return False
    if toleration.operator == "Exists":
        return True
    return bool(toleration.key) and toleration.value == taint.value


def _if_on_tainted(view: View, change: Change[Pod]) -> Iterable[str]:
    """A pod that comes onto a tainted node, or tolerates other taints than before."""
    if change.new is None or not change.new.value.spec.node_name:
        return ()
    node = node_of(view, cluster_of(change.key), change.new.value.spec.node_name)
    return (change.key,) if node is not None and _evicting(node.value) else ()


def _pods_of_tainted(view: View, change: Change[Node]) -> Iterable[str]:
    before = _evicting(change.old.value) if change.old else ()
    after = _evicting(change.new.value) if change.new else ()
    if change.new is None or before == after:
        return ()
    name = change.new.value.metadata.name
    found = view.rows(PODS).by("node", f"{cluster_of(change.key)}/{name}")
    return [entry.key for entry in found]


def _evicting(node: Node) -> tuple[Taint, ...]:
    return tuple(taint for taint in node.spec.taints if taint.effect == "NoExecute")


class PodGarbageController:
    """Removes pods that no agent will ever report on again. Key: pod."""

    name = "pod-garbage"

    def __init__(self) -> None:
        self._missing: dict[str, float] = {}  # pod key → when its node was first missed
        self.triggers: Sequence[Trigger] = (
            Trigger(PODS, self._if_lost),
            Trigger(NODES, _pods_of_gone_node),
        )

    def _if_lost(self, view: View, change: Change[Pod]) -> Iterable[str]:
        """Pods that are over, on no node and to go, or on a node that is not there."""
        if change.new is None:
            return (change.key,) if change.key in self._missing else ()
        pod = change.new.value
        if pod.terminal or change.key in self._missing:
            return (change.key,)
        if not pod.spec.node_name:
            return (change.key,) if pod.metadata.deleting else ()
        if change.old is not None and change.old.value.spec.node_name == pod.spec.node_name:
            return ()  # that its node goes is told by the node
        there = node_of(view, cluster_of(change.key), pod.spec.node_name)
        return (change.key,) if there is None else ()

    def reconcile(self, view: View, key: str, now: float) -> Plan:
        entry = view.rows(PODS).get(key)
        if entry is None:
            self._missing.pop(key, None)
            return NOTHING
        pod, cluster = entry.value, cluster_of(key)
        if not pod.spec.node_name:
            return Plan((_removed(entry),)) if pod.metadata.deleting else NOTHING
        if node_of(view, cluster, pod.spec.node_name) is not None:
            self._missing.pop(key, None)
            return _if_too_many(view, entry)
        missed_at = self._missing.setdefault(key, now)
        if now < missed_at + ORPHAN_QUARANTINE_S:
            return Plan(again_at=missed_at + ORPHAN_QUARANTINE_S)
        calls: list[Call] = []
        if not pod.terminal:
            text = "PodGC: node no longer exists"
            calls.append(_disrupted(entry, "DeletionByPodGC", text, GC_USER, now, failed=True))
        return Plan((*calls, _removed(entry)))


def _if_too_many(view: View, entry: Entry[Pod]) -> Plan:
    """The oldest of the ended pods go once there are more than ENDED_LIMIT in the cluster."""
    if not entry.value.terminal or entry.value.metadata.deleting:
        return NOTHING
    rows, cluster = view.rows(PODS), cluster_of(entry.key)
    surplus = rows.count("ended", cluster) - ENDED_LIMIT
    if surplus <= 0:
        return NOTHING
    ended = rows.by("ended", cluster)
    oldest = sorted(ended, key=lambda pod: (pod.created, pod.key))[:surplus]
    return Plan((_removed(entry),)) if entry in oldest else NOTHING


def _removed(entry: Entry[Pod]) -> Call:
    return delete(entry, GC_USER, grace_s=0)


def _disrupted(
    entry: Entry[Pod], reason: str, text: str, user: str, now: float, failed: bool = False
) -> Call:
    new = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": reason,
        "message": text,
        "lastTransitionTime": iso8601(now),
    }
    more = {"phase": "Failed"} if failed else {}
    return patch_conditions(entry, [new], user, **more)


def _pods_of_gone_node(view: View, change: Change[Node]) -> Iterable[str]:
    if change.new is not None or change.old is None:
        return ()
    name = change.old.value.metadata.name
    found = view.rows(PODS).by("node", f"{cluster_of(change.key)}/{name}")
    return [entry.key for entry in found]
