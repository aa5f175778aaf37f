"""Cron schedules: what they mean, and what is wrong with those that mean nothing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proa.kube.schema.cron import ScheduleError, parse, schedule_fault
from proa.kube.schema.rules import check_create
from tests.unit.kube.schema.world import container, defaulted, resource


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("x", "expected exactly 5 fields, found 1: [x]"),
        ("60 * * * *", "end of range (60) above maximum (59): 60"),
        ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
        ("* 5-3 * * *", "beginning of range (5) beyond end of range (3): 5-3"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
        ("1/2/3 * * * *", "too many slashes: 1/2/3"),
        (
            "* * * FOO *",
            'failed to parse int from FOO: strconv.Atoi: parsing "FOO": invalid syntax',
        ),
        ("* * * * 7", "end of range (7) above maximum (6): 7"),
        ("@never", "unrecognized descriptor: @never"),
        ("@every soon", 'time: invalid duration "soon"'),
    ],
)
def test_a_schedule_that_means_nothing_says_why(text: str, fault: str) -> None:
    assert fault in schedule_fault(text)


def test_fields_are_read_with_names_ranges_and_steps() -> None:
    schedule = parse("*/20 8-10,22 1/10 jan-MAR sun,2")
    assert schedule.minutes == {0, 20, 40}
    assert schedule.hours == {8, 9, 10, 22}
    assert schedule.days == {1, 11, 21, 31}
    assert schedule.months == {1, 2, 3}
    assert schedule.weekdays == {0, 2}
    assert (schedule.days_free, schedule.weekdays_free) == (False, False)


def test_descriptors_stand_for_schedules() -> None:
    assert parse("@weekly") == parse("0 0 * * 0")
    assert parse("@every 1h30m").every_s == 5400


@given(st.text(max_size=12))
def test_any_text_is_a_schedule_or_a_fault(text: str) -> None:
    try:
        parse(text)
    except ScheduleError as error:
        assert str(error)


def cron_job(schedule: str, zone: Any = None) -> dict[str, Any]:
    template = {"spec": {"restartPolicy": "Never", "containers": [container()]}}
    spec: dict[str, Any] = {"schedule": schedule, "jobTemplate": {"spec": {"template": template}}}
    if zone is not None:
        spec["timeZone"] = zone
    return {
        "apiVersion": "batch/v1", "kind": "CronJob", "spec": spec,
        "metadata": {"name": "c", "namespace": "default"},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("schedule", "zone", "text"),
    [
        ("TZ=UTC * * * * *", None, 'spec.schedule: Invalid value: "TZ=UTC * * * * *": cannot use'),
        ("* * * * *", "Nope/Nowhere", 'spec.timeZone: Invalid value: "Nope/Nowhere": unknown'),
        ("* * * * *", "../etc/passwd", "unknown time zone"),
        ("* * * * *", "Local", "timeZone must be an explicit time zone"),
        ("* * * * *", "", "timeZone must be nil or non-empty string"),
    ],
)
def test_a_cron_jobs_zone_is_said_apart_from_its_schedule(
    schedule: str, zone: str | None, text: str
) -> None:
    kind = resource("cronjobs", "batch")
    (error,) = check_create(kind, defaulted(kind, cron_job(schedule, zone)))
    assert text in error.message()


def test_a_cron_job_with_a_zone_is_admitted() -> None:
    kind = resource("cronjobs", "batch")
    assert check_create(kind, defaulted(kind, cron_job("@daily", "Europe/Berlin"))) == []
