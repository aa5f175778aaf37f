"""What a Job's policies say of its pods: failure rules, success rules, back-off.

Rules: "Pod failure policy" (KEP-3329), "Success policy" (KEP-3998), "Pod backoff failure policy"
(10 s doubling to 10 min since the last success). Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from proa.kube.batch_objects import ExitCodes, FailureRule, Job, SuccessRule
from proa.kube.controllers.common import instant
from proa.kube.controllers.job import indexes
from proa.kube.objects import Pod, condition

BACKOFF_FIRST_S, BACKOFF_MAX_S = 10.0, 600.0


@dataclass(slots=True, frozen=True)
class Verdict:
    """What a failed pod means: Count, Ignore, FailJob or FailIndex. ``message`` is FailJob's."""

    action: str = "Count"
    message: str = ""


COUNT = Verdict()


def verdict(job: Job, pod: Pod) -> Verdict:
    """The first rule that a failed pod meets decides."""
    policy = job.spec.pod_failure_policy
    for number, rule in enumerate(policy.rules if policy else ()):
        text = _matched(rule, pod)
        if text:
            limited = rule.action == "FailIndex" and job.spec.backoff_limit_per_index is None
            action = "Count" if limited else rule.action
            return Verdict(action, f"{text} matching {rule.action} rule at index {number}")
    return COUNT


def _matched(rule: FailureRule, pod: Pod) -> str:
    """What of the pod a rule matched, as the Job's condition tells it; "" for nothing."""
    name = f"{pod.metadata.namespace}/{pod.metadata.name}"
    if rule.on_exit_codes is not None:
        statuses = (*pod.status.init_container_statuses, *pod.status.container_statuses)
        for status in statuses:
            ended = status.state.terminated
            if ended is None or not ended.exit_code:
                continue
            named = rule.on_exit_codes.container_name
            if named in (None, status.name) and _holds(rule.on_exit_codes, ended.exit_code):
                who = f"Container {status.name} for pod {name}"
                return f"{who} failed with exit code {ended.exit_code}"
        return ""
    for pattern in rule.on_pod_conditions:
        found = condition(pod.status.conditions, pattern.type)
        if found is not None and found.status == pattern.status:
            return f"Pod {name} has condition {pattern.type}"
    return ""


def _holds(requirement: ExitCodes, code: int) -> bool:
    inside = code in requirement.values
    return inside if requirement.operator == "In" else not inside


def success_message(job: Job, succeeded: set[int]) -> str:
    """Which rule of the success policy is met, as the condition tells it; "" for none."""
    policy = job.spec.success_policy
    for number, rule in enumerate(policy.rules if policy else ()):
        if _is_met(rule, succeeded, job.spec.completions or 0):
            return f"Matched rules at index {number}"
    return ""


def _is_met(rule: SuccessRule, succeeded: set[int], completions: int) -> bool:
    if rule.succeeded_indexes is None:
        return len(succeeded) >= (rule.succeeded_count or 0)
    wanted = indexes.parse(rule.succeeded_indexes, completions)
    there = len(wanted & succeeded)
    return there >= (len(wanted) if rule.succeeded_count is None else rule.succeeded_count)


# Back-off


def finished_at(pod: Pod) -> float:
    """When a pod's last container ended, or as near to it as is known."""
    statuses = (*pod.status.init_container_statuses, *pod.status.container_statuses)
    ends = [
        instant(item.state.terminated.finished_at)
        for item in statuses
        if item.state.terminated is not None
    ]
    latest = max(ends, default=0.0)
    if latest:
        return latest
    meta, ready = pod.metadata, condition(pod.status.conditions, "Ready")
    if meta.deleting:
        return instant(meta.deletion_timestamp) - (meta.deletion_grace_period_seconds or 0)
    return instant(ready.last_transition_time if ready else meta.creation_timestamp)


def next_start_at(succeeded: Iterable[Pod], failed: Sequence[Pod]) -> float:
    """When the next pod may start: after the failures since the last success have been waited
    for; 0 where there are none."""
    since = max((finished_at(pod) for pod in succeeded), default=0.0)
    failures = [at for pod in failed if (at := finished_at(pod)) > since]
    return _after(len(failures), max(failures, default=0.0))


def index_start_at(latest: Pod | None) -> float:
    """The same for one index: by the failures of its newest attempt."""
    if latest is None:
        return 0.0
    count = indexes.failures_of(latest) + indexes.failures_of(latest, indexes.IGNORED_FAILURES)
    return _after(count + 1, finished_at(latest))


def _after(failures: int, last: float) -> float:
    if not failures:
        return 0.0
    return last + min(BACKOFF_MAX_S, BACKOFF_FIRST_S * (1 << min(failures - 1, 10)))


def restarts_exceed(job: Job, pods: Iterable[Pod]) -> bool:
    """Whether containers restarted in place (OnFailure) more often than the Job tolerates."""
    if job.spec.template.spec.get("restartPolicy") != "OnFailure":
        return False
    restarts = sum(
        status.restart_count
        for pod in pods
        if pod.status.phase in ("Running", "Pending")
        for status in (*pod.status.init_container_statuses, *pod.status.container_statuses)
    )
    return restarts > 0 if job.spec.backoff_limit == 0 else restarts >= job.spec.backoff_limit
