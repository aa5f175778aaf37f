"""Ordered concurrency: what replaces ``asyncio.wait`` and the bare ``TaskGroup``.

``Tasks`` owns background tasks; they end in the order they were started, an unexpected
exception is logged once and handed to ``on_crash``, and ``close`` awaits them all. Work that
mostly need not wait is begun without a task: a task, its turns of the loop and its end cost more
than many a piece of work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from typing import Any, TypeVar

from proa.base.telemetry import get_logger

T = TypeVar("T")
log = get_logger(__name__)


class Tasks:
    """A bag of background tasks with one owner."""

    def __init__(self, on_crash: Callable[[str, BaseException], None] | None = None) -> None:
        self._tasks: dict[asyncio.Task[Any], None] = {}
        self._on_crash = on_crash

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Start a task; its name appears in logs and traces."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks[task] = None
        task.add_done_callback(self._ended)
        return task

    def begin(self, work: Coroutine[Any, Any, Any], name: str) -> None:
        """Do at once what can be done without waiting; the rest, if any, becomes a task. For work
        that sets no timeout before it first waits: there is no current task until then."""
        try:
            awaited = work.send(None)
        except (StopIteration, asyncio.CancelledError):  # what it asked for was cancelled
            return
        except Exception as error:
            self._crashed(name, error)
        else:
            self.spawn(_Rest(work, awaited), name)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._crashed(task.get_name(), error)

    def _crashed(self, name: str, error: BaseException) -> None:
        log.error("task crashed", task=name, exc_info=error)
        if self._on_crash is not None:
            self._on_crash(name, error)

    def __len__(self) -> int:
        return len(self._tasks)

    async def close(self) -> None:
        """Cancel every task, newest first, and wait until all have ended; a cancellation of the
        caller meanwhile is raised after that."""
        tasks = list(self._tasks)
        mine = asyncio.current_task()
        cancelled = mine.cancelling() if mine else 0
        for task in reversed(tasks):
            task.cancel()
        for task in tasks:
            try:
                await task
            except asyncio.CancelledError:
                continue
            except Exception:  # already logged by _ended
                continue
        if mine is not None and mine.cancelling() > cancelled:
            raise asyncio.CancelledError


class _Rest(Coroutine[Any, Any, Any]):
    """Work that has begun and waits: for a task to go on with as if it had begun it. Until the task
    takes over, what is waited for must not be marked as taken, since others may await it too."""

    def __init__(self, work: Coroutine[Any, Any, Any], awaited: object) -> None:
        self._work = work
        self._awaited: tuple[object, ...] = (awaited,)
        _mark(awaited, blocking=False)

    def send(self, value: Any) -> Any:
        return self._hand_over() if self._awaited else self._work.send(value)

    def throw(self, *raised: Any) -> Any:
        """The only one to come before the first ``send`` is a cancellation, which ends what is
        waited for first, as it would had the task begun to wait."""
        for awaited in self._awaited:
            if isinstance(awaited, asyncio.Future) and awaited.cancel():
                return self._hand_over()
        self._awaited = ()
        return self._work.throw(*raised)

    def _hand_over(self) -> object:
        (awaited,), self._awaited = self._awaited, ()
        _mark(awaited, blocking=True)
        return awaited

    def close(self) -> None:
        self._work.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return (yield from self._work.__await__())


def _mark(awaited: object, *, blocking: bool) -> None:
    """What a coroutine awaits, as it gives it to its task (True) and the task leaves it (False)."""
    if isinstance(awaited, asyncio.Future):
        awaited._asyncio_future_blocking = blocking


async def gather(works: Sequence[Awaitable[T]]) -> list[T]:
    """Run all, return the results in order; the first failure cancels the rest and is raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        return [await task for task in tasks]
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
