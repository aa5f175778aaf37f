"""Watches over one backend's history: catch up from the log, then follow what is committed.

A backend publishes each durable commit once, in order. A watcher holds a bounded buffer; one
that overflows is dropped with SlowReader and lists again (the idea of Nomad's event buffer). A
watcher registers before it reads the log, so nothing falls between the two.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence

from proa.store.api import Batch, Event, SlowReader

BUFFER_EVENTS = 20_000
# (prefix, after) → events after that version, and the version they reach; raises Compacted.
History = Callable[[str, int], tuple[Sequence[Event], int]]


class _Watcher:
    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.buffer: deque[Event] = deque()
        self.version = 0
        self.overflown = False
        self.wake = asyncio.Event()


class Hub:
    """All watchers of one store."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._watchers: dict[_Watcher, None] = {}

    def publish(self, events: Sequence[Event], version: int) -> None:
        """Tell every watcher of a durable commit."""
        for watcher in self._watchers:
            mine = [event for event in events if event.record.key.startswith(watcher.prefix)]
            if len(watcher.buffer) + len(mine) > BUFFER_EVENTS:
                watcher.overflown = True
            else:
                watcher.buffer.extend(mine)
            watcher.version = version
            watcher.wake.set()

    async def watch(self, prefix: str, after: int) -> AsyncIterator[Batch]:
        """See ``Store.watch``."""
        watcher = _Watcher(prefix)
        self._watchers[watcher] = None
        try:
            events, version = self._history(prefix, after)
            yield Batch(tuple(events), max(version, after))
            seen = max(version, after)
            while True:
                await watcher.wake.wait()
                watcher.wake.clear()
                if watcher.overflown:
                    raise SlowReader("this watcher fell behind: list again")
                fresh = tuple(e for e in watcher.buffer if e.record.version > seen)
                watcher.buffer.clear()
                seen = max(seen, watcher.version)
                yield Batch(fresh, seen)
        finally:
            del self._watchers[watcher]
