"""What came of measuring: samples and times of one region, or of several taken together.

``measure`` gathers them while a scenario is played; ``large`` shows them. They cross between
processes, since regions are played side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")

SERIES = (
    "at_s", "wanted", "running", "ready", "pending", "started", "ended", "failed", "restarts",
    "hosts_used", "cpu_reserved", "memory_reserved", "cpu_used", "memory_used",
)  # fmt: skip


class Amount(NamedTuple):
    """Processor and memory, in the units of ``model.resources``."""

    cpu: int
    memory: int


class Sample(NamedTuple):
    """One look at everything. ``counts`` are of the time since the look before: started, ended,
    failed, restarts."""

    at_s: float
    wanted: int
    running: int
    ready: int
    pending: int
    counts: tuple[int, ...]
    hosts_used: int
    reserved: Amount
    used: Amount
    pool: Amount

    def row(self) -> list[float]:
        """As ``SERIES`` names it: amounts are shares of all there is."""
        shares = (
            share(self.reserved.cpu, self.pool.cpu), share(self.reserved.memory, self.pool.memory),
            share(self.used.cpu, self.pool.cpu), share(self.used.memory, self.pool.memory),
        )  # fmt: skip
        return [
            round(self.at_s, 3), self.wanted, self.running, self.ready, self.pending, *self.counts,
            self.hosts_used, *shares,
        ]  # fmt: skip


@dataclass(slots=True)
class WorkloadMeasured:
    """What one workload should have and had, in replicas and replica-seconds; ``down_s`` are
    seconds with none ready."""

    wanted: int
    ready: int
    wanted_s: float
    missing_s: float
    down_s: float

    def shown(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "wanted": self.wanted,
            "ready": self.ready,
            "missing_share": round(self.missing_s / self.wanted_s, 6) if self.wanted_s else 0.0,
            "unavailable_s": round(self.down_s, 3),
        }


@dataclass(slots=True)
class Packing:
    """How full each host was at one instant: the fuller of processor and memory, in percent."""

    at_s: float
    shares: bytes


@dataclass(slots=True)
class Measured:
    """Everything that was measured. The lists of seconds have one entry a replica."""

    created: int
    totals: dict[str, int]
    running: int
    ready: int
    placed_s: list[float]
    running_s: list[float]
    ready_s: list[float]
    workloads: dict[str, WorkloadMeasured]
    samples: list[Sample]
    packing: list[Packing]

    def shown(self) -> dict[str, Any]:
        """As JSON has it. Seconds; shares of 1; percentiles by nearest rank."""
        workloads = dict(sorted(self.workloads.items()))
        return {
            "created": self.created,
            **self.totals,
            "running": self.running,
            "ready": self.ready,
            "seconds_to_place": percentiles(self.placed_s),
            "seconds_to_running": percentiles(self.running_s),
            "seconds_to_ready": percentiles(self.ready_s),
            "missing_replica_s": round(sum(one.missing_s for one in workloads.values()), 3),
            "unavailable_s": round(sum(one.down_s for one in workloads.values()), 3),
            "workloads": {name: one.shown() for name, one in workloads.items()},
            "series": {"columns": list(SERIES), "rows": [one.row() for one in self.samples]},
        }


def together(parts: Mapping[str, Measured]) -> Measured:
    """Regions, by name, as one: sums, and a workload of each region by itself."""
    all = list(parts.values())
    return Measured(
        created=sum(one.created for one in all),
        totals={name: sum(one.totals[name] for one in all) for name in all[0].totals},
        running=sum(one.running for one in all),
        ready=sum(one.ready for one in all),
        placed_s=[value for one in all for value in one.placed_s],
        running_s=[value for one in all for value in one.running_s],
        ready_s=[value for one in all for value in one.ready_s],
        workloads={
            f"{region}/{name}": found
            for region, one in parts.items()
            for name, found in one.workloads.items()
        },
        samples=[_sum(at_once) for at_once in _in_step([one.samples for one in all])],
        packing=[_beside(at_once) for at_once in _in_step([one.packing for one in all])],
    )


def _in_step(parts: Sequence[Sequence[T]]) -> list[tuple[T, ...]]:
    """What was seen at the same instants everywhere; a region that broke off has fewer."""
    return list(zip(*parts, strict=False))


def _sum(samples: Sequence[Sample]) -> Sample:
    def total(of: Callable[[Sample], int]) -> int:
        return sum(of(one) for one in samples)

    def amount(of: Callable[[Sample], Amount]) -> Amount:
        return Amount(total(lambda one: of(one).cpu), total(lambda one: of(one).memory))

    return Sample(
        at_s=samples[0].at_s,
        wanted=total(lambda one: one.wanted),
        running=total(lambda one: one.running),
        ready=total(lambda one: one.ready),
        pending=total(lambda one: one.pending),
        counts=tuple(map(sum, zip(*(one.counts for one in samples), strict=True))),
        hosts_used=total(lambda one: one.hosts_used),
        reserved=amount(lambda one: one.reserved),
        used=amount(lambda one: one.used),
        pool=amount(lambda one: one.pool),
    )


def _beside(packing: Sequence[Packing]) -> Packing:
    return Packing(packing[0].at_s, b"".join(one.shares for one in packing))


def share(part: int, whole: int) -> float:
    """Rounded to four places; of nothing, 0."""
    return round(part / whole, 4) if whole else 0.0


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Median, 90th, 99th and the largest; empty where there is nothing."""
    if not values:
        return {}
    ordered = sorted(values)
    ranks = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
    last = len(ordered) - 1
    return {
        name: round(ordered[min(last, int(rank * len(ordered)))], 3) for name, rank in ranks.items()
    }
