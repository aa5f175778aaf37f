"""Equivalence classes of asks: what identical asks share, from one batch to the next.

An ``AskClass`` joins how each row stands by itself (``standing``) with the rules that look at
domains (``spread``, ``pods``) into one column of total scores. ``Classes`` finds the class of an
ask; it drops everything when the fleet's layout changes, and the oldest when there are many.
"""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter
from typing import TYPE_CHECKING

import numpy as np

from proa.placement import filters, scores
from proa.placement.asks import Ask, PodTerm, Reason, Spread
from proa.placement.domains import Bad, Domains, Extremes, Narrow, also_bad
from proa.placement.fleet import Fleet, Mask
from proa.placement.ledger import Claim, Description, Table, Tally, satisfies
from proa.placement.pods import Counts, PodRules
from proa.placement.spread import HOSTNAME, HardSpread, SoftSpread, SoftSpreads
from proa.placement.standing import Standing, shape_of

if TYPE_CHECKING:
    from proa.placement.preemption import Found

_BARE = (
    "cluster", "reserve", "ports", "namespace", "node_selector", "affinity", "preferred",
    "tolerations", "spreads", "strategies", "constraints", "group", "distinct", "zone", "pinned",
    "priority", "extended", "scored", "images", "spreads_default", "pod_affinity",
    "pod_anti_affinity", "pod_preferred",
)  # fmt: skip
_bare, _same = attrgetter(*_BARE), attrgetter(*_BARE, "labels")
CLASSES = 128  # that are kept at least; more, as long as their columns stay within CELLS
CELLS = 2_000_000  # rows times classes: some tens of megabytes
PATTERNS = 16  # combinations of rejections that a class keeps
STANDINGS = 48


