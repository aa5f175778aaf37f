"""Laws of the rolling update: floors, ceilings and convergence, for any history."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proa.aws.ecs.capacity import next_provider
from proa.aws.ecs.rollout import (
    Decision,
    Unit,
    bounds,
    breaker_threshold,
    decide,
    surplus,
    throttle_s,
)
from tests.unit.aws.ecs.world import Behaviour, World, run_world


def configuration(low: int, high: int) -> dict[str, int]:
    return {"minimumHealthyPercent": low, "maximumPercent": high}


@pytest.mark.parametrize(
    ("desired", "low", "high", "expected"),
    [(4, 100, 200, (4, 8)), (3, 50, 150, (2, 4)), (1, 50, 100, (1, 1)), (0, 100, 200, (0, 0))],
)
def test_the_floor_rounds_up_and_the_ceiling_down(
    desired: int, low: int, high: int, expected: tuple[int, int]
) -> None:
    assert bounds(desired, configuration(low, high)) == expected


def serving(key: str, deployment: str = "new", **more: object) -> Unit:
    return msgspec.structs.replace(Unit(key, deployment, available=True), **more)  # type: ignore[arg-type]


def test_a_default_rollout_starts_all_new_tasks_before_it_stops_an_old_one() -> None:
    old = [serving(f"o{number}", "old") for number in range(3)]
    assert decide(3, (3, 6), "new", old) == Decision(start=3)
    new = [serving(f"n{number}") for number in range(2)]
    assert len(decide(3, (3, 6), "new", [*old, *new, Unit("n2", "new")]).stop) == 2


def test_a_rollout_below_full_health_makes_room_down_to_its_floor() -> None:
    old = [serving(f"o{number}", "old") for number in range(4)]
    decision = decide(4, (2, 4), "new", old)
    assert decision.start == 0 and len(decision.stop) == 2


def test_percentages_that_allow_no_step_are_reported_as_blocked() -> None:
    assert decide(1, (1, 1), "new", [serving("o", "old")]) == Decision(0, (), blocked=True)


def test_an_unhealthy_task_is_replaced_before_it_is_stopped() -> None:
    sick = Unit("s", "new", unhealthy=True)
    assert decide(1, (1, 2), "new", [sick]) == Decision(start=1)
    assert decide(1, (1, 2), "new", [sick, serving("n")]).stop == ("s",)
    assert decide(1, (0, 1), "new", [sick]).stop == ("s",)


def test_a_held_deployment_neither_starts_nor_makes_room() -> None:
    old = [serving(f"o{number}", "old") for number in range(4)]
    assert decide(4, (2, 4), "new", old, may_start=False) == Decision()


def test_scaling_in_leaves_the_zones_even() -> None:
    units = [
        serving(f"{zone}{n}", zone=zone) for zone, n in (("a", 1), ("a", 2), ("a", 3), ("b", 1))
    ]
    assert [unit.zone for unit in surplus(units, 2)] == ["a", "a"]


@dataclasses.dataclass
class History:
    """A service's tasks by the rules of rollout alone, driven by drawn events."""

    low: int
    high: int
    desired: int
    primary: str = "d0"
    units: dict[str, Unit] = dataclasses.field(default_factory=dict)
    made: int = 0

    @property
    def limits(self) -> tuple[int, int]:
        return bounds(self.desired, configuration(self.low, self.high))

    def available(self) -> int:
        return sum(unit.available for unit in self.units.values() if unit.wanted)

    def counted(self) -> int:
        return sum(unit.counted for unit in self.units.values())

    def step(self) -> Decision:
        floor, ceiling = self.limits
        before, occupied = self.available(), self.counted()
        decision = decide(self.desired, self.limits, self.primary, list(self.units.values()))
        for key in decision.stop:
            assert self.units[key].wanted
            self.units[key] = msgspec.structs.replace(self.units[key], wanted=False)
        assert self.available() >= min(floor, before), "stopped below the floor"
        for _ in range(decision.start):
            key = f"t{self.made}"
            self.made += 1
            self.units[key] = Unit(key, self.primary, created_at=self.made)
        assert self.counted() <= max(ceiling, occupied), "started above the ceiling"
        return decision

    def event(self, kind: str, which: int) -> None:
        if kind == "deploy":
            self.primary = f"d{self.made}x{which}"
        elif kind == "scale":
            self.desired = which % 9
        elif self.units:
            key = sorted(self.units)[which % len(self.units)]
            unit = self.units[key]
            if kind == "die" or (kind == "gone" and not unit.wanted):
                del self.units[key]
            elif kind == "settle" and unit.wanted:
                self.units[key] = msgspec.structs.replace(unit, available=True, unhealthy=False)
            elif kind == "sicken" and unit.wanted:
                self.units[key] = msgspec.structs.replace(unit, available=False, unhealthy=True)
            elif kind == "stopping" and not unit.wanted:
                self.units[key] = msgspec.structs.replace(unit, counted=False, available=False)

    def quiet(self) -> None:
        """Everything that runs settles, everything that stops goes."""
        for key, unit in list(self.units.items()):
            if not unit.wanted:
                del self.units[key]
            else:
                self.units[key] = msgspec.structs.replace(unit, available=not unit.unhealthy)


