"""The store in plain memory: dictionaries, one process, gone with it.

Long simulations stand on it, where nothing needs to be durable and every commit counts; it passes
the same suite as the other backends. A commit is done when it returns, as a rule without another
turn of the event loop. History is a queue in version order; a range in the past is the present
with the later events taken back.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from itertools import takewhile

from proa.base.clock import Clock
from proa.store.api import (
    MAX_OPERATIONS,
    Batch,
    Committed,
    Compacted,
    Delete,
    Event,
    Exists,
    GuardFailed,
    LeaseGone,
    Page,
    Put,
    Record,
    SlowReader,
    Transaction,
    check_size,
    trimmed,
)
from proa.store.hub import Hub

HISTORY_SLICE = 1000  # events given to a watch without letting others run
BURST = 5000  # writes carried out without letting others run


class MemoryStore:
    """See ``store.api.Store``."""

    def __init__(
        self, clock: Clock, told: Callable[[Sequence[Event]], None] = lambda _events: None
    ) -> None:
        """``told`` is called with every commit's events, at once and in order."""
        self._clock, self._told = clock, told
        self._records: dict[str, Record] = {}
        self._keys: list[str] | None = []  # sorted; None: to be sorted when next asked for
        self._log: deque[Event] = deque()
        self._revision = self._compacted = self._offset = self._leases = 0
        # Lease → (term, its timer, the keys bound to it)
        self._terms: dict[int, tuple[float, asyncio.TimerHandle, dict[str, None]]] = {}
        self._burst = 0  # writes since others last had to have a turn
        self._hub = Hub(self._history)

    # Reads

    @property
    def _version(self) -> int:
        return max((self._revision + self._offset) << 8 | 255, self._compacted)

    async def version(self) -> int:
        return self._version

    async def get(self, key: str) -> Record | None:
        return self._records.get(key)

    async def range(self, prefix: str, *, after: str = "", limit: int = 0, at: int = 0) -> Page:
        newest = self._version
        asked = min(at | 255, newest) if at else newest
        if asked < self._compacted and asked < newest:
            raise Compacted(self._compacted)
        records = self._records if asked >= newest else self._as_of(asked)
        if records is self._records:
            if self._keys is None:
                self._keys = sorted(self._records)
            keys = self._keys
        else:
            keys = sorted(records)
        start = max(bisect_left(keys, prefix), bisect_right(keys, after))
        reach = keys[start : start + limit + 1] if limit else keys[start:]
        found = takewhile(lambda key: key.startswith(prefix), reach)
        page = tuple(records[key] for key in found)
        return Page(page[: limit or None], asked, bool(limit) and len(page) > limit)

    def _as_of(self, version: int) -> dict[str, Record]:
        """Every record as it was: the later events taken back, newest first."""
        records = dict(self._records)
        for event in reversed(self._log):
            if event.record.version <= version:
                break
            if event.previous is None:
                records.pop(event.record.key, None)
            else:
                records[event.record.key] = event.previous
        return records

    async def _history(self, prefix: str, after: int) -> AsyncIterator[Batch]:
        if after < self._compacted:
            raise Compacted(self._compacted)
        reached = self._version
        later: deque[Event] = deque()
        for event in reversed(self._log):
            if event.record.version <= after:
                break
            if event.record.key.startswith(prefix):
                later.appendleft(event)
        while len(later) >= HISTORY_SLICE:
            part = tuple(later.popleft() for _ in range(HISTORY_SLICE))
            yield Batch(part, part[-1].record.version)
            await self._clock.sleep(0)
        yield Batch(tuple(later), max(reached, after))

    def watch(self, prefix: str, *, after: int) -> AsyncIterator[Batch]:
        return self._hub.watch(prefix, after)

    def break_watches(self) -> None:
        """Every watcher falls behind at once: a fault, for those who simulate."""
        self._hub.end(SlowReader("this watcher fell behind: list again"))

    # Writes

    async def commit(self, transaction: Transaction) -> Committed:
        check_size(transaction)
        records = self._records
        for guard in transaction.guards:
            found = records.get(guard.key)
            if isinstance(guard, Exists):
                if found is None:
                    raise GuardFailed(guard.key, -1, 0)
            elif (found.version if found else 0) != guard.version:
                raise GuardFailed(guard.key, guard.version, found.version if found else 0)
        terms = self._terms
        for write in transaction.writes:
            if isinstance(write, Put) and write.lease and write.lease not in terms:
                raise LeaseGone(f"lease {write.lease} has expired")
        committed = self._write(transaction)
        self._burst += len(transaction.writes)
        if self._burst >= BURST:  # who writes without end lets watchers keep up
            self._burst = 0
            await self._clock.sleep(0)
        return committed

    def _write(self, transaction: Transaction) -> Committed:
        records, base = self._records, (self._revision + 1 + self._offset) << 8
        events: list[Event] = []
        versions: list[int] = []  # of the writes; 0: a deletion of what is not there
        for write in transaction.writes:
            key, version = write.key, base | len(events)
            previous = records.get(key)
            before = previous.lease if previous is not None else 0
            if isinstance(write, Put):
                created = version if previous is None else previous.created
                body = trimmed(write.body)
                record = records[key] = Record(
                    key, body, version, created, write.schema, write.lease
                )
                if previous is None:
                    self._keys = None
                events.append(Event("put", record, previous))
                if before or write.lease:
                    self._bind(key, before, write.lease)
            elif previous is not None:
                del records[key]
                self._keys = None
                gone = Record(key, previous.body, version, previous.created, previous.schema)
                events.append(Event("delete", gone, previous))
                if before:
                    self._bind(key, before, 0)
            else:
                version = 0
            versions.append(version)
        if not events:
            return Committed(self._version, (self._version,) * len(versions))
        self._revision += 1
        self._log.extend(events)
        self._told(events)
        self._hub.publish(events, self._version)
        last = events[-1].record.version
        return Committed(last, tuple(version or last for version in versions))

    def _bind(self, key: str, before: int, lease: int) -> None:
        if before == lease:
            return
        if before in self._terms:
            self._terms[before][2].pop(key, None)
        if lease:
            self._terms[lease][2][key] = None

    # Leases

    async def grant(self, ttl_s: float) -> int:
        self._leases += 1
        self._terms[self._leases] = (ttl_s, self._timer(self._leases, ttl_s), {})
        return self._leases

    def _timer(self, lease: int, ttl_s: float) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(ttl_s, self._expire, lease)

    async def keep_alive(self, lease: int) -> None:
        term = self._terms.get(lease)
        if term is None:
            raise LeaseGone(f"lease {lease} has expired")
        term[1].cancel()
        self._terms[lease] = (term[0], self._timer(lease, term[0]), term[2])

    async def revoke(self, lease: int) -> None:
        self._expire(lease)

    def _expire(self, lease: int) -> None:
        term = self._terms.pop(lease, None)
        if term is None:
            return
        term[1].cancel()
        keys = sorted(term[2])
        for start in range(0, len(keys), MAX_OPERATIONS):
            part = keys[start : start + MAX_OPERATIONS]
            self._write(Transaction(writes=tuple(Delete(key) for key in part)))

    # Upkeep

    async def compact(self, version: int) -> None:
        self._compacted = max(self._compacted, min(version, self._version))
        while self._log and self._log[0].record.version <= self._compacted:
            self._log.popleft()

    async def advance(self, version: int) -> None:
        """Make every later version greater than ``version``, as ``sqlite`` does."""
        self._offset = max(self._offset, (version >> 8) - self._revision)
        await self.compact(self._version)

    async def close(self) -> None:
        for _, timer, _ in self._terms.values():
            timer.cancel()
