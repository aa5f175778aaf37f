"""From an agent's report to a Pod's status, in the kubelet's shape and words.

``reported_body`` is called by the hull's port for each report: a pod and what the agent saw in, the
status as it must be stored out. Rules: "Pod Lifecycle", and the kubelet's status manager.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import orjson

from proa.base.clock import iso8601
from proa.kube.compile.requests import quality_of_service
from proa.kube.decoding import handed_over, members, parted, without_nulls
from proa.kube.objects import TERMINAL, Pod
from proa.model.sandbox import ContainerStatus, SandboxStatus
from proa.reconcile.view import Entry

Json = Mapping[str, Any]
_PHASES = {
    "pending": "Pending",
    "running": "Running",
    "succeeded": "Succeeded",
    "failed": "Failed",
}
_CREATING = "ContainerCreating"
_OWN = (
    "PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled",
)  # fmt: skip


def reported_body(
    entry: Entry[Pod], status: SandboxStatus, now: float, host_address: str = ""
) -> bytes | None:
    """The stored pod as it is after a report; None where that says nothing new, or is about
    another pod of the same name."""
    if entry.value.metadata.uid != status.uid:
        return None
    rest, present = parted(entry.body)
    meta = {"generation": entry.value.metadata.generation or None}
    pod = {"metadata": meta, "spec": _outline(entry, rest, present), "status": present}
    wanted = pod_status(pod, status, now, host_address)
    merged = {**present, **wanted}
    shown = {name: value for name, value in merged.items() if value is not None}
    if shown == present:
        return None
    text = orjson.dumps(shown)
    body = b"%b%b}" % (rest, text)
    handed_over(Pod).tell_status(body, entry.value, text)
    return body


def _outline(entry: Entry[Pod], rest: bytes, present: Json) -> Json:
    """What a status looks at of the specification: most often names and images, which are known;
    all of it where there are readiness gates, or the class of service is to be found."""
    spec = entry.value.spec
    if b'"readinessGates"' in rest or "qosClass" not in present:
        whole_spec: Json = orjson.loads(bytes(members.decode(entry.body)["spec"]))
        return whole_spec
    return {
        "hostNetwork": spec.host_network,
        "initContainers": [
            {"name": item.name, "image": item.image, "restartPolicy": item.restart_policy}
            for item in spec.init_containers
        ],
        "containers": [{"name": item.name, "image": item.image} for item in spec.containers],
    }


def pod_status(
    pod: Json, status: SandboxStatus, now: float, host_address: str = ""
) -> dict[str, Any]:
    """The parts of a Pod's status that follow from what its agent says. None stands for an absent
    member, as in a merge patch. ``host_address`` is the Instance's ("" keeps what is known)."""
    present: Json = pod.get("status") or {}
    spec: Json = pod["spec"]
    phase = _phase(present, status)
    host = host_address or present.get("hostIP") or None
    address = host if spec.get("hostNetwork") else status.address or present.get("podIP") or None
    body: dict[str, Any] = {
        "phase": phase,
        "observedGeneration": pod["metadata"].get("generation"),
        "startTime": present.get("startTime") or iso8601(now),
        "qosClass": present.get("qosClass")
        or quality_of_service(msgspec.convert(without_nulls(dict(pod)), Pod)),
        "reason": status.reason or present.get("reason"),
        "message": status.message or present.get("message"),
    }
    if status.phase == "failed" and status.reason and not status.containers:
        return body
    if host:
        body |= {"hostIP": host, "hostIPs": [{"ip": host}]}
    if address:
        body |= {"podIP": address, "podIPs": [{"ip": address}]}
    seen = {item.name: item for item in status.containers}
    inits = spec.get("initContainers") or ()
    if inits:
        body["initContainerStatuses"] = [
            _container(item, seen, True, bool(inits)) for item in inits
        ]
    body["containerStatuses"] = [
        _container(item, seen, False, bool(inits)) for item in spec["containers"]
    ]
    body["conditions"] = _conditions(pod, body, status, now)
    return body


def _phase(present: Json, status: SandboxStatus) -> str:
    """A pod that has ended has ended, whatever a late report says."""
    known = present.get("phase")
    if known in TERMINAL:
        return str(known)
    return _PHASES[status.phase]


# Containers


