"""Who was promised room: found by key, by row and by priority, however many there are."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from proa.dispatch.skin import Preempting
from proa.placement.asks import Ask
from proa.placement.fleet import Booking


class Nomination(msgspec.Struct, frozen=True):
    """The room that is held, and what must leave it first."""

    skin: Preempting
    ask: Ask
    booking: Booking
    victims: tuple[str, ...] = ()


class Nominations:
    """One for each waiting Sandbox at most, by its key."""

    def __init__(self) -> None:
        self._all: dict[str, Nomination] = {}
        self._on_row: dict[int, dict[str, None]] = {}
        self._of_priority: dict[int, dict[str, None]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def get(self, key: str) -> Nomination | None:
        return self._all.get(key)

    def add(self, nomination: Nomination) -> None:
        """Replaces one of the same key."""
        key = nomination.ask.key
        self.pop(key)
        self._all[key] = nomination
        self._on_row.setdefault(nomination.booking.row, {})[key] = None
        self._of_priority.setdefault(nomination.ask.priority, {})[key] = None

    def pop(self, key: str) -> Nomination | None:
        """Take one out."""
        found = self._all.pop(key, None)
        if found is not None:
            _discard(self._on_row, found.booking.row, key)
            _discard(self._of_priority, found.ask.priority, key)
        return found

    def on_row(self, row: int) -> list[Nomination]:
        """Those of a row."""
        return [self._all[key] for key in self._on_row.get(row, ())]

    def below(self, priority: int) -> Iterator[Nomination]:
        """Those of lower priority."""
        for level, keys in self._of_priority.items():
            if level < priority:
                for key in keys:
                    yield self._all[key]


def _discard(index: dict[int, dict[str, None]], value: int, key: str) -> None:
    keys = index[value]
    del keys[key]
    if not keys:
        del index[value]
