"""What a service's controller writes and how often it is asked: counts that must not grow."""

from __future__ import annotations

from collections import Counter

import pytest
from msgspec.structs import replace

from proa.aws.ecs.controllers.muster import Muster
from proa.aws.ecs.controllers.service import ServiceController
from proa.aws.ecs.records import Task
from proa.aws.ecs.tables import TASKS
from proa.reconcile.plan import NOTHING, Plan
from proa.reconcile.view import Change, Entry, View
from tests.unit.aws.ecs.world import World, run_world


class Rounds:
    """Every round of the service controller, by whether it wrote anything."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.count: Counter[bool] = Counter()
        reconcile = ServiceController.reconcile

        def counted(controller: ServiceController, view: View, key: str, now: float) -> Plan:
            plan = reconcile(controller, view, key, now)
            self.count[bool(plan.steps)] += 1
            return plan

        patch.setattr(ServiceController, "reconcile", counted)


def test_an_end_that_was_asked_for_is_not_noted_and_the_task_is_no_longer_looked_at() -> None:
    async def story(world: World) -> None:
        await world.serve(3)
        await world.call("UpdateService", service="web", desiredCount=2)
        await world.until(lambda: _have_stopped(world, 1))
        (told,) = (item for item in world.records() if item.last_status == "STOPPED")
        assert told.stop_code == "ServiceSchedulerInitiated" and not told.is_unnoted
        entry = world.view.rows(TASKS).get(told.key)
        attended = world.view.rows(TASKS).by("attended", told.service_key)
        assert entry not in attended and len(attended) == 2

        victim = attended[0].value
        await world.call("StopTask", task=victim.arn, reason="enough")
        await world.until_status(victim.arn, "STOPPED")
        await world.until_steady()
        ended = next(item for item in world.records() if item.id == victim.id)
        assert not ended.counted and not ended.is_unnoted

    run_world(story)


def test_a_task_that_ends_by_itself_is_noted_once() -> None:
    async def story(world: World) -> None:
        await world.serve(2)
        victim = world.records()[0]
        world.agent.killed.add(victim.id)
        await world.until_status(victim.arn, "STOPPED")
        await world.until_steady()
        ended = next(item for item in world.records() if item.id == victim.id)
        assert ended.counted and not ended.is_unnoted

    run_world(story)


def test_a_rolling_deployment_takes_few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = Rounds(monkeypatch)

    async def story(world: World) -> None:
        await world.serve(8)
        rounds.count.clear()
        await world.define(image="web:2")
        await world.call("UpdateService", service="web", taskDefinition="web")
        service = await world.until_steady()
        assert service["runningCount"] == 8 and len(service["deployments"]) == 1
        assert sum(rounds.count.values()) <= 8, rounds.count

    run_world(story)


def test_a_task_that_is_replaced_takes_three_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """One starts the new task, one sees the old one gone, one says that all is steady again: none
    is about what a round has just written, nor about a task that has only begun to run."""
    rounds = Rounds(monkeypatch)

    async def story(world: World) -> None:
        await world.serve(4)
        await world.clock.sleep(10)
        rounds.count.clear()
        await world.call("StopTask", task=world.records()[0].arn)
        await world.clock.sleep(30)
        assert world.service_record("web").steady  # type: ignore[union-attr]
        assert sum(rounds.count.values()) <= 3, rounds.count
        rounds.count.clear()
        await world.clock.sleep(3700)
        assert len(world.records()) == 4
        assert not rounds.count, "it does not matter that a task is forgotten"

    run_world(story)


def test_tasks_that_ended_in_one_minute_are_forgotten_in_one_transaction() -> None:
    async def story(world: World) -> None:
        await world.serve(60)
        await world.call("UpdateService", service="web", desiredCount=0)
        await world.until(lambda: _have_stopped(world, 60))
        ended = [item.stopped_at for item in world.records()]
        minute = {int(at // 60) for at in ended}
        versions: list[int] = []
        world.view.subscribe(lambda _table, change: versions.append(change.version >> 8), [TASKS])
        await world.clock.sleep(max(ended) + 3600 - world.clock.now())
        assert len(world.records()) == 60, "each is kept for an hour"
        await world.clock.sleep(60)
        assert world.records() == []
        assert len(set(versions)) <= 1 + len(minute)  # a transaction takes 47

    run_world(story)


def test_more_tasks_than_one_transaction_takes_are_started_at_once() -> None:
    async def story(world: World) -> None:
        await world.define()
        began = world.clock.monotonic()
        await world.create(count=60)
        await world.until(lambda: _are_there(world, 60))
        assert world.clock.monotonic() - began < 2

    run_world(story)


async def _are_there(world: World, count: int) -> bool:
    return len(world.records()) == count


def test_tasks_that_started_together_are_asked_together() -> None:
    async def story(world: World) -> None:
        await world.serve(3)
        service = world.service_record("web")
        assert service is not None
        tasks = world.view.rows(TASKS).by("attended", service.key)
        settle_s, now = 40.0, max(item.value.started_at for item in tasks)
        muster = Muster(world.view, tasks, service.primary.id, now, settle_s)
        settled = [item.value.started_at + settle_s for item in tasks]
        assert all(0 <= at - when <= 5 for at, when in zip(muster.settling, settled, strict=True))
        assert {at % 5 for at in muster.settling} == {0}
        late = max(muster.settling)
        then = Muster(world.view, tasks, service.primary.id, late, settle_s)
        assert len(then.available) == 3

    run_world(story)


def test_an_update_that_changes_no_task_is_followed_by_a_steady_state_all_the_same() -> None:
    async def story(world: World) -> None:
        await world.serve(2)
        before = world.service_record("web")
        await world.call("UpdateService", service="web", enableExecuteCommand=True)
        await world.clock.sleep(60)
        after = world.service_record("web")
        assert before is not None and after is not None
        assert after.steady and after.event_count == before.event_count + 1

    run_world(story)


def test_a_task_without_room_is_looked_at_though_its_beginning_was_not_seen() -> None:
    """A view that lists again shows creation and refusal as one change."""

    async def story(world: World) -> None:
        await world.serve(1)
        (begun,) = world.records()
        controller = ServiceController(world.vpc, world.logs, world.chance, world.settle_s)
        asked = next(one for one in controller.triggers if one.table is TASKS)

        def called(task: Task) -> list[str]:
            entry = Entry(task.key, b"", 1, 1, task)
            return list(asked.keys(world.view, Change(task.key, 1, None, entry)))

        fresh = replace(begun, last_status="PROVISIONING", instance="")
        assert called(fresh) == []
        assert called(replace(fresh, unplaced=("RESOURCE:CPU",))) == [begun.service_key]

    run_world(story)


def test_a_task_whose_service_is_deleted_before_it_noted_the_end_is_swept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story(world: World) -> None:
        await world.serve(2)
        victim = world.records()[0]
        with monkeypatch.context() as patch:  # the service's round is late
            patch.setattr(ServiceController, "reconcile", lambda *_: NOTHING)
            world.agent.killed.add(victim.id)
            await world.until_status(victim.arn, "STOPPED")
            await world.clock.sleep(1)
        await world.call("DeleteService", service="web", force=True)
        await world.clock.sleep(3 * 3600)
        assert world.records() == []

    run_world(story)


async def _have_stopped(world: World, count: int) -> bool:
    return sum(item.last_status == "STOPPED" for item in world.records()) == count
