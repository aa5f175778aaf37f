"""Why a Kubernetes Service leads nowhere, and why a workload has not all its pods."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from proa.dispatch.scheduler import Scheduler
from proa.kube.objects import Object, Pod, Service
from proa.kube.tables import ENDPOINT_SLICES, OBJECTS, PODS, cluster_of, selected_pods
from proa.reconcile.view import Entry, View
from proa.server.why.pods import events_of, pod_report
from proa.server.why.report import Report

SHOWN_REASONS = 3


def service_report(view: View, scheduler: Scheduler, entry: Entry[Service]) -> Report:
    """Where its traffic goes, and why not to more."""
    service, meta = entry.value, entry.value.metadata
    cluster = cluster_of(entry.key)
    name = f"{meta.namespace}/{meta.name}"
    events = tuple(events_of(view, entry))
    if not service.spec.selector:
        because = ("it has no selector: its endpoints are somebody else's to make",)
        return Report("Service", name, service.spec.type, because, (), events)
    pods = selected_pods(view, cluster, meta.namespace, service.spec.selector)
    words = ",".join(f"{key}={value}" for key, value in sorted(service.spec.selector.items()))
    if not pods:
        advice = (f"kubectl get pods -n {meta.namespace} --show-labels, and compare",)
        nobody = (f"no pod of its namespace carries {words}",)
        return Report("Service", name, service.spec.type, nobody, (), events, advice)
    slices = view.rows(ENDPOINT_SLICES).by("service", f"{cluster}/{meta.namespace}/{meta.name}")
    ready = sum(endpoint.ready for item in slices for endpoint in item.value.endpoints)
    lines = [f"{ready} of the {len(pods)} pods with {words} take traffic"]
    facts: tuple[str, ...] = ()
    if ready == len(pods):
        facts, lines = tuple(lines), []
    reasons, to_do, instances = _pods(view, scheduler, pods)
    lines += reasons
    if ready and not any(item.value.ports for item in slices) and service.spec.ports:
        lines.append("its target port has a name that no container port bears")
        to_do = (*to_do, "name the container port, or give targetPort a number")
    return Report("Service", name, service.spec.type, tuple(lines), instances, events, to_do,
                  facts)  # fmt: skip


def owner_report(view: View, scheduler: Scheduler, entry: Entry[Object]) -> Report:
    """A Deployment, ReplicaSet, Job …: its own conditions, and its pods'."""
    meta = entry.value.metadata
    status = json.loads(entry.body).get("status") or {}
    lines = [
        f"{item['type']} is {item['status']}: {item.get('message') or item.get('reason', '')}"
        for item in status.get("conditions", ())
        if _is_bad(item)
    ]
    pods = _pods_below(view, cluster_of(entry.key), meta.uid)
    reasons, advice, instances = _pods(view, scheduler, pods)
    name = f"{meta.namespace}/{meta.name}"
    counts = ", ".join(f"{key} {value}" for key, value in sorted(status.items())
                       if isinstance(value, int) and key != "observedGeneration")  # fmt: skip
    events = tuple(events_of(view, entry))
    return Report(entry.value.kind, name, counts, (*lines, *reasons), instances, events, advice)


def _is_bad(item: dict[str, Any]) -> bool:
    good_when_true = item["type"] in ("Available", "Progressing", "Ready", "Complete")
    return bool((item["status"] == "True") != good_when_true)


def _pods_below(view: View, cluster: str, uid: str) -> list[Entry[Pod]]:
    """Its pods, and those of what it owns, two generations deep (Deployment, CronJob)."""
    owners = [uid]
    for _ in range(2):
        owners += [
            child.value.metadata.uid
            for owner in list(owners)
            for child in view.rows(OBJECTS).by("owner", f"{cluster}/{owner}")
        ]
    return [
        pod
        for owner in dict.fromkeys(owners)
        for pod in view.rows(PODS).by("controller", f"{cluster}/{owner}")
    ]


def _pods(
    view: View, scheduler: Scheduler, pods: list[Entry[Pod]]
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[Any, ...]]:
    """(what keeps pods from being ready, what to do, what Instances lack)."""
    waiting = [entry for entry in pods if entry.value.ready_since is None]
    reports = [
        pod_report(view, scheduler, entry)
        for entry in waiting
        if entry.value.status.phase != "Succeeded"
    ]
    reasons = Counter(reason for report in reports for reason in report.because)
    lines = tuple(
        f"{reason} ({count} pods)" if count > 1 else reason
        for reason, count in reasons.most_common(SHOWN_REASONS)
    )
    advice = tuple(dict.fromkeys(line for report in reports for line in report.advice))
    return lines, advice, next((report.instances for report in reports if report.instances), ())
