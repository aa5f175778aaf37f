"""Work that is begun without a task goes on in one from where it first waits."""

from __future__ import annotations

import asyncio

from proa.base.aio import Tasks
from proa.base.clock import run_virtual


def test_work_that_need_not_wait_is_done_at_once_and_makes_no_task() -> None:
    async def main() -> None:
        done: list[str] = []

        async def work() -> None:
            done.append("all")

        tasks = Tasks()
        tasks.begin(work(), "work")
        assert done == ["all"]
        assert len(tasks) == 0

    run_virtual(main())


def test_work_that_waits_goes_on_where_it_waited_and_is_awaited_by_close() -> None:
    async def main() -> None:
        done: list[object] = []
        first: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def work() -> None:
            done.append(await first)
            try:
                await asyncio.sleep(3600)
            finally:
                done.append("cancelled")

        tasks = Tasks()
        tasks.begin(work(), "work")
        assert (done, len(tasks)) == ([], 1)
        first.set_result(7)
        await asyncio.sleep(1)
        assert done == [7]
        await tasks.close()
        assert done == [7, "cancelled"]

    run_virtual(main())


def test_work_cancelled_before_its_task_ran_is_told_where_it_waits() -> None:
    async def main() -> None:
        told: list[type[BaseException]] = []

        async def work() -> None:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError as error:
                await asyncio.sleep(1)  # tidying up may wait
                told.append(type(error))
                raise

        tasks = Tasks()
        tasks.begin(work(), "work")
        await tasks.close()
        assert told == [asyncio.CancelledError]

    run_virtual(main())


def test_a_crash_is_told_of_whether_or_not_the_work_has_waited() -> None:
    async def main() -> None:
        crashed: list[tuple[str, str]] = []

        async def work(wait: bool) -> None:
            if wait:
                await asyncio.sleep(1)
            raise ValueError(str(wait))

        tasks = Tasks(lambda name, error: crashed.append((name, str(error))))
        tasks.begin(work(False), "at once")
        tasks.begin(work(True), "later")
        await asyncio.sleep(2)
        assert crashed == [("at once", "False"), ("later", "True")]

    run_virtual(main())


def test_works_that_begin_to_wait_for_the_same_all_go_on() -> None:
    async def main() -> None:
        done: list[str] = []
        crashed: list[BaseException] = []
        shared: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def work(name: str) -> None:
            await shared
            done.append(name)

        tasks = Tasks(lambda _name, error: crashed.append(error))
        tasks.begin(work("first"), "first")
        tasks.begin(work("second"), "second")
        ordinary = asyncio.create_task(work("ordinary"))
        await asyncio.sleep(1)
        shared.set_result(None)
        await ordinary
        await asyncio.sleep(1)
        assert crashed == []
        assert sorted(done) == ["first", "ordinary", "second"]

    run_virtual(main())


def test_what_cancelled_work_waits_for_is_cancelled_with_it_and_awaited() -> None:
    async def main() -> None:
        told: list[str] = []

        async def inner() -> None:
            try:
                await asyncio.sleep(3600)
            finally:
                await asyncio.sleep(1)
                told.append("inner")

        async def work(part: asyncio.Task[None]) -> None:
            try:
                await part
            finally:
                told.append("work")

        tasks = Tasks()
        part = asyncio.create_task(inner())
        await asyncio.sleep(1)
        tasks.begin(work(part), "work")
        await tasks.close()
        assert told == ["inner", "work"]

    run_virtual(main())


def test_work_that_asks_for_what_was_cancelled_ends_without_a_word() -> None:
    async def main() -> None:
        crashed: list[BaseException] = []
        gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        gone.cancel()

        async def work() -> None:
            await gone

        tasks = Tasks(lambda _name, error: crashed.append(error))
        tasks.begin(work(), "work")
        assert (crashed, len(tasks)) == ([], 0)

    run_virtual(main())
