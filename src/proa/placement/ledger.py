"""Who holds what: bookings, and counts by row and by domain that follow them.

``Fleet`` keeps these; ``filters`` and ``scores`` read the counts. A ``Tally`` counts bookings of
one description on each row, its ``Table``s sum it up over the domains of a label. Both are made
when a rule first needs them and follow every booking from then on, so that no rule ever walks
over bookings.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import attrgetter

import msgspec
import numpy as np

from proa.model.resources import Port, Resources
from proa.placement.asks import Ask, Labels, PodTerm, Requirement
from proa.placement.rows import Ints, LabelColumn, Mask

DEFAULT_CPU = 128 * 100  # 100m
DEFAULT_MEMORY = 200 * 1024 * 1024
HARD_AFFINITY_WEIGHT = 1  # InterPodAffinityArgs.hardPodAffinityWeight

CLAIM = attrgetter(
    "cluster", "reserve", "extended", "scored", "ports", "namespace", "labels", "group",
    "pod_affinity", "pod_anti_affinity", "pod_preferred", "priority",
)  # fmt: skip


def satisfies(labels: dict[str, str], selector: tuple[Requirement, ...] | None) -> bool:
    """Whether labels meet every requirement of a label selector; none meet None."""
    if selector is None:
        return False
    for requirement in selector:
        value = labels.get(requirement.key)
        match requirement.operator:
            case "In":
                met = value in requirement.values
            case "NotIn":
                met = value not in requirement.values
            case "Exists":
                met = value is not None
            case _:
                met = value is None
        if not met:
            return False
    return True


def nonzero(reserve: Resources) -> tuple[int, int]:
    """(cpu, memory) as Kubernetes' scores count it: unset requests weigh 100m and 200Mi."""
    return reserve.cpu or DEFAULT_CPU, reserve.memory or DEFAULT_MEMORY


class Table:
    """A Tally summed up over the domains of one label, on the rows of ``member``.

    ``totals`` is by value number; 0 is the absence of the label and counts only where ``member``
    has such rows. ``domains`` are the numbers that occur."""

    __slots__ = ("_all_but_absence", "_member", "_numbers", "_totals", "domains", "totals")

    def __init__(self, rows: Ints, numbers: Ints, member: Mask, size: int) -> None:
        counts = np.bincount(numbers[member], weights=rows[: len(member)][member], minlength=size)
        self.totals: Ints = counts.astype(np.int64)
        self._totals, self._numbers, self._member = self.totals.data, numbers.data, member.data
        self.domains: Ints = np.flatnonzero(np.bincount(numbers[member], minlength=size))
        first = int(self.domains[0]) if len(self.domains) else 0
        self._all_but_absence = first == 1 and len(self.domains) == size - 1

    def add(self, row: int, delta: int) -> None:
        """Count a booking in (1) or out (-1)."""
        if self._member[row]:
            self._totals[self._numbers[row]] += delta

    def lowest(self) -> int:
        """The least of all domains that occur; there is one."""
        if self._all_but_absence:
            inside = self.totals[1:]
        else:
            inside = self.totals[self.domains]
        return int(inside[inside.argmin()])


class Tally:
    """How many bookings of a description each row holds."""

    __slots__ = ("_flat", "rows", "tables")

    def __init__(self, size: int) -> None:
        self.rows: Ints = np.zeros(size, dtype=np.int64)
        self._flat = self.rows.data
        self.tables: dict[object, Table] = {}

    def add(self, row: int, delta: int) -> None:
        """Count a booking in (1) or out (-1)."""
        self._flat[row] += delta
        for table in self.tables.values():
            table.add(row, delta)

    def grow(self, size: int) -> None:
        """Follow the fleet's arrays."""
        fresh = np.zeros(size, dtype=np.int64)
        fresh[: len(self.rows)] = self.rows
        self.rows, self._flat = fresh, fresh.data

    def table(self, key: str, column: LabelColumn | None, mine: object, member: Mask) -> Table:
        """The sums over the domains of label ``key`` on the rows of ``member``, which ``mine``
        names."""
        found = self.tables.get((key, mine))
        if found is None:
            numbers = (
                np.zeros(len(member), dtype=np.int64)
                if column is None
                else column.numbers[: len(member)]
            )
            size = 1 if column is None else len(column.values)
            found = self.tables[key, mine] = Table(self.rows, numbers, member, size)
        return found


