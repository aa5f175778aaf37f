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
from proa.placement.fleet import Fleet, Ints, Mask
from proa.placement.ledger import Description, HeldTerm, Table, Tally

AFFINITY, ANTI_AFFINITY = "pod-affinity", "pod-anti-affinity"
EXISTING = "existing-anti-affinity"


@dataclass(slots=True, frozen=True)
class Domains:
    """Counts over the domains of one label."""

    key: str
    numbers: Ints
    table: Table


class PodRules:
    """The rules between the asks of one class and the bookings of its cluster. ``domains`` gives
    a tally by the domains of a label on the rows of the cluster that have it."""

    def __init__(self, fleet: Fleet, ask: Ask, domains: Callable[[Tally, str], Domains]) -> None:
        self.fleet, self.ask, self._domains = fleet, ask, domains
        self.labels = dict(ask.labels)
        self.tallies: list[Tally] = []
        self.near = self._near()
        self.near_self = bool(ask.pod_affinity) and all(map(self._speaks_of_me, ask.pod_affinity))
        self.apart = [self._of(term) for term in ask.pod_anti_affinity]
        self.wishes = [(weight, self._of(term)) for weight, term in ask.pod_preferred if weight]
        self.kept_out: list[tuple[HeldTerm, Domains]] = []
        self.wished: list[tuple[HeldTerm, Domains]] = []
        self._epoch, self._position = -1, 0

    def _near(self) -> list[Domains]:
        """Counts of Sandboxes that match every required term, by each term's label."""
        terms = self.ask.pod_affinity
        if not terms:
            return []
        tally = self._tally(terms)
        return [self._domains(tally, term.key) for term in terms]

    def _of(self, term: PodTerm) -> Domains:
        return self._domains(self._tally((term,)), term.key)

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
                found = (held, self._domains(held.tally, held.term.key))
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
        for domains in self.apart:
            yield ANTI_AFFINITY, _occupied([domains.table.totals])[domains.numbers]
        by_label: dict[str, list[Domains]] = {}
        for held, domains in self.kept_out:
            if held.holders:
                by_label.setdefault(held.term.key, []).append(domains)
        for found in by_label.values():
            yield EXISTING, _occupied([one.table.totals for one in found])[found[0].numbers]

    def _lonely(self) -> Mask:
        mask = np.zeros(self.fleet.count, dtype=np.bool_)
        first = self._is_first
        for domains in self.near:
            alone = domains.table.totals == 0
            if first:
                alone[1:] = False
            mask |= alone[domains.numbers]
        return mask

    @property
    def _is_first(self) -> bool:
        """Whether nothing in the cluster matches and the ask matches its own terms: then it may
        go wherever the labels are."""
        return self.near_self and not any(one.table.totals.any() for one in self.near)

    def score(self, feasible: Mask) -> Ints:
        """0 to 100 by the sum of the weights that each row's domains hold."""
        by_label: dict[str, tuple[Ints, Ints]] = {}
        parts = [*self.wishes, *((held.weight, domains) for held, domains in self.wished)]
        for weight, domains in parts:
            sums = domains.table.totals * weight
            known = by_label.get(domains.key)
            by_label[domains.key] = (domains.numbers, sums if known is None else known[1] + sums)
        raw = np.zeros(len(feasible), dtype=np.int64)
        for numbers, total in by_label.values():
            raw += total[numbers]
        return scores.between(raw, feasible)

    # By one row

    def rejects(self, row: int) -> str:
        """The reason's code for one row, "" if there is none."""
        if self.near:
            first = self._is_first
            for domains in self.near:
                number = domains.numbers[row]
                if not number or not (first or domains.table.totals[number]):
                    return AFFINITY
        if any(one.table.totals[one.numbers[row]] > 0 for one in self.apart):
            return ANTI_AFFINITY
        if any(one.table.totals[one.numbers[row]] > 0 for _, one in self.kept_out):
            return EXISTING
        return ""


def _occupied(totals: list[Ints]) -> Mask:
    found: Mask = totals[0] > 0
    for more in totals[1:]:
        found = found | (more > 0)
    return found
