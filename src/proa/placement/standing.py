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
from proa.placement.domains import Bad, Narrow, Wide
from proa.placement.fleet import AMOUNTS, Fleet, Ints, Mask
from proa.placement.ledger import Claim

_SHAPE = attrgetter(
    "cluster", "pinned", "reserve", "extended", "scored", "ports", "node_selector", "affinity",
    "preferred", "tolerations", "constraints", "zone", "images", "strategies", "distinct",
)  # fmt: skip
ONE_BY_ONE = 24  # changed rows, at least, that a loop is faster for than arrays of all rows,
ONE_IN = 25  # and one in so many of all rows
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
        taints = filters.soft_taints(fleet, ask) if self.scored else None
        self.taints = None if taints is None else taints.astype(np.int32)
        self.preferred = self._preferences() if self.scored and ask.preferred else None
        self.images = self._images() if self.scored and ask.images else None
        self.cpu, self.memory = ask.reserve.cpu, ask.reserve.memory
        self.pooled = self.cpu > 0 or self.memory > 0  # something of the Pool is asked for
        self.flips = 0
        self.version = 0
        self.scores: Narrow = self._all()
        self._seen = fleet.log_start + len(fleet.log)
        self._weighted: Narrow | None = None
        self._weighted_flips = -1

    def _preferences(self) -> Wide:
        sums = np.zeros(self.fleet.count, dtype=np.int32)
        for weight, term in self.ask.preferred:
            sums += filters.term_mask(self.fleet, term, self.ask.cluster) * np.int32(weight)
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

    def _all(self) -> Narrow:
        fleet, ask = self.fleet, self.ask
        fits = self.fixed & ~filters.distinct_mask(fleet, ask)
        if ask.ports:
            fits &= ~filters.port_mask(fleet, ask)
        for short, _, _ in filters.resource_masks(fleet, self.claim):
            fits &= ~short
        result: Narrow = np.where(fits, self._resource_scores(), CANNOT).astype(np.int16)
        return result

    def _resource_scores(self) -> Ints:
        fleet, count = self.fleet, self.fleet.count
        if not self.scored:
            return np.zeros(count, dtype=np.int64)
        capacity = fleet.allocatable[:count, :2]
        total = scores.least_allocated(capacity, fleet.nonzero[:count] + self.claim.nonzero)
        if self.pooled:  # nothing asked for, nothing scored
            total += scores.balanced(capacity, fleet.used[:count, :2], (self.cpu, self.memory))
        if self.images is not None:
            total += self.images
        return total

    # By one row

    def _one(self, row: int) -> int:
        fleet = self.fleet
        if not self.fixed[row]:
            return CANNOT
        have, used, first = fleet.allocatable_flat, fleet.used_flat, row * fleet.width
        for column, amount in self.claim.wanted:
            if amount > have[first + column] - used[first + column]:
                return CANNOT
        if self.pooled:
            line = int(fleet.pool_of[row]) * len(AMOUNTS)
            total, taken = fleet.pool_total_flat, fleet.pool_used_flat
            if self.cpu and self.cpu > total[line] - taken[line]:
                return CANNOT
            if self.memory and self.memory > total[line + 1] - taken[line + 1]:
                return CANNOT
        if self.ask.ports and self._port_taken(row):
            return CANNOT
        if self.ask.distinct and row in fleet.groups.get(self.ask.group, ()):
            return CANNOT
        return self._score_one(row) if self.scored else 0

    def _score_one(self, row: int) -> int:
        fleet, first = self.fleet, row * self.fleet.width
        cpu, memory = fleet.allocatable_flat[first], fleet.allocatable_flat[first + 1]
        filled, want = fleet.nonzero_flat, self.claim.nonzero
        total = scores.least_allocated_one(
            cpu, memory, filled[2 * row] + want[0], filled[2 * row + 1] + want[1]
        )
        if self.pooled:
            used = fleet.used_flat
            after = used[first] + self.cpu, used[first + 1] + self.memory
            total += scores.balanced_one(cpu, memory, (used[first], used[first + 1]), after)
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
        if start < 0:
            self._replace(self._all())
            return
        fixed = self.fixed
        changed = [row for row in dict.fromkeys(log[start:]) if fixed[row]]
        if len(changed) > max(ONE_BY_ONE, self.fleet.count // ONE_IN):
            self._replace(self._all())
            return
        for row in changed:
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

    def _replace(self, fresh: Narrow) -> None:
        if ((fresh < 0) != (self.scores < 0)).any():
            self.flips += 1
        self._weighted_flips = -1
        self.scores = fresh

    # With what depends on all possible rows

    @property
    def uneven(self) -> bool:
        """Whether soft taints or preferred affinity make a difference between rows."""
        return self.taints is not None or self.preferred is not None

    def bad(self) -> Bad:
        """-1 for the rows where the ask cannot go, 0 for others."""
        return self.scores >> 15

    def preferences(self, bad: Bad) -> Narrow:
        """Soft taints and preferred affinity, weighted, normalised over the possible rows."""
        total = np.full(len(bad), scores.WEIGHT_TAINT * scores.MAX_SCORE, dtype=np.int32)
        if self.taints is not None:
            total = scores.WEIGHT_TAINT * scores.reversed_share(self.taints, bad)
        if self.preferred is not None:
            total += scores.WEIGHT_AFFINITY * scores.share(self.preferred, bad)
        return total.astype(np.int16)

    def weighted(self) -> Narrow:
        """``scores`` with preferences, for asks that look at nothing else."""
        if not self.uneven:
            return self.scores
        if self._weighted is None or self._weighted_flips != self.flips:
            bad = self.bad()
            self._weighted = (self.scores + self.preferences(bad)) | bad
            self._weighted_flips = self.flips
        return self._weighted
