"""From an agent's report to the task record: statuses, exit codes, stop codes and reasons.

``after_report`` is called by the hull's port for each report; ``asked_to_stop``, ``ended`` and
``failed`` by operations and controllers. All are pure: a task in, the task as it must be stored
out. Lifecycle and wording: "Task lifecycle" and "Stopped tasks error messages" of the developer
guide. ACTIVATING is passed over, for nothing is registered with a load balancer here yet;
DEACTIVATING likewise.
"""

from __future__ import annotations

import msgspec

from proa.aws.ecs.records import PENDING, Task, TaskContainer, TaskInterface
from proa.model.sandbox import ContainerStatus, SandboxStatus

ESSENTIAL_EXITED = "Essential container in task exited"
OUT_OF_MEMORY = "OutOfMemoryError: Container killed due to memory usage"
FAILED_HEALTH = "Task failed container health checks"
FAILED_TO_START = "Task failed to start"
STOPPED_BY_USER = "Task stopped by user"

_REFUSALS = {
    "OutOfcpu": "RESOURCE:CPU",
    "OutOfmemory": "RESOURCE:MEMORY",
    "OutOfpods": "RESOURCE:MEMORY",
    "OutOfports": "RESOURCE:PORTS",
}
_CANNOT = {
    "ErrImagePull": "CannotPullContainerError",
    "ImagePullBackOff": "CannotPullContainerError",
    "InvalidImageName": "CannotPullContainerError",
    "ErrImageNeverPull": "CannotPullContainerError",
    "CreateContainerError": "CannotCreateContainerError",
    "CreateContainerConfigError": "CannotCreateContainerError",
    "FailedMount": "CannotCreateVolumeError",
    "RunContainerError": "CannotStartContainerError",
    "StartError": "CannotStartContainerError",
    "ContainerCannotRun": "CannotStartContainerError",
}
_NEVER_RAN = (
    "CannotPullContainerError", "CannotCreateContainerError", "CannotStartContainerError",
    "CannotCreateVolumeError", "ResourceInitializationError", "DockerTimeoutError",
    "ContainerRuntimeTimeoutError", "DependentContainerNotResolvedErr",
)  # fmt: skip
_ERRORS = (*_NEVER_RAN, "OutOfMemoryError")


def asked_to_stop(task: Task, code: str, reason: str, now: float) -> Task:
    """The task once somebody wants it stopped: at once STOPPED if no agent ever knew of it,
    otherwise its agent is told by ``desired_status``. A task already told keeps its reason."""
    if task.desired_status == "STOPPED":
        return task
    task = msgspec.structs.replace(
        task,
        desired_status="STOPPED",
        stop_code=code,
        stopped_reason=reason,
        stopping_at=now,
        changes=task.changes + 1,
    )
    return ended(task, now) if task.last_status == "PROVISIONING" else task


def ended(task: Task, now: float) -> Task:
    """The task with nothing of it left anywhere. Its containers keep what is known of their end."""
    return msgspec.structs.replace(
        task,
        last_status="STOPPED",
        desired_status="STOPPED",
        stopping_at=task.stopping_at or now,
        execution_stopped_at=task.execution_stopped_at or now,
        stopped_at=now,
        containers=tuple(
            msgspec.structs.replace(item, last_status="STOPPED") for item in task.containers
        ),
        interface=_detached(task),
        changes=task.changes + 1,
    )


def _detached(task: Task) -> TaskInterface | None:
    if task.interface is None:
        return None
    return msgspec.structs.replace(task.interface, status="DELETED")


def failed(task: Task, reason: str, now: float) -> Task:
    """A task that could not be started at all (no room, no log group, no address)."""
    return asked_to_stop(task, "TaskFailedToStart", reason, now)


def after_report(task: Task, status: SandboxStatus, now: float) -> Task | None:
    """The task as its agent's report says; None when the report brings nothing new."""
    if task.last_status == "STOPPED" or task.id != status.uid:
        return None
    before = task
    task = _observed(task, status, now)
    if task.desired_status == "RUNNING":
        task = _advance(task, status, now)
    if task.desired_status == "STOPPED" and task.last_status != "STOPPED":
        task = _winding_down(task, status, now)
    if task == before:
        return None
    return msgspec.structs.replace(task, changes=before.changes + 1)


def _observed(task: Task, status: SandboxStatus, now: float) -> Task:
    """The task with what is seen of its containers, and since when."""
    by_name = {item.name: item for item in status.containers}
    alive = status.phase in ("pending", "running") and not status.stopping
    containers = tuple(
        [
            _container(item, by_name[item.name], alive) if item.name in by_name else item
            for item in task.containers
        ]
    )
    interface = task.interface
    if interface is not None and status.sandbox_ready_at and interface.status == "ATTACHING":
        interface = msgspec.structs.replace(interface, status="ATTACHED")
    health = _task_health(containers)
    started_at = task.started_at
    if not started_at and containers and all(item.started_at for item in containers):
        started_at = max(item.started_at for item in containers)
    return msgspec.structs.replace(
        task,
        containers=containers,
        health=health,
        healthy_at=task.healthy_at or (now if health == "HEALTHY" else 0.0),
        interface=interface,
        pull_started_at=task.pull_started_at or status.pull_started_at,
        pull_stopped_at=task.pull_stopped_at or status.pull_stopped_at,
        connected_at=task.connected_at or now,
        started_at=started_at,
    )


