"""PodTopologySpread: how evenly matching Sandboxes lie over the domains of a label.

Hard constraints reject rows, soft ones score them, both over tables that follow the bookings
(KEP-895, 1258, 3022, 3094). Made by ``classes`` for the asks of one class.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from proa.placement import scores
from proa.placement.fleet import Ints, Mask
from proa.placement.ledger import Table, Tally

HOSTNAME = "kubernetes.io/hostname"


@dataclass(slots=True, frozen=True)
class HardSpread:
    """One DoNotSchedule constraint. ``own`` is 1 if the ask itself counts."""

    key: str
    max_skew: int
    min_domains: int
    own: int
    numbers: Ints
    table: Table

    @property
    def missing(self) -> Mask:
        """Rows without the label."""
        mask: Mask = self.numbers == 0
        return mask

    def full(self) -> Mask:
        """Rows whose domain would be too full: match + self - min > maxSkew, min counting as 0
        below minDomains."""
        over: Mask = self._over()[self.numbers]
        return over

    def rejects(self, row: int) -> str:
        """The reason's code for one row, "" if there is none."""
        number = int(self.numbers[row])
        if number == 0:
            return "spread-label"
        return "spread" if self._over()[number] else ""

    def _over(self) -> Mask:
        totals, domains = self.table.totals, self.table.domains
        lowest = 0
        if len(domains) and len(domains) >= self.min_domains:
            lowest = int(totals[domains].min())
        over: Mask = totals > self.max_skew - self.own + lowest
        return over


@dataclass(slots=True, frozen=True)
class SoftSpread:
    """One ScheduleAnyway constraint. ``table`` is None for host names, whose counts are each
    row's own."""

    max_skew: int
    numbers: Ints
    tally: Tally
    table: Table | None


class SoftSpreads:
    """All ScheduleAnyway constraints of a class. ``ignored`` are rows that lack one of the
    labels, which score nothing; None if there are none or labels are not required."""

    def __init__(self, parts: list[SoftSpread], ignored: Mask | None) -> None:
        self.parts, self.ignored = parts, ignored
        self._weights: tuple[float, ...] = ()
        self._known: object = None

    def score(self, feasible: Mask, known: object) -> Ints:
        """0 to 100, most where fewest match: Σ(count · ln(domains + 2) + maxSkew - 1), reversed.
        The domains of the possible rows are counted anew when ``known`` is another value."""
        inside = feasible if self.ignored is None else feasible & ~self.ignored
        if known is None or known != self._known:
            self._weights = tuple(self._weight(part, inside) for part in self.parts)
            self._known = known
        raw = self._raw(self.parts[0], self._weights[0])
        for part, weight in zip(self.parts[1:], self._weights[1:], strict=True):
            raw = raw + self._raw(part, weight)
        sums = scores.halves_up(raw)
        highest = int(np.where(inside, sums, 0).max(initial=0))
        if highest == 0:
            even: Ints = np.where(inside, scores.MAX_SCORE, 0)
            return even
        lowest = int(np.where(inside, sums, highest).min(initial=highest))
        result = scores.MAX_SCORE * (highest + lowest - sums) // highest
        return result if self.ignored is None else np.where(inside, result, 0)

    @staticmethod
    def _weight(part: SoftSpread, inside: Mask) -> float:
        if part.table is None:
            size = int(np.count_nonzero(inside))
        else:
            size = int(np.count_nonzero(np.bincount(part.numbers[inside])))
        return math.log(size + 2)

    @staticmethod
    def _raw(part: SoftSpread, weight: float) -> scores.Floats:
        if part.table is None:
            counts = part.tally.rows[: len(part.numbers)]
            by_row = counts * weight + float(part.max_skew - 1)
            return np.where(part.numbers > 0, by_row, 0.0)
        by_domain = (part.table.totals * weight + float(part.max_skew - 1)).astype(np.float64)
        by_domain[0] = 0.0
        raw: scores.Floats = by_domain[part.numbers]
        return raw
