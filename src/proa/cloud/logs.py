"""Log groups and streams as records, and the port their events go through.

Groups and streams lie under ``/aws/<account>/<region>/logs/``; a stream's key holds its group's
id, not its name, so that nothing of a deleted group shows in a new one of the same name. Events
never enter the store: ``EventLog`` keeps them, by the stream's id.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Protocol, TypeVar
from urllib.parse import quote

import msgspec

from proa.cloud.aws_table import aws_table
from proa.reconcile.view import Entry, Table, View

R = TypeVar("R", bound=msgspec.Struct)
DAY_MS = 24 * 3600 * 1000
FOREVER_MS = 1 << 62
encode = msgspec.json.Encoder().encode


class LogGroup(msgspec.Struct, frozen=True, omit_defaults=True):
    """A group. ``retention_days`` 0: events never expire. Times are in milliseconds."""

    account: str
    region: str
    name: str
    id: str
    created_at_ms: int
    retention_days: int = 0
    log_class: str = "STANDARD"
    kms_key: str = ""
    protected: bool = False
    tags: dict[str, str] = {}

    @property
    def arn(self) -> str:
        """The group's ARN, without the ``:*`` that some answers add."""
        return f"arn:aws:logs:{self.region}:{self.account}:log-group:{self.name}"

    def oldest_ms(self, now_ms: int) -> int:
        """Events before this instant have expired."""
        return now_ms - self.retention_days * DAY_MS if self.retention_days else 0


class LogStream(msgspec.Struct, frozen=True, omit_defaults=True):
    """A stream; ``id`` names it at the ``EventLog``."""

    account: str
    region: str
    group: str  # the group's id
    name: str
    id: str
    created_at_ms: int


def _prefix(account: str, region: str, kind: str) -> str:
    return f"/aws/{account}/{region}/logs/{kind}/"


def group_key(account: str, region: str, name: str) -> str:
    """The key of a group."""
    return _prefix(account, region, "groups") + quote(name, safe="")


def stream_key(group: LogGroup, name: str) -> str:
    """The key of a stream; with an empty name, the prefix of the group's streams."""
    return _prefix(group.account, group.region, "streams") + f"{group.id}/{quote(name, safe='')}"


def _table(
    name: str, type_: type[R], indexes: dict[str, Callable[[str, R], tuple[str, ...]]]
) -> Table[R]:
    decoder = msgspec.json.Decoder(type_)
    return aws_table(f"logs.{name}", ("logs", name), decoder.decode, indexes)


GROUPS: Table[LogGroup] = _table("groups", LogGroup, {})
STREAMS: Table[LogStream] = _table("streams", LogStream, {"id": lambda _key, s: (s.id,)})
TABLES: tuple[Table[Any], ...] = (GROUPS, STREAMS)


def find_group(view: View, account: str, region: str, name: str) -> Entry[LogGroup] | None:
    """A group by its name."""
    return view.rows(GROUPS).get(group_key(account, region, name))


def find_stream(view: View, group: LogGroup, name: str) -> Entry[LogStream] | None:
    """A stream of a group by its name."""
    return view.rows(STREAMS).get(stream_key(group, name))


@dataclass(slots=True, frozen=True)
class Stored:
    """An event as it lies in the log: its ``position`` grows with every append to the stream."""

    position: int
    at_ms: int
    body: bytes


@dataclass(slots=True, frozen=True)
class Extent:
    """What a stream holds. ``ordered``: times never fell from one entry to the next, so that
    order by position is order by time."""

    entries: int = 0
    size: int = 0
    first_ms: int = 0
    last_ms: int = 0
    ordered: bool = True