def _container(container: TaskContainer, seen: ContainerStatus, alive: bool) -> TaskContainer:
    """``alive``: its task goes on, so a container with a restart policy comes back. One that has
    stopped keeps its last health."""
    health = "UNKNOWN" if seen.state == "running" else container.health
    if seen.healthy is not None and seen.state == "running":
        health = "HEALTHY" if seen.healthy else "UNHEALTHY"
    exited = seen.state == "exited"
    between = seen.state != "running" and container.restarts and alive and seen.restarts > 0
    status = {"running": "RUNNING", "exited": "STOPPED"}.get(seen.state, "PENDING")
    reason = container_reason(seen) or (container.reason if seen.state == "waiting" else "")
    never_ran = reason.startswith(_NEVER_RAN)
    return msgspec.structs.replace(
        container,
        last_status="RUNNING" if between else status,
        exit_code=seen.exit_code if exited and not between and not never_ran else None,
        reason=reason,
        runtime_id=seen.id or container.runtime_id,
        image_digest=seen.image_digest.rpartition("@")[2] or container.image_digest,
        health=health,
        started_at=container.started_at or (0.0 if never_ran else seen.started_at),
    )


def container_reason(seen: ContainerStatus) -> str:
    """ECS's words for why a container does not run; empty for an ordinary exit."""
    if seen.reason == "OOMKilled":
        return OUT_OF_MEMORY
    if seen.message.startswith(_ERRORS):
        return seen.message
    if seen.state == "running":
        return ""
    prefix = _CANNOT.get(seen.reason)
    return f"{prefix}: {seen.message or seen.reason}" if prefix else ""


def _task_health(containers: tuple[TaskContainer, ...]) -> str:
    """Of the essential containers with a health check: UNHEALTHY beats UNKNOWN beats HEALTHY."""
    found = {item.health for item in containers if item.essential and item.health_checked}
    for health in ("UNHEALTHY", "UNKNOWN", "HEALTHY"):
        if health in found:
            return health
    return "UNKNOWN"


def _advance(task: Task, status: SandboxStatus, now: float) -> Task:
    """A task that should run: is it running now, or has it ended by itself?"""
    end = _own_end(task, status)
    if end is not None:
        return asked_to_stop(task, *end, now)
    if task.last_status in PENDING and task.started_at and status.phase == "running":
        return msgspec.structs.replace(task, last_status="RUNNING")
    return task


def _own_end(task: Task, status: SandboxStatus) -> tuple[str, str] | None:
    """(stop code, reason) of a task that has come to its end without being asked."""
    if status.reason and status.phase == "failed":
        return "TaskFailedToStart", _refusal(status)
    failed = next((item.reason for item in task.containers if _never_ran(item)), "")
    if failed and not task.started_at:
        return "TaskFailedToStart", failed
    ended = [item for item in task.containers if item.last_status == "STOPPED"]
    if any(item.essential and item.started_at for item in ended):
        return "EssentialContainerExited", ESSENTIAL_EXITED
    if status.phase in ("succeeded", "failed") and task.started_at:
        return "EssentialContainerExited", ESSENTIAL_EXITED
    if status.phase in ("succeeded", "failed") or status.gone:
        return "TaskFailedToStart", FAILED_TO_START
    return None


def _never_ran(item: TaskContainer) -> bool:
    return item.last_status != "RUNNING" and item.reason.startswith(_NEVER_RAN)


def _refusal(status: SandboxStatus) -> str:
    if status.reason in _REFUSALS:
        return _REFUSALS[status.reason]
    if status.reason.startswith("RESOURCE:"):
        return status.reason
    if status.message.startswith(_ERRORS):
        return status.message
    prefix = _CANNOT.get(status.reason, "ResourceInitializationError")
    return f"{prefix}: {status.message or status.reason}"


def _winding_down(task: Task, status: SandboxStatus, now: float) -> Task:
    if status.gone:
        return ended(task, now)
    over = all(item.last_status == "STOPPED" for item in task.containers)
    if over:
        finished = max((item.finished_at for item in status.containers), default=0.0) or now
        return msgspec.structs.replace(
            task,
            last_status="DEPROVISIONING" if task.network_mode == "awsvpc" else "STOPPING",
            execution_stopped_at=task.execution_stopped_at or max(finished, task.started_at),
        )
    if status.stopping and task.last_status in (*PENDING, "RUNNING"):
        return msgspec.structs.replace(task, last_status="STOPPING")
    return task
