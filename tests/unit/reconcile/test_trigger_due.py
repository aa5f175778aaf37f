"""Triggers that say when their keys are due."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from proa.base.clock import VirtualClock, run_virtual
from proa.reconcile.controller import Trigger
from proa.reconcile.plan import NOTHING, Plan
from proa.reconcile.runner import Runner, row_key
from proa.reconcile.view import Change, Table, View
from proa.store.api import Put, Transaction
from proa.store.memory import MemoryStore


class Alarm(msgspec.Struct, frozen=True):
    at: float


ALARMS = Table("alarms", "/alarms/", msgspec.json.Decoder(Alarm).decode)


def _rings(change: Change[Alarm]) -> float:
    return change.new.value.at if change.new else 0.0


class Ringer:
    """Notes when it is asked."""

    name = "ringer"

    def __init__(self) -> None:
        self.rang: list[tuple[str, float]] = []
        self.triggers: Sequence[Trigger] = (Trigger(ALARMS, row_key, due=_rings),)

    def reconcile(self, view: View, key: str, now: float) -> Plan:
        self.rang.append((key, now))
        return NOTHING


def _set(name: str, at: float) -> Transaction:
    return Transaction(writes=(Put(f"/alarms/{name}", msgspec.json.encode(Alarm(at))),))


async def _rung(before: Sequence[Transaction], after: Sequence[Transaction]) -> list[str]:
    """Who rang in a minute, with the second; ``before`` is there when the runner starts."""
    clock = VirtualClock(0.0)
    store = MemoryStore(clock)
    for write in before:
        await store.commit(write)
    view = View(store, [ALARMS])
    following = asyncio.create_task(view.run())
    await view.synced.wait()
    ringer = Ringer()
    runner = Runner(store, view, clock, [ringer])
    runner.start()
    for write in after:
        await view.reached((await store.commit(write)).version)
    await clock.sleep(60)
    await runner.close()
    await store.commit(_set("late", 90))
    await clock.sleep(60)
    following.cancel()
    return [f"{key.removeprefix('/alarms/')} {now:g}" for key, now in ringer.rang]


def test_a_key_is_handed_out_when_it_is_due() -> None:
    writes = [_set("b", 20), _set("a", 10), _set("past", -5)]
    assert run_virtual(_rung([], writes)) == ["past 0", "a 10", "b 20"]


def test_what_is_there_at_the_start_is_handed_out_when_it_is_due() -> None:
    assert run_virtual(_rung([_set("a", 10), _set("past", -5)], [])) == ["past 0", "a 10"]


def test_a_key_that_is_due_twice_is_handed_out_at_the_earlier_time() -> None:
    assert run_virtual(_rung([_set("a", 30)], [_set("a", 10), _set("a", 20)])) == ["a 10"]


def test_a_runner_that_is_closed_sets_no_timer() -> None:
    async def body() -> int:
        clock = VirtualClock(0.0)
        store = MemoryStore(clock)
        view = View(store, [ALARMS])
        following = asyncio.create_task(view.run())
        await view.synced.wait()
        runner = Runner(store, view, clock, [Ringer()])
        runner.start()
        await runner.close()
        await view.reached((await store.commit(_set("a", 10))).version)
        following.cancel()
        loop = asyncio.get_running_loop()
        return len(loop._timers)  # type: ignore[attr-defined]

    assert run_virtual(body()) == 0
