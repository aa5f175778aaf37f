"""ECS placement strategies: candidates in order of the strategies, each breaking the ties of
those before ("Amazon ECS task placement strategies").

Called by ``engine`` with the rows that may take the ask; groups are counted by tallies that
follow the bookings.
"""

from __future__ import annotations

import numpy as np

from proa.placement.asks import Strategy
from proa.placement.classes import AskClass, Classes
from proa.placement.fleet import Ints, Mask

BY_INSTANCE = ("instanceId", "host")


def choose(kind: AskClass, classes: Classes, candidates: Mask, draw: int) -> int:
    """The row that the strategies put first; ``draw`` decides among equals and is "random"."""
    left = candidates
    for strategy in kind.ask.strategies:
        if strategy.kind == "random":
            break
        key = _key(kind, classes, strategy)
        best = np.where(left, key, np.iinfo(np.int64).max).min()
        left = left & (key == best)
    rows = np.flatnonzero(left)
    return int(rows[draw % len(rows)])


def _key(kind: AskClass, classes: Classes, strategy: Strategy) -> Ints:
    """What a strategy wants least of, by row."""
    fleet = kind.fleet
    if strategy.kind == "binpack":
        index = 0 if strategy.field == "cpu" else 1
        left: Ints = fleet.allocatable[: fleet.count, index] - fleet.used[: fleet.count, index]
        return left
    tally = fleet.group_tally(kind.ask.group)
    if strategy.field in BY_INSTANCE:
        return tally.rows[: fleet.count]
    numbers = fleet.label_column(strategy.field)
    table = fleet.table(tally, strategy.field, *classes.cluster(kind.ask))
    counts: Ints = table.totals[numbers]
    return counts
