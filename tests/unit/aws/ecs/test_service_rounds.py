"""What a service's controller writes and how often it is asked: counts that must not grow."""

from __future__ import annotations

from collections import Counter

import pytest

from proa.aws.ecs.controllers.muster import Muster
from proa.aws.ecs.controllers.service import ServiceController
from proa.aws.ecs.tables import TASKS
from proa.reconcile.plan import Plan
from proa.reconcile.view import View
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
        await world.define()
        await world.create(count=3)
        await world.until_steady()
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
        await world.define()
        await world.create(count=2)
        await world.until_steady()
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
        await world.define()
        await world.create(count=8)
        await world.until_steady()
        rounds.count.clear()
        await world.define(image="web:2")
        await world.call("UpdateService", service="web", taskDefinition="web")
        service = await world.until_steady()
        assert service["runningCount"] == 8 and len(service["deployments"]) == 1
        assert sum(rounds.count.values()) <= 8, rounds.count

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
        await world.define()
        await world.create(count=3)
        await world.until_steady()
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


async def _have_stopped(world: World, count: int) -> bool:
    return sum(item.last_status == "STOPPED" for item in world.records()) == count
