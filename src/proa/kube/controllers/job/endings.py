"""What comes after a Job: its time to live, and its pods set free once it has gone.

Rules: "Automatic Cleanup for Finished Jobs" (KEP-592), "Job tracking with finalizers" (KEP-2307).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from proa.kube.batch_objects import Job
from proa.kube.controllers.common import delete, instant, service_account
from proa.kube.controllers.job.pods import TRACKING, released
from proa.kube.objects import Pod
from proa.kube.tables import JOBS, PODS, cluster_of
from proa.reconcile.controller import Trigger
from proa.reconcile.plan import NOTHING, Plan
from proa.reconcile.runner import row_key
from proa.reconcile.view import Change, Entry, View

TTL_USER = service_account("ttl-after-finished-controller")
JOB_USER = service_account("job-controller")


class JobTtlController:
    """Deletes a finished Job, and by foreground deletion its pods first, when its
    ``ttlSecondsAfterFinished`` are over. Key: the Job's."""

    name = "job-ttl"

    def __init__(self) -> None:
        self.triggers: Sequence[Trigger] = (Trigger(JOBS, row_key),)

    def reconcile(self, view: View, key: str, now: float) -> Plan:
        entry = view.rows(JOBS).get(key)
        if entry is None or entry.value.metadata.deleting:
            return NOTHING
        job = entry.value
        ttl, finished = job.spec.ttl_seconds_after_finished, job.finished
        if ttl is None or finished is None:
            return NOTHING
        due = instant(finished.last_transition_time) + ttl
        if due > now:
            return Plan(again_at=due)
        return Plan((delete(entry, TTL_USER, "Foreground"),))


class JobPodReleaseController:
    """Takes the tracking finalizer from pods that no Job counts any more. Key: the pod's."""

    name = "job-pod-release"

    def __init__(self) -> None:
        self.triggers: Sequence[Trigger] = (
            Trigger(PODS, _if_tracked),
            Trigger(JOBS, _pods_of_gone_job),
        )

    def reconcile(self, view: View, key: str, now: float) -> Plan:
        entry = view.rows(PODS).get(key)
        if entry is None or TRACKING not in entry.value.metadata.finalizers:
            return NOTHING
        return NOTHING if _has_job(view, entry) else Plan((released(entry, JOB_USER),))


def _has_job(view: View, entry: Entry[Pod]) -> bool:
    owner = entry.value.metadata.controller
    if owner is None:
        return False
    return bool(view.rows(JOBS).by("uid", f"{cluster_of(entry.key)}/{owner.uid}"))


def _if_tracked(_view: View, change: Change[Pod]) -> Iterable[str]:
    tracked = change.new is not None and TRACKING in change.new.value.metadata.finalizers
    return (change.key,) if tracked else ()


def _pods_of_gone_job(view: View, change: Change[Job]) -> Iterable[str]:
    if change.new is not None or change.old is None:
        return ()
    owner = f"{cluster_of(change.key)}/{change.old.value.metadata.uid}"
    return [entry.key for entry in view.rows(PODS).by("controller", owner)]
