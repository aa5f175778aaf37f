"""Views: a consistent picture of the store in memory, kept current by one watch.

A bow declares a ``Table`` for each kind of record it reasons about: which keys, how a body is
decoded into a small typed projection (once per change), and by what it is indexed. Controllers
and API handlers read tables synchronously; between two awaits nothing moves. ``View`` is fed
by ``View.run`` and tells its subscribers of each change in version order.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from proa.base.errors import TryAgain
from proa.base.telemetry import get_logger
from proa.store.api import Batch, Event, Record, Store

T = TypeVar("T")
log = get_logger(__name__)
SHAPES = 10_000  # shapes of keys that are remembered


@dataclass(slots=True, frozen=True)
class Entry(Generic[T]):
    """One record as the view holds it: the stored bytes and their projection."""

    key: str
    body: bytes
    version: int
    created: int
    value: T
    lease: int = 0


@dataclass(slots=True, frozen=True)
class Change(Generic[T]):
    """A table's change: ``old`` is None for a creation, ``new`` for a deletion."""

    key: str
    version: int
    old: Entry[T] | None
    new: Entry[T] | None


@dataclass(frozen=True, eq=False)
class Table(Generic[T]):
    """A declared kind of record.

    ``matches`` picks the keys below ``prefix``; ``decode`` may raise ValueError, which keeps the
    record out of the table and is logged; ``indexes`` give the values a record is found by.
    ``shape`` is all of a key that ``matches`` looks at: where the tables of a prefix share it, keys
    of one shape are asked about once. ``parts`` gives, by the name of an index, all of a value that
    it looks at: while that is the same, a changed record stays where it is filed. ``accepts`` is a
    type whose values another table may have made of the same record: such a row is shared with
    the table before this one instead of decoded again."""

    name: str
    prefix: str
    decode: Callable[[bytes], T]
    matches: Callable[[str], bool] = field(default=lambda _key: True)
    indexes: Mapping[str, Callable[[str, T], Iterable[str]]] = field(default_factory=dict)
    shape: Callable[[str], str] | None = None
    parts: Mapping[str, Callable[[T], object]] = field(default_factory=dict)
    accepts: type | None = None


class Rows(Generic[T]):
    """The current rows of one table, in key order."""

    def __init__(self, table: Table[T]) -> None:
        self.table = table
        self._rows: dict[str, Entry[T]] = {}
        self._keys: list[str] = []
        self._indexes: dict[str, dict[str, dict[str, None]]] = {name: {} for name in table.indexes}
        self._by_part: dict[Callable[[T], object] | None, list[str]] = {}
        for name in table.indexes:
            self._by_part.setdefault(table.parts.get(name), []).append(name)

    def __len__(self) -> int:
        return len(self._rows)

    def get(self, key: str) -> Entry[T] | None:
        return self._rows.get(key)

    def scan(self, prefix: str = "", after: str = "") -> Iterator[Entry[T]]:
        """Rows whose keys start with ``prefix``, beyond ``after``, in key order."""
        start = bisect_left(self._keys, max(prefix, after))
        for index in range(start, len(self._keys)):
            key = self._keys[index]
            if not key.startswith(prefix):
                return
            if key != after or not after:
                yield self._rows[key]

    def by(self, index: str, value: str) -> list[Entry[T]]:
        """Rows that the named index files under ``value``, in key order."""
        keys = self._indexes[index].get(value)
        if not keys:
            return []
        if len(keys) == 1:
            return [self._rows[key] for key in keys]
        return [self._rows[key] for key in sorted(keys)]

    def count(self, index: str, value: str) -> int:
        """How many rows the named index files under ``value``."""
        return len(self._indexes[index].get(value, ()))

    def values_of(self, index: str) -> list[str]:
        """Every value the named index has rows for, sorted."""
        return sorted(self._indexes[index])

    def _apply(
        self, record: Record, present: bool, like: Entry[Any] | None = None
    ) -> Change[T] | None:
        """``like`` is the row of another table for the same record."""
        old = self._rows.get(record.key)
        new: Entry[T] | None = None
        accepts = self.table.accepts
        if like is not None and accepts is not None and isinstance(like.value, accepts):
            new = like
        elif present:
            try:
                value = self.table.decode(record.body)
            except ValueError as error:
                log.error("undecodable record", key=record.key, error=str(error))
            else:
                new = Entry(
                    record.key, record.body, record.version, record.created, value, record.lease
                )
        if old is None and new is None:
            return None
        self._file(old, new)
        return Change(record.key, record.version, old, new)

    def _file(self, old: Entry[T] | None, new: Entry[T] | None) -> None:
        for part, names in self._by_part.items():
            if part is not None and _same_part(part, old, new):
                continue
            for name in names:
                index_of = self.table.indexes[name]
                before = index_of(old.key, old.value) if old is not None else ()
                after = index_of(new.key, new.value) if new is not None else ()
                if before != after:
                    self._refile(self._indexes[name], old or new, before, after)
        if new is not None:
            if old is None:
                self._insert(new.key)
            self._rows[new.key] = new
        elif old is not None:
            del self._rows[old.key]
            del self._keys[bisect_left(self._keys, old.key)]

    def _refile(
        self,
        index: dict[str, dict[str, None]],
        entry: Entry[T] | None,
        before: Iterable[str],
        after: Iterable[str],
    ) -> None:
        assert entry is not None, "a change has a side"
        for value in before:
            rows = index.get(value)
            if rows is not None:
                rows.pop(entry.key, None)
                if not rows:
                    del index[value]
        for value in after:
            index.setdefault(value, {})[entry.key] = None

    def _insert(self, key: str) -> None:
        if not self._keys or key > self._keys[-1]:
            self._keys.append(key)
        else:
            insort(self._keys, key)


