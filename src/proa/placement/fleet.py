"""The fleet as arrays: one row an Instance, integer columns, bookings kept up to date.

Only ``engine`` and the rules read the columns. All amounts are int64 (D9). Labels are interned:
a label key has a column of value numbers, 0 where a row lacks it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from proa.model.resources import Port, Resources
from proa.placement.asks import Labels, Row, Taint

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
AMOUNTS = ("cpu", "memory", "disk", "sandboxes")


def amounts(resources: Resources) -> Ints:
    """Resources as a vector in the columns' order."""
    return np.array(
        [resources.cpu, resources.memory, resources.disk, resources.sandboxes], dtype=np.int64
    )


@dataclass(slots=True, frozen=True)
class Booking:
    """A Sandbox that holds room on a row (−1: on its Pool only). ``uid`` is its store key."""

    uid: str
    row: int
    pool: str
    reserve: Resources
    ports: tuple[Port, ...]
    namespace: str
    labels: Labels
    group: str
    terminating: bool = False


class Fleet:
    """Rows, pools and bookings. Row numbers are reused after removal."""

    def __init__(self) -> None:
        self._grow(16)
        self.rows: list[Row | None] = [None] * 16
        self.number_of: dict[str, int] = {}
        self._free: list[int] = list(range(15, -1, -1))
        self.bookings: dict[str, Booking] = {}
        self.by_namespace: dict[str, dict[str, None]] = {}
        self.by_group: dict[str, dict[str, None]] = {}
        self.ports: dict[tuple[str, int], dict[str, int]] = {}  # (protocol, number) → uid → row
        self.pool_total: dict[str, Ints] = {}
        self.pool_used: dict[str, Ints] = {}
        self._value_numbers: dict[str, int] = {}
        self._values: list[str] = [""]
        self._taint_sets: list[tuple[Taint, ...]] = [()]
        self._taint_numbers: dict[tuple[Taint, ...], int] = {(): 0}
        self._clusters: dict[str, int] = {"": 0}

    def _grow(self, size: int) -> None:
        old = len(self.live) if hasattr(self, "live") else 0
        columns: dict[str, Ints] = getattr(self, "label_columns", {})

        def grown(column: NDArray[np.int64] | None, width: int = 0) -> Ints:
            shape = (size, width) if width else (size,)
            fresh = np.zeros(shape, dtype=np.int64)
            if column is not None:
                fresh[:old] = column
            return fresh

        self.allocatable = grown(getattr(self, "allocatable", None), len(AMOUNTS))
        self.used = grown(getattr(self, "used", None), len(AMOUNTS))
        self.nonzero = grown(getattr(self, "nonzero", None), 2)
        self.cluster = grown(getattr(self, "cluster", None))
        self.taint_set = grown(getattr(self, "taint_set", None))
        self.label_columns = {key: grown(column) for key, column in columns.items()}
        for name in ("live", "schedulable", "ready"):
            fresh = np.zeros(size, dtype=np.bool_)
            if old:
                fresh[:old] = getattr(self, name)
            setattr(self, name, fresh)
        self.live: Mask
        self.schedulable: Mask
        self.ready: Mask

    def value_number(self, value: str, create: bool = False) -> int:
        """The number of a label value; -1 for one that no row has."""
        number = self._value_numbers.get(value)
        if number is None:
            if not create:
                return -1
            number = len(self._values)
            self._value_numbers[value] = number
            self._values.append(value)
        return number

    def value_text(self, number: int) -> str:
        """The label value behind a number."""
        return self._values[number]

    def cluster_number(self, cluster: str) -> int:
        """The number of a cluster; -1 for one without rows."""
        return self._clusters.get(cluster, -1)

    def taints_of(self, number: int) -> tuple[Taint, ...]:
        """The taint set behind a number of column ``taint_set``."""
        return self._taint_sets[number]

    def label_column(self, key: str) -> Ints:
        """Value numbers of one label over all rows."""
        column = self.label_columns.get(key)
        return np.zeros(len(self.live), dtype=np.int64) if column is None else column

    def set_pool(self, pool: str, total: Resources) -> None:
        """Declare what a Pool holds in all."""
        self.pool_total[pool] = amounts(total)
        self.pool_used.setdefault(pool, amounts(Resources()))

    def set_row(self, row: Row) -> None:
        """Add an Instance or replace its description; its bookings stay."""
        number = self.number_of.get(row.id)
        if number is None:
            if not self._free:
                size = len(self.rows)
                self._grow(size * 2)
                self.rows.extend([None] * size)
                self._free = list(range(size * 2 - 1, size - 1, -1))
            number = self._free.pop()
            self.number_of[row.id] = number
            self.used[number] = 0
            self.nonzero[number] = 0
        self.rows[number] = row
        self.allocatable[number] = amounts(row.allocatable)
        self.cluster[number] = self._clusters.setdefault(row.cluster, len(self._clusters))
        if row.taints not in self._taint_numbers:
            self._taint_numbers[row.taints] = len(self._taint_sets)
            self._taint_sets.append(row.taints)
        self.taint_set[number] = self._taint_numbers[row.taints]
        self.schedulable[number], self.ready[number] = row.schedulable, row.ready
        for column in self.label_columns.values():
            column[number] = 0
        for key, value in row.labels:
            if key not in self.label_columns:
                self.label_columns[key] = np.zeros(len(self.live), dtype=np.int64)
            self.label_columns[key][number] = self.value_number(value, create=True)
        self.live[number] = True

    def remove_row(self, id: str) -> None:
        """Forget an Instance; its bookings go with it."""
        number = self.number_of.pop(id, None)
        if number is None:
            return
        for uid in [uid for uid, booking in self.bookings.items() if booking.row == number]:
            self.release(uid)
        self.live[number] = False
        self.rows[number] = None
        self._free.append(number)

    def book(self, booking: Booking) -> None:
        """Take room; a booking of the same uid is replaced."""
        self.release(booking.uid)
        self.bookings[booking.uid] = booking
        self.by_namespace.setdefault(booking.namespace, {})[booking.uid] = None
        self.by_group.setdefault(booking.group, {})[booking.uid] = None
        self._account(booking, 1)
        for port in booking.ports:
            self.ports.setdefault((port.protocol, port.number), {})[booking.uid] = booking.row

    def release(self, uid: str) -> None:
        """Give room back; unknown uids are ignored."""
        booking = self.bookings.pop(uid, None)
        if booking is None:
            return
        self.by_namespace[booking.namespace].pop(uid)
        self.by_group[booking.group].pop(uid)
        self._account(booking, -1)
        for port in booking.ports:
            self.ports[(port.protocol, port.number)].pop(uid, None)

    def _account(self, booking: Booking, sign: int) -> None:
        ask = amounts(booking.reserve) * sign
        if booking.row >= 0:
            self.used[booking.row] += ask
            self.nonzero[booking.row] += nonzero(booking.reserve) * sign
        if booking.pool:
            self.pool_used.setdefault(booking.pool, amounts(Resources()))
            self.pool_used[booking.pool] += ask


DEFAULT_CPU = 128 * 100  # 100m
DEFAULT_MEMORY = 200 * 1024 * 1024


def nonzero(reserve: Resources) -> Ints:
    """(cpu, memory) as Kubernetes' scores count it: unset requests weigh 100m and 200Mi."""
    return np.array([reserve.cpu or DEFAULT_CPU, reserve.memory or DEFAULT_MEMORY], dtype=np.int64)
