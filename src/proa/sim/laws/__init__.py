"""What must hold at every commit, whatever faults a world plays: the laws.

``World`` follows its store commit by commit with a view of its own and asks ``Laws`` after each,
and tells it what becomes true on machines. Each law keeps what it needs and looks at nothing but
what has changed. What must hold only once faults are over is ``sim.settled``'s to say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from proa.dispatch.skin import Skin
from proa.reconcile.view import Change, Table, View
from proa.sim.laws.budgets import Budgets
from proa.sim.laws.leads import Leads
from proa.sim.laws.lives import Lives
from proa.sim.laws.order import Order
from proa.sim.laws.places import Places
from proa.sim.laws.room import Room
from proa.store.api import Event

Changes = Sequence[tuple[Table[Any], Change[Any]]]


class Law(Protocol):
    """One of them: every way in which one transaction's changes break it, in words."""

    def committed(self, changes: Changes) -> Iterator[str]: ...


class Laws:
    """All of them over one view, which its owner feeds transaction by transaction."""

    def __init__(
        self, view: View, skins: Sequence[Skin], now: Callable[[], float], calm: Callable[[], bool]
    ) -> None:
        self.places = Places(view)
        self.budgets = Budgets(view, now, calm)
        self.lives = Lives()
        self._order = Order()
        self._laws: tuple[Law, ...] = (
            Room(view, skins),
            self.places,
            self.lives,
            self.budgets,
        )
        self._leads = Leads()
        self._changes: list[tuple[Table[Any], Change[Any]]] = []
        view.subscribe(self._changed)

    def _changed(self, table: Table[Any], change: Change[Any]) -> None:
        self._changes.append((table, change))

    def committed(self, events: Sequence[Event]) -> list[str]:
        """What is broken now that one transaction's events are in the view."""
        changes, self._changes = self._changes, []
        found = [*self._order.committed(events), *self._leads.committed(events)]
        for law in self._laws:
            found += law.committed(changes)
        return found
