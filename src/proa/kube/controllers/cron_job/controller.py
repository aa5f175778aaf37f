"""CronJobs: a Job at each time of the schedule, by the concurrency policy, and old Jobs removed.

Rules: kube-controller-manager's CronJob controller (v2) and the API documentation of batch/v1. A
Job's name follows from the time it is made for, so that no time is served twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import deepcopy
from datetime import datetime, tzinfo
from typing import Any

import orjson

from proa.base.clock import iso8601
from proa.kube.api.call import ApiError, Call
from proa.kube.batch_objects import CronJob, Job
from proa.kube.controllers.common import (
    delete,
    instant,
    owner_reference,
    patch,
    service_account,
)
from proa.kube.controllers.cron_job.times import due, zone_of
from proa.kube.controllers.steps import Attempt
from proa.kube.events import Said, event_call
from proa.kube.schema.cron import Schedule, parse
from proa.kube.tables import CRON_JOBS, JOBS, cluster_of
from proa.reconcile.controller import Trigger
from proa.reconcile.plan import NOTHING, Plan
from proa.reconcile.runner import row_key
from proa.reconcile.view import Change, Entry, View

USER = service_account("cronjob-controller")
COMPONENT = "cronjob-controller"
SCHEDULED_AT = "batch.kubernetes.io/cronjob-scheduled-timestamp"
_SLACK_S = 0.1
Jobs = list[Entry[Job]]


class CronJobController:
    """Key: the CronJob's store key."""

    name = "cron-job"

    def __init__(self) -> None:
        self.triggers: Sequence[Trigger] = (Trigger(CRON_JOBS, row_key), Trigger(JOBS, _owner))

    def reconcile(self, view: View, key: str, now: float) -> Plan:
        entry = view.rows(CRON_JOBS).get(key)
        if entry is None:
            return NOTHING
        owner = f"{cluster_of(key)}/{entry.value.metadata.uid}"
        return _Turn(view, entry, view.rows(JOBS).by("controller", owner), now).plan()


