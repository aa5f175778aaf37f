"""How every row stands to asks of one shape, by the row's own state alone, kept up to date.

One ``Standing`` serves all asks that differ at most in name, labels and what they say of other
Sandboxes. It reads the fleet's log and looks again only at rows that changed; what concerns
domains (spread, pod affinity) is ``classes``' part.
"""

from __future__ import annotations

from operator import attrgetter

import numpy as np

from proa.placement import filters, scores
from proa.placement.asks import Ask
from proa.placement.fleet import Fleet, Ints, Mask
from proa.placement.ledger import Claim

_SHAPE = attrgetter(
    "cluster", "pinned", "reserve", "extended", "scored", "ports", "node_selector", "affinity",
    "preferred", "tolerations", "constraints", "zone", "images", "strategies", "distinct",
)  # fmt: skip
ONE_BY_ONE = 24  # changed rows from which on arrays are faster than a loop
CANNOT = -1


def shape_of(ask: Ask) -> tuple[object, ...]:
    """What asks of one Standing have in common."""
    return (*_SHAPE(ask), ask.group if ask.distinct else "")


class Standing:
    """``scores`` is by row: -1 where the ask cannot go, else LeastAllocated, BalancedAllocation
    and ImageLocality. ``flips`` grows whenever a row becomes or ceases to be possible."""

    def __init__(self, fleet: Fleet, ask: Ask, claim: Claim) -> None:
        self.fleet, self.ask, self.claim = fleet, ask, claim
        self.scored = not ask.strategies
        self.mine = filters.mine_mask(fleet, ask)
        fixed = self.mine & filters.pinned_mask(fleet, ask) & fleet.ready[: fleet.count]
        fixed &= ~filters.cordoned_mask(fleet, ask) & ~filters.tainted_mask(fleet, ask)
        self.fixed: Mask = fixed & filters.selector_mask(fleet, ask) & filters.zone_mask(fleet, ask)
        self.taints = filters.soft_taints(fleet, ask) if self.scored else None
        self.preferred = self._preferences() if self.scored and ask.preferred else None
        self.images = self._images() if self.scored and ask.images else None
        self.balances = ask.reserve.cpu > 0 or ask.reserve.memory > 0
        self.flips = 0
        self.version = 0
        self.scores: Ints = self._all()
        self._seen = fleet.log_start + len(fleet.log)
        self._weighted: Ints | None = None
        self._weighted_flips = -1

    def _preferences(self) -> Ints:
        sums = np.zeros(self.fleet.count, dtype=np.int64)
        for weight, term in self.ask.preferred:
            mask = filters.term_mask(self.fleet, term, self.ask.cluster)
            sums += np.where(mask, weight, 0)
        return sums

    def _images(self) -> Ints | None:
        fleet, ask = self.fleet, self.ask
        total = int(self.mine.sum())
        sums: dict[int, int] = {}
        for name in ask.images:
            holders = [row for row in fleet.images.get(name, ()) if self.mine[row]]
            for row in holders:
                size = int(fleet.images[name][row] * (len(holders) / total))
                sums[row] = sums.get(row, 0) + size
        if not sums:
            return None
        column = np.zeros(fleet.count, dtype=np.int64)
        for row, size in sums.items():
            column[row] = scores.image_score(size, len(ask.images))
        return column

    # By all rows

    def _all(self) -> Ints:
        fleet, ask = self.fleet, self.ask
        fits = self.fixed & ~filters.distinct_mask(fleet, ask)
        if ask.ports:
            fits &= ~filters.port_mask(fleet, ask)
        for short, _, _ in filters.resource_masks(fleet, self.claim):
            fits &= ~short
        result: Ints = np.where(fits, self._resource_scores(), CANNOT).astype(np.int64)
        return result

    def _resource_scores(self) -> Ints:
        fleet, count = self.fleet, self.fleet.count
        if not self.scored:
            return np.zeros(count, dtype=np.int64)
        capacity = fleet.allocatable[:count, :2]
        total = scores.least_allocated(capacity, fleet.nonzero[:count] + self.claim.nonzero)
        if self.balances:
            reserve = self.ask.reserve
            total += scores.balanced(
                capacity, fleet.used[:count, :2], (reserve.cpu, reserve.memory)
            )
        if self.images is not None:
            total += self.images
        return total

    # By one row

    def _one(self, row: int) -> int:
        fleet = self.fleet
        if not self.fixed[row]:
            return CANNOT
        capacity, used = fleet.allocatable[row].tolist(), fleet.used[row].tolist()
        pool = None
        for number, amount in self.claim.wanted:
            if amount > capacity[number] - used[number]:
                return CANNOT
            if number < 2:
                if pool is None:
                    pool = fleet.pools_left_of(row)
                if amount > pool[number]:
                    return CANNOT
        if self.ask.ports and self._port_taken(row):
            return CANNOT
        if self.ask.distinct and row in fleet.groups.get(self.ask.group, ()):
            return CANNOT
        if not self.scored:
            return 0
        filled = fleet.nonzero[row].tolist()
        want = self.claim.nonzero
        total = scores.least_allocated_one(capacity[:2], (filled[0] + want[0], filled[1] + want[1]))
        if self.balances:
            reserve = self.ask.reserve
            total += scores.balanced_one(capacity[:2], used[:2], (reserve.cpu, reserve.memory))
        return total if self.images is None else total + int(self.images[row])

    def _port_taken(self, row: int) -> bool:
        return any(
            row in rows for port in self.ask.ports for rows in filters.ports_taken(self.fleet, port)
        )

    def update(self) -> None:
        """Look again at the rows that changed since the last time."""
        log, start = self.fleet.log, self._seen - self.fleet.log_start
        size = len(log)
        if start == size:
            return
        self._seen += size - start
        self.version += 1
        if start < 0 or size - start > ONE_BY_ONE:
            self._replace(self._all())
            return
        for row in log[start:] if size - start == 1 else dict.fromkeys(log[start:]):
            self._set(row, self._one(row))

    def _set(self, row: int, now: int) -> None:
        before = int(self.scores[row])
        if before == now:
            return
        self.scores[row] = now
        if (before < 0) != (now < 0):
            self.flips += 1
        elif self._weighted is not None:
            self._weighted[row] += now - before

    def _replace(self, fresh: Ints) -> None:
        if ((fresh < 0) != (self.scores < 0)).any():
            self.flips += 1
        self._weighted_flips = -1
        self.scores = fresh

    # With what depends on all possible rows

    @property
    def uneven(self) -> bool:
        """Whether soft taints or preferred affinity make a difference between rows."""
        return self.taints is not None or self.preferred is not None

    def preferences(self, feasible: Mask) -> Ints:
        """Soft taints and preferred affinity, weighted, normalised over the possible rows."""
        total = np.full(len(feasible), scores.WEIGHT_TAINT * scores.MAX_SCORE, dtype=np.int64)
        if self.taints is not None:
            total = scores.WEIGHT_TAINT * scores.reversed_share(self.taints, feasible)
        if self.preferred is not None:
            total += scores.WEIGHT_AFFINITY * scores.share(self.preferred, feasible)
        return total

    def weighted(self) -> Ints:
        """``scores`` with preferences, for asks that look at nothing else."""
        if not self.uneven:
            return self.scores
        if self._weighted is None or self._weighted_flips != self.flips:
            feasible = self.scores >= 0
            total = self.scores + self.preferences(feasible)
            self._weighted = np.where(feasible, total, CANNOT)
            self._weighted_flips = self.flips
        return self._weighted
