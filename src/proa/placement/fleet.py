"""The fleet: Instances as rows of arrays, the bookings on them, and counts that follow both.

``dispatch`` tells it of Instances, Pools and bookings; the rules read it. Whatever changes a
row's amounts, ports or holders is written to ``log``, so that what was computed of a row before
is computed anew for that row alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import numpy as np

from proa.placement.alikes import Alikes, Tallies
from proa.placement.asks import Ask, PodTerm, Row
from proa.placement.ledger import (
    CLAIM,
    Alike,
    Booking,
    Claim,
    Description,
    HeldTerm,
    Level,
    Table,
    Tally,
    nonzero,
    satisfies,
    terms_of,
)
from proa.placement.rows import AMOUNTS, UNLIMITED, Ints, Mask, Rows, amounts

if TYPE_CHECKING:
    from proa.placement.classes import Classes

__all__ = ["AMOUNTS", "UNLIMITED", "Booking", "Fleet", "Ints", "Mask", "amounts", "nonzero"]
LOG_ROWS = 1 << 15
ANY_ADDRESS = ("", "0.0.0.0", "::")


class Fleet(Rows):
    """Rows, Pools, bookings and their counts."""

    def __init__(self) -> None:
        super().__init__()
        self.bookings: dict[str, Booking] = {}
        self.on_row: dict[int, dict[str, None]] = {}
        self.groups: dict[str, dict[int, int]] = {}  # group → row → bookings
        # (protocol, number) → address → row → bookings
        self.ports: dict[tuple[str, int], dict[str, dict[int, int]]] = {}
        self.levels: dict[int, Level] = {}  # by priority, for preemption
        self.log: list[int] = []
        self.log_start = 0
        self.term_log: list[HeldTerm] = []
        self.term_epoch = 0
        self.namespaces: dict[tuple[str, str], dict[str, str]] = {}
        self.classes: Classes | None = None  # what engine keeps of asks that it has met
        self._claims: WeakValueDictionary[tuple[object, ...], Claim] = WeakValueDictionary()
        self._spaces_met: dict[tuple[str, str], None] = {}  # (cluster, namespace) of asks
        self._alike: dict[tuple[str, str], Alikes] = {}
        self._held_terms: WeakValueDictionary[object, HeldTerm] = WeakValueDictionary()
        self._tallies = Tallies()
        self._group_tallies: dict[str, Tally] = {}
        self._has_tables = False

    # Rows

    def changed(self, row: int) -> None:
        """Amounts, ports or holders of a row are other than before."""
        self.log.append(row)
        if len(self.log) > LOG_ROWS:
            half = LOG_ROWS // 2
            del self.log[:half]
            self.log_start += half

    def relaid(self) -> None:
        """Anything but amounts is other than before: sums over domains are void."""
        super().relaid()
        if self._has_tables:
            self._has_tables = False
            for tally in self._every_tally():
                tally.tables.clear()

    def set_row(self, row: Row) -> bool:
        """Add an Instance or replace its description; its bookings stay. Whether anything is
        other than before."""
        return self._set_row(row)

    def remove_row(self, id: str) -> None:
        """Forget an Instance; its bookings go with it."""
        number = self.number_of.get(id)
        if number is None:
            return
        for uid in list(self.on_row.get(number, ())):
            self.release(uid)
        self._drop_row(id)

    def _grow(self, size: int) -> None:
        super()._grow(size)
        for tally in self._every_tally():
            tally.grow(size)

    def _every_tally(self) -> Iterator[Tally]:
        for _, tally in self._tallies.items():
            yield tally
        yield from self._group_tallies.values()
        for held in self._held_terms.values():
            yield held.tally

    def set_namespace(self, cluster: str, name: str, labels: dict[str, str]) -> bool:
        """Declare a namespace's labels, for namespace selectors of pod affinity. Whether that may
        change a decision."""
        space = (cluster, name)
        if self.namespaces.get(space, {}) == labels:
            return False
        self.namespaces[space] = labels
        if space not in self._spaces_met:
            return False
        self.relaid()
        for description, tally in self._tallies.items():
            if any(term.namespace_selector is not None for term in description.terms):
                self._fill(description, tally)
        return True

    # Bookings

    def claim(self, ask: Ask) -> Claim:
        """What a Sandbox of this ask holds, shared by all that hold the same."""
        key = CLAIM(ask)
        found = self._claims.get(key)
        if found is None:
            self._spaces_met[ask.cluster, ask.namespace] = None
            named = [(self.resource_number(name), amount) for name, amount in ask.extended]
            vector = amounts(ask.reserve)
            wanted = [(n, int(amount)) for n, amount in enumerate(vector) if amount]
            terms = tuple(self._held_term(ask.cluster, *item) for item in terms_of(ask))
            scored = ask.scored or nonzero(ask.reserve)
            found = Claim(ask, (*wanted, *((n, a) for n, a in named if a)), vector, scored, terms)
            self._claims[key] = found
        return found

    def book(self, booking: Booking) -> None:
        """Take room; a booking of the same uid is replaced."""
        old = self.bookings.get(booking.uid)
        if old is not None:
            if old == booking:
                return
            if (old.claim, old.row, old.pool) == (booking.claim, booking.row, booking.pool):
                self.bookings[booking.uid] = booking
                if booking.row >= 0:
                    if old.terminating != booking.terminating:
                        self._count_alike(old, -1)
                        self._count_alike(booking, 1)
                    self.changed(booking.row)
                return
            self.release(booking.uid)
        self.bookings[booking.uid] = booking
        if booking.row >= 0:
            self.on_row.setdefault(booking.row, {})[booking.uid] = None
        self._account(booking, 1)

    def release(self, uid: str) -> None:
        """Give room back; unknown uids are ignored."""
        booking = self.bookings.pop(uid, None)
        if booking is None:
            return
        if booking.row >= 0:
            self.on_row[booking.row].pop(uid)
        self._account(booking, -1)

    @contextmanager
    def without(self, uids: Sequence[str]) -> Iterator[None]:
        """The fleet as if these bookings were not there, for the search of preemption."""
        taken = [self.bookings[uid] for uid in uids if uid in self.bookings]
        for booking in taken:
            self.release(booking.uid)
        try:
            yield
        finally:
            for booking in taken:
                self.book(booking)

    def _account(self, booking: Booking, sign: int) -> None:
        claim, row = booking.claim, booking.row
        if booking.pool:
            number = self._pool(booking.pool)
            first = number * len(AMOUNTS)
            for column, amount in claim.wanted:
                if column < len(AMOUNTS):
                    self.pool_used_flat[first + column] += amount * sign
            for other in self.pool_rows[number]:
                if other != row:
                    self.changed(other)
        if row < 0:
            return
        used, first = self.used_flat, row * self.width
        for column, amount in claim.wanted:
            used[first + column] += amount * sign
        cpu, memory = claim.nonzero
        self.nonzero_flat[2 * row] += cpu * sign
        self.nonzero_flat[2 * row + 1] += memory * sign
        level = self.levels.get(claim.ask.priority)
        if level is None:
            level = self.levels[claim.ask.priority] = Level(*self.used.shape)
        level.add(row, claim, sign, self.used.shape)
        if not level.count:
            del self.levels[claim.ask.priority]
        if claim.ask.ports:
            self._count_ports(booking, sign)
        if claim.ask.group:
            self._count_group(claim.ask.group, row, sign)
        self._count_alike(booking, sign)
        for held in claim.terms:
            self._count_held(held, row, sign)
        self.changed(row)

    def _count_alike(self, booking: Booking, sign: int) -> None:
        claim, ending = booking.claim, booking.terminating
        alike = claim.alike.get(ending) or self._alike_of(claim, ending)
        _count(alike.rows, booking.row, sign)
        for tally in alike.tallies:
            tally.add(booking.row, sign)

    def _count_ports(self, booking: Booking, sign: int) -> None:
        for port in booking.ports:
            addresses = self.ports.setdefault((port.protocol, port.number), {})
            address = "" if port.address in ANY_ADDRESS else port.address
            _count(addresses.setdefault(address, {}), booking.row, sign)

    def _count_group(self, group: str, row: int, sign: int) -> None:
        _count(self.groups.setdefault(group, {}), row, sign)
        tally = self._group_tallies.get(group)
        if tally is not None:
            tally.add(row, sign)

    def _count_held(self, held: HeldTerm, row: int, sign: int) -> None:
        if not held.listed:
            self._list_term(held)
        held.holders += sign
        held.tally.add(row, sign)

    # Counts

    def group_tally(self, group: str) -> Tally:
        """Bookings of a group by row."""
        tally = self._group_tallies.get(group)
        if tally is None:
            tally = self._group_tallies[group] = Tally(len(self.rows))
            _fill_rows(tally, self.groups.get(group, {}))
        return tally

    def tally(self, description: Description) -> Tally:
        """Bookings of a description by row, counted from now on."""
        tally = self._tallies.get(description)
        if tally is None:
            tally = Tally(len(self.rows))
            self._tallies.add(description, tally)
            self._fill(description, tally)
        return tally

    def table(self, tally: Tally, key: str, mine: object, member: Mask) -> Table:
        """A tally by the domains of a label, on the rows of ``member``, which ``mine`` names."""
        self._has_tables = True
        return tally.table(key, self.label_columns.get(key), mine, member)

    def forget(self, kept: set[int]) -> None:
        """Stop counting for tallies other than those whose ``id`` is kept."""
        for description in [d for d, tally in self._tallies.items() if id(tally) not in kept]:
            tally = self._tallies.remove(description)
            for space in self._spaces(description):
                for alike in self._alike[space].like(description):
                    if tally in alike.tallies:
                        alike.tallies.remove(tally)
        for group in [g for g, tally in self._group_tallies.items() if id(tally) not in kept]:
            del self._group_tallies[group]

    def _fill(self, description: Description, tally: Tally) -> None:
        tally.rows[:] = 0
        tally.tables.clear()
        for space in self._spaces(description):
            for alike in self._alike[space].like(description):
                if tally in alike.tallies:
                    alike.tallies.remove(tally)
                if self.describes(description, alike):
                    alike.tallies.append(tally)
                    _fill_rows(tally, alike.rows)

    def _spaces(self, description: Description) -> list[tuple[str, str]]:
        """The namespaces that may have what is described."""
        explicit = [term for term in description.terms if term.namespace_selector is None]
        if not explicit:
            return [space for space in self._alike if space[0] == description.cluster]
        names = dict.fromkeys(explicit[0].namespaces)
        return [
            (description.cluster, name)
            for name in names
            if (description.cluster, name) in self._alike
        ]

    def describes(self, description: Description, alike: Alike) -> bool:
        """Whether Sandboxes with these labels are meant."""
        if alike.cluster != description.cluster or (alike.ending and not description.ending):
            return False
        return all(
            self.term_matches(term, alike.cluster, alike.namespace, alike.labels)
            for term in description.terms
        )

    def term_matches(
        self, term: PodTerm, cluster: str, namespace: str, labels: dict[str, str]
    ) -> bool:
        """Whether a term speaks of a Sandbox with these labels in this namespace."""
        if namespace not in term.namespaces:
            selector = term.namespace_selector
            if selector is None:
                return False
            if selector and not satisfies(self.namespaces.get((cluster, namespace), {}), selector):
                return False
        return satisfies(labels, term.selector)

    def _alike_of(self, claim: Claim, ending: bool) -> Alike:
        """The bookings with a claim's labels."""
        ask = claim.ask
        space = self._alike.get((ask.cluster, ask.namespace))
        if space is None:
            space = self._alike[ask.cluster, ask.namespace] = Alikes()
        found = space.get(ask.labels, ending)
        if found is None:
            found = Alike(ask.cluster, ask.namespace, dict(ask.labels), ending)
            found.tallies = [
                tally for item, tally in self._tallies.about(found) if self.describes(item, found)
            ]
            space.add(ask.labels, found)
        claim.alike[ending] = found
        return found

    def _held_term(self, cluster: str, term: PodTerm, weight: int) -> HeldTerm:
        key = (cluster, term, weight)
        found = self._held_terms.get(key)
        if found is None:
            found = self._held_terms[key] = HeldTerm(cluster, term, weight, len(self.rows))
        return found

    def _list_term(self, held: HeldTerm) -> None:
        """Put a term where asks look for those that speak of them."""
        alive = [item for item in self.term_log if item.holders] if self._many_dead() else None
        if alive is not None:
            for item in self.term_log:
                item.listed = False
            for item in alive:
                item.listed = True
            self.term_log = alive
            self.term_epoch += 1
        held.listed = True
        self.term_log.append(held)

    def _many_dead(self) -> bool:
        size = len(self.term_log)
        if size < 64 or size & (size - 1):  # looked at as often as the size doubles
            return False
        return sum(1 for item in self.term_log if item.holders) < size // 2


def _count(counts: dict[int, int], row: int, sign: int) -> None:
    now = counts.get(row, 0) + sign
    if now:
        counts[row] = now
    else:
        del counts[row]


def _fill_rows(tally: Tally, counts: dict[int, int]) -> None:
    if counts:
        size = len(counts)
        rows = np.fromiter(counts.keys(), dtype=np.int64, count=size)
        tally.rows[rows] += np.fromiter(counts.values(), dtype=np.int64, count=size)
