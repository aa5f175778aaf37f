"""Time, injected: the only module that may read the system's clocks.

``now`` is wall time in seconds since the epoch, for instants that are stored; ``monotonic``
is for durations. ``VirtualClock`` follows a ``VirtualLoop``, so that a control plane under
simulation sees one time base in both roles.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
Act = Callable[..., object]


class Clock(Protocol):
    """Where time comes from; one is handed to everything that waits or stamps."""

    def now(self) -> float:
        """Wall time, seconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that never jumps; only differences mean anything."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait; returns early only by cancellation."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class VirtualClock:
    """The time of the running ``VirtualLoop``; ``epoch`` is the wall time at its zero."""

    def __init__(self, epoch: float = 1_800_000_000.0) -> None:
        self.epoch = epoch
        self._loop: VirtualLoop | None = None  # asked so often that it is not looked up each time

    def now(self) -> float:
        return self.epoch + self.monotonic()

    def monotonic(self) -> float:
        loop = self._loop
        if loop is None or loop.over:
            running = asyncio.get_running_loop()
            assert isinstance(running, VirtualLoop), "virtual time passes in a virtual loop only"
            loop = self._loop = running
        return loop.instant

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Deadlock(AssertionError):
    """A virtual world has nothing left to run and nothing to wait for."""


def _nothing() -> None:
    """What a cancelled timer would do: it holds on to nothing else."""


class _Handle(asyncio.Handle):
    """A callback that is due, made without what a debugger would want to know of it."""

    __slots__ = ()

    def __init__(
        self, callback: Act, args: tuple[Any, ...], loop: VirtualLoop, context: Context | None
    ) -> None:
        self._context = copy_context() if context is None else context
        self._loop, self._callback, self._args = loop, callback, args
        self._cancelled, self._repr, self._source_traceback = False, None, None


class _Timer(asyncio.TimerHandle):
    """A callback that will be due; as sparing. A cancelled one is dropped when it surfaces."""

    __slots__ = ()

    def __init__(
        self, when: float, callback: Act, args: tuple[Any, ...], loop: VirtualLoop,
        context: Context | None,
    ) -> None:  # fmt: skip
        self._context = copy_context() if context is None else context
        self._loop, self._callback, self._args = loop, callback, args
        self._cancelled, self._repr, self._source_traceback = False, None, None
        self._when, self._scheduled = when, False

    def cancel(self) -> None:
        self._cancelled, self._callback, self._args = True, _nothing, ()


class VirtualLoop(asyncio.BaseEventLoop):
    """An event loop whose time jumps to the next timer as soon as nothing is ready.

    It has no selector: no sockets, no threads, no subprocesses. Callbacks run in the order
    they became ready, timers in the order of their instant and then of their registration,
    so that a run is a function of its inputs.
    """

    def __init__(self) -> None:
        super().__init__()
        self.instant = 0.0  # what ``time`` gives
        self.over = False  # closed: its time means nothing any more
        self._serial = 0
        self._timers: list[tuple[float, int, _Timer]] = []
        self._clock_resolution = 1e-9
        self.steps = 0  # callbacks run so far
        self._alarms: dict[int, Callable[[], None]] = {}

    def before_step(self, number: int, act: Callable[[], None]) -> None:
        """Do something just before the step of this number: between any two awaits of a world."""
        self._alarms[number] = act

    def time(self) -> float:
        return self.instant

    def close(self) -> None:
        self.over = True
        super().close()

    def call_soon(  # type: ignore[override]
        self, callback: Act, *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """Have a callback run after those that are ready already."""
        handle = _Handle(callback, args, self, context)
        self._ready.append(handle)  # type: ignore[attr-defined]
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Act, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Schedule a timer, in seconds from now."""
        return self.call_at(self.instant + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Act, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Schedule a timer; equal instants run in the order they were asked for."""
        handle = _Timer(when, callback, args, self, context)
        self._serial += 1
        heapq.heappush(self._timers, (when, self._serial, handle))
        return handle

    def _run_once(self) -> None:
        ready: Any = self._ready  # type: ignore[attr-defined]
        timers = self._timers
        while timers and timers[0][2]._cancelled:
            heapq.heappop(timers)
        if not ready:
            if not timers:
                if self._stopping:  # type: ignore[attr-defined]
                    return
                raise Deadlock("nothing is ready and no timer is set")
            self.instant = max(self.instant, timers[0][0])
        while timers and timers[0][0] <= self.instant:
            handle = heapq.heappop(timers)[2]
            if not handle._cancelled:
                ready.append(handle)
        for _ in range(len(ready)):
            handle = ready.popleft()
            if handle._cancelled:
                continue
            self.steps += 1
            if self._alarms and self.steps in self._alarms:
                self._alarms.pop(self.steps)()
                if handle._cancelled:
                    continue
            handle._run()

    def _write_to_self(self) -> None:
        """Nothing outside the loop's own thread may wake it."""

    def _process_events(self, event_list: object) -> None:
        """There are no I/O events."""


_LAST_TURNS = 20  # of the loop, in which cancelled tasks may tidy up


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in virtual time; returns its result."""
    loop = VirtualLoop()
    try:
        asyncio.set_event_loop(loop)
        return loop.run_until_complete(main)
    finally:
        for task in sorted(asyncio.all_tasks(loop), key=lambda task: task.get_name()):
            task.cancel()
        for _ in range(_LAST_TURNS):
            loop.call_soon(loop.stop)
            loop.run_forever()
            if not asyncio.all_tasks(loop):
                break
        asyncio.set_event_loop(None)
        loop.close()


def iso8601(instant: float) -> str:
    """An instant as Kubernetes writes it: UTC, whole seconds, ``Z``."""
    return _second(int(instant))


@lru_cache(maxsize=256)
def _second(instant: int) -> str:
    return f"{datetime.fromtimestamp(instant, UTC).isoformat()[:19]}Z"


def iso8601_micro(instant: float) -> str:
    """An instant with microseconds (Kubernetes MicroTime, CRI log lines)."""
    return datetime.fromtimestamp(instant, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@lru_cache(maxsize=256)
def from_iso8601(text: str) -> float:
    """Seconds since the epoch of an RFC 3339 instant; raises ValueError."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
