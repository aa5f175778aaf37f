"""Pods as placement asks, Nodes as placement rows.

Rules: kube-scheduler's plugins NodeAffinity, TaintToleration, PodTopologySpread (with its default
constraints), InterPodAffinity, NodeResourcesFit, ImageLocality, SchedulingGates. Called by the
hull's port.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from msgspec.structs import replace

from proa.base.quantity import bytes_of, cpu_of
from proa.kube.compile.requests import (
    extended_requests,
    host_ports,
    is_scalar,
    pod_reserve,
    scored_requests,
)
from proa.kube.keys import object_key
from proa.kube.objects import (
    LabelExpression,
    LabelSelector,
    Node,
    NodeSelectorTerm,
    Pod,
    PodAffinity,
    PodAffinityTerm,
    PodSpec,
    SpreadConstraint,
)
from proa.kube.tables import (
    OBJECTS,
    PREFIX,
    REPLICA_SETS,
    STATEFUL_SETS,
    any_selects,
    cluster_of,
    selecting_services,
)
from proa.model.host import Instance
from proa.model.resources import Resources
from proa.placement.asks import (
    Amounts,
    Ask,
    PodTerm,
    Requirement,
    Row,
    Spread,
    Taint,
    Term,
    Toleration,
)
from proa.reconcile.view import Entry, Table, View

SCHEDULER = "default-scheduler"
HOSTNAME, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
KEPT = 4096  # templates
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
    pod = entry.value
    alike = _templates.ask_of(cluster_of(entry.key), pod)
    return replace(
        alike,
        uid=pod.metadata.uid,
        key=entry.key,
        spreads=_default_spreads(view, entry) if alike.spreads_default else alike.spreads,
        constraints=_NOWHERE if missing_claim(view, entry) else (),
    )


class _Template(NamedTuple):
    """What pods have in common that ask alike; ``spec`` is without a node."""

    cluster: str
    namespace: str
    labels: dict[str, str]
    spec: PodSpec
    ask: Ask


class _Templates:
    """What the pods of one template ask is made once. The projections of such pods share their
    parts (``kube.api.twins``), so a template is found by one of them, and then compared."""

    def __init__(self) -> None:
        self._known: dict[int, _Template] = {}  # by the identity of the containers, held by it

    def ask_of(self, cluster: str, pod: Pod) -> Ask:
        """The Ask of a pod, but for its own name and what follows from other objects."""
        spec, meta = pod.spec, pod.metadata
        if spec.node_name:
            spec = replace(spec, node_name="")
        wanted = (cluster, meta.namespace, meta.labels, spec)
        known = self._known.get(id(spec.containers))
        if known is not None and known[:4] == wanted:
            return known.ask
        if len(self._known) >= KEPT:
            self._known.clear()
        made = self._known[id(spec.containers)] = _Template(*wanted, _made(cluster, pod))
        return made.ask


_templates = _Templates()


def _made(cluster: str, pod: Pod) -> Ask:
    spec = pod.spec
    affinity = spec.affinity.node_affinity if spec.affinity else None
    required = affinity.required if affinity else None
    near = spec.affinity.pod_affinity if spec.affinity else None
    apart = spec.affinity.pod_anti_affinity if spec.affinity else None
    return Ask(
        uid="",
        key="",
        cluster=f"{PREFIX}{cluster}/",
        reserve=pod_reserve(pod),
        extended=extended_requests(pod),
        scored=scored_requests(pod),
        images=tuple(_image_name(item.image) for item in (*spec.init_containers, *spec.containers)),
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
        spreads=tuple(_spread(item, pod) for item in spec.topology_spread_constraints),
        spreads_default=not spec.topology_spread_constraints,
        pod_affinity=_required(near, pod),
        pod_anti_affinity=_required(apart, pod),
        pod_preferred=(*_preferred(near, pod, 1), *_preferred(apart, pod, -1)),
        priority=spec.priority,
        preempts=spec.preemption_policy != "Never",
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


def selector_requirements(selector: LabelSelector) -> tuple[Requirement, ...]:
    labels = tuple(
        Requirement(key, "In", (value,)) for key, value in sorted(selector.match_labels.items())
    )
    return labels + _requirements(selector.match_expressions)


_SPREADING: Mapping[str, Table[Any]] = {"ReplicaSet": REPLICA_SETS, "StatefulSet": STATEFUL_SETS}


def _default_spreads(view: View, entry: Entry[Pod]) -> tuple[Spread, ...]:
    """The default constraints spread the pods of all Services that select this one, as far as they
    are of its ReplicaSet or StatefulSet too."""
    meta, cluster = entry.value.metadata, cluster_of(entry.key)
    labels: dict[str, str] = {}
    if any_selects(view, cluster, meta.namespace):
        for row in selecting_services(view, cluster, meta.namespace, meta.labels):
            labels |= row.value.spec.selector
    owner = meta.controller
    table = _SPREADING.get(owner.kind) if owner is not None else None
    of_owner = LabelSelector()
    if owner is not None and table is not None:
        for found in view.rows(table).by("uid", f"{cluster}/{owner.uid}"):
            of_owner = found.value.spec.selector
    matched = tuple(sorted(of_owner.match_labels.items()))
    return _spreads_of(tuple(sorted(labels.items())), matched, of_owner.match_expressions)


Pairs = tuple[tuple[str, str], ...]


@lru_cache(maxsize=KEPT)
def _spreads_of(
    selected: Pairs, matched: Pairs, expressions: tuple[LabelExpression, ...]
) -> tuple[Spread, ...]:
    """The default constraints over pods that have both these labels and meet the expressions; pods
    of one template share them. Nothing is spread by nothing."""
    pairs = dict.fromkeys((*selected, *matched))
    found = [Requirement(key, "In", (value,)) for key, value in pairs]
    selector = tuple(dict.fromkeys((*found, *_requirements(expressions))))
    if not selector:
        return ()
    return tuple(Spread(key, skew, False, selector) for key, skew in _DEFAULT_SPREADS)


def _spread(item: SpreadConstraint, pod: Pod) -> Spread:
    selector = _with_keys(item.label_selector, item.match_label_keys, (), pod)
    return Spread(
        item.topology_key,
        item.max_skew,
        item.when_unsatisfiable != "ScheduleAnyway",
        selector,
        item.min_domains,
        item.node_affinity_policy != "Ignore",
        item.node_taints_policy == "Honor",
    )


def _with_keys(
    selector: LabelSelector | None, same: tuple[str, ...], other: tuple[str, ...], pod: Pod
) -> tuple[Requirement, ...] | None:
    """A selector with what the pod's own labels add to it (matchLabelKeys, mismatchLabelKeys);
    a selector that is not there selects nothing."""
    if selector is None:
        return None
    labels = pod.metadata.labels
    added = [Requirement(key, "In", (labels[key],)) for key in same if key in labels]
    added += [Requirement(key, "NotIn", (labels[key],)) for key in other if key in labels]
    return tuple(dict.fromkeys((*selector_requirements(selector), *added)))


def _required(affinity: PodAffinity | None, pod: Pod) -> tuple[PodTerm, ...]:
    return tuple(_pod_term(item, pod) for item in affinity.required) if affinity else ()


def _preferred(
    affinity: PodAffinity | None, pod: Pod, sign: int
) -> tuple[tuple[int, PodTerm], ...]:
    if affinity is None:
        return ()
    return tuple(
        (sign * item.weight, _pod_term(item.pod_affinity_term, pod)) for item in affinity.preferred
    )


def _pod_term(item: PodAffinityTerm, pod: Pod) -> PodTerm:
    """Without namespaces and a selector of them, a term means the pod's own."""
    namespaces = tuple(sorted(set(item.namespaces)))
    spaces = None
    if item.namespace_selector is not None:
        spaces = selector_requirements(item.namespace_selector)
    elif not namespaces:
        namespaces = (pod.metadata.namespace,)
    selector = _with_keys(item.label_selector, item.match_label_keys, item.mismatch_label_keys, pod)
    return PodTerm(item.topology_key, selector, namespaces, spaces)


def _image_name(name: str) -> str:
    """An image with its tag, as nodes report it (ImageLocality)."""
    return name if name.rfind(":") > name.rfind("/") else f"{name}:latest"


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
        extended=extended_of(node),
        images=tuple(
            sorted(
                {
                    name: image.size_bytes for image in node.status.images for name in image.names
                }.items()
            )
        ),
    )


def extended_of(node: Node) -> Amounts:
    """Extended resources and huge pages that a Node offers; what it only lists as capacity is
    offered whole ("Advertise Extended Resources for a Node")."""
    offered = {**node.status.capacity, **node.status.allocatable}
    return tuple(
        (name, bytes_of(amount)) for name, amount in sorted(offered.items()) if is_scalar(name)
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
