"""InterPodAffinity: what an ask says of Sandboxes that are there, and what they say of it.

Required affinity and anti-affinity reject rows, also those anti-affinities that bookings brought
along; preferences score in both directions. All over tables by domain that follow the bookings.
Made by ``classes`` for the asks of one class.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from proa.placement import scores
from proa.placement.asks import Ask, PodTerm
from proa.placement.domains import Bad, Domains, Extremes, Narrow, Small, any_left, highest, lowest
from proa.placement.fleet import Fleet, Ints, Mask
from proa.placement.ledger import Description, HeldTerm, Table, Tally

AFFINITY, ANTI_AFFINITY = "pod-affinity", "pod-anti-affinity"
EXISTING = "existing-anti-affinity"


@dataclass(slots=True, frozen=True)
class Counts:
    """Counts over the domains of one label."""

    key: str
    domains: Domains
    table: Table

    def here(self, row: int) -> int:
        """The count of a row's domain."""
        return int(self.table.totals[self.domains.numbers[row]])


class PodRules:
    """The rules between the asks of one class and the bookings of its cluster. ``counts`` gives
    a tally by the domains of a label on the rows of the cluster that have it."""

    def __init__(self, fleet: Fleet, ask: Ask, counts: Callable[[Tally, str], Counts]) -> None:
        self.fleet, self.ask, self._counts = fleet, ask, counts
        self.labels = dict(ask.labels)
        self.tallies: list[Tally] = []
        self.near = self._near()
        self.near_self = bool(ask.pod_affinity) and all(map(self._speaks_of_me, ask.pod_affinity))
        self.apart = [self._of(term) for term in ask.pod_anti_affinity]
        self.wishes = [(weight, self._of(term)) for weight, term in ask.pod_preferred if weight]
        self.kept_out: list[tuple[HeldTerm, Counts]] = []
        self.wished: list[tuple[HeldTerm, Counts]] = []
        self._extremes: dict[str, Extremes] = {}
        self._epoch, self._position = -1, 0

    def _near(self) -> list[Counts]:
        """Counts of Sandboxes that match every required term, by each term's label."""
        terms = self.ask.pod_affinity
        if not terms:
            return []
        tally = self._tally(terms)
        return [self._counts(tally, term.key) for term in terms]

    def _of(self, term: PodTerm) -> Counts:
        return self._counts(self._tally((term,)), term.key)

    def _tally(self, terms: tuple[PodTerm, ...]) -> Tally:
        keyless = tuple(
            PodTerm("", term.selector, term.namespaces, term.namespace_selector) for term in terms
        )
        tally = self.fleet.tally(Description(self.ask.cluster, keyless))
        self.tallies.append(tally)
        return tally

    def _speaks_of_me(self, term: PodTerm) -> bool:
        ask = self.ask
        return self.fleet.term_matches(term, ask.cluster, ask.namespace, self.labels)

    def follow(self) -> None:
        """Learn which terms that bookings hold speak of these asks."""
        log = self.fleet.term_log
        if self._epoch != self.fleet.term_epoch:
            self._epoch, self._position = self.fleet.term_epoch, 0
            self.kept_out, self.wished = [], []
        for held in log[self._position :]:
            if held.cluster == self.ask.cluster and self._speaks_of_me(held.term):
                found = (held, self._counts(held.tally, held.term.key))
                (self.wished if held.weight else self.kept_out).append(found)
        self._position = len(log)

    @property
    def silent(self) -> bool:
        """Whether nothing here can make a difference."""
        return not (self.near or self.apart or self.wishes or self.kept_out or self.wished)

    @property
    def scored(self) -> bool:
        """Whether there are preferences."""
        return bool(self.wishes or self.wished)

    # By all rows

    def rejections(self) -> Iterator[tuple[str, Mask]]:
        """(code, rows) in the order in which a row's rejection is reported."""
        if self.near:
            yield AFFINITY, self._lonely()
        for one in self.apart:
            yield ANTI_AFFINITY, one.domains.flags(one.table.totals > 0)
        by_label: dict[str, list[Counts]] = {}
        for held, one in self.kept_out:
            if held.holders:
                by_label.setdefault(one.key, []).append(one)
        for found in by_label.values():
            yield EXISTING, found[0].domains.flags(_occupied([one.table.totals for one in found]))

    def _lonely(self) -> Mask:
        mask: Mask | None = None
        first = self._is_first
        for one in self.near:
            alone = one.table.totals == 0
            if first:
                alone[1:] = False
            lonely = one.domains.flags(alone)
            mask = lonely if mask is None else mask | lonely
        assert mask is not None, "asked where there are terms"
        return mask

    @property
    def _is_first(self) -> bool:
        """Whether nothing in the cluster matches and the ask matches its own terms: then it may
        go wherever the labels are."""
        return self.near_self and not any(one.table.totals.any() for one in self.near)

    def score(self, bad: Bad, known: object, times: int) -> Narrow | Small:
        """0 to 100 by the sum of the weights that each row's domains hold, multiplied by
        ``times``. While ``known`` stays the same, so do the rows that are
        possible."""
        if not any_left(bad):
            return np.zeros(len(bad), dtype=np.int16)
        by_label: dict[str, tuple[Domains, Ints]] = {}
        for weight, one in self.wishes:
            _add(by_label, one, one.table.totals * weight)
        for held, one in self.wished:
            if held.holders:
                _add(by_label, one, one.table.totals * held.weight)
        if len(by_label) == 1:
            ((key, (domains, sums)),) = by_label.items()
            if domains.few:
                seen = self._extremes.setdefault(key, Extremes(domains))
                return domains.small(scores.between(sums, *seen.of(sums, bad, known)) * times)
        raw = np.zeros(len(bad), dtype=np.int32)
        for domains, sums in by_label.values():
            raw += domains.values(sums.astype(np.int32))
        result = scores.between(raw, lowest(raw, bad), highest(raw, bad)) * np.int32(times)
        return result.astype(np.int16)

    # By one row

    def rejects(self, row: int) -> str:
        """The reason's code for one row, "" if there is none."""
        if self.near:
            first = self._is_first
            for one in self.near:
                if not one.domains.numbers[row] or not (first or one.here(row)):
                    return AFFINITY
        if any(one.here(row) for one in self.apart):
            return ANTI_AFFINITY
        if any(one.here(row) for _, one in self.kept_out):
            return EXISTING
        return ""


def _add(by_label: dict[str, tuple[Domains, Ints]], one: Counts, sums: Ints) -> None:
    known = by_label.get(one.key)
    by_label[one.key] = (one.domains, sums if known is None else known[1] + sums)


def _occupied(totals: list[Ints]) -> Mask:
    found: Mask = totals[0] > 0
    for more in totals[1:]:
        found = found | (more > 0)
    return found
