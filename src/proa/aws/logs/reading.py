"""Events in the order of time: of one stream, and merged over the streams of a group.

A place in that order is (time, stream name, position). A stream whose entries lie in order is
read in chunks from the place on; one whose entries do not is read whole within the time range
and sorted, which is rare: a container's output and most writers are in order.
"""

from __future__ import annotations

import heapq
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from proa.cloud.logs import EventLog, LogStream, Stored

CHUNK = 1000


@dataclass(slots=True, frozen=True)
class Range:
    """``start_ms`` <= time < ``end_ms``."""

    start_ms: int
    end_ms: int


async def in_order(
    events: EventLog,
    stream: LogStream,
    span: Range,
    beyond: tuple[int, int] | None,
    backward: bool = False,
) -> AsyncIterator[Stored]:
    """A stream's events by (time, position), rising or falling, past the place ``beyond``."""
    extent = await events.extent(stream.id)
    if not extent.entries or extent.last_ms < span.start_ms or extent.first_ms >= span.end_ms:
        return
    if not extent.ordered:
        for entry in await _sorted(events, stream, span, backward):
            if beyond is None or _past((entry.at_ms, entry.position), beyond, backward):
                yield entry
        return
    edge = beyond[1] if beyond else 0
    while True:
        chunk = await events.read(
            stream.id,
            start_ms=span.start_ms,
            end_ms=span.end_ms,
            after=0 if backward else edge,
            before=edge if backward else 0,
            limit=CHUNK,
            backward=backward,
        )
        for entry in chunk:
            yield entry
        if len(chunk) < CHUNK:
            return
        edge = chunk[-1].position


def _past(place: tuple[int, int], beyond: tuple[int, int], backward: bool) -> bool:
    return place < beyond if backward else place > beyond


async def _sorted(events: EventLog, stream: LogStream, span: Range, backward: bool) -> list[Stored]:
    found: list[Stored] = []
    while True:
        chunk = await events.read(
            stream.id, start_ms=span.start_ms, end_ms=span.end_ms,
            after=found[-1].position if found else 0, limit=CHUNK,
        )  # fmt: skip
        found += chunk
        if len(chunk) < CHUNK:
            break
    return sorted(found, key=lambda entry: (entry.at_ms, entry.position), reverse=backward)


Place = tuple[int, str, int]  # time in ms, stream name, position


async def merged(
    events: EventLog,
    streams: Sequence[LogStream],
    span: Range,
    beyond: Place | None,
    backward: bool = False,
) -> AsyncIterator[tuple[LogStream, Stored]]:
    """The events of all streams by time, then stream name, then position, past ``beyond``."""
    # Falling order is rising order of the negated time; names and positions need a rank.
    ranked = {stream.name: rank for rank, stream in enumerate(
        sorted(streams, key=lambda stream: stream.name, reverse=backward)
    )}  # fmt: skip
    sign = -1 if backward else 1
    heap: list[tuple[int, int, int, Stored, LogStream, AsyncIterator[Stored]]] = []

    async def advance(stream: LogStream, source: AsyncIterator[Stored]) -> None:
        async for entry in source:
            place = (entry.at_ms, stream.name, entry.position)
            if beyond is not None and not (place < beyond if backward else place > beyond):
                continue
            item = (sign * entry.at_ms, ranked[stream.name], sign * entry.position)
            heapq.heappush(heap, (*item, entry, stream, source))
            return

    if beyond is not None and backward:
        span = Range(span.start_ms, min(span.end_ms, beyond[0] + 1))
    elif beyond is not None:
        span = Range(max(span.start_ms, beyond[0]), span.end_ms)
    for stream in streams:
        await advance(stream, in_order(events, stream, span, None, backward))
    while heap:
        *_, entry, stream, source = heapq.heappop(heap)
        yield stream, entry
        await advance(stream, source)
