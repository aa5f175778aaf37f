"""The pods and claims of a StatefulSet: names by ordinal, which outlive every single pod.

Rules: "StatefulSets: pod identity", "stable storage", "start ordinal" (KEP-3335). Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from proa.kube.api.call import Call
from proa.kube.controllers.common import copied, owner_reference
from proa.kube.controllers.revisions import HASH_LABEL
from proa.kube.objects import Pod, PodTemplate
from proa.kube.set_objects import StatefulSet
from proa.kube.tables import cluster_of
from proa.reconcile.view import Entry

POD_NAME = "statefulset.kubernetes.io/pod-name"
POD_INDEX = "apps.kubernetes.io/pod-index"


def ordinal_of(stateful_set: StatefulSet, pod: Pod) -> int | None:
    """The ordinal in a pod's name; None for a name that is not the set's."""
    parent, _, text = pod.metadata.name.rpartition("-")
    return int(text) if parent == stateful_set.metadata.name and text.isdigit() else None


def claim_name(template: PodTemplate, pod: str) -> str:
    """The claim of a pod for one of the set's templates."""
    return f"{template.metadata.get('name', '')}-{pod}"


def pod_call(
    entry: Entry[StatefulSet], ordinal: int, template: PodTemplate, hash: str, user: str
) -> Call:
    """The Call that creates the pod of an ordinal, as a revision's template has it."""
    stateful_set, meta = entry.value, entry.value.metadata
    made = copied(template)
    name = f"{meta.name}-{ordinal}"
    labels = {
        **made.metadata.get("labels", {}),
        POD_NAME: name,
        POD_INDEX: str(ordinal),
        HASH_LABEL: hash,
    }
    metadata: dict[str, Any] = {
        "name": name,
        "generateName": f"{meta.name}-",
        "namespace": meta.namespace,
        "labels": labels,
        "ownerReferences": [owner_reference("apps/v1", "StatefulSet", meta)],
    }
    for part in ("annotations", "finalizers"):
        if made.metadata.get(part):
            metadata[part] = made.metadata[part]
    spec = made.spec
    spec["hostname"] = name
    if stateful_set.spec.service_name:
        spec["subdomain"] = stateful_set.spec.service_name
    _claimed(spec, stateful_set, name)
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
    cluster = cluster_of(entry.key)
    return Call(cluster, "create", "", "pods", meta.namespace, name, body=body, user=user)


def _claimed(spec: dict[str, Any], stateful_set: StatefulSet, pod: str) -> None:
    """A pod's volumes of the templates' names are its claims."""
    claims = {
        template.metadata.get("name", ""): {"claimName": claim_name(template, pod)}
        for template in stateful_set.spec.volume_claim_templates
    }
    others = [item for item in spec.get("volumes") or () if item["name"] not in claims]
    volumes = [
        *others,
        *({"name": name, "persistentVolumeClaim": claim} for name, claim in claims.items()),
    ]
    if volumes:
        spec["volumes"] = volumes


def claim_calls(entry: Entry[StatefulSet], ordinal: int, user: str) -> Iterator[Call]:
    """The Calls that create a pod's claims."""
    meta, cluster = entry.value.metadata, cluster_of(entry.key)
    pod = f"{meta.name}-{ordinal}"
    selected = entry.value.spec.selector.match_labels
    for template in entry.value.spec.volume_claim_templates:
        name = claim_name(template, pod)
        metadata = {
            **deepcopy(template.metadata),
            "name": name,
            "namespace": meta.namespace,
            "labels": {**template.metadata.get("labels", {}), **selected},
        }
        body = {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": metadata,
            "spec": deepcopy(template.spec),
        }
        yield Call(
            cluster, "create", "", "persistentvolumeclaims", meta.namespace, name,
            body=body, user=user, existing_ok=True,
        )  # fmt: skip