class _Turn:
    """One look at one CronJob."""

    def __init__(self, view: View, entry: Entry[CronJob], children: Jobs, now: float) -> None:
        self.view, self.entry, self.now = view, entry, now
        self.cron, self.children = entry.value, children
        self.steps: list[Any] = []
        self.events: list[Call] = []
        self.served = self.cron.status.last_schedule_time
        running = [one for one in children if one.value.finished is None]
        self.active = [one for one in running if _is_scheduled(one)]
        self.strangers = [one for one in running if not _is_scheduled(one)]

    def plan(self) -> Plan:
        self._tell_of_changes()
        again_at = 0.0
        if not self.cron.metadata.deleting:
            self._tidy()
            again_at = self._schedule()
        return Plan((*self.steps, *self._status(), *self.events), again_at)

    # What has become of its Jobs

    def _tell_of_changes(self) -> None:
        """Jobs that have ended, gone or appeared since the status was written."""
        by_uid = {one.value.metadata.uid: one for one in self.children}
        known = {reference.uid: reference.name for reference in self.cron.status.active}
        for uid, name in known.items():
            child = by_uid.get(uid)
            if child is None:
                self._say("MissingJob", f"Active job went missing: {name}", "Warning")
            elif child.value.finished is not None:
                text = f"Saw completed job: {name}, condition: {child.value.finished.type}"
                self._say("SawCompletedJob", text)
        for child in self.strangers:
            name = child.value.metadata.name
            text = f"Saw a job that the controller did not create or forgot: {name}"
            self._say("UnexpectedJob", text, "Warning")

    def _tidy(self) -> None:
        """Only so many finished Jobs are kept, the newest."""
        spec = self.cron.spec
        limits = {
            "Complete": spec.successful_jobs_history_limit,
            "Failed": spec.failed_jobs_history_limit,
        }
        for type, limit in limits.items():
            if limit is None:
                continue
            finished = [
                one
                for one in self.children
                if one.value.finished is not None
                and one.value.finished.type == type
                and not one.value.metadata.deleting
            ]
            finished.sort(key=lambda one: (one.value.status.start_time, one.key))
            for old in finished[: max(0, len(finished) - limit)]:
                self._remove(old)

    def _remove(self, job: Entry[Job]) -> None:
        self.steps.append(delete(job, USER, "Background"))
        self._say("SuccessfulDelete", f"Deleted job {job.value.metadata.name}")

    # Its time

    def _schedule(self) -> float:
        """Start a Job if it is time. Returns when to look again."""
        spec = self.cron.spec
        if spec.suspend:
            return 0.0
        try:
            zone = zone_of(spec.time_zone)
        except ValueError as error:
            self._say(
                "UnknownTimeZone", f'invalid timeZone: "{spec.time_zone}": {error}', "Warning"
            )
            return 0.0
        try:
            schedule = parse(spec.schedule)
        except ValueError as error:
            text = f'unparseable schedule: "{spec.schedule}" : {error}'
            self._say("UnparseableSchedule", text, "Warning")
            return 0.0
        return self._serve(schedule, zone)

    def _serve(self, schedule: Schedule, zone: tzinfo) -> float:
        spec, status = self.cron.spec, self.cron.status
        since = instant(status.last_schedule_time or self.cron.metadata.creation_timestamp)
        found = due(
            schedule,
            zone,
            since=since,
            deadline_s=spec.starting_deadline_seconds,
            now=self.now,
        )
        again_at = found.next + _SLACK_S if found.next else 0.0
        if found.many:
            text = (
                "too many missed start times. Set or decrease .spec.startingDeadlineSeconds "
                "or check clock skew"
            )
            self._say("TooManyMissedTimes", text, "Warning")
        if not found.at:
            return again_at
        if spec.concurrency_policy == "Forbid" and self.active:
            text = (
                "Not starting job because prior execution is running and concurrency policy is "
                "Forbid"
            )
            self._say("JobAlreadyActive", text)
            return again_at
        if spec.concurrency_policy == "Replace":
            for job in self.active:
                self._remove(job)
            self.active = []
        self._start(found.at, zone)
        return again_at

    def _start(self, at: float, zone: tzinfo) -> None:
        name = f"{self.cron.metadata.name}-{int(at) // 60}"
        self.served = iso8601(at)
        if any(one.value.metadata.name == name for one in self.children):
            return
        meta, template = self.cron.metadata, self.cron.spec.job_template
        annotations = {
            **template.metadata.get("annotations", {}),
            SCHEDULED_AT: datetime.fromtimestamp(at, zone).isoformat().replace("+00:00", "Z"),
        }
        body = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {
                "name": name,
                "namespace": meta.namespace,
                "labels": {**template.metadata.get("labels", {})},
                "annotations": annotations,
                "ownerReferences": [owner_reference("batch/v1", "CronJob", meta)],
            },
            "spec": deepcopy(template.spec),
        }
        cluster = cluster_of(self.entry.key)
        call = Call(
            cluster, "create", "batch", "jobs", meta.namespace, name,
            body=body, user=USER, existing_ok=True,
        )  # fmt: skip
        self.steps.append(Attempt(call, self._refused))
        self._say("SuccessfulCreate", f"Created job {name}")

    def _refused(self, error: ApiError) -> Sequence[Call]:
        said = Said("FailedCreate", f"Error creating job: {error.message}", "Warning", COMPONENT)
        return event_call(self.view, self.entry, said, self.now)

    # Reports

    def _status(self) -> Sequence[Call]:
        """The Jobs that run, as far as they are seen, and when it last ran and succeeded."""
        succeeded = [
            one.value.status.completion_time
            for one in self.children
            if one.value.condition("Complete") is not None
        ]
        latest = max([self.cron.status.last_successful_time, *succeeded])
        wanted = {
            "active": [_reference(one) for one in self.active] or None,
            "lastScheduleTime": self.served or None,
            "lastSuccessfulTime": latest or None,
        }
        present = orjson.loads(self.entry.body).get("status") or {}
        news = {name: value for name, value in wanted.items() if present.get(name) != value}
        return [patch(self.entry, {"status": news}, USER, "status")] if news else []

    def _say(self, reason: str, text: str, kind: str = "Normal") -> None:
        said = Said(reason, text, kind, COMPONENT)
        self.events += event_call(self.view, self.entry, said, self.now)


def _is_scheduled(job: Entry[Job]) -> bool:
    return SCHEDULED_AT in job.value.metadata.annotations


def _reference(job: Entry[Job]) -> dict[str, Any]:
    meta = job.value.metadata
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "name": meta.name,
        "namespace": meta.namespace,
        "uid": meta.uid,
    }


def _owner(view: View, change: Change[Job]) -> Iterable[str]:
    keys: dict[str, None] = {}
    for side in (change.old, change.new):
        owner = side.value.metadata.controller if side is not None else None
        if owner is not None:
            for found in view.rows(CRON_JOBS).by("uid", f"{cluster_of(change.key)}/{owner.uid}"):
                keys[found.key] = None
    return keys
