"""Keys in order, kept lazily: what comes and goes is put in its place when somebody looks.

A table of a view has one. Most changes of a busy store are seen by indexes and triggers alone;
only listings need the order, and one listing after a thousand changes sorts once. A table of many
kinds keeps its keys on shelves, so that to list one kind is not to sort them all.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator

FEW = 16  # changes that are cheaper one by one than together


class Order:
    """A set of keys that can be had sorted."""

    def __init__(self) -> None:
        self._keys: list[str] = []  # sorted, as of the last look
        self._come: dict[str, None] = {}  # since then
        self._gone: dict[str, None] = {}  # since then; still in ``_keys``

    def add(self, key: str) -> None:
        """A key that is not there."""
        if key in self._gone:
            del self._gone[key]
        else:
            self._come[key] = None

    def remove(self, key: str) -> None:
        """A key that is there."""
        if key in self._come:
            del self._come[key]
        else:
            self._gone[key] = None

    def scan(self, prefix: str, after: str) -> Iterator[str]:
        """Keys that start with ``prefix``, beyond ``after``, in order."""
        keys = self.keys()
        start = bisect_left(keys, max(prefix, after))
        for index in range(start, len(keys)):
            key = keys[index]
            if not key.startswith(prefix):
                return
            if key != after or not after:
                yield key

    def keys(self) -> list[str]:
        """All of them, sorted; the caller only reads."""
        keys = self._keys
        if self._gone:
            if len(self._gone) > FEW:
                keys = self._keys = [key for key in keys if key not in self._gone]
            else:
                for key in self._gone:
                    del keys[bisect_left(keys, key)]
            self._gone.clear()
        if self._come:
            if len(self._come) > FEW:
                keys += self._come
                keys.sort()
            else:
                for key in self._come:
                    insort(keys, key)
            self._come.clear()
        return keys


class Shelves:
    """A set of keys, each on the shelf that is named by a beginning of it; ``shelf_of`` gives ""
    for a text too short to name one. No shelf's name is the beginning of another's, so keys are in
    order where shelves are, and within each."""

    def __init__(self, shelf_of: Callable[[str], str]) -> None:
        self._shelf_of = shelf_of
        self._shelves: dict[str, Order] = {}

    def add(self, key: str) -> None:
        """A key that is not there."""
        name = self._shelf_of(key)
        shelf = self._shelves.get(name)
        if shelf is None:
            shelf = self._shelves[name] = Order()
        shelf.add(key)

    def remove(self, key: str) -> None:
        """A key that is there."""
        self._shelves[self._shelf_of(key)].remove(key)

    def names(self, prefix: str) -> list[str]:
        """The shelves whose names start with ``prefix``, sorted."""
        return sorted(name for name in self._shelves if name.startswith(prefix))

    def scan(self, prefix: str, after: str) -> Iterator[str]:
        """Keys that start with ``prefix``, beyond ``after``, in order."""
        name = self._shelf_of(prefix)
        for one in [name] if name else self.names(prefix):
            if one in self._shelves:
                yield from self._shelves[one].scan(prefix, after)
