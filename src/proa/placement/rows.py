"""Instances as arrays: one row an Instance, integer columns, interned labels and taint sets.

The lower half of the Fleet; only the rules of this package read the columns. All amounts are
int64 (D9). Each label key has a column of value numbers of its own, 0 where a row lacks it.
``layout`` grows whenever anything but amounts changes: what was derived from the columns before
is then void. Row numbers are reused after removal; ``count`` is one more than the highest.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from proa.model.resources import Resources
from proa.placement.asks import Row, Taint

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
AMOUNTS = ("cpu", "memory", "disk", "sandboxes")
UNLIMITED = np.iinfo(np.int64).max // 2


def amounts(resources: Resources) -> Ints:
    """Resources as a vector in the columns' order."""
    return np.array(
        [resources.cpu, resources.memory, resources.disk, resources.sandboxes], dtype=np.int64
    )


class LabelColumn:
    """One label key over all rows: ``numbers`` by row, ``values`` by number."""

    __slots__ = ("_index", "numbers", "values")

    def __init__(self, size: int) -> None:
        self.numbers: Ints = np.zeros(size, dtype=np.int64)
        self.values: list[str] = [""]
        self._index: dict[str, int] = {}

    def number_of(self, value: str) -> int:
        """The number of a value; -1 for one that no row has had."""
        return self._index.get(value, -1)

    def set(self, row: int, value: str) -> None:
        """Give a row a value."""
        number = self._index.get(value)
        if number is None:
            number = self._index[value] = len(self.values)
            self.values.append(value)
        self.numbers[row] = number


def _grown(column: NDArray[np.generic], size: int) -> NDArray[np.generic]:
    fresh = np.zeros((size, *column.shape[1:]), dtype=column.dtype)
    fresh[: len(column)] = column
    return fresh


def _flat(array: Ints) -> memoryview:
    """The numbers of an array one after another, shared with it."""
    return array.reshape(-1).data if array.size else memoryview(b"").cast("q")


