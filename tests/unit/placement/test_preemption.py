"""Preemption against plain loops over random histories: which row, which victims, which budgets."""

from collections.abc import Sequence

import msgspec
import pytest

from proa.model.resources import Resources
from proa.placement import engine
from proa.placement.asks import Ask, Requirement, Row, Unplaced
from proa.placement.fleet import Fleet
from proa.placement.preemption import Budget, preempt
from tests.unit.placement import compare, reference
from tests.unit.placement.reference import World

Verdict = tuple[tuple[float, ...], list[str]]


def takes(world: World, ask: Ask, row: Row) -> bool:
    if ask.pinned and ask.pinned != row.id:
        return False
    return not (
        reference.before_amounts(world, ask, row)
        or reference.short_amounts(world, ask, row)
        or reference.spread_rejects(world, ask, row)
        or reference.pods_reject(world, ask, row)
    )


def victims_on(
    world: World, ask: Ask, row: Row, budgets: Sequence[Budget], since: dict[str, float]
) -> Verdict | None:
    """One row by the text of the rules: take all lower ones out, put back what fits."""

    def importance(key: str) -> tuple[int, float, str]:
        return -world.held[key].ask.priority, since[key] or float("inf"), key

    lower = sorted(
        (k for k, h in world.held.items() if h.row == row.id and h.ask.priority < ask.priority),
        key=importance,
    )
    out = World(world.rows, world.pools, dict(world.held), world.namespaces)
    for key in lower:
        del out.held[key]
    if not lower or not takes(out, ask, row):
        return None
    left = [budget.allowed for budget in budgets]
    breaking = []
    for key in lower:
        one = world.held[key].ask
        for number, budget in enumerate(budgets):
            same = (one.cluster, one.namespace) == (budget.cluster, budget.namespace)
            selected = one.labels and reference.selects(budget.selector, dict(one.labels))
            if same and selected and key not in budget.disrupted:
                left[number] -= 1
                if left[number] < 0 and key not in breaking:
                    breaking.append(key)
    gone = []
    for key in [*breaking, *(key for key in lower if key not in breaking)]:
        out.held[key] = world.held[key]
        if not takes(out, ask, row):
            del out.held[key]
            gone.append(key)
    gone.sort(key=importance)
    if not gone:
        return None
    top = world.held[gone[0]].ask.priority
    started = [since[k] or float("inf") for k in gone if world.held[k].ask.priority == top]
    total = sum(world.held[key].ask.priority + (1 << 31) for key in gone)
    violations = sum(key in breaking for key in gone)
    return (violations, top, total, len(gone), -min(started)), gone


class Story(compare.History):
    """A history whose asks have priorities, and budgets for some of them."""

    now: Sequence[Budget] = ()

    def kind(self) -> Ask:
        return msgspec.structs.replace(
            super().kind(), priority=self.chance.choice((0, 0, 5, 10, 1000))
        )

    def budgets(self) -> list[Budget]:
        return [
            Budget(
                self.chance.choice(compare.CLUSTERS),
                self.namespace(),
                (Requirement("app", "In", (self.chance.choice(("web", "db", "job")),)),),
                self.number(2),
                frozenset(key for key in self.world.held if self.some(10)),
            )
            for _ in range(self.number(3))
        ]

    def start_some(self) -> None:
        for booking in list(self.fleet.bookings.values()):
            if not booking.since and self.some(50):
                self.fleet.book(msgspec.structs.replace(booking, since=float(1 + self.number(5))))

    def try_one(self) -> bool:
        """Whether an ask without room was compared; some of its victims then have to go."""
        self.start_some()
        ask = msgspec.structs.replace(
            self.next_ask(), priority=self.chance.choice((5, 10, 1000, 2000))
        )
        decision = engine.place(self.fleet, [ask])[0]
        if not isinstance(decision, Unplaced):
            self.world.held[ask.key] = reference.Held(ask, decision.instance, decision.pool)
            return False
        if self.some(40):  # else those of before: what was found then may still be known
            self.now = self.budgets()
        budgets = self.now
        since = {key: booking.since for key, booking in self.fleet.bookings.items()}
        expected = {}
        for row in self.world.of(ask.cluster):
            verdict = victims_on(self.world, ask, row, budgets, since)
            if verdict is not None:
                expected[row.id] = verdict
        found = preempt(self.fleet, ask, budgets)
        if found is None:
            assert not expected, (ask, expected)
            return True
        assert found.instance in expected, (ask, found, expected)
        rank, gone = expected[found.instance]
        assert (list(found.victims), found.violations) == (gone, rank[0])
        assert rank == min(rank for rank, _ in expected.values()), (ask, found, expected)
        self.met["preempted"] = self.met.get("preempted", 0) + 1
        for key in gone:
            self.fleet.release(key)
            del self.world.held[key]
        return True


def run(seed: int) -> tuple[int, int]:
    """How many were compared, and how many of them preempted something."""
    story, compared = Story(seed), 0
    for _ in range(40):
        story.step()
        compared += story.try_one()
    return compared, story.met.get("preempted", 0)


@pytest.mark.parametrize("block", range(4))
def test_victims_and_places_are_those_of_the_slow_rules(block: int) -> None:
    results = [run(1000 + seed) for seed in range(block * 12, block * 12 + 12)]
    assert sum(compared for compared, _ in results) > 100
    assert sum(preempted for _, preempted in results) > 20


def test_an_instance_whose_pool_is_held_by_others_loses_nobody_in_vain() -> None:
    """A task of the other API holds the Pool: what little the pod's node holds does not help."""
    fleet = Fleet()
    fleet.set_pool("host", Resources(1000, 1000))
    fleet.set_row(Row("node", "node", "/kube/a/", "host", Resources(1000, 1000, 0, 10)))
    fleet.set_row(Row("ecs", "ecs", "/ecs/b/", "host", Resources(1000, 1000, 0, 10)))
    small = Ask("small", "small", "/kube/a/", Resources(200, 1, 0, 1))
    task = Ask("task", "task", "/ecs/b/", Resources(700, 1, 0, 1))
    assert not any(isinstance(one, Unplaced) for one in engine.place(fleet, [small, task]))
    large = Ask("large", "large", "/kube/a/", Resources(500, 1, 0, 1), priority=1, preempts=True)
    assert isinstance(engine.place(fleet, [large])[0], Unplaced)
    assert preempt(fleet, large, []) is None
    fits = msgspec.structs.replace(large, reserve=Resources(300, 1, 0, 1))
    found = preempt(fleet, fits, [])
    assert found is not None
    assert found.victims == ("small",)
