"""What a Deployment reports: counts, and the conditions Available, Progressing, ReplicaFailure.

Reasons and messages are the ones ``kubectl rollout status`` and other tools look for.
"""

from __future__ import annotations

from typing import Any

import msgspec

from proa.base.clock import iso8601
from proa.kube.controllers.common import condition_json, instant
from proa.kube.controllers.deployment.sizes import Sets, asked, available, max_unavailable
from proa.kube.objects import Condition, Deployment, DeploymentStatus, condition

PROGRESSING = "Progressing"
NEW_AVAILABLE = "NewReplicaSetAvailable"
TIMED_OUT = "ProgressDeadlineExceeded"
_NO_DEADLINE = 2**31 - 1
Conditions = tuple[Condition, ...]


def has_deadline(deployment: Deployment) -> bool:
    return deployment.spec.progress_deadline_seconds not in (None, _NO_DEADLINE)


def made(type: str, status: str, reason: str, message: str, now: float) -> Condition:
    """A condition that has just come about."""
    at = iso8601(now)
    return Condition(type, status, reason, message, last_transition_time=at, last_update_time=at)


def with_condition(conditions: Conditions, new: Condition) -> Conditions:
    """The conditions with this one; the same status and reason again is no news, the same status
    for another reason is no transition."""
    old = condition(conditions, new.type)
    if old is not None and (old.status, old.reason) == (new.status, new.reason):
        return conditions
    if old is not None and old.status == new.status:
        new = msgspec.structs.replace(new, last_transition_time=old.last_transition_time)
    return (*without(conditions, new.type), new)


def without(conditions: Conditions, type: str) -> Conditions:
    """The conditions of other types."""
    return tuple(item for item in conditions if item.type != type)


def counted(deployment: Deployment, sets: Sets, now: float) -> DeploymentStatus:
    """The status as the ReplicaSets are; Progressing is left as it was."""
    every = [entry.value for entry in sets.all]
    replicas, ready = deployment.spec.replicas, available(sets.all)
    enough = ready >= replicas - max_unavailable(deployment)
    having = made(
        "Available",
        "True" if enough else "False",
        "MinimumReplicasAvailable" if enough else "MinimumReplicasUnavailable",
        f"Deployment {'has' if enough else 'does not have'} minimum availability.",
        now,
    )
    return DeploymentStatus(
        observed_generation=deployment.metadata.generation,
        replicas=sum(item.status.replicas for item in every),
        updated_replicas=sets.new.value.status.replicas if sets.new else 0,
        ready_replicas=sum(item.status.ready_replicas for item in every),
        available_replicas=ready,
        unavailable_replicas=max(0, asked(sets.all) - ready),
        terminating_replicas=sum(item.status.terminating_replicas or 0 for item in every),
        collision_count=deployment.status.collision_count,
        conditions=with_condition(deployment.status.conditions, having),
    )


def judged(deployment: Deployment, sets: Sets, now: float) -> DeploymentStatus:
    """The status with the rollout's progress and the ReplicaSets' failures."""
    status = counted(deployment, sets, now)
    conditions = status.conditions
    known = condition(deployment.status.conditions, PROGRESSING)
    if not has_deadline(deployment):
        conditions = without(conditions, PROGRESSING)
    elif not (
        status.replicas == status.updated_replicas
        and known is not None
        and known.reason == NEW_AVAILABLE
    ):
        conditions = _progress(deployment, sets, status, conditions, now)
    failures = [
        found
        for entry in ([sets.new] if sets.new else []) + sets.old
        if (found := condition(entry.value.status.conditions, "ReplicaFailure")) is not None
    ]
    if failures:
        first = failures[0]
        failed = made(first.type, first.status, first.reason, first.message, now)
        conditions = with_condition(conditions, failed)
    else:
        conditions = without(conditions, "ReplicaFailure")
    return msgspec.structs.replace(status, conditions=conditions)