def _same_part(part: Callable[[T], object], old: Entry[T] | None, new: Entry[T] | None) -> bool:
    return old is not None and new is not None and part(old.value) == part(new.value)


Subscriber = Callable[[Table[Any], Change[Any]], None]


def _common_shape(tables: Sequence[Table[Any]]) -> Callable[[str], str] | None:
    """What all these tables look at of a key; None where they do not agree."""
    first = tables[0].shape
    return first if all(table.shape is first for table in tables) else None


class View:
    """All declared tables over one store prefix, as of ``version``."""

    def __init__(self, store: Store, tables: Iterable[Table[Any]], prefix: str = "/") -> None:
        self._store = store
        self._prefix = prefix
        self._tables = {table: Rows(table) for table in tables}
        self._by_prefix: dict[str, list[Table[Any]]] = {}
        for table in self._tables:
            self._by_prefix.setdefault(table.prefix, []).append(table)
        self._prefixes = sorted(self._by_prefix)
        self._shapes = {prefix: _common_shape(found) for prefix, found in self._by_prefix.items()}
        self._shaped: dict[tuple[str, str], list[Rows[Any]]] = {}
        self._subscribers: list[Subscriber] = []
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self.version = 0
        self.synced = asyncio.Event()

    def rows(self, table: Table[T]) -> Rows[T]:
        """The live rows of a declared table."""
        return self._tables[table]

    def subscribe(self, subscriber: Subscriber) -> None:
        """Be called, synchronously and in version order, with each change."""
        self._subscribers.append(subscriber)

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """Undo ``subscribe``."""
        self._subscribers.remove(subscriber)

    async def reached(self, version: int) -> None:
        """Return once everything up to ``version`` is visible here."""
        if self.version >= version:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((version, future))
        await future

    async def run(self) -> None:
        """Keep the picture current until cancelled; re-lists after compaction or a slow spell."""
        while True:
            try:
                await self._list()
                async for batch in self._store.watch(self._prefix, after=self.version):
                    self.take(batch)
            except TryAgain as error:
                log.warning("view lists again", error=str(error))

    async def _list(self) -> None:
        seen: set[str] = set()
        page = await self._store.range(self._prefix, limit=1000)
        version = page.version
        while True:
            for record in page.records:
                seen.add(record.key)
                self._apply(record, present=True)
            if not page.more:
                break
            page = await self._store.range(
                self._prefix, after=page.records[-1].key, limit=1000, at=version
            )
        for rows in self._tables.values():
            for entry in [row for row in rows.scan() if row.key not in seen]:
                gone = Record(entry.key, entry.body, version, entry.created)
                self._apply(gone, present=False)
        self._advance(version)
        self.synced.set()

    def take(self, batch: Batch) -> None:
        """Take in what a watch has brought; ``run`` does, or an owner who watches by himself."""
        for event in batch.events:
            self._event(event)
        self._advance(batch.version)

    def _event(self, event: Event) -> None:
        self._apply(event.record, present=event.kind == "put")

    def _apply(self, record: Record, present: bool) -> None:
        if present and record.version > self.version:
            self.version = record.version
        for prefix in self._prefixes:
            if not record.key.startswith(prefix):
                continue
            like: Entry[Any] | None = None
            for rows in self._rows_of(prefix, record.key):
                current = rows.get(record.key)
                if present and current is not None and current.version >= record.version:
                    continue
                change = rows._apply(record, present, like)
                if change is not None:
                    like = change.new if like is None else like
                    for subscriber in self._subscribers:
                        subscriber(rows.table, change)

    def _rows_of(self, prefix: str, key: str) -> list[Rows[Any]]:
        """The tables below a prefix that hold a key."""
        shape_of = self._shapes[prefix]
        if shape_of is None:
            return self._matching(prefix, key)
        shape = (prefix, shape_of(key))
        found = self._shaped.get(shape)
        if found is None:
            found = self._matching(prefix, key)
            if len(self._shaped) < SHAPES:
                self._shaped[shape] = found
        return found

    def _matching(self, prefix: str, key: str) -> list[Rows[Any]]:
        tables = self._by_prefix[prefix]
        return [self._tables[table] for table in tables if table.matches(key)]

    def _advance(self, version: int) -> None:
        self.version = max(self.version, version)
        if not self._waiting:
            return
        ready = [future for wanted, future in self._waiting if wanted <= self.version]
        self._waiting = [
            (wanted, future) for wanted, future in self._waiting if wanted > self.version
        ]
        for future in ready:
            if not future.done():
                future.set_result(None)
