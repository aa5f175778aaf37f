"""Which nodes a DaemonSet's pod belongs on, and how it is bound to one.

Rules: "DaemonSet: taints and tolerations", "How Daemon Pods are scheduled": the pod is made for
its node by node affinity, and the ordinary scheduler puts it there. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from proa.kube.controllers.evictions import tolerates
from proa.kube.decoding import without_nulls
from proa.kube.objects import (
    LabelExpression,
    Node,
    NodeSelectorTerm,
    PodSpec,
    PodTemplate,
    Taint,
    Toleration,
)

_NAME = "metadata.name"
_EXISTS = (
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
)
_HOST_NETWORK = ("node.kubernetes.io/network-unavailable", "NoSchedule")


class Fit(NamedTuple):
    """Whether a pod should be made on a node, and whether one that is there may stay."""

    runs: bool
    stays: bool


def spec_of(template: PodTemplate) -> PodSpec:
    """What ``fits`` looks at, decoded once for all nodes."""
    return msgspec.convert(without_nulls(template.spec), PodSpec)


def fits(spec: PodSpec, node: Node) -> Fit:
    """Whether pods of a spec belong on a node. One that is only tainted against new pods keeps
    those it has."""
    if spec.node_name not in ("", node.metadata.name) or not _selects(spec, node):
        return Fit(False, False)
    tolerations = (*spec.tolerations, *_own_tolerations(spec.host_network))
    refused = [taint for taint in node.spec.taints if _refuses(taint, tolerations)]
    return Fit(
        not any(taint.effect in ("NoSchedule", "NoExecute") for taint in refused),
        not any(taint.effect == "NoExecute" for taint in refused),
    )


def _refuses(taint: Taint, tolerations: Iterable[Toleration]) -> bool:
    return not any(tolerates(toleration, taint) for toleration in tolerations)


def _own_tolerations(host_network: bool) -> list[Toleration]:
    pairs = (*_EXISTS, _HOST_NETWORK) if host_network else _EXISTS
    return [Toleration(key, "Exists", "", effect) for key, effect in pairs]


def _selects(spec: PodSpec, node: Node) -> bool:
    labels = node.metadata.labels
    if not spec.node_selector.items() <= labels.items():
        return False
    affinity = spec.affinity.node_affinity if spec.affinity else None
    if affinity is None or affinity.required is None:
        return True
    return any(_meets(term, node) for term in affinity.required.node_selector_terms)


def _meets(term: NodeSelectorTerm, node: Node) -> bool:
    """Every requirement of a term; an empty one is met by no node."""
    fields = {_NAME: node.metadata.name}
    parts = [_holds(item, node.metadata.labels) for item in term.match_expressions]
    parts += [_holds(item, fields) for item in term.match_fields]
    return bool(parts) and all(parts)


def _holds(expression: LabelExpression, labels: dict[str, str]) -> bool:
    value, operator = labels.get(expression.key), expression.operator
    if operator in ("In", "NotIn"):
        return (value in expression.values) == (operator == "In")
    if operator in ("Exists", "DoesNotExist"):
        return (value is not None) == (operator == "Exists")
    try:
        left, right = int(value or ""), int(expression.values[0])
    except (ValueError, IndexError):
        return False
    return left > right if operator == "Gt" else left < right


def bound_to(spec: dict[str, Any], node: str) -> None:
    """Write into a pod's spec that it is for ``node`` alone, and what it tolerates there."""
    affinity = spec.setdefault("affinity", {}) or {}
    node_affinity = affinity.get("nodeAffinity") or {}
    term = {"matchFields": [{"key": _NAME, "operator": "In", "values": [node]}]}
    required = {"nodeSelectorTerms": [term]}
    node_affinity["requiredDuringSchedulingIgnoredDuringExecution"] = required
    spec["affinity"] = {**affinity, "nodeAffinity": node_affinity}
    tolerations = list(spec.get("tolerations") or ())
    for toleration in _own_tolerations(bool(spec.get("hostNetwork"))):
        item = {"key": toleration.key, "operator": "Exists", "effect": toleration.effect}
        if item not in tolerations:
            tolerations.append(item)
    spec["tolerations"] = tolerations


def target_of(affinity: Any) -> str:
    """The node that an unplaced daemon pod was made for."""
    required = affinity.node_affinity.required if affinity and affinity.node_affinity else None
    for term in required.node_selector_terms if required else ():
        for item in term.match_fields:
            if item.key == _NAME and item.operator == "In" and len(item.values) == 1:
                return str(item.values[0])
    return ""
