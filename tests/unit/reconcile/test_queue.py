"""Work queues: no duplicates, no two workers on a key, back-off that doubles."""

from proa.base.clock import VirtualClock, run_virtual
from proa.reconcile.queue import BACKOFF_FIRST_S, WorkQueue


def test_queue_hands_a_key_out_once_however_often_it_was_added() -> None:
    async def main() -> list[str]:
        queue = WorkQueue(VirtualClock())
        for key in ("a", "b", "a", "a"):
            queue.add(key)
        first, second = await queue.get(), await queue.get()
        queue.done(first)
        queue.done(second)
        assert queue.idle
        return [first, second]

    assert run_virtual(main()) == ["a", "b"]


def test_queue_hands_a_key_out_again_when_it_was_added_during_its_work() -> None:
    async def main() -> None:
        queue = WorkQueue(VirtualClock())
        queue.add("a")
        key = await queue.get()
        queue.add("a")
        assert len(queue) == 0
        queue.done(key)
        assert await queue.get() == "a"

    run_virtual(main())


def test_queue_delays_a_failing_key_twice_as_long_each_time() -> None:
    async def main() -> list[float]:
        clock = VirtualClock()
        queue = WorkQueue(clock)
        times = []
        for _ in range(4):
            queue.retry("a")
            queue.done(await queue.get())
            times.append(clock.monotonic())
        queue.forget("a")
        queue.retry("a")
        queue.done(await queue.get())
        times.append(clock.monotonic())
        return [
            round((b - a) / BACKOFF_FIRST_S) for a, b in zip([0.0, *times], times, strict=False)
        ]

    assert run_virtual(main()) == [1, 2, 4, 8, 1]


def test_queue_keeps_the_earlier_of_two_times() -> None:
    async def main() -> float:
        clock = VirtualClock()
        queue = WorkQueue(clock)
        queue.add_after("a", 10)
        queue.add_after("a", 3)
        queue.add_after("a", 7)
        await queue.get()
        return clock.monotonic()

    assert run_virtual(main()) == 3
