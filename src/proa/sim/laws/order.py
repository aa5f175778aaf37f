"""The store's own law: each key's versions grow, and no event is missing before another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from proa.store.api import Event


class Order:
    """Follows every key from its creation to its deletion."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}
        self._newest = 0

    def committed(self, events: Sequence[Event]) -> Iterator[str]:
        """Every event that comes out of order, or that says another has been missed."""
        for event in events:
            key, version = event.record.key, event.record.version
            if version <= self._newest:
                yield f"{key} has version {version} after {self._newest}"
            self._newest = max(self._newest, version)
            before = event.previous.version if event.previous else 0
            if before != self._last.get(key, 0):
                yield f"{key} was at version {before}, last seen at {self._last.get(key, 0)}"
            if event.kind == "put":
                self._last[key] = version
            else:
                self._last.pop(key, None)
