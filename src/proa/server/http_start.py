"""A coroutine's first steps at once; a Task only for one that waits.

``http_connection`` starts handlers so: most answer without waiting for anything, and a Task, its
turn in the loop and its place among all tasks cost more than such an answer. What runs before the
first wait finds a current task as always (``asyncio.timeout`` and the like ask for one): a
``_Herald``, which hands on what it is told to the Task that comes after it.
"""

from __future__ import annotations

import asyncio
from asyncio.tasks import _enter_task, _leave_task  # see "Extending asyncio" in Python's library
from collections.abc import Coroutine
from typing import Any


class _Herald:
    """Stands for a Task that may never be made."""

    __slots__ = ("_asked", "_task")

    def __init__(self) -> None:
        self._task: asyncio.Task[Any] | None = None
        self._asked = 0

    def cancel(self, msg: Any = None) -> bool:
        if self._task is not None:
            return self._task.cancel(msg)
        self._asked += 1
        return True

    def cancelling(self) -> int:
        return self._asked if self._task is None else self._task.cancelling()

    def uncancel(self) -> int:
        if self._task is not None:
            return self._task.uncancel()
        self._asked = max(0, self._asked - 1)
        return self._asked

    def becomes(self, task: asyncio.Task[Any]) -> None:
        self._task = task
        for _ in range(self._asked):
            task.cancel()


class _Rest(Coroutine[Any, Any, None]):
    """What remains of a coroutine that was started: first the wait in which it is."""

    __slots__ = ("_waits_for", "_work")

    def __init__(self, work: Coroutine[Any, Any, None], waits_for: Any) -> None:
        self._work, self._waits_for = work, waits_for

    def send(self, value: Any) -> Any:
        waits_for, self._waits_for = self._waits_for, None
        return self._work.send(value) if waits_for is None else waits_for

    def throw(self, *error: Any) -> Any:
        waits_for, self._waits_for = self._waits_for, None
        if waits_for is not None:  # only a cancellation comes before the first step
            waits_for.cancel()
        return self._work.throw(*error)

    def close(self) -> None:
        self._work.close()

    def __await__(self) -> Any:
        raise NotImplementedError("a Task runs it")


def start(
    work: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop
) -> asyncio.Task[None] | None:
    """Run until the first wait; the Task of what remains, None where nothing does. Raises what
    ``work`` raises before it waits. Within a task, which cannot be left, it is a Task at once."""
    if asyncio.current_task(loop) is not None:
        return loop.create_task(work)
    herald: Any = _Herald()
    _enter_task(loop, herald)
    try:
        waits_for = work.send(None)
    except StopIteration:
        return None
    finally:
        _leave_task(loop, herald)
    task = loop.create_task(_Rest(work, waits_for))
    herald.becomes(task)
    return task
