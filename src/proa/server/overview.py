"""What ``proa watch`` shows: workloads, their Sandboxes and the newest events of both APIs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from proa.aws.ecs.tables import EVENTS as ECS_EVENTS
from proa.aws.ecs.tables import SERVICES, TASKS
from proa.base.clock import iso8601
from proa.kube.tables import EVENTS, OBJECTS
from proa.server.core import Core
from proa.server.status import StatusReport

NEWEST_EVENTS = 20
KINDS = ("Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob")


class Overview:
    """Reads the view; nothing is kept between calls."""

    def __init__(self, core: Core, status: StatusReport) -> None:
        self._core, self._status = core, status

    def report(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "version": self._core.view.version,
            "now": iso8601(self._core.clock.now()),
            "workloads": [*self._services(), *self._objects()],
            "sandboxes": self._status.sandboxes(),
            "events": sorted(
                [*self._service_events(), *self._kube_events()], key=lambda event: event["at"]
            )[-NEWEST_EVENTS:],
        }

    def _services(self) -> Iterator[dict[str, Any]]:
        view = self._core.view
        for entry in view.rows(SERVICES).scan():
            service = entry.value
            if service.status == "INACTIVE":
                continue
            tasks = view.rows(TASKS).by("service", service.key)
            running = sum(task.value.last_status == "RUNNING" for task in tasks)
            yield {
                "api": "ecs",
                "kind": "Service",
                "where": f"{service.region}/{service.cluster}",
                "name": service.name,
                "ready": running,
                "wanted": service.desired_count,
                "state": service.primary.rollout_state if service.deployments else service.status,
            }

    def _objects(self) -> Iterator[dict[str, Any]]:
        for entry in self._core.view.rows(OBJECTS).scan():
            if entry.value.kind not in KINDS:
                continue
            body = json.loads(entry.body)
            spec, status = body.get("spec", {}), body.get("status", {})
            ready, wanted = _counts(entry.value.kind, spec, status)
            bad = [item for item in status.get("conditions", ()) if item["status"] != "True"]
            good = [item for item in status.get("conditions", ()) if item["status"] == "True"]
            yield {
                "api": "kubernetes",
                "kind": entry.value.kind,
                "where": entry.value.metadata.namespace,
                "name": entry.value.metadata.name,
                "ready": ready,
                "wanted": wanted,
                "state": _state(bad, good),
            }

    def _service_events(self) -> Iterator[dict[str, str]]:
        entries = sorted(
            self._core.view.rows(ECS_EVENTS).scan(), key=lambda entry: entry.value.created_at
        )
        for entry in entries[-NEWEST_EVENTS:]:
            event = entry.value
            yield {"at": iso8601(event.created_at), "api": "ecs", "kind": "", "about": "",
                   "text": event.message}  # fmt: skip

    def _kube_events(self) -> Iterator[dict[str, str]]:
        entries = sorted(self._core.view.rows(EVENTS).scan(), key=lambda entry: entry.version)
        for entry in entries[-NEWEST_EVENTS:]:
            body, event = json.loads(entry.body), entry.value
            yield {
                "at": iso8601(event.last_said_at),
                "api": "kubernetes",
                "kind": body.get("type", ""),
                "about": f"{event.about_kind.lower()}/{event.about_name}",
                "text": f"{body.get('reason', '')}: {body.get('message', '')}",
            }


def _counts(kind: str, spec: dict[str, Any], status: dict[str, Any]) -> tuple[int, int]:
    """(ready, wanted) in each kind's own members."""
    if kind == "DaemonSet":
        return status.get("numberReady", 0), status.get("desiredNumberScheduled", 0)
    if kind == "Job":
        return status.get("succeeded", 0), spec.get("completions") or spec.get("parallelism", 1)
    if kind == "CronJob":
        return len(status.get("active", ())), 0
    return status.get("readyReplicas", 0), spec.get("replicas", 1)


def _state(bad: list[dict[str, Any]], good: list[dict[str, Any]]) -> str:
    """The most telling condition: a failed one, else the newest true one."""
    for item in bad:
        if item["type"] in ("Available", "Progressing"):
            return str(item.get("reason") or item["type"])
    return str(good[-1].get("reason") or good[-1]["type"]) if good else ""
