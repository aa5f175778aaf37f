"""What came of a comparison: every way side by side, as a table's rows and as JSON.

``compare`` plays all ways of a question, as many at a time as there are processors. Costs are those
of the time played; a month is 730 hours of the same. What the same rents would cost bought in other
ways, or on Graviton, is reckoned from the same bill: nothing is played again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from proa.base.errors import CallerFault
from proa.cloud.instance_types import instance_types
from proa.cost.meter import Bill
from proa.cost.prices import ON_DEMAND, Prices
from proa.sim.compare.question import Question, Way
from proa.sim.compare.trial import Trial, play_way
from proa.sim.compare.ways import TITLES, Rates
from proa.sim.plan import seconds
from proa.sim.processes import side_by_side

MONTH_H = 730.0
Progress = Callable[[Way, float, float], None]
# Families by their Graviton counterparts of the same shape.
GRAVITON = {"t": "t4g", "m": "m7g", "c": "c7g", "r": "r7g"}


COLUMNS = (
    "", "cost", "a month", "packing CPU", "memory", "start p50", "p99", "missing", "machines",
)  # fmt: skip


@dataclass(slots=True, frozen=True)
class Verdict:
    """All trials of a question under one seed."""

    question: Question
    seed: str
    prices: Prices
    trials: tuple[Trial, ...]

    @property
    def hours(self) -> float:
        return seconds(self.question.lasts) / 3600.0

    def month(self, trial: Trial) -> float:
        """What a month of the same would cost."""
        return trial.bill.total / self.hours * MONTH_H

    def otherwise(self, trial: Trial) -> dict[str, float]:
        """A month's cost of the same rents bought in each known way, and on Graviton."""
        ways = sorted({way for known in self.prices.discounts.values() for way in known})
        chosen = Rates(self.prices, self.question.purchase)
        shown = {}
        for purchase in ways:
            factor = _factor(trial.bill, chosen, Rates(self.prices, purchase))
            if factor is not None:
                shown[purchase] = self.month(trial) * factor
        arm = graviton_share(trial.bill, self.prices)
        if arm is not None:
            shown["graviton"] = self.month(trial) * arm
        return shown

    def rows(self) -> list[dict[str, Any]]:
        """One for each way, cheapest first."""
        rows = [self._row(trial) for trial in self.trials]
        return sorted(rows, key=lambda row: (row["cost"], row["way"]))

    def _row(self, trial: Trial) -> dict[str, Any]:
        return {
            "way": trial.way,
            "title": TITLES[trial.way],
            "cost": round(trial.bill.total, 4),
            "cost_month": round(self.month(trial), 2),
            "packing_cpu": round(trial.packing[0], 4),
            "packing_memory": round(trial.packing[1], 4),
            "start_s": trial.starts,
            "missing_share": round(trial.missing_share, 6),
            "machines_max": trial.machines,
            "replicas_started": trial.started,
        }

    def table(self) -> list[tuple[str, ...]]:
        """``rows`` as people read them, under ``COLUMNS``."""
        return [_cells(row) for row in self.rows()]

    def shown(self) -> dict[str, Any]:
        """Everything, as JSON has it."""
        by_way = {trial.way: trial for trial in self.trials}
        ways = []
        for row in self.rows():
            trial = by_way[row["way"]]
            ways.append(
                {
                    **row,
                    "bill": [
                        {
                            "what": line.what,
                            "count": line.count,
                            "hours": round(line.hours, 3),
                            "cost": round(line.cost, 4),
                        }
                        for line in trial.bill.lines
                    ],
                    "month_if_bought": {k: round(v, 2) for k, v in self.otherwise(trial).items()},
                    "cost_by_hour": {k: [round(x, 5) for x in v]
                                     for k, v in trial.bill.by_hour.items()},
                    "series": {
                        "columns": ["at_s", "wanted", "running", "vcpu_asked", "vcpu_paid",
                                    "machines"],
                        "rows": trial.series,
                    },
                    "problems": trial.problems,
                    "trace_sha256": trial.trace_sha256,
                    "wall_s": round(trial.wall_s, 3),
                }
            )  # fmt: skip
        prices = self.prices
        return {
            "workload": self.question.name,
            "seed": self.seed,
            "hours": self.hours,
            "purchase": self.question.purchase,
            "prices": {
                "date": prices.date,
                "region": prices.region,
                "currency": prices.currency,
                "sources": prices.sources,
            },
            "ways": ways,
        }


def compare(
    question: Question, seed: str, prices: Prices,
    progress: Progress = lambda _way, _at, _of: None,
) -> Verdict:  # fmt: skip
    """Play every way that the question names. Raises CallerFault where one cannot be played."""
    known = {way for ways in prices.discounts.values() for way in ways}
    if question.purchase not in known:
        choice = ", ".join(sorted(known))
        raise CallerFault(f"purchase {question.purchase!r} is none of {choice}")
    rates = Rates(prices, question.purchase)
    ways, lasts = question.ways, seconds(question.lasts)
    trials = side_by_side(
        [partial(play_way, question, way, seed, rates) for way in ways],
        lambda number, at: progress(ways[number], at, lasts),
    )
    return Verdict(question, seed, prices, tuple(trials))


def _factor(bill: Bill, chosen: Rates, other: Rates) -> float | None:
    """By how much a bill changes when what can be bought in another way is; None where nothing
    of it can."""
    changed, able = 0.0, False
    for line in bill.lines:
        service = line.what.split()[0]
        known = other.prices.discounts.get(service, {})
        share = 1.0
        if other.purchase in known:
            able = True
            paid = chosen.prices.discounts[service].get(chosen.purchase, known[ON_DEMAND])
            share = (1 - known[other.purchase]) / (1 - paid)
        changed += line.cost * share
    return changed / bill.total if able and bill.total else None


def graviton_share(bill: Bill, prices: Prices) -> float | None:
    """What a bill would be on Graviton machines of the same shapes, as a share of it; None where
    it has no x86 machines. Kubernetes' pods on Fargate have none to go to."""
    whats = [line.what for line in bill.lines]
    if "fargate" in whats and "control plane" in whats:
        return None
    changed, able = 0.0, False
    for line in bill.lines:
        share = _arm_share(line.what, prices)
        able = able or share is not None
        changed += line.cost * (share if share is not None else 1.0)
    return changed / bill.total if able and bill.total else None


def _arm_share(what: str, prices: Prices) -> float | None:
    if what == "fargate":
        return prices.fargate.arm64.vcpu_hour / prices.fargate.x86_64.vcpu_hour
    if not what.startswith("ec2 "):
        return None
    name = what.removeprefix("ec2 ")
    family, _, size = name.partition(".")
    there = f"{GRAVITON.get(family[0], '')}.{size}"
    rates = prices.ec2.on_demand_hour
    if instance_types()[name].architecture == "arm64" or there not in rates:
        return None
    return rates[there] / rates[name]


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    starts = row["start_s"]
    return (
        row["title"],
        f"${row['cost']:.2f}",
        f"${row['cost_month']:,.0f}",
        f"{row['packing_cpu']:.0%}",
        f"{row['packing_memory']:.0%}",
        f"{starts.get('p50', 0):.0f} s",
        f"{starts.get('p99', 0):.0f} s",
        f"{row['missing_share']:.2%}",
        str(row["machines_max"]),
    )
