"""Deployments of a service: what counts as available or failed, the circuit breaker, completion.

Pure steps of the service controller. A deployment fails by tasks that never served: they did not
reach RUNNING, their health check failed, or they ended before they had settled. ECS's document
names the first two; the third is what its users see, and it is what keeps a task that crashes at
once from being restarted without pause.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from proa.aws.ecs import rollout, status
from proa.aws.ecs.names import container_instance_id
from proa.aws.ecs.records import Deployment, Service, Task

BLOCKED = (
    "was unable to stop or start tasks during a deployment because of the service deployment "
    "configuration. Update the minimumHealthyPercent or maximumPercent value and try again."
)
MORE = "For more information, see the Troubleshooting section of the Amazon ECS Developer Guide."
UNABLE_TO_START = f"is unable to consistently start tasks successfully. {MORE}"
STEADY = "has reached a steady state."
BREAKER = "ECS deployment circuit breaker: tasks failed to start."
_SHORT = {
    "RESOURCE:CPU": "has insufficient CPU units available",
    "RESOURCE:MEMORY": "has insufficient memory available",
    "RESOURCE:PORTS": "is already using a port required by your task",
    "RESOURCE:ENI": "has no room for another task",
    "ATTRIBUTE": "is missing an attribute required by your task",
    "AGENT": 'encountered error "AGENT"',
}


def is_available(task: Task, now: float, settle_s: float) -> bool:
    """Whether a task serves: RUNNING, not told to stop, and its health checks pass, or with none
    of them it has been RUNNING for ``settle_s``."""
    if task.last_status != "RUNNING" or task.desired_status != "RUNNING":
        return False
    for item in task.containers:
        if item.essential and item.health_checked:
            return task.health == "HEALTHY"
    return now >= task.started_at + settle_s


def is_failure(task: Task, settle_s: float) -> bool:
    """Whether a STOPPED task never served and nobody but itself is to blame."""
    if task.stop_code == "ServiceSchedulerInitiated":
        return task.stopped_reason == status.FAILED_HEALTH and not task.healthy_at
    if task.stop_code not in ("TaskFailedToStart", "EssentialContainerExited"):
        return False
    if not task.started_at:
        return True
    if any(item.essential and item.health_checked for item in task.containers):
        return not task.healthy_at
    return task.stopping_at - task.started_at < settle_s


def _with(service: Service, deployment: Deployment) -> Service:
    """The service with a deployment in place of the one with its id."""
    changed = tuple(
        deployment if item.id == deployment.id else item for item in service.deployments
    )
    return msgspec.structs.replace(service, deployments=changed)


def with_failure(service: Service, task: Task, now: float) -> Service:
    """The service after a failed task of its primary deployment: counted, and held back."""
    primary = service.primary
    if task.deployment != primary.id:
        return service
    streak = primary.streak + 1
    wait_s = rollout.throttle_s(streak, service.desired_count)
    failed = msgspec.structs.replace(
        primary,
        failed_tasks=primary.failed_tasks + 1,
        streak=streak,
        failed_at=now,
        hold_until=now + wait_s if wait_s else primary.hold_until,
    )
    return _with(service, failed)


def judged(service: Service, available: Sequence[Task]) -> tuple[Service, list[str]]:
    """Reset the failure counts if a task serves; trip the circuit breaker if they are too high."""
    primary = service.primary
    breaker = service.configuration.get("deploymentCircuitBreaker") or {}
    if available and _serves_since(available, primary.failed_at):
        counts = breaker.get("resetOnHealthyTask", True)
        primary = msgspec.structs.replace(
            primary,
            failed_tasks=0 if counts is not False else primary.failed_tasks,
            streak=0,
            hold_until=0.0,
        )
        if primary != service.primary:
            service = _with(service, primary)
    threshold = rollout.breaker_threshold(service.desired_count, breaker)
    tripped = (
        breaker.get("enable")
        and primary.rollout_state == "IN_PROGRESS"
        and not primary.rollback
        and primary.failed_tasks >= threshold
    )
    return _tripped(service, bool(breaker.get("rollback"))) if tripped else (service, [])


def _serves_since(available: Sequence[Task], failed_at: float) -> bool:
    return any(max(task.healthy_at, task.started_at) > failed_at for task in available)


def _tripped(service: Service, rollback: bool) -> tuple[Service, list[str]]:
    failed = msgspec.structs.replace(
        service.primary, rollout_state="FAILED", rollout_reason=BREAKER, hold_until=0.0
    )
    messages = [f"(deployment {failed.id}) deployment failed: tasks failed to start."]
    service = _with(service, failed)
    target = service.last_completed
    if not rollback or target is None or target.id == failed.id:
        return service, messages
    messages.append(f"rolling back to deployment {target.id}.")
    restored = msgspec.structs.replace(
        target,
        status="PRIMARY",
        rollout_state="IN_PROGRESS",
        rollout_reason=(
            f"ECS deployment circuit breaker: rolling back to deploymentId {target.id}."
        ),
        failed_tasks=0,
        streak=0,
        failed_at=0.0,
        hold_until=0.0,
        rollback=True,
    )
    others = tuple(
        msgspec.structs.replace(item, status="ACTIVE")
        for item in service.deployments
        if item.id != target.id
    )
    return msgspec.structs.replace(
        service,
        deployments=(restored, *others),
        network=restored.network,
        platform_version=restored.platform_version,
    ), messages


def without_empty(service: Service, left: set[str]) -> Service:
    """The service without the older deployments that have no task in ``left``."""
    kept = tuple(
        item for index, item in enumerate(service.deployments) if index == 0 or item.id in left
    )
    if len(kept) == len(service.deployments):
        return service
    return msgspec.structs.replace(service, deployments=kept)


def completed(service: Service, now: float) -> tuple[Service, list[str]]:
    """The service in its steady state; says so once each time it gets there."""
    messages = []
    primary = service.primary
    if primary.rollout_state == "IN_PROGRESS":
        primary = msgspec.structs.replace(
            primary,
            rollout_state="COMPLETED",
            rollout_reason=f"ECS deployment {primary.id} completed.",
            rollback=False,
            updated_at=now,
        )
        service = msgspec.structs.replace(_with(service, primary), last_completed=primary)
        messages.append(f"(deployment {primary.id}) deployment completed.")
    if not service.steady:
        service = msgspec.structs.replace(service, steady=True)
        messages.append(STEADY)
    return service, messages


def unplaced(task: Task) -> str:
    """ECS's words for a task that placement has found no room for."""
    text = "was unable to place a task"
    if task.launch_type == "FARGATE":
        return (
            f"{text}. Reason: Capacity is unavailable at this time. Please try again later or in "
            f"a different availability zone. {MORE}"
        )
    text += " because no container instance met all of its requirements."
    if not task.unplaced_closest or task.unplaced[0] == "INACTIVE":
        return f"{text} Reason: No Container Instances were found in your cluster. {MORE}"
    closest = container_instance_id(task.unplaced_closest)
    short = _SHORT.get(task.unplaced[0], f'encountered error "{task.unplaced[0]}"')
    return f"{text} The closest matching (container-instance {closest}) {short}. {MORE}"
