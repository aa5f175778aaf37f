"""The decision: a batch of asks against the fleet, one after another, each seeing the last.

Called by ``dispatch`` with asks in the order they must be served. Decisions are booked in the
fleet at once, so that a batch never places two asks into the same room; the caller releases a
booking whose commit fails. The choice among equals is drawn from the ask's own uid, so that it
can be replayed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from zlib import crc32

import numpy as np

from proa.placement import filters, scores, strategies
from proa.placement.asks import Ask, Decision, Placed, Reason, Unplaced
from proa.placement.classes import AskClass, Classes, classes_of
from proa.placement.domains import Narrow
from proa.placement.explain import lacks
from proa.placement.fleet import Booking, Fleet, Mask, amounts


def place(fleet: Fleet, asks: Iterable[Ask]) -> list[Decision]:
    """Decide and book each ask; the answers are in the asks' order."""
    classes = classes_of(fleet)
    return [
        _place_fargate(fleet, ask) if ask.fargate else _place(fleet, classes, ask) for ask in asks
    ]


def booking_for(
    fleet: Fleet,
    ask: Ask,
    instance: str,
    pool: str,
    terminating: bool = False,
    since: float = 0.0,
) -> Booking:
    """What an ask holds once it is on an Instance ("": one yet to be made), under its key."""
    row = fleet.number_of.get(instance, -1)
    return Booking(ask.key, row, pool, fleet.claim(ask), terminating, since)


def totals(fleet: Fleet, ask: Ask) -> dict[str, int]:
    """The total score of every Instance that may take an ask, by id, as kube-scheduler adds its
    plugins up."""
    kind = classes_of(fleet).of(ask)
    column = kind.totals()
    base = 0 if kind.standing.uneven else scores.WEIGHT_TAINT * scores.MAX_SCORE
    found = {}
    for number in np.flatnonzero(column >= 0):
        row = fleet.rows[int(number)]
        if row is not None:
            found[row.id] = int(column[number]) + base
    return found


def fits(fleet: Fleet, ask: Ask, number: int) -> bool:
    """Whether one row would take an ask now: every filter, for that row alone."""
    return next(lacks(fleet, classes_of(fleet).of(ask), number), None) is None


def _place(fleet: Fleet, classes: Classes, ask: Ask) -> Decision:
    narrow = _narrowed(fleet, ask) if ask.pinned or ask.affinity else None
    kind = classes.of(ask) if narrow is None else classes.alone(ask)
    if narrow is not None:
        narrow = [row for row in narrow if next(lacks(fleet, kind, row), None) is None]
    if narrow is not None and len(narrow) < 2:
        row = narrow[0] if narrow else -1
    else:
        row = _choose(kind, classes, crc32(ask.uid.encode()))
    if row < 0:
        return Unplaced(ask, int(np.count_nonzero(_considered(fleet, ask))), refusal(kind))
    chosen = fleet.rows[row]
    assert chosen is not None, "a free row was chosen"
    if ask.labels != kind.claim.ask.labels:
        kind.claim = fleet.claim(ask)  # the next ask is likely to have the same labels
    fleet.book(Booking(ask.key, row, chosen.pool, kind.claim))
    return Placed(ask, chosen.id, chosen.pool)


def _narrowed(fleet: Fleet, ask: Ask) -> list[int] | None:
    """The few rows that a pinned ask, or one whose affinity gives names, may go to."""
    if ask.pinned:
        numbers = [fleet.number_of.get(ask.pinned, -1)]
    else:
        names = filters.names_of(ask)
        if names is None:
            return None
        numbers = [fleet.row_named(ask.cluster, name) for name in names]
    return [number for number in numbers if number >= 0]


def _choose(kind: AskClass, classes: Classes, draw: int) -> int:
    """The best row, -1 if none is possible; ``draw`` decides among equals."""
    column = kind.totals()
    if kind.ask.strategies:
        return strategies.choose(kind, classes, column >> 15, draw)
    return _best(column, draw)