EVENTS = st.tuples(
    st.sampled_from(["deploy", "scale", "die", "gone", "settle", "sicken", "stopping"]),
    st.integers(0, 40),
)


@settings(max_examples=300, deadline=None)
@given(
    low=st.integers(0, 100),
    high=st.integers(100, 200),
    desired=st.integers(0, 8),
    events=st.lists(st.lists(EVENTS, max_size=4), max_size=25),
)
def test_no_history_breaks_the_floor_or_the_ceiling_and_every_one_converges(
    low: int, high: int, desired: int, events: Sequence[Sequence[tuple[str, int]]]
) -> None:
    history = History(low, high, desired)
    for burst in events:
        history.step()
        for kind, which in burst:
            history.event(kind, which)
    decision = Decision()
    for _ in range(60):
        decision = history.step()
        history.quiet()
    floor, ceiling = history.limits
    done = all(unit.deployment == history.primary for unit in history.units.values())
    if not (done and history.available() == history.desired):
        assert decision.blocked and floor == ceiling, "it neither arrived nor said it was blocked"


@settings(max_examples=12, deadline=None)
@given(
    limits=st.sampled_from([(100, 200), (50, 150), (50, 100), (0, 100), (100, 150)]),
    counts=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    start_s=st.sampled_from([0.5, 3.0]),
)
def test_a_rollout_in_the_assembled_world_keeps_its_bounds(
    limits: tuple[int, int], counts: list[int], start_s: float
) -> None:
    low, high = limits

    async def story(world: World) -> None:
        worst: list[tuple[int, int]] = []

        def look() -> None:
            service = world.service_record("web")
            if service is None or len(service.deployments) < 2:
                return
            floor, ceiling = bounds(service.desired_count, service.configuration)
            tasks = world.records()
            counted = sum(
                task.last_status in ("PROVISIONING", "PENDING", "RUNNING") for task in tasks
            )
            running = sum(
                task.last_status == "RUNNING" and task.desired_status == "RUNNING" for task in tasks
            )
            worst.append((running - floor, ceiling - counted))

        await world.define()
        world.agent.behaviours["web"] = Behaviour(start_s=start_s)
        wanted = {"minimumHealthyPercent": low, "maximumPercent": high}
        await world.create(count=max(counts) + 1, deploymentConfiguration=wanted)
        await world.until_steady()
        world.on_commit = look
        for _ in counts:
            await world.call("UpdateService", service="web", forceNewDeployment=True)
            await world.until_steady()
        assert worst and min(floor for floor, _ in worst) >= 0
        assert min(ceiling for _, ceiling in worst) >= 0

    run_world(story)


@pytest.mark.parametrize(
    ("desired", "given_", "expected"),
    [
        (1, {}, 3),
        (10, {}, 5),
        (1000, {}, 200),
        (10, {"thresholdConfiguration": {"type": "COUNT", "value": 7}}, 7),
        (1000, {"thresholdConfiguration": {"type": "UNBOUNDED_PERCENT", "value": 50}}, 500),
    ],
)
def test_the_breaker_threshold(desired: int, given_: dict[str, object], expected: int) -> None:
    assert breaker_threshold(desired, given_) == expected


def test_the_throttle_doubles_up_to_27_minutes() -> None:
    waits = [throttle_s(streak, 1) for streak in range(15)]
    assert waits[:4] == [0, 5, 10, 20] and waits[-1] == 27 * 60


def test_all_weight_on_one_provider_leaves_the_other_its_base() -> None:
    strategy = [
        {"capacityProvider": "A", "base": 2, "weight": 0},
        {"capacityProvider": "B", "base": 0, "weight": 1},
    ]
    running: dict[str, int] = {}
    for _ in range(6):
        provider = next_provider(strategy, running)
        running[provider] = running.get(provider, 0) + 1
    assert running == {"A": 2, "B": 4}
