"""The pods of a Job as they are created: tracked, and in an Indexed Job with their index."""

from __future__ import annotations

from typing import Any

from proa.base.chance import Chance
from proa.kube.api.call import Call
from proa.kube.batch_objects import Job
from proa.kube.controllers.common import copied, owner_reference
from proa.kube.controllers.job import indexes, policies
from proa.kube.controllers.job.pods import TRACKING
from proa.kube.objects import Pod
from proa.kube.tables import cluster_of
from proa.reconcile.view import Entry

INDEX_VARIABLE = "JOB_COMPLETION_INDEX"
_NAME_BASE_LIMIT = 58  # generateName leaves room for five characters


def pod_call(
    entry: Entry[Job], index: int | None, last: Pod | None, chance: Chance, user: str
) -> Call:
    """The Call that creates a pod. ``last`` is the newest failure of its index, if failures are
    counted by index."""
    job, meta = entry.value, entry.value.metadata
    template = job.spec.template if index is None else copied(job.spec.template)
    prefix = f"{meta.name}-" if index is None else f"{meta.name}-{index}-"
    name = prefix[:_NAME_BASE_LIMIT] + chance.suffix()
    metadata: dict[str, Any] = {
        "name": name,
        "generateName": prefix,
        "namespace": meta.namespace,
        "labels": {**template.metadata.get("labels", {})},
        "annotations": {**template.metadata.get("annotations", {})},
        "finalizers": [*template.metadata.get("finalizers", ()), TRACKING],
        "ownerReferences": [owner_reference("batch/v1", "Job", meta)],
    }
    spec = template.spec
    if index is not None:
        metadata["labels"][indexes.INDEX] = str(index)
        metadata["annotations"] |= {indexes.INDEX: str(index), **_failures(job, last)}
        spec["hostname"] = f"{meta.name}-{index}"
        _tell_index(spec)
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
    cluster = cluster_of(entry.key)
    return Call(cluster, "create", "", "pods", meta.namespace, name, body=body, user=user)


def _failures(job: Job, last: Pod | None) -> dict[str, str]:
    """How often this index has failed before."""
    if job.spec.backoff_limit_per_index is None:
        return {}
    counted = indexes.failures_of(last) if last else 0
    ignored = indexes.failures_of(last, indexes.IGNORED_FAILURES) if last else 0
    if last is not None:
        if policies.verdict(job, last).action == "Ignore":
            ignored += 1
        else:
            counted += 1
    found = {indexes.FAILURES: str(counted)}
    return {**found, indexes.IGNORED_FAILURES: str(ignored)} if ignored else found


def _tell_index(spec: dict[str, Any]) -> None:
    """Every container finds its index in a variable, unless it has one of that name."""
    path = f"metadata.labels['{indexes.INDEX}']"
    variable = {"name": INDEX_VARIABLE, "valueFrom": {"fieldRef": {"fieldPath": path}}}
    for container in (*(spec.get("initContainers") or ()), *spec["containers"]):
        known = container.get("env") or []
        if not any(item["name"] == INDEX_VARIABLE for item in known):
            container["env"] = [*known, variable]
