"""The decision: a batch of asks against the fleet, one after another, each seeing the last.

Called by ``dispatch`` with asks in the order they must be served. Decisions are booked in the
fleet at once, so that a batch never places two asks into the same room; the caller releases a
booking whose commit fails. The choice among equals is drawn from the ask's own uid, so that it
can be replayed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np

from proa.placement import filters, scores
from proa.placement.asks import Ask, Decision, Placed, Reason, Unplaced
from proa.placement.fleet import Booking, Fleet, Ints, Mask, amounts


def place(fleet: Fleet, asks: Iterable[Ask]) -> list[Decision]:
    """Decide and book each ask; the answers are in the asks' order."""
    return [_place_fargate(fleet, ask) if ask.fargate else _place(fleet, ask) for ask in asks]


def booking_for(fleet: Fleet, ask: Ask, instance: str, pool: str) -> Booking:
    """What an ask holds once it is on an Instance ("": one yet to be made), under its key."""
    row = fleet.number_of.get(instance, -1)
    return Booking(ask.key, row, pool, ask.reserve, ask.ports, ask.namespace, ask.labels, ask.group)


def _place(fleet: Fleet, ask: Ask) -> Decision:
    mine = fleet.live & (fleet.cluster == fleet.cluster_number(ask.cluster))
    if ask.pinned:
        number = fleet.number_of.get(ask.pinned, -1)
        only = np.zeros(len(mine), dtype=np.bool_)
        if number >= 0:
            only[number] = True
        mine &= only
    left, eligible, reasons = _filter(fleet, ask, mine)
    if not left.any():
        return Unplaced(ask, int(mine.sum()), tuple(reasons))
    row = _choose(fleet, ask, np.flatnonzero(left), eligible)
    chosen = fleet.rows[row]
    assert chosen is not None, "a free row was chosen"
    fleet.book(booking_for(fleet, ask, chosen.id, chosen.pool))
    return Placed(ask, chosen.id, chosen.pool)


def _filter(fleet: Fleet, ask: Ask, mine: Mask) -> tuple[Mask, Mask, list[Reason]]:
    """(rows that pass everything, rows in whose domains spreading counts, reasons)."""
    left = mine.copy()
    reasons: list[Reason] = []

    def reject(mask: Mask, code: str, detail: str = "") -> None:
        nonlocal left
        hit = left & mask
        count = int(hit.sum())
        if count:
            row = fleet.rows[int(np.flatnonzero(hit)[0])]
            reasons.append(Reason(code, count, detail, row.id if row else ""))
            left = left & ~mask

    reject(filters.cordoned_mask(fleet, ask), "cordoned")
    reject(~fleet.ready, "notready")
    for mask, detail in filters.taint_masks(fleet, ask):
        reject(mask, "taint", detail)
    reject(~filters.selector_mask(fleet, ask), "selector")
    if ask.zone:
        numbers = fleet.label_column("topology.kubernetes.io/zone")
        reject(numbers != fleet.value_number(ask.zone), "zone")
    eligible = left.copy()
    reject(filters.port_mask(fleet, ask), "ports")
    reject(filters.distinct_mask(fleet, ask), "distinct")
    _reject_resources(fleet, ask, left, reasons)
    for mask, _ in filters.resource_masks(fleet, ask):
        left = left & ~mask
    for spread in ask.spreads:
        if spread.hard:
            missing, full = filters.spread_masks(fleet, ask, spread, eligible)
            reject(missing, "spread-label")
            reject(full, "spread")
    return left, eligible, reasons


def _reject_resources(fleet: Fleet, ask: Ask, left: Mask, reasons: list[Reason]) -> None:
    """Every short amount of a row is reported, not only the first (as NodeResourcesFit does)."""
    for mask, name in filters.resource_masks(fleet, ask):
        hit = left & mask
        count = int(hit.sum())
        if count:
            row = fleet.rows[int(np.flatnonzero(hit)[0])]
            reasons.append(Reason(name, count, "", row.id if row else ""))


def _choose(fleet: Fleet, ask: Ask, rows: Ints, eligible: Mask) -> int:
    draws = _draws(ask.uid, rows)
    if ask.strategies:
        return int(scores.strategy_order(fleet, ask, rows, draws)[0])
    if len(rows) == 1:
        return int(rows[0])
    totals = scores.kubernetes_scores(fleet, ask, rows, eligible)
    best = np.flatnonzero(totals == totals.max())
    return int(rows[best[int(np.argmin(draws[best]))]])


def _draws(uid: str, rows: Ints) -> Ints:
    """A number a row, drawn from the ask's uid: the seeded stand-in for randomness."""
    seed = int.from_bytes(hashlib.sha256(uid.encode()).digest()[:8], "big")
    return np.random.default_rng(seed).permutation(len(rows)).astype(np.int64)


def _place_fargate(fleet: Fleet, ask: Ask) -> Decision:
    """The Pool with most CPU left takes it (worst fit keeps Pools even)."""
    wanted = amounts(ask.reserve)[:2]
    best, short = "", {"cpu": 0, "memory": 0}
    room = -1
    for pool in sorted(fleet.pool_total):
        left = (fleet.pool_total[pool] - fleet.pool_used[pool])[:2]
        short["cpu"] += int(left[0] < wanted[0])
        short["memory"] += int(left[1] < wanted[1])
        if (left >= wanted).all() and int(left[0]) > room:
            best, room = pool, int(left[0])
    if not best:
        reasons = tuple(Reason(name, count) for name, count in short.items() if count)
        return Unplaced(ask, len(fleet.pool_total), reasons)
    fleet.book(booking_for(fleet, ask, "", best))
    return Placed(ask, "", best)