class Rows:
    """Instances, their labels, taints, images and Pools."""

    def __init__(self) -> None:
        self.rows: list[Row | None] = []
        self.number_of: dict[str, int] = {}
        self.count = 0
        self.layout = 0
        self.resources: dict[str, int] = {name: n for n, name in enumerate(AMOUNTS)}
        self.allocatable: Ints = np.zeros((0, len(AMOUNTS)), dtype=np.int64)
        self.used: Ints = np.zeros((0, len(AMOUNTS)), dtype=np.int64)
        self.nonzero: Ints = np.zeros((0, 2), dtype=np.int64)
        self.cluster: Ints = np.zeros(0, dtype=np.int64)
        self.taint_set: Ints = np.zeros(0, dtype=np.int64)
        self.pool_of: Ints = np.zeros(0, dtype=np.int64)
        self.live: Mask = np.zeros(0, dtype=np.bool_)
        self.schedulable: Mask = np.zeros(0, dtype=np.bool_)
        self.ready: Mask = np.zeros(0, dtype=np.bool_)
        self.label_columns: dict[str, LabelColumn] = {}
        self.pool_total: dict[str, Ints] = {}
        self.pool_used: dict[str, Ints] = {}
        self.pool_number: dict[str, int] = {}
        self.pool_names: list[str] = []
        self.pool_rows: list[list[int]] = []
        self._pools = np.zeros((2, 0, len(AMOUNTS)), dtype=np.int64)
        self._pool_ranks: Ints | None = None
        self._free: list[int] = []
        self._taint_sets: list[tuple[Taint, ...]] = [()]
        self._taint_numbers: dict[tuple[Taint, ...], int] = {(): 0}
        self._clusters: dict[str, int] = {"": 0}
        self._named: dict[tuple[str, str], int] = {}
        self.images: dict[str, dict[int, int]] = {}  # name → row → bytes
        self._look()

    def _look(self) -> None:
        """Flat views of the arrays, by which single amounts are read and written: several times
        faster than through the arrays themselves. To be renewed whenever an array is."""
        self.width = self.used.shape[1]
        self.allocatable_flat = _flat(self.allocatable)
        self.used_flat = _flat(self.used)
        self.nonzero_flat = _flat(self.nonzero)
        self.pool_total_flat, self.pool_used_flat = _flat(self._pools[0]), _flat(self._pools[1])

    # Numbers

    def cluster_number(self, cluster: str) -> int:
        """The number of a cluster; -1 for one without rows."""
        return self._clusters.get(cluster, -1)

    def taints_of(self, number: int) -> tuple[Taint, ...]:
        """The taint set behind a number of column ``taint_set``."""
        return self._taint_sets[number]

    def label_column(self, key: str) -> Ints:
        """Value numbers of one label over the rows up to ``count``."""
        column = self.label_columns.get(key)
        if column is None:
            return np.zeros(self.count, dtype=np.int64)
        return column.numbers[: self.count]

    def value_number(self, key: str, value: str) -> int:
        """The number of a label's value; -1 for one that no row has had."""
        column = self.label_columns.get(key)
        return -1 if column is None else column.number_of(value)

    def label_values(self, key: str) -> list[str]:
        """The values of a label by number; the first stands for its absence."""
        column = self.label_columns.get(key)
        return [""] if column is None else column.values

    def row_named(self, cluster: str, name: str) -> int:
        """The row of the Instance so named; -1 if there is none."""
        return self._named.get((cluster, name), -1)

    def resource_number(self, name: str) -> int:
        """The column of an amount; an extended resource gets one on first use."""
        number = self.resources.get(name)
        if number is None:
            number = self.resources[name] = len(self.resources)
            column = np.zeros((len(self.used), 1), dtype=np.int64)
            self.allocatable = np.hstack([self.allocatable, column])
            self.used = np.hstack([self.used, column])
            self._look()
        return number

    # Pools

    def set_pool(self, pool: str, total: Resources) -> None:
        """Declare what a Pool holds in all."""
        number = self._pool(pool)
        vector = amounts(total)
        line = self.pool_total[pool] = self._pools[0, number]
        if (line != vector).any():
            line[:] = vector
            for row in self.pool_rows[number]:
                self.changed(row)

    def _pool(self, pool: str) -> int:
        """The number of a Pool; one that was not declared holds what is asked of it."""
        number = self.pool_number.get(pool)
        if number is not None:
            return number
        number = self.pool_number[pool] = len(self.pool_number)
        size = self._pools.shape[1]
        if number >= size:
            fresh = np.zeros((2, max(16, size * 2), len(AMOUNTS)), dtype=np.int64)
            fresh[:, :size] = self._pools
            self._pools = fresh
            self._look()
            for name in self.pool_total:
                self.pool_total[name] = fresh[0, self.pool_number[name]]
            for name in self.pool_used:
                self.pool_used[name] = fresh[1, self.pool_number[name]]
        self.pool_used[pool] = self._pools[1, number]
        self._pools[0, number] = UNLIMITED
        self.pool_names.append(pool)
        self.pool_rows.append([])
        self._pool_ranks = None
        return number

    def rows_of_pool(self, pool: str) -> list[int]:
        """The rows that draw on a Pool."""
        number = self.pool_number.get(pool)
        return [] if number is None else self.pool_rows[number]

    def pools_left(self) -> Ints:
        """What each Pool has left, a line a Pool in the order of their numbers."""
        number = len(self.pool_number)
        left: Ints = self._pools[0, :number] - self._pools[1, :number]
        return left

    def pools_left_of(self, row: int) -> list[int]:
        """(cpu, memory) that the Pool of one row has left."""
        first = int(self.pool_of[row]) * len(AMOUNTS)
        total, used = self.pool_total_flat, self.pool_used_flat
        return [total[first] - used[first], total[first + 1] - used[first + 1]]

    def declared(self) -> Mask:
        """Which Pools hold a known amount."""
        known: Mask = self._pools[0, : len(self.pool_number), 0] != UNLIMITED
        return known

    def pool_ranks(self) -> Ints:
        """The rank of each Pool's name, by its number."""
        if self._pool_ranks is None:
            ranks = np.zeros(len(self.pool_number), dtype=np.int64)
            for rank, name in enumerate(sorted(self.pool_number)):
                ranks[self.pool_number[name]] = rank
            self._pool_ranks = ranks
        return self._pool_ranks

    # Rows

    def changed(self, row: int) -> None:
        """Amounts, ports or holders of a row are other than before."""
        raise NotImplementedError

    def relaid(self) -> None:
        """Anything but amounts is other than before."""
        self.layout += 1

    def _set_row(self, row: Row) -> bool:
        """Add or replace; whether anything is other than before."""
        number = self.number_of.get(row.id)
        old = None if number is None else self.rows[number]
        if old == row:
            return False
        if number is None or old is None:
            number = self._take_number(row.id)
        self._set_amounts(number, row)
        self.rows[number] = row
        if old is not None and _same_layout(old, row):
            self.changed(number)
            return True
        self.relaid()
        self._unlist(number, old)
        self.cluster[number] = self._clusters.setdefault(row.cluster, len(self._clusters))
        self._named[row.cluster, row.name] = number
        if row.taints not in self._taint_numbers:
            self._taint_numbers[row.taints] = len(self._taint_sets)
            self._taint_sets.append(row.taints)
        self.taint_set[number] = self._taint_numbers[row.taints]
        self.schedulable[number], self.ready[number] = row.schedulable, row.ready
        for key, value in row.labels:
            if key not in self.label_columns:
                self.label_columns[key] = LabelColumn(len(self.live))
            self.label_columns[key].set(number, value)
        for name, size in row.images:
            self.images.setdefault(name, {})[number] = size
        self.pool_of[number] = self._pool(row.pool)
        self.pool_rows[self.pool_of[number]].append(number)
        self.live[number] = True
        return True

    def _set_amounts(self, number: int, row: Row) -> None:
        columns = [self.resource_number(name) for name, _ in row.extended]
        self.allocatable[number] = 0
        self.allocatable[number, : len(AMOUNTS)] = amounts(row.allocatable)
        for column, (_, amount) in zip(columns, row.extended, strict=True):
            self.allocatable[number, column] = amount

    def _unlist(self, number: int, old: Row | None) -> None:
        """Take a row's former description out of the columns."""
        if old is None:
            return
        if self._named.get((old.cluster, old.name)) == number:
            del self._named[old.cluster, old.name]
        for key, _ in old.labels:
            self.label_columns[key].numbers[number] = 0
        for name, _ in old.images:
            self.images[name].pop(number, None)
            if not self.images[name]:
                del self.images[name]
        self.pool_rows[self.pool_of[number]].remove(number)

    def _take_number(self, id: str) -> int:
        if self._free:
            number = self._free.pop()
        else:
            number = self.count
            if number == len(self.rows):
                self._grow(max(16, number * 2))
            self.count += 1
        self.number_of[id] = number
        self.used[number] = 0
        self.nonzero[number] = 0
        return number

    def _grow(self, size: int) -> None:
        self.rows.extend([None] * (size - len(self.rows)))
        for name in ("allocatable", "used", "nonzero", "cluster", "taint_set", "pool_of"):
            setattr(self, name, _grown(getattr(self, name), size))
        for name in ("live", "schedulable", "ready"):
            setattr(self, name, _grown(getattr(self, name), size))
        for column in self.label_columns.values():
            column.numbers = np.concatenate(
                [column.numbers, np.zeros(size - len(column.numbers), dtype=np.int64)]
            )
        self._look()

    def _drop_row(self, id: str) -> int:
        """Forget a row; its number, -1 if there was none."""
        number = self.number_of.pop(id, None)
        if number is None:
            return -1
        self.relaid()
        self._unlist(number, self.rows[number])
        self.live[number] = False
        self.rows[number] = None
        self._free.append(number)
        return number


def _same_layout(old: Row, new: Row) -> bool:
    return replace(old, allocatable=new.allocatable, extended=new.extended) == new
