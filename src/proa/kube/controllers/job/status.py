"""A Job's status: the counts and conditions of one turn, and what of them is worth an Event."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from proa.base.clock import iso8601
from proa.kube.api.call import Call
from proa.kube.batch_objects import Job
from proa.kube.controllers.common import condition_json, patch
from proa.kube.controllers.job.indexes import text_of
from proa.kube.controllers.job.pods import Sorted, Tally
from proa.kube.decoding import without_nulls
from proa.kube.events import Said
from proa.kube.objects import Condition, condition
from proa.reconcile.view import Entry

_FINAL = {"FailureTarget": "Failed", "SuccessCriteriaMet": "Complete"}


@dataclass(slots=True, frozen=True)
class Outcome:
    """What a Job has come to: nothing yet, an interim condition, or with ``ended`` its final
    one."""

    type: str = ""
    reason: str = ""
    message: str = ""
    ended: bool = False

    @property
    def over(self) -> bool:
        return bool(self.type)

    def final(self) -> Outcome:
        return Outcome(self.type, self.reason, self.message, True)


class Seen(NamedTuple):
    """What a turn has found out. ``deleted`` active pods are on their way out."""

    job: Job
    found: Sorted
    tally: Tally
    succeeded: int
    done: set[int]
    given_up: set[int]
    deleted: int


def change(seen: Seen, outcome: Outcome, now: float) -> tuple[dict[str, Any], list[Said]]:
    """(the status wanted, with None for what is absent; the news in it)."""
    job, spec = seen.job, seen.job.spec
    known = {item.type: condition_json(item) for item in job.status.conditions}
    before = dict(known)
    news: list[Said] = []
    if outcome.over:
        known.setdefault(outcome.type, _condition(outcome.type, outcome, now))
    final = _FINAL.get(outcome.type, "") if outcome.ended else ""
    if final and final not in known:
        known[final] = _condition(final, outcome, now)
        news.append(_finished(final, outcome))
    start: str | None = job.status.start_time or None
    if job.finished is None and not outcome.over:
        news += _suspension(job, known, now)
        if spec.suspend:
            start = None
        elif start is None or _resumed(job):
            start = iso8601(now)
    active = len(seen.found.active) - seen.deleted
    wanted: dict[str, Any] = {
        "startTime": start or (iso8601(now) if outcome.over else None),
        "completionTime": iso8601(now)
        if final == "Complete"
        else job.status.completion_time or None,
        "active": active or None,
        "ready": 0 if active == 0 else sum(1 for pod in seen.found.active if pod.value.ready_since),
        "terminating": len(seen.found.terminating) + seen.deleted,
        "succeeded": (len(seen.done) if job.indexed else seen.tally.succeeded) or None,
        "failed": seen.tally.failed or None,
        "completedIndexes": (text_of(seen.done) or None) if job.indexed else None,
        "failedIndexes": (
            text_of(seen.given_up) if spec.backoff_limit_per_index is not None else None
        ),
        "uncountedTerminatedPods": seen.tally.noted_json(),
    }
    if known != before:
        wanted["conditions"] = list(known.values())
    return wanted, news


def _condition(type: str, outcome: Outcome, now: float) -> dict[str, Any]:
    return condition_json(
        Condition(
            type,
            "True",
            outcome.reason,
            outcome.message,
            last_transition_time=iso8601(now),
            last_probe_time=iso8601(now),
        )
    )


def _finished(type: str, outcome: Outcome) -> Said:
    if type == "Complete":
        return Said("Completed", "Job completed")
    return Said(outcome.reason, outcome.message, "Warning")


def _resumed(job: Job) -> bool:
    known = condition(job.status.conditions, "Suspended")
    return known is not None and known.status == "True" and not job.spec.suspend


def _suspension(job: Job, known: dict[str, dict[str, Any]], now: float) -> list[Said]:
    """Keep the condition Suspended and say when it changes."""
    present = condition(job.status.conditions, "Suspended")
    held = present is not None and present.status == "True"
    if job.spec.suspend == held:
        return []
    value, reason, text = (
        ("True", "JobSuspended", "Job suspended")
        if job.spec.suspend
        else ("False", "JobResumed", "Job resumed")
    )
    known["Suspended"] = condition_json(
        Condition(
            "Suspended",
            value,
            reason,
            text,
            last_transition_time=iso8601(now),
            last_probe_time=iso8601(now),
        )
    )
    return [Said("Suspended" if job.spec.suspend else "Resumed", text)]


def patches(entry: Entry[Job], wanted: dict[str, Any], user: str) -> Sequence[Call]:
    """The patch that brings the status up to date; none if it is."""
    present = orjson.loads(entry.body).get("status") or {}
    news = {
        name: value for name, value in wanted.items() if without_nulls(value) != present.get(name)
    }
    return [patch(entry, {"status": news}, user, "status")] if news else []
