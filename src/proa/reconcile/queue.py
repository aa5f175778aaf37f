"""Work queues: keys waiting for a reconcile, each at most once, with back-off after failure.

A key that is being worked on and is added again is handed out once more after ``done``; no two
workers ever hold the same key. One timer, of the earliest delayed key, is all that an idle queue
costs.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import OrderedDict, deque
from collections.abc import Callable

from proa.base.clock import Clock

BACKOFF_FIRST_S = 0.005
BACKOFF_MAX_S = 60.0


class WorkQueue:
    """First in, first out, without duplicates; delayed keys join when their time has come."""

    def __init__(self, clock: Clock, on_ready: Callable[[], None] = lambda: None) -> None:
        """``on_ready`` is called, synchronously, whenever a key has become ready."""
        self._clock, self._on_ready = clock, on_ready
        # Ordered: a plain dict looks past all that was taken from its front again and again.
        self._ready: OrderedDict[str, None] = OrderedDict()
        self._working: dict[str, bool] = {}  # key → added again meanwhile
        self._delayed: list[tuple[float, str]] = []
        self._due: dict[str, float] = {}
        self._failures: dict[str, int] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._closed = False
        self._waiters: deque[asyncio.Future[None]] = deque()

    def __len__(self) -> int:
        return len(self._ready)

    @property
    def idle(self) -> bool:
        """Nothing ready and nothing in work; delayed keys may remain."""
        return not self._ready and not self._working

    def add(self, key: str) -> None:
        """Hand this key out as soon as a worker is free."""
        if key in self._working:
            self._working[key] = True
        elif key not in self._ready:
            self._ready[key] = None
            self._wake_one()
            self._on_ready()

    def _wake_one(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def add_after(self, key: str, delay_s: float) -> None:
        """Hand this key out after a delay, or earlier if it was already due earlier."""
        due = self._clock.monotonic() + delay_s
        if self._due.get(key, due + 1) <= due:
            return
        self._due[key] = due
        heapq.heappush(self._delayed, (due, key))
        if self._timer is None or due < self._timer_at:
            self._arm()

    def retry(self, key: str) -> float:
        """Hand this key out again after its back-off, which doubles with each failure in a row;
        returns the delay in seconds."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        delay = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** min(failures, 20))
        self.add_after(key, delay)
        return delay

    def forget(self, key: str) -> None:
        """The key succeeded: its next failure backs off from the start."""
        self._failures.pop(key, None)

    def done(self, key: str) -> None:
        """The worker is finished with this key."""
        if self._working.pop(key):
            self.add(key)

    def take(self) -> str | None:
        """The next key, None where none is ready; the caller must call ``done`` with it."""
        if not self._ready:
            return None
        key, _ = self._ready.popitem(last=False)
        self._working[key] = False
        return key

    async def get(self) -> str:
        """The next key, once there is one; the caller must call ``done`` with it."""
        while (key := self.take()) is None:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    self._wake_one()  # the key that was meant for this one
                raise
        return key

    def _arm(self) -> None:
        """Set the timer to the earliest delayed key."""
        while self._delayed and self._due.get(self._delayed[0][1]) != self._delayed[0][0]:
            heapq.heappop(self._delayed)  # superseded by an earlier time
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._delayed and not self._closed:
            self._timer_at = self._delayed[0][0]
            delay_s = max(0.0, self._timer_at - self._clock.monotonic())
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._ring)

    def _ring(self) -> None:
        """Move what is due to ready."""
        self._timer, now = None, self._clock.monotonic()
        while self._delayed and self._delayed[0][0] <= now:
            due, key = heapq.heappop(self._delayed)
            if self._due.get(key) == due:
                del self._due[key]
                self.add(key)
        self._arm()

    def close(self) -> None:
        """Nothing will be taken any more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
