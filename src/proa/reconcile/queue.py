"""Work queues: keys waiting for a reconcile, each at most once, with back-off after failure.

A key that is being worked on and is added again is handed out once more after ``done``; no two
workers ever hold the same key.
"""

from __future__ import annotations

import asyncio
import heapq

from proa.base.clock import Clock

BACKOFF_FIRST_S = 0.005
BACKOFF_MAX_S = 60.0


class WorkQueue:
    """First in, first out, without duplicates; delayed keys join when their time has come."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ready: dict[str, None] = {}
        self._working: dict[str, bool] = {}  # key → added again meanwhile
        self._delayed: list[tuple[float, str]] = []
        self._due: dict[str, float] = {}
        self._failures: dict[str, int] = {}
        self._wake = asyncio.Event()

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
            self._wake.set()

    def add_after(self, key: str, delay_s: float) -> None:
        """Hand this key out after a delay, or earlier if it was already due earlier."""
        due = self._clock.monotonic() + delay_s
        if self._due.get(key, due + 1) <= due:
            return
        self._due[key] = due
        heapq.heappush(self._delayed, (due, key))
        self._wake.set()

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

    async def get(self) -> str:
        """The next key; the caller must call ``done`` with it."""
        while True:
            delay = self._promote()
            if self._ready:
                key = next(iter(self._ready))
                del self._ready[key]
                self._working[key] = False
                if self._ready:
                    self._wake.set()
                return key
            self._wake.clear()
            try:
                async with asyncio.timeout(delay):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _promote(self) -> float | None:
        """Move what is due to ready; returns seconds until the next delayed key, None if none."""
        now = self._clock.monotonic()
        while self._delayed:
            due, key = self._delayed[0]
            if self._due.get(key) != due:
                heapq.heappop(self._delayed)  # superseded by an earlier time
                continue
            if due > now:
                return due - now
            heapq.heappop(self._delayed)
            del self._due[key]
            self.add(key)
        return None
