"""Nodes that fall silent: conditions turn Unknown, taints follow conditions, pods are not ready.

A node is heard of when its agent gives a sign of life (``kube.nodes.Heartbeats``), or when its
Lease is seen to change, as another kubelet's would, by this process's own clock; the instants in
it are never compared. Rules: "Nodes" (node controller), "Taints and Tolerations" (taint nodes by
condition), kube-controller-manager's node-monitor-grace-period.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from proa.base.clock import iso8601
from proa.kube.api.call import Call
from proa.kube.controllers.common import condition_json, patch, patch_conditions, service_account
from proa.kube.events import Said, event_call
from proa.kube.keys import object_key, parse_key
from proa.kube.nodes import LEASE_NAMESPACE, Heartbeats, lease_key
from proa.kube.objects import Condition, Node, Taint, condition
from proa.kube.tables import LEASES, NODES, PODS, cluster_of, node_of
from proa.reconcile.controller import Trigger
from proa.reconcile.plan import NOTHING, Plan
from proa.reconcile.view import Change, Entry, View

USER = service_account("node-controller")
GRACE_S = 50.0  # node-monitor-grace-period
SWEEP, SWEEP_EVERY_S = "silent nodes", 5.0  # --node-monitor-period
UNREACHABLE = "node.kubernetes.io/unreachable"
NOT_READY = "node.kubernetes.io/not-ready"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
_WATCHED = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")
_PRESSURE = {
    "MemoryPressure": "node.kubernetes.io/memory-pressure",
    "DiskPressure": "node.kubernetes.io/disk-pressure",
    "PIDPressure": "node.kubernetes.io/pid-pressure",
    "NetworkUnavailable": "node.kubernetes.io/network-unavailable",
}
_OWN_TAINTS = {UNREACHABLE, NOT_READY, UNSCHEDULABLE, *_PRESSURE.values()}


class NodeLifecycleController:
    """Key: the Node's store key, or SWEEP, which looks for all who have fallen silent at once.
    Remembers when it saw each lease change; a new process gives every node the full grace again."""

    name = "node-lifecycle"

    def __init__(self, heartbeats: Heartbeats, grace_s: float = GRACE_S) -> None:
        self.heartbeats, self._grace_s = heartbeats, grace_s
        self._seen: dict[str, tuple[int, float]] = {}
        self.triggers: Sequence[Trigger] = (
            Trigger(NODES, _node_and_sweep),
            Trigger(LEASES, _node_of_lease),
        )

    def reconcile(self, view: View, key: str, now: float) -> Plan:
        if key == SWEEP:
            return self._sweep(view, now)
        entry = view.rows(NODES).get(key)
        if entry is None:
            self._seen.pop(key, None)
            return NOTHING
        seen_at = self._heard(view, entry, now)
        silent = now - seen_at >= self._grace_s
        node = entry.value
        ready = condition(node.status.conditions, "Ready")
        if silent and (ready is None or ready.status != "Unknown"):
            return Plan(tuple(_silenced(view, entry, now)), 0.0)
        swept = self.heartbeats.silent_s(lease_key(cluster_of(key), node.metadata.name)) is not None
        again_at = 0.0 if silent or swept else seen_at + self._grace_s
        taints = wanted_taints(node, now)
        if taints != node.spec.taints:
            body = {"spec": {"taints": [_taint_json(item) for item in taints] or None}}
            return Plan((patch(entry, body, USER),), again_at)
        if ready is not None and ready.status != "True":
            return Plan(tuple(_pods_not_ready(view, entry, now)), again_at)
        return Plan((), again_at)

    def _sweep(self, view: View, now: float) -> Plan:
        calls: list[Call] = []
        for lease in self.heartbeats.silent(self._grace_s):
            key = parse_key(lease)
            entry = node_of(view, key.cluster, key.name)
            if entry is None:
                continue
            ready = condition(entry.value.status.conditions, "Ready")
            if ready is None or ready.status != "Unknown":
                calls += _silenced(view, entry, now)
        return Plan(tuple(calls), now + SWEEP_EVERY_S)

    def _heard(self, view: View, entry: Entry[Node], now: float) -> float:
        name = entry.value.metadata.name
        key = lease_key(cluster_of(entry.key), name)
        lease = view.rows(LEASES).get(key)
        version = lease.version if lease else 0
        known = self._seen.get(entry.key)
        if known is None or known[0] != version:
            self._seen[entry.key] = (version, now)
            return now
        silent_s = self.heartbeats.silent_s(key)
        return known[1] if silent_s is None else max(known[1], now - silent_s)


def _silenced(view: View, entry: Entry[Node], now: float) -> list[Call]:
    """Every condition that the node itself reports becomes Unknown."""
    known = entry.value.status.conditions
    conditions: list[dict[str, Any]] = []
    for type in _WATCHED:
        old = condition(known, type)
        reason, text = (
            ("NodeStatusUnknown", "Kubelet stopped posting node status.")
            if old
            else ("NodeStatusNeverUpdated", "Kubelet never posted node status.")
        )
        heard = old.last_heartbeat_time if old else entry.value.metadata.creation_timestamp
        new = Condition(type, "Unknown", reason, text, iso8601(now), heard)
        if old is not None and old.status == "Unknown":
            new = old
        conditions.append(condition_json(new))
    name = entry.value.metadata.name
    said = Said("NodeNotReady", f"Node {name} status is now: NodeNotReady", "Normal")
    return [patch_conditions(entry, conditions, USER), *event_call(view, entry, said, now)]


def wanted_taints(node: Node, now: float) -> tuple[Taint, ...]:
    """The taints that follow from a node's conditions, beside those that others have set."""
    wanted: list[tuple[str, str]] = []
    ready = condition(node.status.conditions, "Ready")
    if ready is not None and ready.status == "Unknown":
        wanted += [(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")]
    elif ready is None or ready.status == "False":
        wanted += [(NOT_READY, "NoSchedule"), (NOT_READY, "NoExecute")]
    for item in node.status.conditions:
        if item.type in _PRESSURE and item.status == "True":
            wanted.append((_PRESSURE[item.type], "NoSchedule"))
    if node.spec.unschedulable:
        wanted.append((UNSCHEDULABLE, "NoSchedule"))
    kept = [
        taint
        for taint in node.spec.taints
        if taint.key not in _OWN_TAINTS or (taint.key, taint.effect) in wanted
    ]
    present = {(taint.key, taint.effect) for taint in kept}
    new = [
        Taint(key, "", effect, iso8601(now))
        for key, effect in wanted
        if (key, effect) not in present
    ]
    return (*kept, *new)


def _taint_json(taint: Taint) -> dict[str, str]:
    pairs = (
        ("key", taint.key),
        ("value", taint.value),
        ("effect", taint.effect),
        ("timeAdded", taint.time_added),
    )
    return {name: text for name, text in pairs if text}


def _pods_not_ready(view: View, entry: Entry[Node], now: float) -> list[Call]:
    """Nobody should be sent to pods of a node that is not ready."""
    cluster, name = cluster_of(entry.key), entry.value.metadata.name
    calls: list[Call] = []
    for pod in view.rows(PODS).by("node", f"{cluster}/{name}"):
        if pod.value.ready_since is None:
            continue
        ready = {"type": "Ready", "status": "False", "lastTransitionTime": iso8601(now)}
        calls.append(patch_conditions(pod, [ready], USER))
        said = Said("NodeNotReady", "Node is not ready", "Warning", "node-controller")
        calls.extend(event_call(view, pod, said, now))
    return calls


def _node_of_lease(_view: View, change: Change[Any]) -> Iterable[str]:
    key = parse_key(change.key)
    if key.namespace != LEASE_NAMESPACE:
        return ()
    return (object_key(key.cluster, "", "nodes", "", key.name),)


def _node_and_sweep(_view: View, change: Change[Any]) -> Iterable[str]:
    return (change.key, SWEEP)