def _progress(
    deployment: Deployment,
    sets: Sets,
    status: DeploymentStatus,
    conditions: Conditions,
    now: float,
) -> Conditions:
    name = deployment.metadata.name
    subject = f'ReplicaSet "{sets.new.value.metadata.name}"' if sets.new else f'Deployment "{name}"'
    known = condition(deployment.status.conditions, PROGRESSING)
    if is_complete(deployment, status):
        text = f"{subject} has successfully progressed."
        return with_condition(conditions, made(PROGRESSING, "True", NEW_AVAILABLE, text, now))
    if _has_progressed(deployment.status, status):
        text = f"{subject} is progressing."
        new = made(PROGRESSING, "True", "ReplicaSetUpdated", text, now)
        if known is not None and known.status == "True":
            new = msgspec.structs.replace(new, last_transition_time=known.last_transition_time)
        return (*without(conditions, PROGRESSING), new)
    if _has_timed_out(deployment, now):
        text = f"{subject} has timed out progressing."
        return with_condition(conditions, made(PROGRESSING, "False", TIMED_OUT, text, now))
    return conditions


def is_complete(deployment: Deployment, status: DeploymentStatus) -> bool:
    """Every wanted pod is of the new template and available, and no old one is left."""
    replicas = deployment.spec.replicas
    return (
        status.updated_replicas == replicas
        and status.replicas == replicas
        and status.available_replicas == replicas
        and status.observed_generation >= deployment.metadata.generation
    )


def _has_progressed(old: DeploymentStatus, new: DeploymentStatus) -> bool:
    return (
        new.updated_replicas > old.updated_replicas
        or new.replicas - new.updated_replicas < old.replicas - old.updated_replicas
        or new.ready_replicas > old.ready_replicas
        or new.available_replicas > old.available_replicas
    )


def _has_timed_out(deployment: Deployment, now: float) -> bool:
    known = condition(deployment.status.conditions, PROGRESSING)
    if known is None or known.reason == NEW_AVAILABLE:
        return False
    return known.reason == TIMED_OUT or deadline_at(deployment, deployment.status) < now


def deadline_at(deployment: Deployment, status: DeploymentStatus) -> float:
    """When a rollout that makes no more progress than ``status`` says has timed out; 0 where it
    cannot."""
    known = condition(status.conditions, PROGRESSING)
    seconds = deployment.spec.progress_deadline_seconds
    if not has_deadline(deployment) or known is None or seconds is None:
        return 0.0
    if known.reason in (NEW_AVAILABLE, TIMED_OUT):
        return 0.0
    return instant(known.last_update_time) + seconds


def pause_noted(deployment: Deployment, now: float) -> Conditions | None:
    """The conditions once a pause or its end is noted, so that the time of a pause does not count
    against the deadline; None when there is nothing to note."""
    conditions = deployment.status.conditions
    known = condition(conditions, PROGRESSING)
    if not has_deadline(deployment) or (known is not None and known.reason == TIMED_OUT):
        return None
    noted = known is not None and known.reason == "DeploymentPaused"
    if deployment.spec.paused == noted:
        return None
    reason, text = (
        ("DeploymentPaused", "Deployment is paused")
        if deployment.spec.paused
        else ("DeploymentResumed", "Deployment is resumed")
    )
    return with_condition(conditions, made(PROGRESSING, "Unknown", reason, text, now))


def status_json(status: DeploymentStatus) -> dict[str, Any]:
    """The status as a merge patch: zeros are absent, as Kubernetes writes them."""
    return {
        "observedGeneration": status.observed_generation or None,
        "replicas": status.replicas or None,
        "updatedReplicas": status.updated_replicas or None,
        "readyReplicas": status.ready_replicas or None,
        "availableReplicas": status.available_replicas or None,
        "unavailableReplicas": status.unavailable_replicas or None,
        "terminatingReplicas": status.terminating_replicas,
        "collisionCount": status.collision_count,
        "conditions": [condition_json(item) for item in status.conditions] or None,
    }
