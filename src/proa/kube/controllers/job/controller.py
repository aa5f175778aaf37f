"""Jobs: as many pods at a time as wanted until enough have succeeded, or too many have failed.

Rules: kube-controller-manager's Job controller and the API documentation of batch/v1. A turn
counts what has ended, decides whether the Job is over, then deletes or creates pods, and writes
one status. A Job that is over first says so (SuccessCriteriaMet, FailureTarget), and is Complete
or Failed once its last pod has ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

from proa.base.chance import Chance
from proa.kube.api.call import ApiError, Call
from proa.kube.batch_objects import Job, is_managed
from proa.kube.controllers.births import children
from proa.kube.controllers.common import (
    claim,
    delete,
    instant,
    owner_reference,
    service_account,
)
from proa.kube.controllers.job import indexes, policies, status
from proa.kube.controllers.job.creation import pod_call
from proa.kube.controllers.job.pods import (
    PER_TURN,
    Sorted,
    Tally,
    failed_indexes,
    sorted_out,
    succeeded_indexes,
    tally,
)
from proa.kube.controllers.job.status import Outcome
from proa.kube.controllers.owners import owners_of_pod
from proa.kube.controllers.ranking import removal_order
from proa.kube.controllers.steps import Births, together
from proa.kube.events import Said, event_call
from proa.kube.objects import Pod
from proa.kube.tables import JOBS, PODS, cluster_of, namespace_of
from proa.reconcile.controller import Trigger
from proa.reconcile.plan import NOTHING, Plan
from proa.reconcile.runner import row_key
from proa.reconcile.view import Change, Entry, View

USER = service_account("job-controller")
COMPONENT = "job-controller"


class JobController:
    """Key: the Job's store key."""

    name = "job"

    def __init__(self, chance: Chance) -> None:
        self._chance = chance
        self.triggers: Sequence[Trigger] = (Trigger(JOBS, row_key), Trigger(PODS, jobs_of_pod))

    def reconcile(self, view: View, key: str, now: float) -> Plan:
        entry = view.rows(JOBS).get(key)
        if entry is None or not is_managed(entry.value):
            return NOTHING
        job, cluster = entry.value, cluster_of(key)
        pods = view.rows(PODS)
        meta = job.metadata
        claimed = claim(
            meta,
            owner_reference("batch/v1", "Job", meta),
            job.spec.selector,
            pods.by("controller", f"{cluster}/{meta.uid}"),
            [pod for pod in pods.by("orphans", f"{cluster}/{meta.namespace}") if pod.value.active],
            USER,
        )
        if claimed.calls:
            return Plan(tuple(claimed.calls))
        return _Turn(view, entry, claimed.owned, now, self._chance).plan()