class AskClass:
    """Asks that are the same but for their names, and for labels where these do not matter."""

    def __init__(self, fleet: Fleet, ask: Ask, claim: Claim, classes: Classes) -> None:
        self.fleet, self.ask, self.claim = fleet, ask, claim
        self._classes = classes
        self._tallies: list[Tally] = []
        self._standing: Standing | None = None
        self.hard = self._hard()
        self.soft = self._soft()
        self.pods = PodRules(fleet, ask, self._counts)
        self.known: tuple[int, ...] = ()  # which rows are possible: the same as long as this is
        self._extremes: dict[int, Extremes] = {}
        self._left: dict[tuple[int, ...], tuple[Bad, list[Mask]]] = {}
        self._bad: Bad = np.zeros(0, dtype=np.int16)
        self._preferences: Narrow | None = None  # as of what is known
        self.found: Found | None = None  # candidates for preemption
        self.refusal: tuple[int, tuple[Reason, ...]] | None = None  # as of the end of the log

    def extremes(self, domains: Domains) -> Extremes:
        """What possible rows have of a label, for as long as ``known`` stays the same."""
        found = self._extremes.get(id(domains))
        if found is None:
            found = self._extremes[id(domains)] = Extremes(domains)
        return found

    @property
    def standing(self) -> Standing:
        """How every row stands by itself; made when all rows are first looked at."""
        if self._standing is None:
            self._standing = self._classes.standing(self.ask, self.claim)
        return self._standing

    def tallies(self) -> list[Tally]:
        """The tallies that must go on counting for this class."""
        return [*self._tallies, *self.pods.tallies]

    def _hard(self) -> list[HardSpread]:
        mine = [spread for spread in self.ask.spreads if spread.hard]
        keys = tuple(spread.key for spread in mine)
        labels = dict(self.ask.labels)
        return [
            HardSpread(
                spread.key,
                spread.max_skew,
                spread.min_domains,
                int(satisfies(labels, spread.selector)),
                self._classes.domains(spread.key),
                self._table(self._spread_tally(spread), spread, keys),
            )
            for spread in mine
        ]

    def _soft(self) -> SoftSpreads | None:
        mine = [spread for spread in self.ask.spreads if not spread.hard]
        if not mine:
            return None
        keys = () if self.ask.spreads_default else tuple(spread.key for spread in mine)
        parts = []
        for spread in mine:
            tally = self._spread_tally(spread)
            table = None if spread.key == HOSTNAME else self._table(tally, spread, keys)
            domains = self._classes.domains(spread.key)
            parts.append(SoftSpread(spread.max_skew, domains, tally, table))
        ignored = self._lacking(keys)
        return SoftSpreads(parts, ignored if ignored.any() else None)

    def _lacking(self, keys: tuple[str, ...]) -> Mask:
        mask = filters.none_of(self.fleet)
        for key in keys:
            mask |= self._classes.domains(key).missing
        return mask

    def _spread_tally(self, spread: Spread) -> Tally:
        """Sandboxes that count; an empty selector counts none (as upstream's does)."""
        term = PodTerm("", spread.selector or None, (self.ask.namespace,))
        tally = self.fleet.tally(Description(self.ask.cluster, (term,), ending=False))
        self._tallies.append(tally)
        return tally

    def _table(self, tally: Tally, spread: Spread, keys: tuple[str, ...]) -> Table:
        name, member = self._classes.eligible(self.ask, spread, keys)
        return self.fleet.table(tally, spread.key, name, member)

    def _counts(self, tally: Tally, key: str) -> Counts:
        name, member = self._classes.having(self.ask, key)
        table = self.fleet.table(tally, key, name, member)
        return Counts(key, self._classes.domains(key), table)

    # Decisions

    def totals(self) -> Narrow:
        """The total score of every row, -1 where the ask cannot go. Constant parts are left out;
        not to be written to."""
        standing = self.standing
        standing.update()
        self.pods.follow()
        if not self.hard and self.soft is None and self.pods.silent and not self.ask.strategies:
            return standing.weighted()
        bad = self._rejected()
        if self.ask.strategies:
            return bad
        return self._scored(bad) | bad

    def _rejected(self) -> Bad:
        """-1 for the rows where the ask cannot go, 0 for others. The same masks as the last time
        (which are kept, so that none takes the place of another) give the same rows."""
        masks = [mask for _, mask in self.rejections()]
        now = (self.standing.flips, *map(id, masks))
        if now != self.known:
            self.known = now
            self._preferences = None
            found = self._left.get(now)
            if found is None:
                found = self._combined(masks)
                self._left[now] = found
            self._bad = found[0]
        return self._bad

    def _combined(self, masks: list[Mask]) -> tuple[Bad, list[Mask]]:
        bad = self.standing.bad()
        for mask in masks:
            bad = also_bad(bad, mask)
        if len(self._left) >= PATTERNS:
            self._left.clear()
        return bad, masks

    def _scored(self, bad: Bad) -> Narrow:
        standing, known = self.standing, self.known
        total = standing.scores
        if standing.uneven:
            if self._preferences is None:
                self._preferences = standing.preferences(bad)
            total = total + self._preferences
        if self.soft is not None:
            total = total + self.soft.score(bad, known, scores.WEIGHT_SPREAD)
        if self.pods.scored:
            total = total + self.pods.score(bad, known, scores.WEIGHT_POD_AFFINITY)
        return total

    def rejections(self) -> Iterator[tuple[str, Mask]]:
        """(code, rows) of the rules that look at domains, in the order of their reasons."""
        for spread in self.hard:
            if not spread.domains.complete:
                yield "spread-label", spread.domains.missing
            yield "spread", spread.full()
        yield from self.pods.rejections()


def _labels_matter(ask: Ask) -> bool:
    """Whether an ask of other labels might be decided otherwise, where no booking speaks of it:
    only by what the ask says of itself."""
    if ask.pod_affinity or ask.pod_anti_affinity or ask.pod_preferred:
        return True
    return any(spread.hard for spread in ask.spreads)


def classes_of(fleet: Fleet) -> Classes:
    """The classes that belong to a fleet."""
    if fleet.classes is None:
        fleet.classes = Classes(fleet)
    return fleet.classes