def _container(
    item: Json, seen: Mapping[str, ContainerStatus], init: bool, has_init: bool
) -> dict[str, Any]:
    found = seen.get(item["name"]) or ContainerStatus(name=item["name"], reason=_CREATING)
    if has_init and found.state == "waiting" and found.reason == _CREATING:
        found = msgspec.structs.replace(found, reason="PodInitializing")
    ended_well = found.state == "exited" and found.exit_code == 0
    sidecar = init and item.get("restartPolicy") == "Always"
    body: dict[str, Any] = {
        "name": found.name,
        "image": found.image or item["image"],
        "imageID": found.image_digest,
        "restartCount": found.restarts,
        "ready": ended_well if init and not sidecar else found.ready,
        "started": found.started,
        "state": _state(found),
        "lastState": _state(found.last) if found.last is not None else {},
    }
    if found.id:
        body["containerID"] = _runtime_id(found)
    return body


def _runtime_id(status: ContainerStatus) -> str:
    return f"containerd://{status.id}"


def _state(status: ContainerStatus) -> dict[str, Any]:
    if status.state == "running":
        return {"running": {"startedAt": iso8601(status.started_at)}}
    if status.state == "waiting":
        waiting = {"reason": status.reason or _CREATING}
        if status.message:
            waiting["message"] = status.message
        return {"waiting": waiting}
    code = status.exit_code or 0
    ended: dict[str, Any] = {
        "exitCode": code,
        "reason": status.reason or ("Completed" if code == 0 else "Error"),
    }
    if status.started_at:
        ended["startedAt"] = iso8601(status.started_at)
    if status.finished_at:
        ended["finishedAt"] = iso8601(status.finished_at)
    if status.message:
        ended["message"] = status.message
    if status.id:
        ended["containerID"] = _runtime_id(status)
    return {"terminated": ended}


# Conditions


def _conditions(pod: Json, body: Json, status: SandboxStatus, now: float) -> list[Any]:
    known = {item["type"]: item for item in (pod.get("status") or {}).get("conditions") or ()}
    phase = body["phase"]
    running = bool(status.sandbox_ready_at) and phase not in TERMINAL and not status.gone
    ready = _containers_ready(body)
    wanted = (
        ("PodReadyToStartContainers", running, "", ""),
        ("Initialized", *_initialized(body)),
        ("Ready", *_with_gates(pod, known, ready)),
        ("ContainersReady", *ready),
        ("PodScheduled", True, "", ""),
    )
    conditions = [
        _condition(known.get(type), type, holds, reason, message, pod, now)
        for type, holds, reason, message in wanted
    ]
    return [*conditions, *(item for type, item in known.items() if type not in _OWN)]


def _condition(
    old: Json | None, type: str, holds: bool, reason: str, message: str, pod: Json, now: float
) -> dict[str, Any]:
    value = "True" if holds else "False"
    same = old is not None and old["status"] == value
    since = old.get("lastTransitionTime") if same and old is not None else None
    condition: dict[str, Any] = {
        "type": type,
        "status": value,
        "lastTransitionTime": since or iso8601(now),
    }
    generation = pod["metadata"].get("generation")
    if generation:
        condition["observedGeneration"] = generation
    if reason:
        condition["reason"] = reason
    if message:
        condition["message"] = message
    return condition


def _initialized(body: Json) -> tuple[bool, str, str]:
    if body["phase"] == "Succeeded":
        return True, "PodCompleted", ""
    waiting = [
        item["name"]
        for item in body.get("initContainerStatuses") or ()
        if not item["ready"] and not (item["started"] and "running" in item["state"])
    ]
    if waiting:
        names = " ".join(waiting)
        text = f"containers with incomplete status: [{names}]"
        return False, "ContainersNotInitialized", text
    return True, "", ""


def _containers_ready(body: Json) -> tuple[bool, str, str]:
    if body["phase"] == "Succeeded":
        return False, "PodCompleted", ""
    if body["phase"] == "Failed":
        return False, "PodFailed", ""
    unready = [item["name"] for item in body["containerStatuses"] if not item["ready"]]
    if unready:
        text = f"containers with unready status: [{' '.join(unready)}]"
        return False, "ContainersNotReady", text
    return True, "", ""


def _with_gates(
    pod: Json, known: Mapping[str, Json], ready: tuple[bool, str, str]
) -> tuple[bool, str, str]:
    """Ready needs the containers ready and every readiness gate's condition true (KEP-580)."""
    if not ready[0]:
        return ready
    for gate in pod["spec"].get("readinessGates") or ():
        name = gate["conditionType"]
        found = known.get(name)
        if found is None:
            text = f'corresponding condition of pod readiness gate "{name}" does not exist.'
            return False, "ReadinessGatesNotReady", text
        if found["status"] != "True":
            text = f'the status of pod readiness gate "{name}" is not "True", but {found["status"]}'
            return False, "ReadinessGatesNotReady", text
    return ready
