"""Preemption: which bookings of lower priority must go so that an ask finds room, and where.

Rules: kube-scheduler 1.36's DefaultPreemption plugin. Called by ``dispatch`` for an ask that the
engine found no room for; nothing is booked or released here when it returns. Victims are looked
for on one row alone, and that row and its Pool must both have room without them: bookings of
other rows on the same Pool, as ECS tasks' are, are never victims.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from operator import itemgetter
from zlib import crc32

import numpy as np

from proa.placement import filters
from proa.placement.asks import Ask, Requirement
from proa.placement.classes import AskClass, classes_of
from proa.placement.explain import lacks
from proa.placement.fleet import Booking, Fleet, Ints, Mask
from proa.placement.ledger import satisfies

CANDIDATES_PERCENT, CANDIDATES_LEAST = 10, 100  # DefaultPreemptionArgs
_LOWEST = -(1 << 31)  # so that sums of priorities favour few victims
Verdict = tuple[tuple[float, ...], "Candidate"]  # its rank: the least wins


@dataclass(slots=True, frozen=True)
class Budget:
    """A PodDisruptionBudget: ``allowed`` more of the Sandboxes of ``namespace`` that satisfy
    ``selector`` may go; those of ``disrupted`` keys are counted out already."""

    cluster: str
    namespace: str
    selector: tuple[Requirement, ...]
    allowed: int
    disrupted: frozenset[str] = frozenset()

    def covers(self, booking: Booking) -> bool:
        """Whether removing a booking takes from the budget; an empty selector selects nothing."""
        ask = booking.claim.ask
        return (
            bool(self.selector and ask.labels)
            and (ask.cluster, ask.namespace) == (self.cluster, self.namespace)
            and booking.uid not in self.disrupted
            and satisfies(dict(ask.labels), self.selector)
        )


@dataclass(slots=True, frozen=True)
class Candidate:
    """A row by its Instance's id, and the keys of what must go, the most important first.
    ``violations`` of them break a budget."""

    instance: str
    victims: tuple[str, ...]
    violations: int


class Found:
    """What rows would give the asks of one class, for as long as a row is as it was: of the many
    candidates that are looked at for each ask, few have changed since the last."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._seen = 0
        self._budgets: tuple[Budget, ...] = ()
        self.on_row: dict[int, Verdict | None] = {}

    def follow(self, budgets: Sequence[Budget]) -> None:
        """Forget the rows that have changed, and all when the budgets have."""
        fleet, now = self._fleet, tuple(budgets)
        start = self._seen - fleet.log_start
        if start < 0 or now != self._budgets:
            self.on_row.clear()
        else:
            for row in fleet.log[start:]:
                self.on_row.pop(row, None)
        self._budgets = now
        self._seen = fleet.log_start + len(fleet.log)


def preempt(fleet: Fleet, ask: Ask, budgets: Sequence[Budget]) -> Candidate | None:
    """Where an ask without room would find it, and whose room; None if removal helps nowhere."""
    levels = [level for level in fleet.levels if level < ask.priority]
    if not levels or ask.fargate:
        return None
    kind = classes_of(fleet).of(ask)
    potential, worthwhile = _rows(fleet, kind, levels)
    if not len(potential):
        return None
    start = crc32(ask.uid.encode()) % len(potential)
    wanted = _count(len(potential))
    order = np.roll(potential, -start)
    known = _remembered(fleet, kind, budgets)
    found: list[Verdict] = []
    sound = False  # one was found that breaks no budget
    for row in order[worthwhile[order]].tolist():
        if known is None:
            one = _on_row(fleet, kind, row, budgets)
        elif row in known:
            one = known[row]
        else:
            one = known[row] = _on_row(fleet, kind, row, budgets)
        if one is not None:
            found.append(one)
            sound = sound or not one[1].violations
            if sound and len(found) >= wanted:
                break
    return min(found, key=itemgetter(0))[1] if found else None


def _remembered(
    fleet: Fleet, kind: AskClass, budgets: Sequence[Budget]
) -> dict[int, Verdict | None] | None:
    """What was found on rows before; None for asks that look beyond the row."""
    if not _is_plain(kind):
        return None
    if kind.found is None:
        kind.found = Found(fleet)
    kind.found.follow(budgets)
    return kind.found.on_row


def _rows(fleet: Fleet, kind: AskClass, levels: Sequence[int]) -> tuple[Ints, Mask]:
    """The numbers of the rows that may be tried, and, as a mask, those whose amounts would suffice
    without all lower bookings."""
    count = fleet.count
    potential = kind.standing.fixed.copy()
    there = filters.none_of(fleet)
    held = np.zeros((count, fleet.width), dtype=np.int64)
    for level in levels:
        sums = fleet.levels[level]
        rows = min(count, len(sums.rows))
        there[:rows] |= sums.holders[:rows] > 0
        held[:rows, : sums.rows.shape[1]] += sums.rows[:rows]
    enough = there
    pools = fleet.pools_left()[fleet.pool_of[:count]]
    for column, amount in kind.claim.wanted:
        potential &= fleet.allocatable[:count, column] >= amount
        left = fleet.allocatable[:count, column] - fleet.used[:count, column]
        if column < 2:
            left = np.minimum(left, pools[:, column])
        enough = enough & (left + held[:, column] >= amount)
    return np.flatnonzero(potential), enough