class EventLog(Protocol):
    """Where events are kept. A stream that was never written to is empty."""

    async def append(self, stream: str, entries: Sequence[tuple[int, bytes]]) -> None:
        """Add entries (time in milliseconds, body) at the end: all, durably, or none."""
        ...

    async def read(
        self,
        stream: str,
        *,
        start_ms: int = 0,
        end_ms: int = FOREVER_MS,
        after: int = 0,
        before: int = 0,
        limit: int = 1000,
        backward: bool = False,
    ) -> list[Stored]:
        """Entries with ``start_ms`` <= time < ``end_ms`` and positions beyond ``after`` and
        below ``before`` (0: no bound), at most ``limit``, by rising position; with ``backward``
        the last ones, by falling position. Positions start at 1."""
        ...

    async def extent(self, stream: str) -> Extent:
        """How much there is."""
        ...

    async def remove(self, stream: str) -> None:
        """Forget a stream and all its entries."""
        ...

    async def expire(self, stream: str, before_ms: int) -> None:
        """Entries before this time may be forgotten, when convenient."""
        ...


@dataclass
class MemoryEventLog:
    """The fake: everything in lists. It also serves simulations."""

    streams: dict[str, list[Stored]] = field(default_factory=dict)
    _last: dict[str, int] = field(default_factory=dict)

    async def append(self, stream: str, entries: Sequence[tuple[int, bytes]]) -> None:
        kept = self.streams.setdefault(stream, [])
        for at_ms, body in entries:
            self._last[stream] = self._last.get(stream, 0) + 1
            kept.append(Stored(self._last[stream], at_ms, body))

    async def read(
        self,
        stream: str,
        *,
        start_ms: int = 0,
        end_ms: int = FOREVER_MS,
        after: int = 0,
        before: int = 0,
        limit: int = 1000,
        backward: bool = False,
    ) -> list[Stored]:
        kept = self.streams.get(stream, [])
        low = bisect_left(kept, after + 1, key=lambda entry: entry.position)
        high = bisect_left(kept, before, key=lambda entry: entry.position) if before else len(kept)
        chosen = [entry for entry in kept[low:high] if start_ms <= entry.at_ms < end_ms]
        return chosen[::-1][:limit] if backward else chosen[:limit]

    async def extent(self, stream: str) -> Extent:
        kept = self.streams.get(stream, [])
        if not kept:
            return Extent()
        times = [entry.at_ms for entry in kept]
        return Extent(
            len(kept), sum(len(entry.body) for entry in kept), min(times), max(times),
            all(earlier <= later for earlier, later in pairwise(times)),
        )  # fmt: skip

    async def remove(self, stream: str) -> None:
        self.streams.pop(stream, None)

    async def expire(self, stream: str, before_ms: int) -> None:
        kept = self.streams.get(stream, [])
        self.streams[stream] = [entry for entry in kept if entry.at_ms >= before_ms]


KNOWN_STREAMS = 100_000


class KnownExtents:
    """An ``EventLog`` that remembers extents, so that a search over a group opens only streams
    that have something in its time range. Every append must come through the same one."""

    def __init__(self, events: EventLog) -> None:
        self._events = events
        self._extents: OrderedDict[str, Extent] = OrderedDict()
        self._changes = 0  # so that an answer overtaken by a change is not remembered

    def _changed(self, stream: str) -> None:
        self._changes += 1
        self._extents.pop(stream, None)

    async def append(self, stream: str, entries: Sequence[tuple[int, bytes]]) -> None:
        await self._events.append(stream, entries)
        self._changed(stream)

    async def read(
        self,
        stream: str,
        *,
        start_ms: int = 0,
        end_ms: int = FOREVER_MS,
        after: int = 0,
        before: int = 0,
        limit: int = 1000,
        backward: bool = False,
    ) -> list[Stored]:
        return await self._events.read(
            stream,
            start_ms=start_ms,
            end_ms=end_ms,
            after=after,
            before=before,
            limit=limit,
            backward=backward,
        )

    async def extent(self, stream: str) -> Extent:
        known = self._extents.get(stream)
        if known is not None:
            return known
        changes = self._changes
        found = await self._events.extent(stream)
        if changes == self._changes:
            self._extents[stream] = found
        if len(self._extents) > KNOWN_STREAMS:
            self._extents.popitem(last=False)
        return found

    async def remove(self, stream: str) -> None:
        await self._events.remove(stream)
        self._changed(stream)

    async def expire(self, stream: str, before_ms: int) -> None:
        await self._events.expire(stream, before_ms)
        self._changed(stream)
