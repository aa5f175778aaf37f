"""How the runner works controllers' queues: without tasks where nothing is to be done, a few plans
at a time where something is, and never one key twice at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from proa.base.clock import VirtualClock, run_virtual
from proa.reconcile.controller import Trigger
from proa.reconcile.plan import NOTHING, Plan
from proa.reconcile.runner import WORKERS, Runner, row_key
from proa.reconcile.view import Table, View
from proa.store.api import Batch, Put, Transaction
from proa.store.memory import MemoryStore

ROWS: Table[bytes] = Table("rows", "/rows/", lambda body: body)
KEYS = [f"/rows/{number}" for number in range(10)]


class Slow:
    """A step that takes a second."""


class Looking:
    """A controller that notes what it is asked, and plans ``steps`` for each."""

    name = "looking"

    def __init__(self, *steps: Any, again_at: float = 0.0) -> None:
        self.asked: list[str] = []
        self.tasks = 0
        self._steps, self._again_at = steps, again_at
        self.triggers: Sequence[Trigger] = (Trigger(ROWS, row_key),)

    def reconcile(self, _view: View, key: str, _now: float) -> Plan:
        self.asked.append(key)
        self.tasks = max(self.tasks, len(asyncio.all_tasks()))
        return Plan(self._steps, self._again_at) if self._steps else NOTHING


async def world(controller: Looking, performers: dict[type, Any]) -> tuple[Runner, Any]:
    clock = VirtualClock()
    store = MemoryStore(clock)
    view = View(store, (ROWS,))
    following = asyncio.create_task(view.run())
    await store.commit(Transaction(writes=tuple(Put(key, b"1") for key in KEYS)))
    await view.synced.wait()
    runner = Runner(store, view, clock, [controller], performers)
    runner.start()
    return runner, following


def test_a_reconcile_that_finds_nothing_to_do_needs_no_task() -> None:
    async def main() -> None:
        controller = Looking()
        runner, following = await world(controller, {})
        before = len(asyncio.all_tasks())
        await asyncio.sleep(1)
        assert controller.asked == KEYS
        assert controller.tasks == before
        assert runner.idle
        await runner.close()
        following.cancel()

    run_virtual(main())


def test_few_plans_are_carried_out_at_a_time_and_each_key_once() -> None:
    async def main() -> None:
        under_way: list[int] = [0, 0]

        async def perform(_step: Slow) -> int:
            under_way[0] += 1
            under_way[1] = max(under_way)
            await asyncio.sleep(1)
            under_way[0] -= 1
            return 0

        controller = Looking(Slow())
        runner, following = await world(controller, {Slow: perform})
        await asyncio.sleep(10)
        assert controller.asked == KEYS
        assert under_way == [0, WORKERS]
        assert runner.idle
        await runner.close()
        following.cancel()

    run_virtual(main())


def test_a_plan_whose_step_was_cancelled_holds_up_neither_its_key_nor_other_lanes() -> None:
    async def main() -> None:
        async def perform(_step: Slow) -> int:
            gone: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            gone.cancel()
            return await gone

        controller = Looking(Slow())
        runner, following = await world(controller, {Slow: perform})
        await asyncio.sleep(1)
        assert controller.asked == KEYS
        assert runner.idle
        await runner.close()
        following.cancel()

    run_virtual(main())


def test_what_becomes_visible_after_the_end_sets_no_more_timers() -> None:
    async def main() -> None:
        async def perform(_step: Slow) -> int:
            return 1_000  # a version that the view is yet to reach

        controller = Looking(Slow(), again_at=1e12)
        runner, following = await world(controller, {Slow: perform})
        lane = runner._lanes[0]
        await asyncio.sleep(1)
        await runner.close()
        following.cancel()
        runner._view.take(Batch((), 1_000))
        assert controller.asked == KEYS[:WORKERS]
        assert lane.queue._timer is None

    run_virtual(main())