def _count(rows: int) -> int:
    """How many candidates are enough (minCandidateNodesPercentage, minCandidateNodesAbsolute)."""
    return min(rows, max(rows * CANDIDATES_PERCENT // 100, CANDIDATES_LEAST))


def _importance(booking: Booking) -> tuple[int, float, str]:
    """Sorts the most important first: priority, then the earlier start; what has not started is
    as if it started now (MoreImportantPod)."""
    return -booking.priority, booking.since or float("inf"), booking.uid


def _rank(violations: int, victims: Sequence[Booking]) -> tuple[float, ...]:
    """pickOneNodeForPreemption: the least wins."""
    highest = victims[0].priority
    earliest = min(_started(item) for item in victims if item.priority == highest)
    total = sum(item.priority - _LOWEST for item in victims)
    return violations, highest, total, len(victims), -earliest


def _started(booking: Booking) -> float:
    return booking.since or float("inf")


def _on_row(
    fleet: Fleet,
    kind: AskClass,
    row: int,
    budgets: Sequence[Budget],
) -> Verdict | None:
    """SelectVictimsOnNode: all of lower priority go, then as many as possible stay."""
    held = [fleet.bookings[uid] for uid in fleet.on_row.get(row, ())]
    lower = [booking for booking in held if booking.priority < kind.ask.priority]
    lower.sort(key=_importance)
    if not lower:
        return None
    with _trial(fleet, kind, row, lower) as trial:
        if not trial.fits():
            return None
        breaking, others = _by_budgets(lower, budgets)
        victims: list[Booking] = []
        violations = 0
        for number, booking in enumerate((*breaking, *others)):
            trial.keep(booking)
            if not trial.fits():
                trial.drop(booking)
                victims.append(booking)
                violations += number < len(breaking)
    if not victims:  # it has room as things are: it will be placed
        return None
    victims.sort(key=_importance)
    chosen = fleet.rows[row]
    assert chosen is not None, "a row that may be tried is live"
    keys = tuple(booking.uid for booking in victims)
    return _rank(violations, victims), Candidate(chosen.id, keys, violations)


def _by_budgets(
    bookings: Sequence[Booking], budgets: Sequence[Budget]
) -> tuple[list[Booking], list[Booking]]:
    """(those whose removal breaks a budget, the others) if all went in their order."""
    left = [budget.allowed for budget in budgets]
    breaking: list[Booking] = []
    others: list[Booking] = []
    for booking in bookings:
        breaks = False
        for number, budget in enumerate(budgets):
            if budget.covers(booking):
                left[number] -= 1
                breaks = breaks or left[number] < 0
        (breaking if breaks else others).append(booking)
    return breaking, others


def _is_plain(kind: AskClass) -> bool:
    """Whether its asks look at nothing but amounts, once a row is one they may go to at all."""
    kind.pods.follow()
    return not (kind.hard or kind.ask.ports or kind.ask.distinct) and bool(kind.pods.silent)


class _Sums:
    """A row for asks that look at nothing but amounts: figures, and nothing is touched."""

    def __init__(self, fleet: Fleet, kind: AskClass, row: int, lower: Sequence[Booking]) -> None:
        self._wanted = kind.claim.wanted
        self._left = {
            column: int(fleet.allocatable[row, column] - fleet.used[row, column])
            for column, _ in self._wanted
        }
        self._shared = fleet.pools_left_of(row)
        self._pool = fleet.pool_names[fleet.pool_of[row]]
        for booking in lower:
            self._add(booking, 1)

    def _add(self, booking: Booking, sign: int) -> None:
        for column, amount in booking.claim.wanted:
            if column in self._left:
                self._left[column] += amount * sign
            if column < 2 and booking.pool == self._pool:
                self._shared[column] += amount * sign

    def fits(self) -> bool:
        return all(
            self._left[column] >= amount and (column > 1 or self._shared[column] >= amount)
            for column, amount in self._wanted
        )

    def keep(self, booking: Booking) -> None:
        self._add(booking, -1)

    def drop(self, booking: Booking) -> None:
        self._add(booking, 1)


class _Whole:
    """A row with every filter, tried on the fleet itself."""

    def __init__(self, fleet: Fleet, kind: AskClass, row: int) -> None:
        self._fleet, self._kind, self._row = fleet, kind, row

    def fits(self) -> bool:
        return next(lacks(self._fleet, self._kind, self._row), None) is None

    def keep(self, booking: Booking) -> None:
        self._fleet.book(booking)

    def drop(self, booking: Booking) -> None:
        self._fleet.release(booking.uid)


@contextmanager
def _trial(
    fleet: Fleet, kind: AskClass, row: int, lower: Sequence[Booking]
) -> Iterator[_Sums | _Whole]:
    if _is_plain(kind):
        yield _Sums(fleet, kind, row, lower)
        return
    with fleet.without([booking.uid for booking in lower]):
        yield _Whole(fleet, kind, row)
