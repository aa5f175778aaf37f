"""ECS placement strategies: candidates in order of the strategies, each breaking the ties of
those before ("Amazon ECS task placement strategies").

Called by ``engine`` with the rows that may take the ask; groups are counted by tallies that
follow the bookings.
"""

from __future__ import annotations

import numpy as np

from proa.placement.asks import Strategy
from proa.placement.classes import AskClass, Classes
from proa.placement.domains import Bad, also_bad, any_left
from proa.placement.fleet import Ints, Mask

BY_INSTANCE = ("instanceId", "host")


def choose(kind: AskClass, classes: Classes, bad: Bad, draw: int) -> int:
    """The row that the strategies put first, of those that are not bad; -1 if all are. ``draw``
    decides among equals and is "random"."""
    if not any_left(bad):
        return -1
    first, *later = kind.ask.strategies
    worse = _worse_domains(kind, classes, first, bad)
    if worse is not None:
        bad = also_bad(bad, worse)
    rows = np.flatnonzero(bad == 0)
    for strategy in (first, *later) if worse is None else later:
        if strategy.kind == "random" or len(rows) == 1:
            break
        key = _key(kind, classes, strategy)[rows]
        rows = rows[key == key[key.argmin()]]
    return int(rows[draw % len(rows)])


def _worse_domains(kind: AskClass, classes: Classes, strategy: Strategy, bad: Bad) -> Mask | None:
    """Rows outside the domains with fewest of the group, for the first strategy if it spreads
    over a label of few values: which of them are possible is known as long as ``bad`` is."""
    if strategy.kind != "spread" or strategy.field in BY_INSTANCE:
        return None
    domains = classes.domains(strategy.field)
    if not domains.few:
        return None
    totals = kind.fleet.table(
        kind.fleet.group_tally(kind.ask.group), strategy.field, *classes.cluster(kind.ask)
    ).totals
    present = kind.extremes(domains).look(bad, kind.known)
    inside = totals[present]
    return domains.flags(totals != inside[inside.argmin()])


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
    table = fleet.table(tally, strategy.field, *classes.cluster(kind.ask))
    return classes.domains(strategy.field).values(table.totals)
