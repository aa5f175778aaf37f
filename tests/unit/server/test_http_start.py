"""A handler's first steps run at once and as if in a task; what waits goes on in a Task."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from proa.server.http_start import start

Work = Callable[[], Coroutine[Any, Any, None]]


def started(work: Work, after: Callable[[asyncio.Task[None] | None], None] | None = None) -> Any:
    """Start ``work`` in a callback of a loop, and wait for what it became; its Task."""

    async def main() -> asyncio.Task[None] | None:
        loop = asyncio.get_running_loop()
        found: asyncio.Future[asyncio.Task[None] | None] = loop.create_future()

        def callback() -> None:
            try:
                task = start(work(), loop)
            except BaseException as error:
                found.set_exception(error)
                return
            if after is not None:
                after(task)
            found.set_result(task)

        loop.call_soon(callback)
        task = await found
        if task is not None:
            await asyncio.gather(task, return_exceptions=True)
        return task

    return asyncio.run(main())


def test_work_that_never_waits_is_done_without_a_task() -> None:
    done: list[str] = []

    async def work() -> None:
        done.append("all")

    assert started(work, lambda _: done.append("after")) is None
    assert done == ["all", "after"]


def test_work_that_waits_goes_on_where_it_waited() -> None:
    done: list[str] = []

    async def work() -> None:
        done.append("first")
        await asyncio.sleep(0)
        done.append("second")
        await asyncio.get_running_loop().run_in_executor(None, done.append, "elsewhere")
        done.append("last")

    task = started(work, lambda _: done.append("after"))
    assert done == ["first", "after", "second", "elsewhere", "last"]
    assert task.exception() is None


def test_an_error_before_the_first_wait_is_the_callers() -> None:
    async def work() -> None:
        raise LookupError("at once")

    with pytest.raises(LookupError, match="at once"):
        started(work)


def test_a_timeout_begun_before_the_first_wait_ends_it() -> None:
    seen: list[str] = []

    async def work() -> None:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.get_running_loop().create_future()
        except TimeoutError:
            seen.append("timeout")

    started(work)
    assert seen == ["timeout"]


def test_a_cancellation_before_the_first_step_reaches_what_is_waited_for() -> None:
    waited: list[asyncio.Future[None]] = []

    async def work() -> None:
        waited.append(asyncio.get_running_loop().create_future())
        await waited[0]

    def cancel(task: asyncio.Task[None] | None) -> None:
        assert task is not None
        task.cancel()

    task = started(work, cancel)
    assert task.cancelled() and waited[0].cancelled()


def test_work_that_cancels_itself_is_cancelled_at_its_first_wait() -> None:
    seen: list[str] = []

    async def work() -> None:
        mine = asyncio.current_task()
        assert mine is not None
        mine.cancel()
        seen.append(f"asked {mine.cancelling()}")
        await asyncio.sleep(0)
        seen.append("went on")

    task = started(work)
    assert task.cancelled() and seen == ["asked 1"]


def test_within_a_task_it_is_a_task_at_once() -> None:
    done: list[str] = []

    async def work() -> None:
        done.append("work")

    async def main() -> None:
        task = start(work(), asyncio.get_running_loop())
        assert task is not None and not done
        await task

    asyncio.run(main())
    assert done == ["work"]


def test_no_task_is_current_after_the_first_steps() -> None:
    async def work() -> None:
        assert asyncio.current_task() is not None

    seen: list[Any] = []
    started(work, lambda _: seen.append(asyncio.current_task()))
    assert seen == [None]
