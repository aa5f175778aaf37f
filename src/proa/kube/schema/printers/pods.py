"""What ``kubectl get pods`` shows (``printPod`` of Kubernetes' printers)."""

from __future__ import annotations

from typing import Any

from proa.kube.schema.printers.common import (
    AGE,
    JSON,
    NAME,
    NONE,
    Column,
    at,
    condition,
    human_duration,
    or_none,
    seconds_of,
)


class _Summary:
    """One pass over a pod's container statuses: its reason, ready containers and restarts."""

    def __init__(self, pod: JSON) -> None:
        self.pod = pod
        self.reason = at(pod, "status.reason", "") or at(pod, "status.phase", "")
        scheduled = condition(pod, "PodScheduled")
        if scheduled and scheduled.get("reason") == "SchedulingGated":
            self.reason = "SchedulingGated"
        self.ready = 0
        self.restarts = 0
        self.last_restart = 0.0
        initializing = self._init_containers()
        initialized = condition(pod, "Initialized") or {}
        if not initializing or initialized.get("status") == "True":
            self._containers()
        self._deletion()

    def total(self) -> int:
        """Containers that should be ready: the ordinary ones and the sidecars."""
        return len(at(self.pod, "spec.containers", ())) + len(self._sidecars())

    def _sidecars(self) -> set[str]:
        return {
            item.get("name", "")
            for item in at(self.pod, "spec.initContainers", ())
            if item.get("restartPolicy") == "Always"
        }

    def _count(self, status: JSON) -> None:
        self.restarts += status.get("restartCount", 0)
        finished = at(status, "lastState.terminated.finishedAt", "")
        self.last_restart = max(self.last_restart, seconds_of(finished) or 0.0)

    def _init_containers(self) -> bool:
        """Whether initialization is still going on; then the reason says how far it is."""
        sidecars = self._sidecars()
        statuses = at(self.pod, "status.initContainerStatuses", [])
        total = len(at(self.pod, "spec.initContainers", ()))
        for index, status in enumerate(statuses):
            self._count(status)
            terminated, waiting = _state(status, "terminated"), _state(status, "waiting")
            if terminated is not None and not terminated.get("exitCode"):
                continue
            if status.get("name") in sidecars and status.get("started"):
                self.ready += bool(status.get("ready"))
                continue
            if terminated is not None:
                self.reason = f"Init:{_ended(terminated)}"
            elif (waiting or {}).get("reason", "") not in ("", "PodInitializing"):
                self.reason = f"Init:{(waiting or {})['reason']}"
            else:
                self.reason = f"Init:{index}/{total}"
            return True
        return False

    def _containers(self) -> None:
        sidecars = self._sidecars()
        self.restarts, self.last_restart = 0, 0.0
        for status in at(self.pod, "status.initContainerStatuses", ()):
            if status.get("name") in sidecars:
                self._count(status)
        running = False
        for status in reversed(at(self.pod, "status.containerStatuses", [])):
            self._count(status)
            terminated, waiting = _state(status, "terminated"), _state(status, "waiting")
            if (waiting or {}).get("reason"):
                self.reason = (waiting or {})["reason"]
            elif terminated is not None:
                self.reason = _ended(terminated)
            elif status.get("ready") and _state(status, "running") is not None:
                running = True
                self.ready += 1
        if self.reason == "Completed" and running:
            ready = condition(self.pod, "Ready") or {}
            self.reason = "Running" if ready.get("status") == "True" else "NotReady"

    def _deletion(self) -> None:
        if not at(self.pod, "metadata.deletionTimestamp"):
            return
        if at(self.pod, "status.reason") == "NodeLost":
            self.reason = "Unknown"
        elif at(self.pod, "status.phase") not in ("Succeeded", "Failed"):
            self.reason = "Terminating"


def _state(status: JSON, name: str) -> JSON | None:
    state: JSON | None = at(status, f"state.{name}")
    return state


def _ended(terminated: JSON) -> str:
    if reason := terminated.get("reason"):
        return str(reason)
    if signal := terminated.get("signal"):
        return f"Signal:{signal}"
    return f"ExitCode:{terminated.get('exitCode', 0)}"


def _ready(pod: JSON, now: float) -> str:
    summary = _Summary(pod)
    return f"{summary.ready}/{summary.total()}"


def _status(pod: JSON, now: float) -> str:
    return str(_Summary(pod).reason)


def _restarts(pod: JSON, now: float) -> str:
    summary = _Summary(pod)
    if summary.restarts and summary.last_restart:
        return f"{summary.restarts} ({human_duration(now - summary.last_restart)} ago)"
    return str(summary.restarts)


def _address(pod: JSON, now: float) -> str:
    addresses: list[JSON] = at(pod, "status.podIPs", [])
    first = addresses[0].get("ip") if addresses else at(pod, "status.podIP", "")
    return first or NONE


def _gates(pod: JSON, now: float) -> str:
    gates: list[JSON] = at(pod, "spec.readinessGates", [])
    if not gates:
        return NONE
    met = sum(
        (condition(pod, gate.get("conditionType", "")) or {}).get("status") == "True"
        for gate in gates
    )
    return f"{met}/{len(gates)}"


PODS: dict[tuple[str, str], list[Column]] = {
    ("", "pods"): [
        NAME,
        Column("Ready", _ready),
        Column("Status", _status),
        Column("Restarts", _restarts),
        AGE,
        Column("IP", _address, 1),
        Column("Node", or_none("spec.nodeName"), 1),
        Column("Nominated Node", or_none("status.nominatedNodeName"), 1),
        Column("Readiness Gates", _gates, 1),
    ],
}


def finished_condition(pod: dict[str, Any]) -> list[JSON]:
    """A row's condition for a pod that is over, so that clients may leave it out."""
    phase = at(pod, "status.phase")
    messages = {
        "Succeeded": "The pod has completed successfully.",
        "Failed": "The pod failed.",
    }
    if phase not in messages:
        return []
    return [{"type": "Completed", "status": "True", "reason": phase, "message": messages[phase]}]
