"""Pods as placement asks, Nodes as placement rows.

Rules: kube-scheduler's plugins NodeAffinity, TaintToleration, PodTopologySpread (with its default
constraints), NodeResourcesFit, SchedulingGates. Called by the hull's port.
"""

from __future__ import annotations

from proa.base.quantity import bytes_of, cpu_of
from proa.kube.compile.requests import host_ports, pod_reserve
from proa.kube.keys import object_key
from proa.kube.objects import (
    LabelExpression,
    LabelSelector,
    Node,
    NodeSelectorTerm,
    Pod,
    SpreadConstraint,
)
from proa.kube.tables import OBJECTS, PREFIX, REPLICA_SETS, cluster_of
from proa.model.host import Instance
from proa.model.resources import Resources
from proa.placement.asks import Ask, Requirement, Row, Spread, Taint, Term, Toleration
from proa.reconcile.view import Entry, View

SCHEDULER = "default-scheduler"
HOSTNAME, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
_DEFAULT_SPREADS = ((HOSTNAME, 3), (ZONE, 5))


def wants_place(pod: Pod) -> bool:
    """Whether a pod waits for our scheduler: neither placed, ending, gated nor another's."""
    spec = pod.spec
    return (
        not spec.node_name
        and pod.active
        and not spec.scheduling_gates
        and spec.scheduler_name in ("", SCHEDULER)
    )


def ask_of(view: View, entry: Entry[Pod]) -> Ask:
    """What a pod asks of placement, wherever it may be by now."""
    pod, spec = entry.value, entry.value.spec
    affinity = spec.affinity.node_affinity if spec.affinity else None
    required = affinity.required if affinity else None
    return Ask(
        uid=pod.metadata.uid,
        key=entry.key,
        cluster=f"{PREFIX}{cluster_of(entry.key)}/",
        reserve=pod_reserve(pod),
        ports=host_ports(pod),
        namespace=pod.metadata.namespace,
        labels=tuple(sorted(pod.metadata.labels.items())),
        node_selector=tuple(sorted(spec.node_selector.items())),
        affinity=tuple(map(_term, required.node_selector_terms)) if required else None,
        preferred=tuple(
            (item.weight, _term(item.preference))
            for item in (affinity.preferred if affinity else ())
            if not _term(item.preference).empty
        ),
        tolerations=tuple(
            Toleration(item.key, item.operator or "Equal", item.value, item.effect)
            for item in spec.tolerations
        ),
        spreads=_spreads(view, entry),
        constraints=_NOWHERE if missing_claim(view, entry) else (),
        priority=spec.priority,
    )


_NOWHERE = (Term(names=()),)


def _term(term: NodeSelectorTerm) -> Term:
    """matchFields knows metadata.name alone; that a node is (not) so named is also a requirement
    on the label every Node has, but names are what the API compares."""
    inside = [set(item.values) for item in term.match_fields if item.operator == "In"]
    names = tuple(sorted(set.intersection(*inside))) if inside else None
    others = tuple(
        sorted(
            {name for item in term.match_fields if item.operator == "NotIn" for name in item.values}
        )
    )
    return Term(_requirements(term.match_expressions), names, others)


def missing_claim(view: View, entry: Entry[Pod]) -> str:
    """Why a pod's volumes keep it from every node, in kube-scheduler's words; "" if they do not.
    Nothing provisions volumes here: a claim is not there, or it is never bound."""
    meta = entry.value.metadata
    for volume in entry.value.spec.volumes:
        if volume.ephemeral is not None:
            claim = f"{meta.name}-{volume.name}"
            absent = (
                "waiting for ephemeral volume controller to create the persistentvolumeclaim "
                f'"{claim}"'
            )
        elif volume.persistent_volume_claim is not None:
            claim = volume.persistent_volume_claim.claim_name
            absent = f'persistentvolumeclaim "{claim}" not found'
        else:
            continue
        key = object_key(cluster_of(entry.key), "", "persistentvolumeclaims", meta.namespace, claim)
        if view.rows(OBJECTS).get(key) is None:
            return absent
        return "pod has unbound immediate PersistentVolumeClaims"
    return ""


def _requirements(expressions: tuple[LabelExpression, ...]) -> tuple[Requirement, ...]:
    return tuple(Requirement(item.key, item.operator, item.values) for item in expressions)


def _selector(selector: LabelSelector) -> tuple[Requirement, ...]:
    labels = tuple(
        Requirement(key, "In", (value,)) for key, value in sorted(selector.match_labels.items())
    )
    return labels + _requirements(selector.match_expressions)


def _spreads(view: View, entry: Entry[Pod]) -> tuple[Spread, ...]:
    pod = entry.value
    own = pod.spec.topology_spread_constraints
    if own:
        return tuple(_spread(item, pod) for item in own)
    owner = pod.metadata.controller
    if owner is None:
        return ()
    sets = view.rows(REPLICA_SETS).by("uid", f"{cluster_of(entry.key)}/{owner.uid}")
    return tuple(
        Spread(key, skew, False, _selector(found.value.spec.selector))
        for found in sets
        for key, skew in _DEFAULT_SPREADS
    )


def _spread(item: SpreadConstraint, pod: Pod) -> Spread:
    selector = _selector(item.label_selector) if item.label_selector else ()
    pinned = tuple(
        Requirement(key, "In", (pod.metadata.labels[key],))
        for key in item.match_label_keys
        if key in pod.metadata.labels
    )
    hard = item.when_unsatisfiable != "ScheduleAnyway"
    return Spread(item.topology_key, item.max_skew, hard, selector + pinned, item.min_domains)


def row_of(instance: Instance, node: Node) -> Row:
    """An Instance as placement sees it through its Node. Readiness acts by taints alone."""
    return Row(
        id=instance.id,
        name=node.metadata.name,
        cluster=instance.cluster,
        pool=instance.host,
        allocatable=allocatable_of(node),
        labels=tuple(sorted(node.metadata.labels.items())),
        taints=tuple(Taint(item.key, item.value, item.effect) for item in node.spec.taints),
        schedulable=not node.spec.unschedulable and not node.metadata.deleting,
    )


def allocatable_of(node: Node) -> Resources:
    """What a Node offers to pods."""
    amounts = node.status.allocatable or node.status.capacity
    return Resources(
        cpu_of(amounts.get("cpu", 0)),
        bytes_of(amounts.get("memory", 0)),
        bytes_of(amounts.get("ephemeral-storage", 0)),
        bytes_of(amounts.get("pods", 0)),
    )
