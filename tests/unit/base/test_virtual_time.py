"""Virtual time: jumps instead of waiting, and orders everything the same way every time."""

import asyncio

import pytest

from proa.base.aio import Tasks, gather
from proa.base.clock import Deadlock, VirtualClock, run_virtual


def test_virtual_loop_jumps_over_idle_time() -> None:
    clock = VirtualClock(epoch=1000.0)

    async def main() -> tuple[float, float]:
        await clock.sleep(86_400)
        return clock.now(), clock.monotonic()

    assert run_virtual(main()) == (87_400.0, 86_400.0)


def test_virtual_loop_runs_equal_instants_in_the_order_they_were_asked_for() -> None:
    clock, seen = VirtualClock(), []

    async def sleeper(name: int) -> None:
        await clock.sleep(1)
        seen.append(name)

    async def main() -> None:
        await gather([sleeper(number) for number in range(50)])

    run_virtual(main())
    assert seen == list(range(50))


def test_virtual_loop_names_a_deadlock_instead_of_hanging() -> None:
    async def main() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Deadlock):
        run_virtual(main())


def test_virtual_loop_drops_cancelled_timers() -> None:
    clock = VirtualClock()

    async def main() -> float:
        try:
            async with asyncio.timeout(5):
                await clock.sleep(60)
        except TimeoutError:
            pass
        return clock.monotonic()

    assert run_virtual(main()) == 5


def test_gather_cancels_the_rest_when_one_fails() -> None:
    clock, cancelled = VirtualClock(), []

    async def fails() -> None:
        await clock.sleep(1)
        raise ValueError("boom")

    async def waits() -> None:
        try:
            await clock.sleep(100)
        except asyncio.CancelledError:
            cancelled.append(clock.monotonic())
            raise

    async def main() -> None:
        with pytest.raises(ValueError, match="boom"):
            await gather([fails(), waits()])

    run_virtual(main())
    assert cancelled == [1]


def test_tasks_report_a_crash_and_go_on() -> None:
    clock, crashed = VirtualClock(), []

    async def boom() -> None:
        raise ValueError("boom")

    async def main() -> None:
        tasks = Tasks(on_crash=lambda name, error: crashed.append((name, str(error))))
        tasks.spawn(boom(), "bad")
        tasks.spawn(clock.sleep(10), "good")
        await clock.sleep(1)
        assert len(tasks) == 1
        await tasks.close()

    run_virtual(main())
    assert crashed == [("bad", "boom")]
