"""CronJobs: a Job at each time of the schedule, and no more of them than wanted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from proa.base.clock import iso8601, run_virtual
from proa.kube.controllers.cron_job.controller import CronJobController
from proa.kube.controllers.cron_job.times import instants, next_after, zone_of
from proa.kube.controllers.garbage import GarbageController
from proa.kube.schema.cron import parse
from tests.unit.kube.world import Json, World


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def following(schedule: str, after: str, count: int = 3, zone: str = "") -> list[str]:
    found: list[str] = []
    now = at(after)
    parsed = parse(schedule)
    for _ in range(count):
        now = next_after(parsed, now, zone_of(zone))
        found.append(datetime.fromtimestamp(now, UTC).strftime("%m-%d %H:%M"))
    return found


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("*/20 * * * *", ["01-31 23:20", "01-31 23:40", "02-01 00:00"]),
        ("5,10 1-2 * * *", ["02-01 01:05", "02-01 01:10", "02-01 02:05"]),
        ("0 0 1 * *", ["02-01 00:00", "03-01 00:00", "04-01 00:00"]),
        ("0 12 * * MON", ["02-02 12:00", "02-09 12:00", "02-16 12:00"]),
        ("0 0 29 feb *", ["02-29 00:00"]),
        ("0 0 13 * FRI", ["02-06 00:00", "02-13 00:00", "02-20 00:00"]),
        ("0 0 */10 * FRI", ["02-01 00:00", "02-06 00:00", "02-11 00:00"]),
        ("30/10 4 ? * *", ["02-01 04:30", "02-01 04:40", "02-01 04:50"]),
        ("@hourly", ["02-01 00:00", "02-01 01:00", "02-01 02:00"]),
        ("@weekly", ["02-01 00:00", "02-08 00:00", "02-15 00:00"]),
        ("@every 90m", ["02-01 00:35", "02-01 02:05", "02-01 03:35"]),
    ],
)
def test_a_schedule_names_its_instants(schedule: str, expected: list[str]) -> None:
    assert following(schedule, "2026-01-31T23:05", len(expected)) == expected


def test_a_schedule_is_read_in_its_time_zone() -> None:
    assert following("0 9 * * *", "2026-01-01T00:00", 1, "Asia/Tokyo") == ["01-02 00:00"]


def test_a_clock_put_forward_skips_and_one_put_back_repeats() -> None:
    new_york = "America/New_York"
    assert following("30 2 * * *", "2026-03-07T12:00", 2, new_york) == [
        "03-09 06:30",
        "03-10 06:30",
    ]
    assert following("30 1 * * *", "2026-11-01T00:00", 2, new_york) == [
        "11-01 05:30",
        "11-01 06:30",
    ]
    assert following("0 * * * *", "2026-03-08T05:30", 2, new_york) == ["03-08 06:00", "03-08 07:00"]


def test_a_day_that_never_comes_is_not_waited_for() -> None:
    assert next_after(parse("0 0 30 2 *"), at("2026-01-01")) == 0


def test_what_was_missed_is_listed_in_order() -> None:
    found = list(instants(parse("0 * * * *"), at("2026-01-01T00:00"),
                          at("2026-01-01T03:00"), UTC))  # fmt: skip
    assert found == [at(f"2026-01-01T0{hour}:00") for hour in (1, 2, 3)]


@pytest.mark.parametrize("name", ["Nowhere/City", "../etc/passwd", "/etc/localtime"])
def test_an_unknown_time_zone_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="unknown time zone"):
        zone_of(name)


def play(scene: Callable[[World], Awaitable[None]]) -> None:
    async def main() -> None:
        async with World([CronJobController(), GarbageController()]) as world:
            world.namespace()
            await scene(world)

    run_virtual(main())


def cron_job(world: World, schedule: str = "*/10 * * * *", **spec: Any) -> None:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"completions": 1}}
    body = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "tick", "namespace": "default"},
        "spec": {"schedule": schedule, "jobTemplate": template, **spec},
    }
    world.create("batch", "cronjobs", body)


def jobs(world: World) -> list[str]:
    return [item["metadata"]["name"] for item in world.list("batch", "jobs")]


def finish(world: World, name: str, type: str = "Complete") -> None:
    now = iso8601(world.clock.now())
    done = [{"type": type, "status": "True", "lastTransitionTime": now}]
    status = {"conditions": done, "completionTime": now, "startTime": now}
    world.patch("batch", "jobs", "default", name, {"status": status}, "status")


def status_of(world: World) -> Json:
    found: Json = world.get("batch", "cronjobs", "default", "tick").get("status", {})
    return found


async def minutes(world: World, count: float) -> None:
    await world.sleep(60 * count)


def test_a_job_is_made_at_each_time_with_the_template_and_its_owner() -> None:
    async def scene(world: World) -> None:
        cron_job(world)
        await minutes(world, 10.1)
        (job,) = world.list("batch", "jobs")
        meta = job["metadata"]
        number = int(world.clock.now()) // 600 * 10
        assert meta["name"] == f"tick-{number}"
        assert meta["labels"] == {"a": "b"} and job["spec"] == {"completions": 1}
        assert meta["ownerReferences"][0]["kind"] == "CronJob"
        scheduled = meta["annotations"]["batch.kubernetes.io/cronjob-scheduled-timestamp"]
        status = status_of(world)
        assert status["lastScheduleTime"] == scheduled
        assert [item["name"] for item in status["active"]] == [meta["name"]]
        finish(world, meta["name"])
        await world.sleep(1)
        assert "active" not in status_of(world) and status_of(world)["lastSuccessfulTime"]
        text = f"Saw completed job: {meta['name']}, condition: Complete"
        assert world.events("SawCompletedJob") == [text]

    play(scene)


@pytest.mark.parametrize(("policy", "left"), [("Allow", 2), ("Forbid", 1), ("Replace", 1)])
def test_a_job_that_still_runs_meets_the_concurrency_policy(policy: str, left: int) -> None:
    async def scene(world: World) -> None:
        cron_job(world, concurrencyPolicy=policy)
        await minutes(world, 10.1)
        first = jobs(world)
        await minutes(world, 10)
        assert len(jobs(world)) == left
        assert (jobs(world) == first) == (policy == "Forbid")
        assert len(status_of(world)["active"]) == left
        if policy == "Forbid":
            assert len(world.events("JobAlreadyActive")) == 1
            finish(world, first[0])
            await world.sleep(1)
            assert len(jobs(world)) == 2, "the time that was missed is made up for"

    play(scene)


def test_only_so_many_finished_jobs_are_kept() -> None:
    async def scene(world: World) -> None:
        cron_job(world, successfulJobsHistoryLimit=2, failedJobsHistoryLimit=0)
        for number in range(5):
            await minutes(world, 10.02)
            finish(world, jobs(world)[-1], "Failed" if number == 1 else "Complete")
        await world.sleep(1)
        assert len(jobs(world)) == 2

    play(scene)


def test_a_suspended_one_makes_nothing_and_then_only_the_newest_it_missed() -> None:
    async def scene(world: World) -> None:
        cron_job(world, suspend=True)
        await minutes(world, 35)
        assert jobs(world) == []
        world.patch("batch", "cronjobs", "default", "tick", {"spec": {"suspend": False}})
        await world.sleep(1)
        assert len(jobs(world)) == 1

    play(scene)


def test_what_is_too_late_by_its_deadline_is_left_out() -> None:
    async def scene(world: World) -> None:
        cron_job(world, suspend=True, startingDeadlineSeconds=60)
        await minutes(world, 15)
        world.patch("batch", "cronjobs", "default", "tick", {"spec": {"suspend": False}})
        await world.sleep(1)
        assert jobs(world) == []
        await minutes(world, 10)
        assert len(jobs(world)) == 1

    play(scene)


def test_very_many_missed_times_warn_and_are_made_up_for_once() -> None:
    async def scene(world: World) -> None:
        cron_job(world, "* * * * *", suspend=True)
        await minutes(world, 60 * 30)
        world.patch("batch", "cronjobs", "default", "tick", {"spec": {"suspend": False}})
        await world.sleep(1)
        assert len(jobs(world)) == 1
        assert len(world.events("TooManyMissedTimes")) == 1

    play(scene)


def test_jobs_made_by_hand_are_no_run_of_the_schedule() -> None:
    async def scene(world: World) -> None:
        cron_job(world, concurrencyPolicy="Forbid")
        owner = world.get("batch", "cronjobs", "default", "tick")["metadata"]
        reference = {
            "apiVersion": "batch/v1",
            "kind": "CronJob",
            "name": "tick",
            "uid": owner["uid"],
            "controller": True,
        }
        meta = {"name": "by-hand", "namespace": "default", "ownerReferences": [reference]}
        world.create("batch", "jobs", {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta})
        await minutes(world, 10.1)
        assert len(jobs(world)) == 2

    play(scene)
