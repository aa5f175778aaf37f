"""ECS placement strategies: candidates in order of the strategies, each breaking the ties of
those before ("Amazon ECS task placement strategies").

Called by ``engine`` with the rows that may take the ask; groups are counted by tallies that
follow the bookings.
"""

from __future__ import annotations

import numpy as np

from proa.placement.asks import Strategy
from proa.placement.classes import AskClass, Classes
from proa.placement.domains import BYTES, Bad, also_bad, any_left
from proa.placement.fleet import Ints

BY_INSTANCE = ("instanceId", "host")
_MOST = np.int64(2**63 - 1)


def choose(kind: AskClass, classes: Classes, bad: Bad, draw: int) -> int:
    """The row that the strategies put first, of those that are not bad; -1 if all are. ``draw``
    decides among equals and is "random"."""
    if not any_left(bad):
        return -1
    for strategy in kind.ask.strategies:
        if strategy.kind == "random":
            break
        key = _key(kind, classes, strategy)
        inside = (key & ~bad) | (bad & _MOST)
        bad = also_bad(bad, key != inside[inside.argmin()])
    rows = np.flatnonzero(bad == 0)
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
    domains = classes.domains(strategy.field)
    table = fleet.table(tally, strategy.field, *classes.cluster(kind.ask))
    if domains.few:
        more = table.totals - table.totals[table.totals.argmin()]
        if more[more.argmax()] < BYTES:
            return domains.small(more).astype(np.int64)
    return domains.values(table.totals)
