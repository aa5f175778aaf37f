"""Why a pod found no node, in kube-scheduler's words: condition PodScheduled and its event.

The texts are those of the filter plugins and of FitError (kube-scheduler 1.36).
"""

from __future__ import annotations

from typing import Any

from proa.base.clock import iso8601
from proa.cloud import compute
from proa.kube.api.call import SYSTEM, Call
from proa.kube.asks import extended_of, missing_claim
from proa.kube.controllers.common import patch_conditions
from proa.kube.events import Said, event_call
from proa.kube.objects import Pod, condition
from proa.kube.tables import PODS, cluster_of, node_of
from proa.placement.asks import Ask, Reason, Unplaced
from proa.reconcile.view import Entry, View

COMPONENT = "default-scheduler"
NO_NODES = "no nodes available to schedule pods"
_TEXTS = {
    "cpu": "Insufficient cpu",
    "pool-cpu": "Insufficient cpu",
    "memory": "Insufficient memory",
    "pool-memory": "Insufficient memory",
    "disk": "Insufficient ephemeral-storage",
    "sandboxes": "Too many pods",
    "ports": "node(s) didn't have free ports for the requested pod ports",
    "selector": "node(s) didn't match Pod's node affinity/selector",
    "zone": "node(s) didn't match Pod's node affinity/selector",
    "names": "node(s) didn't satisfy plugin(s) [NodeAffinity]",
    "pinned": "node(s) didn't match the requested node name",
    "taint": "node(s) had untolerated taint(s)",
    "cordoned": "node(s) were unschedulable",
    "notready": "node(s) were not ready",
    "spread": "node(s) didn't match pod topology spread constraints",
    "spread-label": "node(s) didn't match pod topology spread constraints (missing required label)",
    "pod-affinity": "node(s) didn't match pod affinity rules",
    "pod-anti-affinity": "node(s) didn't match pod anti-affinity rules",
    "existing-anti-affinity": "node(s) didn't satisfy existing pods anti-affinity rules",
}
_AMOUNTS = {"cpu", "pool-cpu", "memory", "pool-memory", "disk", "sandboxes", "extended"}
_EVICTION_HELPS = _AMOUNTS | {"ports", "spread", "pod-anti-affinity", "existing-anti-affinity"}


def message_of(view: View, unplaced: Unplaced) -> str:
    """The FailedScheduling text: reasons by node count, then why preemption does not help."""
    total = unplaced.total
    if total == 0:
        return NO_NODES
    pod = view.rows(PODS).get(unplaced.ask.key)
    claim = missing_claim(view, pod) if pod else ""
    if claim:
        hint = f"{total} Preemption is not helpful for scheduling"
        tail = f"preemption: 0/{total} nodes are available: {hint}."
        return f"0/{total} nodes are available: {claim}. {tail}"
    counts: dict[str, int] = {}
    for reason in unplaced.reasons:
        text = _text(reason)
        counts[text] = counts.get(text, 0) + reason.count
    reasons = ", ".join(sorted(f"{count} {text}" for text, count in counts.items()))
    refused = f"0/{total} nodes are available: {reasons}."
    if unplaced.preemption is not None:
        return f"{refused} preemption: {unplaced.preemption}" if unplaced.preemption else refused
    hopeless = min(total, _hopeless(view, unplaced))
    why = []
    if total - hopeless:
        why.append(f"{total - hopeless} No preemption victims found for incoming pod")
    if hopeless:
        why.append(f"{hopeless} Preemption is not helpful for scheduling")
    return f"{refused} preemption: 0/{total} nodes are available: {', '.join(sorted(why))}."


def _text(reason: Reason) -> str:
    if reason.code == "extended":
        return f"Insufficient {reason.detail}"
    return _TEXTS.get(reason.code, reason.code)


def _hopeless(view: View, unplaced: Unplaced) -> int:
    """Nodes that would not take the pod even if they were empty."""
    count = sum(item.count for item in unplaced.reasons if item.code not in _EVICTION_HELPS)
    short = [
        item.count
        for item in unplaced.reasons
        if item.code in _AMOUNTS and _is_too_small(view, item, unplaced.ask)
    ]
    return count + max(short, default=0)


def _is_too_small(view: View, reason: Reason, ask: Ask) -> bool:
    instance = compute.instance_of(view, reason.instance)
    if instance is None:
        return False
    if reason.code == "extended":
        node = node_of(view, cluster_of(ask.key), instance.name)
        offered = dict(extended_of(node.value)) if node else {}
        return dict(ask.extended)[reason.detail] > offered.get(reason.detail, 0)
    capacity, reserve = instance.capacity, ask.reserve
    whole = {
        "cpu": reserve.cpu > capacity.cpu,
        "memory": reserve.memory > capacity.memory,
        "disk": reserve.disk > capacity.disk,
        "sandboxes": reserve.sandboxes > capacity.sandboxes,
    }
    return whole.get(reason.code, False)


def unschedulable_calls(view: View, entry: Entry[Pod], message: str, now: float) -> list[Call]:
    """The condition PodScheduled=False and the event FailedScheduling."""
    old = condition(entry.value.status.conditions, "PodScheduled")
    calls: list[Call] = []
    if old is None or old.message != message:
        since = old.last_transition_time if old and old.status == "False" else iso8601(now)
        new: dict[str, Any] = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": message,
            "lastTransitionTime": since,
        }
        calls.append(patch_conditions(entry, [new], SYSTEM))
    said = Said("FailedScheduling", message, "Warning", COMPONENT)
    return [*calls, *event_call(view, entry, said, now)]
