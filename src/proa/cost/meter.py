"""The meter: what was rented, from when to when, and what that cost.

Whoever plays a history calls ``start`` and ``stop`` with its own instants (seconds); ``bill``
sums up, by what was rented and over time. Rents are billed by the second with the service's
minimum; what still runs at the end is billed up to it.
"""

from __future__ import annotations

from dataclasses import dataclass

from proa.base.errors import CallerFault

HOUR_S = 3600.0


@dataclass(slots=True, frozen=True)
class Rent:
    """Something rented. ``what`` groups it on the bill ("fargate", "ec2 m5.large",
    "control plane"); ``rate_hour`` is what it costs an hour, discounts taken off."""

    what: str
    rate_hour: float
    minimum_s: float = 0.0


@dataclass(slots=True, frozen=True)
class Line:
    """One line of a bill: how often it was rented, for how many hours in all, and the sum."""

    what: str
    count: int
    hours: float
    cost: float


@dataclass(slots=True, frozen=True)
class Bill:
    """``by_hour`` has the money that fell due in each hour of the span, by what was rented."""

    lines: tuple[Line, ...]
    by_hour: dict[str, tuple[float, ...]]

    @property
    def total(self) -> float:
        return sum(line.cost for line in self.lines)


class Meter:
    """All rents of one history."""

    def __init__(self) -> None:
        self._running: dict[str, tuple[Rent, float]] = {}
        self._over: list[tuple[Rent, float, float]] = []  # rent, from, to (billed)

    def start(self, id: str, rent: Rent, at: float) -> None:
        """Rent something; an id that is rented already stays as it is."""
        self._running.setdefault(id, (rent, at))

    def stop(self, id: str, at: float) -> None:
        """Give it back; unknown ids are ignored. Raises CallerFault for an instant before its
        start."""
        found = self._running.pop(id, None)
        if found is None:
            return
        rent, since = found
        if at < since:
            raise CallerFault(f"{id} was given back before it was rented")
        self._over.append((rent, since, max(at, since + rent.minimum_s)))

    def bill(self, since: float, until: float) -> Bill:
        """What fell due between two instants; a minimum that reaches beyond the end counts."""
        rents = [*self._over]
        for rent, start in self._running.values():
            rents.append((rent, start, max(until, start + rent.minimum_s)))
        lines: dict[str, Line] = {}
        hours = max(1, -int(-(until - since) // HOUR_S))
        by_hour: dict[str, list[float]] = {}
        for rent, start, end in rents:
            start = max(start, since)
            spent_h = max(0.0, end - start) / HOUR_S
            line = lines.get(rent.what, Line(rent.what, 0, 0.0, 0.0))
            cost = line.cost + spent_h * rent.rate_hour
            lines[rent.what] = Line(rent.what, line.count + 1, line.hours + spent_h, cost)
            _spread(by_hour.setdefault(rent.what, [0.0] * hours), rent, start - since, end - since)
        ordered = tuple(lines[what] for what in sorted(lines))
        return Bill(ordered, {what: tuple(by_hour[what]) for what in sorted(by_hour)})


def _spread(hours: list[float], rent: Rent, start: float, end: float) -> None:
    """Add a rent to the hours it falls into; what lies beyond the last counts there."""
    index = int(start // HOUR_S)
    while start < end and index < len(hours):
        is_last = index == len(hours) - 1
        stop = end if is_last else min(end, (index + 1) * HOUR_S)
        hours[index] += (stop - start) / HOUR_S * rent.rate_hour
        start, index = stop, index + 1