class Classes:
    """The classes of the asks that were met lately, for one layout of the fleet."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._layout = fleet.layout
        self._last: tuple[tuple[object, ...], AskClass | None] = ((), None)
        self._classes: dict[tuple[object, ...], AskClass] = {}
        self._standings: dict[tuple[object, ...], Standing] = {}
        self._eligible: dict[tuple[object, ...], Mask] = {}
        self._domains: dict[str, Domains] = {}
        self._made = 0

    def alone(self, ask: Ask) -> AskClass:
        """A class for one ask, which is not kept: few rows will be looked at."""
        claim = self._fleet.claim(ask)
        if self._layout != self._fleet.layout:
            self._clear()
        return AskClass(self._fleet, ask, claim, self)

    def of(self, ask: Ask) -> AskClass:
        """The class of an ask."""
        if self._layout != self._fleet.layout:
            self._clear()
        last, kind = self._last
        same = _same(ask) if self._fleet.term_log else _bare(ask)
        if kind is not None and same == last:
            return kind
        if not self._fleet.term_log and _labels_matter(ask):
            same = _same(ask)
            if kind is not None and same == last:
                return kind
        found = self._classes.pop(same, None)
        if found is None:
            self._make_room()
            found = self.alone(ask)
        self._classes[same] = found  # the last used are at the end
        self._last = (same, found)
        return found

    def _clear(self) -> None:
        self._layout = self._fleet.layout
        self._last = ((), None)
        self._classes.clear()
        self._standings.clear()
        self._eligible.clear()
        self._domains.clear()

    def _make_room(self) -> None:
        most = max(CLASSES, CELLS // max(1, self._fleet.count))
        while len(self._classes) >= most:
            del self._classes[next(iter(self._classes))]
        self._made += 1
        if self._made >= most:
            self._made = 0
            kept = {id(tally) for item in self._classes.values() for tally in item.tallies()}
            self._fleet.forget(kept)
            if len(self._eligible) > most:
                self._clear()

    def standing(self, ask: Ask, claim: Claim) -> Standing:
        """How every row stands to asks of this shape."""
        shape = shape_of(ask)
        found = self._standings.pop(shape, None)
        if found is None:
            while len(self._standings) >= STANDINGS:
                del self._standings[next(iter(self._standings))]
            found = Standing(self._fleet, ask, claim)
        self._standings[shape] = found
        return found

    def domains(self, key: str) -> Domains:
        """A label's values by row."""
        found = self._domains.get(key)
        if found is None:
            size = len(self._fleet.label_values(key))
            found = self._domains[key] = Domains(self._fleet.label_column(key), size)
        return found

    def eligible(self, ask: Ask, spread: Spread, keys: tuple[str, ...]) -> tuple[object, Mask]:
        """The rows in whose domains a spread counts, and their name: those of the cluster that
        have all the labels and, as the constraint's policies say, that affinity and taints let
        the ask to."""
        name = (
            ask.cluster,
            keys,
            (ask.node_selector, ask.affinity) if spread.honor_affinity else None,
            ask.tolerations if spread.honor_taints else None,
        )
        mask = self._eligible.get(name)
        if mask is None:
            mask = filters.mine_mask(self._fleet, ask)
            for key in keys:
                mask &= self._fleet.label_column(key) > 0
            if spread.honor_affinity:
                mask &= filters.affinity_mask(self._fleet, ask)
            if spread.honor_taints:
                mask &= ~filters.tainted_mask(self._fleet, ask)
            self._eligible[name] = mask
        return name, mask

    def having(self, ask: Ask, key: str) -> tuple[object, Mask]:
        """The rows of the ask's cluster that have a label, and their name."""
        name = (ask.cluster, key)
        mask = self._eligible.get(name)
        if mask is None:
            mask = filters.mine_mask(self._fleet, ask) & (self._fleet.label_column(key) > 0)
            self._eligible[name] = mask
        return name, mask

    def cluster(self, ask: Ask) -> tuple[object, Mask]:
        """The rows of the ask's cluster, and their name."""
        name = (ask.cluster,)
        mask = self._eligible.get(name)
        if mask is None:
            mask = self._eligible[name] = filters.mine_mask(self._fleet, ask)
        return name, mask
