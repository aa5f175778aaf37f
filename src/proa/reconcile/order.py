"""Keys in order, kept lazily: what comes and goes is put in its place when somebody looks.

A table of a view has one. Most changes of a busy store are seen by indexes and triggers alone;
only listings need the order, and one listing after a thousand changes sorts once.
"""

from __future__ import annotations

from bisect import bisect_left, insort

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
