"""The way in for containers' output: batches that agents send, stored once.

``Intake.ingest`` is what the hull's ``ship`` port calls. An agent sends a batch again when it
does not know that it was stored, and then it is the same batch: what a source has stored is
known by the highest ``first`` of its batches. That mark is stored with the batch's last line, so
a restart finds it again at the end of the stream.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from proa.aws.gateway.desk import Change
from proa.aws.logs.shared import LogsDesk, mark_of, pack
from proa.aws.logs.streams import creation
from proa.base.clock import Clock
from proa.base.errors import CallerFault
from proa.cloud.logs import LogStream, find_group, find_stream
from proa.model.feed import LogBatch

REMEMBERED = 10_000  # sources whose mark is kept in memory
LOOK_BACK = 20_000  # entries searched for marks after a restart
_CHUNK = 1000


class NoSuchGroup(CallerFault):
    """ResourceNotFoundException: the log group is not there, so its lines are refused."""


class Intake:
    """Stores agents' batches."""

    def __init__(self, desk: LogsDesk, clock: Clock) -> None:
        self._desk, self._clock = desk, clock
        # (stream id, source) → the highest ``first`` stored; most recently used last.
        self._marks: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}

    async def ingest(self, batch: LogBatch) -> None:
        """Store a batch, making its stream where it is missing; one that is stored already
        changes nothing. Raises NoSuchGroup."""
        stream = await self._stream(batch)
        lock, waiting = self._locks.get(stream.id, (asyncio.Lock(), 0))
        self._locks[stream.id] = (lock, waiting + 1)
        try:
            async with lock:
                await self._store(stream, batch)
        finally:
            lock, waiting = self._locks[stream.id]
            if waiting == 1:
                del self._locks[stream.id]
            else:
                self._locks[stream.id] = (lock, waiting - 1)

    async def _stream(self, batch: LogBatch) -> LogStream:
        def decide() -> Change[LogStream]:
            group = find_group(self._desk.view, batch.account, batch.region, batch.group)
            if group is None:
                raise NoSuchGroup(
                    "ResourceNotFoundException: The specified log group does not exist."
                )
            entry = find_stream(self._desk.view, group.value, batch.stream)
            if entry is not None:
                return Change(entry.value)
            return creation(group.value, batch.stream, self._clock.now(), self._desk.chance)

        return await self._desk.carry_out(decide)

    async def _store(self, stream: LogStream, batch: LogBatch) -> None:
        place = (stream.id, batch.source)
        if not batch.lines or batch.first <= await self._mark(place):
            return
        now_ms = int(self._clock.now() * 1000)
        entries = [(line.at, pack(now_ms, line.message)) for line in batch.lines[:-1]]
        last = batch.lines[-1]
        mark = (batch.source, batch.first)
        entries.append((last.at, pack(now_ms, last.message, mark)))
        await self._desk.events.append(stream.id, entries)
        self._remember(place, batch.first)

    def _remember(self, place: tuple[str, str], first: int) -> None:
        self._marks[place] = first
        self._marks.move_to_end(place)
        if len(self._marks) > REMEMBERED:
            self._marks.popitem(last=False)

    async def _mark(self, place: tuple[str, str]) -> int:
        """The highest ``first`` stored of a source, -1 for none."""
        known = self._marks.get(place)
        if known is not None:
            return known
        before = looked = 0
        while looked < LOOK_BACK:
            chunk = await self._desk.events.read(
                place[0], before=before, limit=_CHUNK, backward=True
            )
            for entry in chunk:
                mark = mark_of(entry.body)
                if mark is not None and mark[0] == place[1]:
                    self._remember(place, mark[1])
                    return mark[1]
            if len(chunk) < _CHUNK:
                break
            looked, before = looked + len(chunk), chunk[-1].position
        return -1
