"""Triggers that say which attributes of a value they look at."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from proa.base.clock import VirtualClock, run_virtual
from proa.reconcile.controller import Trigger
from proa.reconcile.plan import NOTHING, Plan
from proa.reconcile.runner import Runner, row_key
from proa.reconcile.view import Change, Table, View
from proa.store.api import Delete, Put, Transaction
from proa.store.memory import MemoryStore


class Place(msgspec.Struct, frozen=True):
    town: str
    inhabitants: int = 0


PLACES = Table(
    "places",
    "/places/",
    msgspec.json.Decoder(Place).decode,
    indexes={"town": lambda _key, place: (place.town,)},
    parts={"town": ("town",)},
)


class Postman:
    """Is told of towns, and does not care who lives there."""

    name = "postman"

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.triggers: Sequence[Trigger] = (
            Trigger(PLACES, self._told, ("town",)),
            Trigger(PLACES, row_key),
        )

    def _told(self, _view: View, change: Change[Place]) -> Iterable[str]:
        self.asked.append(change.new.value.town if change.new else "")
        return ()

    def reconcile(self, view: View, key: str, now: float) -> Plan:
        return NOTHING


def _write(town: str, inhabitants: int) -> Transaction:
    body = msgspec.json.encode(Place(town, inhabitants))
    return Transaction(writes=(Put("/places/a", body),))


def test_a_trigger_is_asked_of_changes_of_its_parts_alone() -> None:
    async def body() -> tuple[list[str], list[Any], list[Any]]:
        clock = VirtualClock()
        store = MemoryStore(clock)
        view = View(store, [PLACES])
        following = asyncio.create_task(view.run())
        await view.synced.wait()
        postman = Postman()
        runner = Runner(store, view, clock, [postman])
        runner.start()
        for write in (_write("Ulm", 1), _write("Ulm", 2), _write("Bonn", 2)):
            await view.reached((await store.commit(write)).version)
        rows = view.rows(PLACES)
        there, left = rows.by("town", "Bonn"), rows.by("town", "Ulm")
        gone = await store.commit(Transaction(writes=(Delete("/places/a"),)))
        await view.reached(gone.version)
        await runner.close()
        following.cancel()
        return postman.asked, there, left

    asked, there, left = run_virtual(body())
    assert asked == ["Ulm", "Bonn", ""]
    assert [entry.value.inhabitants for entry in there] == [2]
    assert left == []