def _best(column: Narrow, draw: int) -> int:
    """The first of the best rows from a drawn one on; -1 if no row is possible."""
    if not len(column):
        return -1
    first = int(column.argmax())
    best = column[first]
    if best < 0:
        return -1
    start = draw % len(column)
    if start <= first:
        return first
    later = start + int(column[start:].argmax())
    return later if column[later] == best else first


def _considered(fleet: Fleet, ask: Ask) -> Mask:
    """The rows that a refusal speaks of."""
    mask: Mask = filters.mine_mask(fleet, ask) & filters.pinned_mask(fleet, ask)
    return mask


def refusal(kind: AskClass) -> tuple[Reason, ...]:
    """Why no row took the asks of a class, each row counted under its first reasons."""
    now = kind.fleet.log_start + len(kind.fleet.log)
    if kind.refusal is None or kind.refusal[0] != now:
        kind.refusal = (now, tuple(_reasons(kind)))
    return kind.refusal[1]


def _reasons(kind: AskClass) -> Iterator[Reason]:
    fleet, left = kind.fleet, _considered(kind.fleet, kind.ask)
    for code, detail, mask in _checks(kind):
        reason = _counted(fleet, left & mask, code, detail)
        if reason is not None:
            yield reason
            left &= ~mask
    short = filters.none_of(fleet)
    for mask, code, detail in filters.resource_masks(fleet, kind.claim):
        # Every short amount of a row is reported, not only the first (NodeResourcesFit).
        reason = _counted(fleet, left & mask, code, detail)
        if reason is not None:
            yield reason
            short |= mask
    left &= ~short
    for code, mask in kind.rejections():
        reason = _counted(fleet, left & mask, code, "")
        if reason is not None:
            yield reason
            left &= ~mask


def _checks(kind: AskClass) -> Iterator[tuple[str, str, Mask]]:
    """(code, detail, rejected rows) of what comes before resources, in order."""
    fleet, ask = kind.fleet, kind.ask
    names = filters.names_of(ask)
    if names is not None:
        numbers = [fleet.row_named(ask.cluster, name) for name in names]
        named = filters.none_of(fleet)
        named[[number for number in numbers if number >= 0]] = True
        yield "names", "", ~named
    yield "cordoned", "", filters.cordoned_mask(fleet, ask)
    yield "notready", "", ~fleet.ready[: fleet.count]
    for mask, detail in filters.taint_masks(fleet, ask):
        yield "taint", detail, mask
    yield "selector", "", ~filters.selector_mask(fleet, ask)
    yield "zone", "", ~filters.zone_mask(fleet, ask)
    yield "ports", "", filters.port_mask(fleet, ask)
    yield "distinct", "", filters.distinct_mask(fleet, ask)


def _counted(fleet: Fleet, hit: Mask, code: str, detail: str) -> Reason | None:
    count = int(np.count_nonzero(hit))
    if not count:
        return None
    row = fleet.rows[int(hit.argmax())]
    return Reason(code, count, detail, row.id if row else "")


def _place_fargate(fleet: Fleet, ask: Ask) -> Decision:
    """The Pool with most CPU left takes it (worst fit keeps Pools even)."""
    wanted = amounts(ask.reserve)[:2]
    known = fleet.declared()
    left = fleet.pools_left()[:, :2]
    short = (left < wanted) & known[:, None]
    fits = known & ~short.any(axis=1)
    if not fits.any():
        counts = short.sum(axis=0)
        reasons = tuple(
            Reason(name, int(count))
            for name, count in zip(("cpu", "memory"), counts, strict=True)
            if count
        )
        return Unplaced(ask, int(known.sum()), reasons)
    most = fits & (left[:, 0] == left[fits, 0].max())
    number = int(np.where(most, fleet.pool_ranks(), len(known)).argmin())
    pool = fleet.pool_names[number]
    fleet.book(booking_for(fleet, ask, "", pool))
    return Placed(ask, "", pool)