@dataclass(slots=True, frozen=True)
class Description:
    """Sandboxes of ``cluster`` that match every one of ``terms`` (their keys do not matter);
    ``ending``: also those that are about to end."""

    cluster: str
    terms: tuple[PodTerm, ...]
    ending: bool = True


@dataclass(slots=True, eq=False, weakref_slot=True)
class Alike:
    """Bookings with the same labels: how many on each row, and the tallies they count in."""

    cluster: str
    namespace: str
    labels: dict[str, str]
    ending: bool
    rows: dict[int, int] = field(default_factory=dict)
    tallies: list[Tally] = field(default_factory=list)


class HeldTerm:
    """A term that bookings bring along, and how many do so on each row. ``weight`` is 0 for
    required anti-affinity, else what the term adds to the score of the ask that it matches."""

    __slots__ = ("__weakref__", "cluster", "holders", "listed", "tally", "term", "weight")

    def __init__(self, cluster: str, term: PodTerm, weight: int, size: int) -> None:
        self.cluster, self.term, self.weight = cluster, term, weight
        self.tally = Tally(size)
        self.holders = 0
        self.listed = False


@dataclass(slots=True, eq=False, weakref_slot=True)
class Claim:
    """What any number of identical Sandboxes hold each. Made by ``Fleet.claim``."""

    ask: Ask
    wanted: tuple[tuple[int, int], ...]  # (column, amount), those that are not 0
    vector: Ints
    nonzero: tuple[int, int]
    terms: tuple[HeldTerm, ...]
    alike: dict[bool, Alike] = field(default_factory=dict)


class Booking(msgspec.Struct, frozen=True):
    """A Sandbox that holds room on a row (-1: on its Pool only). ``uid`` is its store key;
    ``since`` is when it started, in seconds of the wall clock."""

    uid: str
    row: int
    pool: str
    claim: Claim
    terminating: bool = False
    since: float = 0.0

    @property
    def reserve(self) -> Resources:
        return self.claim.ask.reserve

    @property
    def ports(self) -> tuple[Port, ...]:
        return self.claim.ask.ports

    @property
    def labels(self) -> Labels:
        return self.claim.ask.labels

    @property
    def namespace(self) -> str:
        return self.claim.ask.namespace

    @property
    def priority(self) -> int:
        return self.claim.ask.priority


class Level:
    """What bookings of one priority hold of each row, and how many they are."""

    __slots__ = ("_flat", "_holders", "count", "holders", "rows")

    def __init__(self, size: int, width: int) -> None:
        self._take(np.zeros((size, width), dtype=np.int64), np.zeros(size, dtype=np.int64))
        self.count = 0

    def add(self, row: int, claim: Claim, sign: int, shape: tuple[int, ...]) -> None:
        """Count a booking in (1) or out (-1); ``shape`` is that of the fleet's columns."""
        if self.rows.shape != shape:
            fresh = np.zeros(shape, dtype=np.int64)
            fresh[: len(self.rows), : self.rows.shape[1]] = self.rows
            holders = np.zeros(shape[0], dtype=np.int64)
            holders[: len(self.holders)] = self.holders
            self._take(fresh, holders)
        flat, first = self._flat, row * shape[1]
        for column, amount in claim.wanted:
            flat[first + column] += amount * sign
        self._holders[row] += sign
        self.count += sign

    def _take(self, rows: Ints, holders: Ints) -> None:
        self.rows, self.holders = rows, holders
        self._flat, self._holders = rows.reshape(-1).data, holders.data


def terms_of(ask: Ask) -> list[tuple[PodTerm, int]]:
    """The terms a Sandbox brings along to its row, with their weights (0: required
    anti-affinity)."""
    required = [(term, HARD_AFFINITY_WEIGHT) for term in ask.pod_affinity]
    apart = [(term, 0) for term in ask.pod_anti_affinity]
    return [*apart, *required, *((term, weight) for weight, term in ask.pod_preferred if weight)]