class _Turn:
    """One look at one Job."""

    def __init__(
        self, view: View, entry: Entry[Job], owned: list[Entry[Pod]], now: float, chance: Chance
    ) -> None:
        self.view, self.entry, self.owned, self.now = view, entry, owned, now
        self.chance, self.job = chance, entry.value
        self.found: Sorted = sorted_out(self.job, owned)
        self.tally: Tally = tally(self.job, owned, self.found, USER)
        self.done = succeeded_indexes(self.job, self.found) if self.job.indexed else set()
        self.given_up = failed_indexes(self.job, self.found) if self.job.indexed else set()
        self.again_at = 0.0

    @property
    def succeeded(self) -> int:
        if self.job.indexed:
            return len(self.done)
        return self.tally.succeeded + len(self.tally.noted.succeeded)

    @property
    def failed(self) -> int:
        return self.tally.failed + len(self.tally.noted.failed)

    def plan(self) -> Plan:
        if self.job.finished is not None:
            return Plan(together(self._written(Outcome())))
        outcome = self._outcome()
        deletions: Sequence[Call] = ()
        births: Sequence[Births] = ()
        deleted = 0
        if outcome.over or self.job.spec.suspend:
            doomed = self.found.active[:PER_TURN]
            deletions = self._deletions(doomed)
            deleted = len(doomed)
        elif not self.job.metadata.deleting:
            deletions, births = self._managed()
        outcome = self._ended(outcome)
        written = self._written(outcome, deleted)
        return Plan((*together([*written, *deletions]), *births), self.again_at)

    # What it has come to

    def _outcome(self) -> Outcome:
        """Whether the Job is over, and why; what was said of it before stays."""
        job = self.job
        for type in ("FailureTarget", "SuccessCriteriaMet"):
            said = job.condition(type)
            if said is not None:
                return Outcome(type, said.reason, said.message)
        reason, text = self._failure()
        if reason:
            return Outcome("FailureTarget", reason, text)
        text = policies.success_message(job, self.done) if job.indexed else ""
        if text:
            return Outcome("SuccessCriteriaMet", "SuccessPolicy", text)
        if self._is_complete():
            reached = "Reached expected number of succeeded pods"
            return Outcome("SuccessCriteriaMet", "CompletionsReached", reached)
        return Outcome()

    def _failure(self) -> tuple[str, str]:
        job, spec = self.job, self.job.spec
        if self.found.fatal:
            return "PodFailurePolicy", self.found.fatal
        pods = (entry.value for entry in self.owned)
        if self.failed > spec.backoff_limit or policies.restarts_exceed(job, pods):
            return "BackoffLimitExceeded", "Job has reached the specified backoff limit"
        if self._is_late():
            return "DeadlineExceeded", "Job was active longer than specified deadline"
        if spec.max_failed_indexes is not None and len(self.given_up) > spec.max_failed_indexes:
            text = "Job has exceeded the specified maximal number of failed indexes"
            return "MaxFailedIndexesExceeded", text
        if self.given_up and len(self.given_up) + len(self.done) >= (spec.completions or 0):
            return "FailedIndexes", "Job has failed indexes"
        return "", ""

    def _is_late(self) -> bool:
        deadline = self.job.spec.active_deadline_seconds
        if deadline is None or self.job.spec.suspend:
            return False
        due = (instant(self.job.status.start_time) or self.now) + deadline
        if due > self.now:
            self._look_at(due)
        return due <= self.now

    def _is_complete(self) -> bool:
        wanted, active = self.job.spec.completions, self.found.active
        if wanted is None:
            return self.succeeded > 0 and not active
        return self.succeeded >= wanted and not active

    def _ended(self, outcome: Outcome) -> Outcome:
        """Complete or Failed, once nothing of the Job runs and every end is counted."""
        waits = (
            *self.found.active,
            *self.found.terminating,
            *self.tally.noted.succeeded,
            *self.tally.noted.failed,
        )
        return outcome if waits or not outcome.over else outcome.final()

    # Pods

    def _managed(self) -> tuple[Sequence[Call], Sequence[Births]]:
        active = len(self.found.active)
        wanted = self._wanted(active)
        if active > wanted:
            surplus = min(active - wanted, PER_TURN)
            return self._deletions(removal_order(self.found.active)[:surplus]), ()
        replaced_late = self.job.spec.pod_replacement_policy == "Failed"
        ending = len(self.found.terminating) if replaced_late else 0
        missing = min(wanted - active - ending, PER_TURN)
        home = namespace_of(self.view, cluster_of(self.entry.key), self.job.metadata.namespace)
        if missing <= 0 or (home is not None and home.value.metadata.deleting):
            return (), ()
        return (), self._creations(missing)

    def _wanted(self, active: int) -> int:
        """How many pods should run now."""
        spec = self.job.spec
        if spec.completions is None:
            return active if self.succeeded else spec.parallelism
        return max(0, min(spec.completions - self.succeeded - len(self.given_up), spec.parallelism))

    def _creations(self, count: int) -> Sequence[Births]:
        per_index = self.job.spec.backoff_limit_per_index is not None
        if not per_index:
            succeeded = [entry.value for entry in self.found.succeeded]
            failed = [entry.value for entry in self.found.failed]
            due = policies.next_start_at(succeeded, failed)
            if due > self.now:
                self._look_at(due)
                return ()
        chosen: list[int | None] = [None] * count
        latest: dict[int, Pod] = {}
        if self.job.indexed:
            latest = indexes.latest_failures([entry.value for entry in self.found.failed])
            chosen = list(self._free_indexes(count, latest if per_index else {}))
        draws = []
        for index in chosen:
            last = latest.get(index) if index is not None and per_index else None
            draws.append(partial(pod_call, self.entry, index, last, self.chance, USER))
        born = children(self.view, self.entry, draws, COMPONENT, self.chance, self.now)
        return (Births(born, self._refused),) if born else ()

    def _free_indexes(self, count: int, latest: dict[int, Pod]) -> list[int]:
        """The first indexes that neither run nor are done, whose own back-off is over."""
        ending = self.found.terminating if self.job.spec.pod_replacement_policy == "Failed" else ()
        taken = {
            index
            for entry in (*self.found.active, *ending)
            if (index := indexes.index_of(entry.value)) is not None
        }
        taken |= self.done | self.given_up
        for index, pod in latest.items():
            due = policies.index_start_at(pod)
            if index not in taken and due > self.now:
                self._look_at(due)
                taken.add(index)
        return indexes.pending(self.job.spec.completions or 0, taken, count)

    def _deletions(self, doomed: Sequence[Entry[Pod]]) -> Sequence[Call]:
        events: list[Call] = []
        for entry in doomed:
            events += self._event("SuccessfulDelete", f"Deleted pod: {entry.value.metadata.name}")
        return [*(delete(entry, USER) for entry in doomed), *events]

    def _refused(self, error: ApiError) -> Sequence[Call]:
        return self._event("FailedCreate", f"Error creating: {error.message}", "Warning")

    # Reports

    def _written(self, outcome: Outcome, deleted: int = 0) -> tuple[Call, ...]:
        """The status with its news, then the pods it has noted, released."""
        seen = status.Seen(
            self.job, self.found, self.tally, self.succeeded, self.done, self.given_up, deleted
        )
        change, news = status.change(seen, outcome, self.now)
        events = [
            call for said in news for call in self._event(said.reason, said.message, said.kind)
        ]
        return (*status.patches(self.entry, change, USER), *self.tally.releases, *events)

    def _event(self, reason: str, text: str, kind: str = "Normal") -> tuple[Call, ...]:
        return event_call(self.view, self.entry, Said(reason, text, kind, COMPONENT), self.now)

    def _look_at(self, due: float) -> None:
        self.again_at = min(self.again_at or due, due)


def jobs_of_pod(view: View, change: Change[Pod]) -> Iterable[str]:
    """The Jobs that a pod's change concerns."""
    return owners_of_pod(view, change, JOBS, "Job")
