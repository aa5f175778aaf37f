"""ReplicaSets of a Deployment by revision: which is the current one, names, annotations, history.

``kubectl rollout history`` and ``undo`` read what is written here: the revision annotation of
every ReplicaSet and its template.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from proa.kube.controllers.common import copied, owner_reference
from proa.kube.controllers.deployment.sizes import DESIRED, MAXIMUM, Set, Sets, by_age, max_surge
from proa.kube.objects import Deployment, PodTemplate, ReplicaSet
from proa.reconcile.view import Entry

HASH_LABEL = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
HISTORY = "deployment.kubernetes.io/revision-history"
_OWN_ANNOTATIONS = {
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    HISTORY,
    DESIRED,
    MAXIMUM,
    "deprecated.deployment.rollback.to",
}
_HISTORY_LIMIT = 2000  # characters
_NO_LIMIT = 2**31 - 1
_SAFE = "bcdfghjklmnpqrstvwxz2456789"  # Kubernetes' alphabet without vowels
_canonical = msgspec.json.Encoder(order="sorted").encode


def split(deployment: Deployment, owned: Sequence[Set]) -> Sets:
    """The oldest ReplicaSet with the Deployment's template is the new one; all others are old."""
    wanted = plain_template(deployment.spec.template)
    new = next(
        (entry for entry in by_age(owned) if plain_template(entry.value.spec.template) == wanted),
        None,
    )
    return Sets(new, [entry for entry in owned if entry is not new])


def plain_template(template: PodTemplate) -> tuple[dict[str, Any], dict[str, Any]]:
    """A template without what a ReplicaSet adds to it and without empty metadata."""
    metadata = dict(template.metadata)
    labels = {k: v for k, v in (metadata.get("labels") or {}).items() if k != HASH_LABEL}
    metadata["labels"] = labels
    return {key: value for key, value in metadata.items() if value}, template.spec


def template_hash(template: PodTemplate, collisions: int) -> str:
    """A short name for a template: 32 bits of FNV-1a in Kubernetes' safe alphabet. A collision
    is told apart by their count."""
    value = 0x811C9DC5
    text = _canonical(plain_template(template))
    for byte in text + (str(collisions).encode() if collisions else b""):
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return "".join(_SAFE[ord(digit) % len(_SAFE)] for digit in str(value))


def revision(replica_set: ReplicaSet) -> int:
    """The revision of a ReplicaSet; 0 where it has none."""
    try:
        return int(replica_set.metadata.annotations.get(REVISION, "0"))
    except ValueError:
        return 0


def next_revision(sets: Sets) -> int:
    """One more than the highest old revision."""
    return max((revision(entry.value) for entry in sets.old), default=0) + 1


def size_annotations(deployment: Deployment) -> dict[str, str]:
    """What a ReplicaSet remembers of the Deployment that sized it."""
    replicas = deployment.spec.replicas
    return {DESIRED: str(replicas), MAXIMUM: str(replicas + max_surge(deployment))}


def annotations_for(
    deployment: Deployment, present: dict[str, str] | None, number: int
) -> dict[str, str]:
    """The annotations that the new ReplicaSet must have beyond those it has: the Deployment's
    own, its revision and the revisions it had before. ``present`` is None for a new one."""
    wanted = {
        name: value
        for name, value in deployment.metadata.annotations.items()
        if name not in _OWN_ANNOTATIONS
    }
    known = present or {}
    old = int(known[REVISION]) if known.get(REVISION, "").isdigit() else 0
    if old < number:
        wanted[REVISION] = str(number)
        if old:
            wanted[HISTORY] = _longer_history(known.get(HISTORY, ""), old)
    if present is None:
        wanted |= size_annotations(deployment)
    return {name: value for name, value in wanted.items() if known.get(name) != value}


def _longer_history(history: str, number: int) -> str:
    numbers = [item for item in history.split(",") if item]
    numbers.append(str(number))
    while len(",".join(numbers)) > _HISTORY_LIMIT:
        numbers.pop(0)
    return ",".join(numbers)


def new_set_body(
    entry: Entry[Deployment], digest: str, replicas: int, annotations: dict[str, str]
) -> dict[str, Any]:
    """The ReplicaSet of a Deployment's current template."""
    deployment = entry.value
    meta, spec = deployment.metadata, deployment.spec
    template = copied(spec.template)
    labels = {**(template.metadata.get("labels") or {}), HASH_LABEL: digest}
    selector: dict[str, Any] = {"matchLabels": {**spec.selector.match_labels, HASH_LABEL: digest}}
    if spec.selector.match_expressions:
        selector["matchExpressions"] = msgspec.to_builtins(spec.selector.match_expressions)
    body: dict[str, Any] = {
        "replicas": replicas,
        "selector": selector,
        "template": {
            "metadata": {**template.metadata, "labels": dict(labels)},
            "spec": template.spec,
        },
    }
    if spec.min_ready_seconds:
        body["minReadySeconds"] = spec.min_ready_seconds
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"{meta.name}-{digest}",
            "namespace": meta.namespace,
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [owner_reference("apps/v1", "Deployment", meta)],
        },
        "spec": body,
    }


def superfluous(deployment: Deployment, sets: Sets) -> list[Set]:
    """Old ReplicaSets beyond revisionHistoryLimit, the lowest revisions first; only those that
    have nothing left to do."""
    limit = deployment.spec.revision_history_limit
    if limit is None or limit == _NO_LIMIT:
        return []
    kept = [entry for entry in sets.old if not entry.value.metadata.deleting]
    kept.sort(key=lambda entry: (revision(entry.value), entry.created, entry.key))
    return [entry for entry in kept[: max(0, len(kept) - limit)] if _is_idle(entry.value)]


def _is_idle(replica_set: ReplicaSet) -> bool:
    status = replica_set.status
    return (
        status.replicas == 0
        and replica_set.spec.replicas == 0
        and replica_set.metadata.generation <= status.observed_generation
    )
