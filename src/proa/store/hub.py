"""Watches over one backend's history: catch up from the log, then follow what is committed.

A backend publishes each durable commit once, in order. A watcher holds a bounded buffer; one
that overflows is dropped with SlowReader and lists again (the idea of Nomad's event buffer). A
watcher registers before it reads the log, so nothing falls between the two, and passes on only
versions beyond what it has seen, so nothing comes twice.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence

from proa.store.api import Batch, Event, SlowReader

BUFFER_EVENTS = 20_000
# (prefix, after) → the log's events after that version in slices, the last of which reaches
# what was committed when it was asked; raises Compacted. At least one slice, maybe empty.
History = Callable[[str, int], AsyncIterator[Batch]]


class _Watcher:
    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.buffer: deque[Event] = deque()
        self.version = 0
        self.ended: Exception | None = None
        self.wake = asyncio.Event()

    def end(self, error: Exception) -> None:
        self.ended = error
        self.buffer.clear()
        self.wake.set()


class Hub:
    """All watchers of one store."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._watchers: dict[_Watcher, None] = {}

    def publish(self, events: Sequence[Event], version: int) -> None:
        """Tell every watcher of durable commits, up to ``version``."""
        for watcher in self._watchers:
            if watcher.ended is not None:
                continue
            mine = events
            if watcher.prefix:
                mine = [event for event in events if event.record.key.startswith(watcher.prefix)]
            if len(watcher.buffer) + len(mine) > BUFFER_EVENTS:
                watcher.end(SlowReader("this watcher fell behind: list again"))
                continue
            watcher.buffer.extend(mine)
            watcher.version = version
            watcher.wake.set()

    def end(self, error: Exception) -> None:
        """Drop every watcher: events are missing that can no longer be had."""
        for watcher in self._watchers:
            watcher.end(error)

    async def watch(self, prefix: str, after: int) -> AsyncIterator[Batch]:
        """See ``Store.watch``."""
        watcher = _Watcher(prefix)
        self._watchers[watcher] = None
        seen = after
        try:
            async for batch in self._history(prefix, after):
                seen = max(seen, batch.version)
                yield Batch(batch.events, seen)
            while True:
                await watcher.wake.wait()
                watcher.wake.clear()
                if watcher.ended is not None:
                    raise watcher.ended
                fresh = tuple(watcher.buffer)
                if fresh and fresh[0].record.version <= seen:  # the log has told of it already
                    fresh = tuple(e for e in fresh if e.record.version > seen)
                watcher.buffer.clear()
                seen = max(seen, watcher.version)
                yield Batch(fresh, seen)
        finally:
            del self._watchers[watcher]
