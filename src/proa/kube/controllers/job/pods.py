"""A Job's pods sorted out: who runs, who ends, who has ended and is in which count.

An ended pod is counted once: its uid is first noted in the Job's status, then it loses the
tracking finalizer, and only then the note becomes a count. Whatever is interrupted in between, no
pod is lost or counted twice (KEP-2307).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from proa.kube.api.call import Call
from proa.kube.batch_objects import Job, Uncounted
from proa.kube.controllers.common import patch
from proa.kube.controllers.job import indexes, policies
from proa.kube.controllers.job.policies import Verdict
from proa.kube.objects import Pod
from proa.reconcile.view import Entry

TRACKING = "batch.kubernetes.io/job-tracking"
PER_TURN = 500
Pods = list[Entry[Pod]]


@dataclass(slots=True)
class Sorted:
    """``succeeded`` and ``failed`` are every ended pod that is still there; the ``new_`` ones of
    them are neither counted nor noted. ``settled`` are noted ones without finalizer."""

    active: Pods = field(default_factory=list)
    terminating: Pods = field(default_factory=list)
    succeeded: Pods = field(default_factory=list)
    failed: Pods = field(default_factory=list)
    new_succeeded: Pods = field(default_factory=list)
    new_failed: Pods = field(default_factory=list)
    verdicts: dict[str, Verdict] = field(default_factory=dict)  # of new_failed, by uid

    @property
    def counted_failures(self) -> int:
        """New failures that count against the limit."""
        return sum(
            1 for pod in self.new_failed if self.verdicts[pod.value.metadata.uid].action != "Ignore"
        )

    @property
    def fatal(self) -> str:
        """Why the Job has to fail by its failure policy; "" if it has not."""
        found = (self.verdicts[pod.value.metadata.uid] for pod in self.new_failed)
        return next((item.message for item in found if item.action == "FailJob"), "")


def sorted_out(job: Job, owned: Sequence[Entry[Pod]]) -> Sorted:
    """Sort the pods that a Job controls. One that is being deleted has failed at once, unless
    only failed pods are replaced, where it has to have ended."""
    found = Sorted()
    at_once = job.spec.pod_replacement_policy != "Failed" and job.spec.pod_failure_policy is None
    noted = job.status.uncounted_terminated_pods
    known = {*noted.succeeded, *noted.failed}
    for entry in owned:
        pod, uid = entry.value, entry.value.metadata.uid
        fresh = TRACKING in pod.metadata.finalizers and uid not in known
        if pod.active:
            found.active.append(entry)
            continue
        if not pod.terminal:
            found.terminating.append(entry)
        if pod.status.phase == "Succeeded":
            found.succeeded.append(entry)
            if fresh:
                found.new_succeeded.append(entry)
        elif pod.terminal or at_once or _is_gone(pod):
            found.failed.append(entry)
            if fresh:
                found.new_failed.append(entry)
                found.verdicts[uid] = policies.verdict(job, pod)
    del found.new_succeeded[PER_TURN:], found.new_failed[PER_TURN:]
    return found


def _is_gone(pod: Pod) -> bool:
    """Nothing of it is left on its node, and nobody will report its end."""
    return pod.metadata.deletion_grace_period_seconds == 0


@dataclass(slots=True)
class Tally:
    """What has been counted after this turn, and how the status and the pods get there."""

    succeeded: int
    failed: int
    noted: Uncounted
    releases: list[Call]

    def noted_json(self) -> dict[str, Any]:
        """The notes as a merge patch: None takes a member away."""
        return {
            "succeeded": list(self.noted.succeeded) or None,
            "failed": list(self.noted.failed) or None,
        }


def tally(job: Job, owned: Iterable[Entry[Pod]], found: Sorted, user: str) -> Tally:
    """Turn notes whose pod has lost its finalizer into counts, note the new ends, and release
    the pods that stand in no note any more or have just been noted."""
    tracked = {
        entry.value.metadata.uid: entry
        for entry in owned
        if TRACKING in entry.value.metadata.finalizers
    }
    noted = job.status.uncounted_terminated_pods
    keep_succeeded = [uid for uid in noted.succeeded if uid in tracked]
    keep_failed = [uid for uid in noted.failed if uid in tracked]
    succeeded = job.status.succeeded + len(noted.succeeded) - len(keep_succeeded)
    failed = job.status.failed + len(noted.failed) - len(keep_failed)
    keep_succeeded += [] if job.indexed else [_uid(pod) for pod in found.new_succeeded]
    keep_failed += [
        _uid(pod) for pod in found.new_failed if found.verdicts[_uid(pod)].action != "Ignore"
    ]
    doomed = {*keep_succeeded, *keep_failed}
    doomed |= {_uid(pod) for pod in (*found.new_succeeded, *found.new_failed)}
    releases = [released(tracked[uid], user) for uid in sorted(doomed) if uid in tracked]
    return Tally(succeeded, failed, Uncounted(tuple(keep_succeeded), tuple(keep_failed)), releases)


def _uid(entry: Entry[Pod]) -> str:
    return entry.value.metadata.uid


def released(entry: Entry[Pod], user: str) -> Call:
    """The pod without the tracking finalizer."""
    rest = [name for name in entry.value.metadata.finalizers if name != TRACKING]
    return patch(entry, {"metadata": {"finalizers": rest or None}}, user)


# Indexed Jobs


def succeeded_indexes(job: Job, found: Sorted) -> set[int]:
    """Indexes with a success: those in the status, and those of pods that succeeded since."""
    completions = job.spec.completions or 0
    known = indexes.parse(job.status.completed_indexes, completions)
    for entry in found.succeeded:
        index = indexes.index_of(entry.value)
        if index is not None and index < completions:
            known.add(index)
    return known


def failed_indexes(job: Job, found: Sorted) -> set[int]:
    """Indexes that have used up their failures, or that the failure policy gave up."""
    limit = job.spec.backoff_limit_per_index
    if limit is None:
        return set()
    completions = job.spec.completions or 0
    known = indexes.parse(job.status.failed_indexes or "", completions)
    for entry in found.failed:
        index = indexes.index_of(entry.value)
        if index is None or index >= completions:
            continue
        used_up = indexes.failures_of(entry.value) >= limit
        judged = policies.verdict(job, entry.value).action
        if judged == "FailIndex" or (used_up and judged != "Ignore"):
            known.add(index)
    return known
