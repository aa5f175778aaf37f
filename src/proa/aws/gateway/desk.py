"""What a slice's operations write with: decide over the view, commit under guards, see it.

``Desk.carry_out`` runs a deciding function, which reads the view synchronously and returns a
``Change``; a lost race decides again, a few times. After it, the view shows the write, so that a
client that creates and then lists finds what it made.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from proa.aws.gateway.service import Context, Input, Operation, Output
from proa.base.chance import Chance
from proa.base.errors import Conflict
from proa.reconcile.view import Entry, View
from proa.store.api import Delete, Exists, Guard, Put, Store, Transaction

T = TypeVar("T")
D = TypeVar("D", bound="Desk")
ATTEMPTS = 8


@dataclass(slots=True, frozen=True)
class Change(Generic[T]):
    """A decision: the result to give, and what must be written for it to be true."""

    result: T
    guards: tuple[Guard | Exists, ...] = ()
    writes: tuple[Put | Delete, ...] = ()


@dataclass(slots=True)
class Desk:
    """The store to write to, the view to read, and chance for ids."""

    store: Store
    view: View
    chance: Chance

    async def carry_out(self, decide: Callable[[], Change[T]]) -> T:
        """Decide, commit, return the result; raises what ``decide`` raises, and Conflict after
        too many lost races."""
        for attempt in range(ATTEMPTS):
            change = decide()
            if not change.writes:
                return change.result
            try:
                committed = await self.store.commit(Transaction(change.guards, change.writes))
            except Conflict:
                if attempt == ATTEMPTS - 1:
                    raise
                await self.view.reached(await self.store.version())
            else:
                await self.view.reached(committed.version)
                return change.result
        raise AssertionError("unreachable")

    async def delete(self, keys: Sequence[str]) -> None:
        """Delete records, whatever their versions; at most a transaction's worth."""
        change: Change[None] = Change(None, (), tuple(Delete(key) for key in keys))
        await self.carry_out(lambda: change)


def touched(entry: Entry[Any]) -> tuple[Guard, Put]:
    """A guard on what was read and a write of the same bytes: whoever else decides over this
    record at the same time decides again."""
    return Guard(entry.key, entry.version), Put(entry.key, entry.body)


Handler = Callable[[D, Context, Input], Awaitable[Output]]


def bound(desk: D, handlers: Mapping[str, Handler[D]]) -> dict[str, Operation]:
    """A table of handlers as a table of the gateway's operations."""
    return {name: partial(handler, desk) for name, handler in handlers.items()}
