"""PodTopologySpread: how evenly matching Sandboxes lie over the domains of a label.

Hard constraints reject rows, soft ones score them, both over tables that follow the bookings
(KEP-895, 1258, 3022, 3094). Made by ``classes`` for the asks of one class.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from proa.placement import scores
from proa.placement.domains import (
    Bad,
    Domains,
    Extremes,
    Narrow,
    Small,
    Wide,
    also_bad,
    any_left,
    extremes,
    highest,
    looked_up,
    lowest,
)
from proa.placement.fleet import Ints, Mask
from proa.placement.ledger import Table, Tally

HOSTNAME = "kubernetes.io/hostname"
Numbers = TypeVar("Numbers", Ints, Wide)


@dataclass(slots=True, frozen=True)
class HardSpread:
    """One DoNotSchedule constraint. ``own`` is 1 if the ask itself counts."""

    key: str
    max_skew: int
    min_domains: int
    own: int
    domains: Domains
    table: Table

    def full(self) -> Mask:
        """Rows whose domain would be too full: match + self - min > maxSkew, min counting as 0
        below minDomains."""
        return self.domains.flags(self._over())

    def rejects(self, row: int) -> str:
        """The reason's code for one row, "" if there is none."""
        number = int(self.domains.numbers[row])
        if number == 0:
            return "spread-label"
        return "spread" if self._over()[number] else ""

    def _over(self) -> Mask:
        totals, domains = self.table.totals, self.table.domains
        least = 0
        if len(domains) and len(domains) >= self.min_domains:
            least = self.table.lowest()
        over: Mask = totals > self.max_skew - self.own + least
        return over


@dataclass(slots=True, frozen=True)
class SoftSpread:
    """One ScheduleAnyway constraint. ``table`` is None for host names, whose counts are each
    row's own."""

    max_skew: int
    domains: Domains
    tally: Tally
    table: Table | None


class SoftSpreads:
    """All ScheduleAnyway constraints of a class. ``ignored`` are rows that lack one of the
    labels, which score nothing; None if there are none or labels are not required."""

    def __init__(self, parts: list[SoftSpread], ignored: Mask | None) -> None:
        self.parts, self.ignored = parts, ignored
        self._extremes = [Extremes(part.domains) for part in parts]
        self._weights: tuple[float, ...] = ()
        self._known: object = None

    def score(self, bad: Bad, known: object, times: int) -> Narrow | Small:
        """0 to 100, most where fewest match: Σ(count · ln(domains + 2) + maxSkew - 1), reversed,
        and multiplied by ``times``. While ``known`` stays the same, so do the
        rows that are possible."""
        out = bad if self.ignored is None else also_bad(bad, self.ignored)
        if not any_left(out):
            return np.zeros(len(bad), dtype=np.int16)
        if known != self._known:
            sizes = zip(self.parts, self._extremes, strict=True)
            self._weights = tuple(self._weight(part, seen, out, known) for part, seen in sizes)
            self._known = known
        table = self.parts[0].table
        if table is not None and len(self.parts) == 1 and self.parts[0].domains.few:
            small = self._by_domain(self.parts[0], table, out, known, times)
            return small if self.ignored is None else small & ~out
        both = self._by_both(out, times)
        if both is not None:
            return both if self.ignored is None else both & ~out
        result = (self._by_row(out) * np.int32(times)).astype(np.int16)
        return result if self.ignored is None else result & ~out

    def _by_domain(
        self, part: SoftSpread, table: Table, out: Bad, known: object, times: int
    ) -> Small:
        sums = _rounded(self._raw_of(part, table, self._weights[0]))
        least, most = self._extremes[0].of(sums, out, known)
        return part.domains.small(_reversed(sums, least, most) * times)

    def _by_both(self, out: Bad, times: int) -> Small | None:
        """Host names and a label of few values, as the default constraints are: what a row scores
        follows from its count and its domain, of which there are few pairs."""
        if len(self.parts) != 2:
            return None
        order = (0, 1) if self.parts[0].table is None else (1, 0)
        host, other = (self.parts[number] for number in order)
        if host.table is not None or other.table is None or not host.domains.complete:
            return None
        coded = other.domains.with_counts(host.tally.rows[: len(out)])
        if coded is None:
            return None
        codes, kinds = coded
        counts = np.arange(kinds // other.domains.size, dtype=np.float64)
        of_host = counts * self._weights[order[0]] + float(host.max_skew - 1)
        of_other = self._raw_of(other, other.table, self._weights[order[1]])
        sums = _rounded((of_host[:, None] + of_other).ravel())
        return looked_up(codes, _reversed(sums, *extremes(codes, sums, out)) * times)

    def _by_row(self, out: Bad) -> Wide:
        raw = self._raw(self.parts[0], self._weights[0])
        for part, weight in zip(self.parts[1:], self._weights[1:], strict=True):
            raw = raw + self._raw(part, weight)
        sums = _rounded(raw).astype(np.int32)
        return _reversed(sums, lowest(sums, out), highest(sums, out))

    @staticmethod
    def _weight(part: SoftSpread, seen: Extremes, out: Bad, known: object) -> float:
        if part.table is None:
            size = len(out) - int(np.count_nonzero(out))
        else:
            size = len(seen.look(out, known))
        return math.log(size + 2)

    def _raw(self, part: SoftSpread, weight: float) -> scores.Floats:
        if part.table is not None:
            return part.domains.values(self._raw_of(part, part.table, weight))
        counts = part.tally.rows[: len(part.domains.numbers)].astype(np.float64)
        by_row = counts * weight + float(part.max_skew - 1)
        return by_row if part.domains.complete else by_row * ~part.domains.missing

    @staticmethod
    def _raw_of(part: SoftSpread, table: Table, weight: float) -> scores.Floats:
        by_domain = table.totals.astype(np.float64) * weight + float(part.max_skew - 1)
        by_domain[0] = 0.0
        return by_domain


def _rounded(raw: scores.Floats) -> Ints:
    """To the nearest integer, halves up; a sum is an integer or well above one half."""
    whole: Ints = (raw + 0.5).astype(np.int64)
    return whole


def _reversed(sums: Numbers, least: int, most: int) -> Numbers:
    """100 for the least."""
    if most == 0:
        return np.full_like(sums, scores.MAX_SCORE)
    return scores.MAX_SCORE * (most + least - sums) // most
