"""Preemption in this API's words: budgets, the nominated node, and what befalls a victim.

Rules and texts: kube-scheduler 1.36 (DefaultPreemption), KEP-3329 (condition DisruptionTarget).
Called by the hull's port.
"""

from __future__ import annotations

from proa.base.clock import iso8601
from proa.cloud import compute
from proa.kube.api.call import SYSTEM, Call
from proa.kube.asks import selector_requirements
from proa.kube.controllers.common import delete, patch, patch_conditions
from proa.kube.events import Said, event_call
from proa.kube.keys import object_key
from proa.kube.tables import BUDGETS, PODS, PREFIX, cluster_of
from proa.placement.asks import Ask
from proa.placement.preemption import Budget
from proa.reconcile.plan import NOTHING, Plan
from proa.reconcile.view import View

COMPONENT = "default-scheduler"


def budgets_of(view: View, cluster: str) -> list[Budget]:
    """The PodDisruptionBudgets of a cluster as placement sees them."""
    found = []
    for entry in view.rows(BUDGETS).scan():
        selector = entry.value.spec.selector
        if selector is None or cluster_of(entry.key) != cluster:
            continue
        namespace = entry.value.metadata.namespace
        noted = entry.value.status.disrupted_pods
        found.append(
            Budget(
                f"{PREFIX}{cluster}/",
                namespace,
                selector_requirements(selector),
                entry.value.status.disruptions_allowed,
                frozenset(object_key(cluster, "", "pods", namespace, name) for name in noted),
            )
        )
    return found


def nominated(view: View, key: str, instance: str) -> Plan:
    """``status.nominatedNodeName`` of a pod that still waits; "" takes it away."""
    entry = view.rows(PODS).get(key)
    found = compute.instance_of(view, instance) if instance else None
    name = found.name if found else ""
    if entry is None or entry.value.spec.node_name:
        return NOTHING
    if entry.value.status.nominated_node_name == name:
        return NOTHING
    body = {"status": {"nominatedNodeName": name or None}}
    return Plan((patch(entry, body, SYSTEM, "status"),))


def evicted(view: View, ask: Ask, victim: str, instance: str, now: float) -> Plan:
    """A victim learns why it goes, goes, and an event tells of it; one that is going already is
    left alone."""
    entry = view.rows(PODS).get(victim)
    found = compute.instance_of(view, instance)
    if entry is None or found is None or not entry.value.active:
        return NOTHING
    calls: list[Call] = []
    why = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "PreemptionByScheduler",
        "message": f"{COMPONENT}: preempting to accommodate a higher priority pod",
        "lastTransitionTime": iso8601(now),
    }
    calls += (patch_conditions(entry, [why], SYSTEM), delete(entry, SYSTEM))
    text = f"Preempted by pod {ask.uid} on node {found.name}"
    said = Said("Preempted", text, component=COMPONENT)
    return Plan((*calls, *event_call(view, entry, said, now)))
