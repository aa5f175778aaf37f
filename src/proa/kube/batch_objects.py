"""Typed projections of Jobs and CronJobs: what their controllers reason about.

As in ``kube.objects``: decoded once per change by the tables, never written back. What a Job's
policies compare in pods is here too, because only they look at it.
"""

from __future__ import annotations

from proa.kube.objects import Condition, LabelSelector, Object, ObjectReference, PodTemplate, Thing


class ExitCodes(Thing, frozen=True):
    """A requirement on the exit code of a container, of any one where none is named."""

    container_name: str | None = None
    operator: str = ""
    values: tuple[int, ...] = ()


class ConditionPattern(Thing, frozen=True):
    type: str = ""
    status: str = "True"


class FailureRule(Thing, frozen=True):
    action: str = ""
    on_exit_codes: ExitCodes | None = None
    on_pod_conditions: tuple[ConditionPattern, ...] = ()


class FailurePolicy(Thing, frozen=True):
    rules: tuple[FailureRule, ...] = ()


class SuccessRule(Thing, frozen=True):
    succeeded_indexes: str | None = None
    succeeded_count: int | None = None


class SuccessPolicy(Thing, frozen=True):
    rules: tuple[SuccessRule, ...] = ()


class JobSpec(Thing, frozen=True):
    parallelism: int = 1
    completions: int | None = None
    active_deadline_seconds: int | None = None
    backoff_limit: int = 6
    backoff_limit_per_index: int | None = None
    max_failed_indexes: int | None = None
    pod_failure_policy: FailurePolicy | None = None
    success_policy: SuccessPolicy | None = None
    pod_replacement_policy: str = "TerminatingOrFailed"
    selector: LabelSelector = LabelSelector()
    template: PodTemplate = PodTemplate()
    ttl_seconds_after_finished: int | None = None
    completion_mode: str = "NonIndexed"
    suspend: bool = False
    managed_by: str = "kubernetes.io/job-controller"


class Uncounted(Thing, frozen=True):
    """Uids of ended pods that still carry the tracking finalizer and are in no count."""

    succeeded: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()


class JobStatus(Thing, frozen=True):
    conditions: tuple[Condition, ...] = ()
    start_time: str = ""
    completion_time: str = ""
    active: int = 0
    ready: int | None = None
    terminating: int | None = None
    succeeded: int = 0
    failed: int = 0
    completed_indexes: str = ""
    failed_indexes: str | None = None
    uncounted_terminated_pods: Uncounted = Uncounted()


class Job(Object, frozen=True):
    spec: JobSpec = JobSpec()
    status: JobStatus = JobStatus()

    @property
    def indexed(self) -> bool:
        return self.spec.completion_mode == "Indexed"

    def condition(self, type: str) -> Condition | None:
        """The condition of one type, if it holds."""
        return next(
            (item for item in self.status.conditions
             if item.type == type and item.status == "True"),
            None,
        )  # fmt: skip

    @property
    def finished(self) -> Condition | None:
        """Complete or Failed."""
        return self.condition("Complete") or self.condition("Failed")


class CronJobSpec(Thing, frozen=True):
    schedule: str = ""
    time_zone: str | None = None
    starting_deadline_seconds: int | None = None
    concurrency_policy: str = "Allow"
    suspend: bool = False
    job_template: PodTemplate = PodTemplate()  # raw in the same way
    successful_jobs_history_limit: int | None = 3
    failed_jobs_history_limit: int | None = 1


class ActiveJob(ObjectReference, frozen=True):
    api_version: str = ""
    resource_version: str = ""


class CronJobStatus(Thing, frozen=True):
    active: tuple[ActiveJob, ...] = ()
    last_schedule_time: str = ""
    last_successful_time: str = ""


class CronJob(Object, frozen=True):
    spec: CronJobSpec = CronJobSpec()
    status: CronJobStatus = CronJobStatus()


def is_managed(job: Job) -> bool:
    """Whether the Job is this controller's, and not some other's named in managedBy."""
    return job.spec.managed_by in ("", "kubernetes.io/job-controller")
