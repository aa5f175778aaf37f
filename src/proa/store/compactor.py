"""Forgetting history: the policy that the control plane runs beside its store.

History is kept for a while so that watches can resume; beyond an age, a count of events or a
sum of bytes it is compacted. Age is elapsed time since this process saw the version, never a
comparison of stored instants; so after a start nothing is forgotten for ``keep_s``. Compacting
costs commits of its own, so it waits until a share of a bound has gathered beyond it; and it looks
now and then, not at every commit, unless it has fallen behind.
"""

from __future__ import annotations

from collections import deque

from proa.base.clock import Clock
from proa.base.errors import TryAgain
from proa.base.telemetry import get_logger
from proa.store.api import Batch, Compacted, Store

RETRY_S = 1.0
LOOK_S = 1.0
MANY = 500  # events at a time: there may be more already
SHARE = 20  # history may exceed each bound by a twentieth before it is compacted
log = get_logger(__name__)


class Compactor:
    """Watches everything and compacts what is beyond any of the three bounds."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        keep_s: float = 300,
        keep_events: int = 100_000,
        keep_bytes: int = 256 * 1024 * 1024,
    ) -> None:
        self._store, self._clock = store, clock
        self._keep_s, self._keep_events, self._keep_bytes = keep_s, keep_events, keep_bytes
        self._kept: deque[tuple[float, int, int, int]] = (
            deque()
        )  # (seen at, version, events, bytes)
        self._events = self._bytes = 0

    async def run(self) -> None:
        """Run until cancelled; a passing fault of the store only delays it. What it is told of
        late, or anew after it fell behind, is all the same counted once."""
        after = -1
        while True:
            try:
                present = await self._store.version()
                after = present if after < 0 else after
                async for batch in self._store.watch("", after=after):
                    await self._seen(batch)
                    after = batch.version
                    if after >= present and len(batch.events) < MANY:
                        await self._clock.sleep(LOOK_S)
            except TryAgain as error:
                log.info("compaction waits", reason=str(error))
                if isinstance(error, Compacted):
                    after = -1
                await self._clock.sleep(RETRY_S)

    async def _seen(self, batch: Batch) -> None:
        now, size = self._clock.monotonic(), 0
        for event in batch.events:
            record = event.record
            size += len(record.body) + len(record.key)
        self._kept.append((now, batch.version, len(batch.events), size))
        self._events += len(batch.events)
        self._bytes += size
        target = self._beyond(now)
        if target:
            await self._store.compact(target)

    def _beyond(self, now: float) -> int:
        """The version up to which history may go, 0 for none; the newest batch always stays."""
        if not self._is_due(now):
            return 0
        target = 0
        while len(self._kept) > 1:
            at, version, events, size = self._kept[0]
            kept = now - at <= self._keep_s
            if kept and self._events <= self._keep_events and self._bytes <= self._keep_bytes:
                break
            self._kept.popleft()
            self._events -= events
            self._bytes -= size
            target = version
        return target

    def _is_due(self, now: float) -> bool:
        return (
            now - self._kept[0][0] > self._keep_s + self._keep_s / SHARE
            or self._events > self._keep_events + self._keep_events // SHARE
            or self._bytes > self._keep_bytes + self._keep_bytes // SHARE
        )
