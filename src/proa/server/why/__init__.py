"""``proa why``: from a word the user typed to reports on what it names.

A word may be a pod (``[pod/][namespace/]name``), a task (id, a prefix of it of 6 or more, or
ARN), a service of either API (``[service/]name``, ARN), a workload (``deployment/name``), a node
(name, instance id, container-instance ARN). Reads the view and the scheduler; changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from proa.aws.ecs.tables import SERVICES as ECS_SERVICES
from proa.aws.ecs.tables import TASKS
from proa.dispatch.scheduler import Scheduler
from proa.kube.tables import OBJECTS, PODS
from proa.kube.tables import SERVICES as KUBE_SERVICES
from proa.reconcile.view import Entry, View
from proa.server.why import nodes, pods, tasks, workloads
from proa.server.why.report import Report

MIN_PREFIX = 6
LIMIT = 10
KINDS = {
    "po": "pod", "pods": "pod", "svc": "service", "services": "service", "tasks": "task",
    "no": "node", "nodes": "node", "deploy": "deployment", "deployments": "deployment",
    "rs": "replicaset", "sts": "statefulset", "ds": "daemonset", "jobs": "job",
}  # fmt: skip
OWNERS = ("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job", "CronJob")


class Why:
    """Answers for one control plane."""

    def __init__(self, view: View, scheduler: Scheduler, ready: Callable[[str], bool]) -> None:
        self._view, self._scheduler, self._ready = view, scheduler, ready

    def reports(self, word: str, namespace: str = "") -> list[Report]:
        """A report on everything the word names, at most ``LIMIT``; empty: it names nothing."""
        kind, name = _split(word)
        found: list[Report] = []
        for subject, reports in (
            ("pod", self._pods(name, namespace)),
            ("task", self._tasks(name, word)),
            ("service", self._services(name, word, namespace)),
            ("node", self._nodes(name)),
            ("", self._owners(kind, name, namespace)),
        ):
            if kind in ("", subject) or not subject:
                found += [report for report, _ in zip(reports, range(LIMIT), strict=False)]
        return found[:LIMIT]

    def _pods(self, name: str, namespace: str) -> Iterator[Report]:
        for entry in self._view.rows(PODS).scan():
            if _is_named(entry, name, namespace):
                yield pods.pod_report(self._view, self._scheduler, entry)

    def _tasks(self, name: str, word: str) -> Iterator[Report]:
        last = name.rsplit("/", 1)[-1]
        for entry in self._view.rows(TASKS).scan():
            task = entry.value
            begins = len(last) >= MIN_PREFIX and task.id.startswith(last)
            if begins or task.arn == word:
                yield tasks.task_report(self._view, self._scheduler, task)

    def _services(self, name: str, word: str, namespace: str) -> Iterator[Report]:
        for ecs in self._view.rows(ECS_SERVICES).scan():
            service = ecs.value
            names = (service.name, f"{service.cluster}/{service.name}")
            if service.status != "INACTIVE" and (name in names or word == service.arn):
                yield tasks.service_report(self._view, self._scheduler, service)
        for entry in self._view.rows(KUBE_SERVICES).scan():
            if _is_named(entry, name, namespace):
                yield workloads.service_report(self._view, self._scheduler, entry)

    def _nodes(self, name: str) -> Iterator[Report]:
        for instance in nodes.instances_named(self._view, name):
            yield nodes.node_report(self._view, self._scheduler, instance, self._ready)

    def _owners(self, kind: str, name: str, namespace: str) -> Iterator[Report]:
        for entry in self._view.rows(OBJECTS).scan():
            own = entry.value.kind
            if own not in OWNERS or not _is_named(entry, name, namespace):
                continue
            if kind == own.lower() or (not kind and not entry.value.metadata.controller):
                yield workloads.owner_report(self._view, self._scheduler, entry)


def _split(word: str) -> tuple[str, str]:
    """(kind in the singular, rest); no kind for an ARN or a plain name."""
    if word.startswith("arn:"):
        return "", word.split(":", 5)[-1].split("/", 1)[-1]
    head, slash, rest = word.partition("/")
    kind = KINDS.get(head.lower(), head.lower())
    known = {"pod", "task", "service", "node", *(owner.lower() for owner in OWNERS)}
    return (kind, rest) if slash and kind in known else ("", word)


def _is_named(entry: Entry[Any], name: str, namespace: str) -> bool:
    meta = entry.value.metadata
    if namespace and meta.namespace != namespace:
        return False
    return name in (meta.name, f"{meta.namespace}/{meta.name}")
