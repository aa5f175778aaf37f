"""Views: a consistent picture of the store in memory, kept current by one watch.

A bow declares a ``Table`` for each kind of record it reasons about: which keys, how a body is
decoded into a small typed projection (once per change), and by what it is indexed. Controllers
and API handlers read tables synchronously; between two awaits nothing moves. ``View`` is fed
by ``View.run`` and tells its subscribers of each change in version order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter
from typing import Any, Generic, TypeVar

import msgspec

from proa.base.errors import TryAgain
from proa.base.telemetry import get_logger
from proa.reconcile.order import Order, Shelves
from proa.store.api import Batch, Record, Store

T = TypeVar("T")
log = get_logger(__name__)
PARENTS = 10_000  # parents of keys that are remembered


class Entry(msgspec.Struct, Generic[T], frozen=True, gc=False):
    """One record as the view holds it: the stored bytes and their projection. Projections hold no
    cycles, so neither this nor a Change is of interest to the garbage collector."""

    key: str
    body: bytes
    version: int
    created: int
    value: T
    lease: int = 0


class Change(msgspec.Struct, Generic[T], frozen=True, gc=False):
    """A table's change: ``old`` is None for a creation, ``new`` for a deletion."""

    key: str
    version: int
    old: Entry[T] | None
    new: Entry[T] | None


@dataclass(frozen=True, eq=False)
class Table(Generic[T]):
    """A declared kind of record.

    ``matches`` picks the keys below ``prefix``; ``by_parent`` promises that it says the same of all
    keys with one parent path. ``decode`` gives None for a record that is nothing to the table, and
    may raise ValueError, which keeps it out too and is logged. ``indexes`` give the values a record
    is found by, and ``parts``, by the name of an index, the attributes of a value that it looks at
    (dotted; none for what never changes in a record's life): while they are the same, a changed
    record stays where it is filed. ``accepts`` is a type whose values
    another table may have made of the same record: such a row is shared with the table before this
    one instead of decoded again. ``shelf`` gives the beginning of a key by which the rows of a
    table of many kinds are listed, "" for a prefix that is shorter.
    """

    name: str
    prefix: str
    decode: Callable[[bytes], T | None]
    matches: Callable[[str], bool] = field(default=lambda _key: True)
    indexes: Mapping[str, Callable[[str, T], Iterable[str]]] = field(default_factory=dict)
    parts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    accepts: type | None = None
    shelf: Callable[[str], str] | None = None
    by_parent: bool = False


_Index = tuple[Callable[[str, T], Iterable[str]], dict[str, dict[str, None]]]


class Rows(Generic[T]):
    """The current rows of one table, in key order."""

    def __init__(self, table: Table[T]) -> None:
        self.table = table
        self._rows: dict[str, Entry[T]] = {}
        self._order = Order() if table.shelf is None else Shelves(table.shelf)
        self.edition = 0  # another with each change: what was made of all rows may be kept by it
        self.told: list[Subscriber] = []  # of each change
        self._indexes: dict[str, dict[str, dict[str, None]]] = {name: {} for name in table.indexes}
        self._decode, self._accepts = table.decode, table.accepts
        by_parts: dict[tuple[str, ...] | None, list[_Index[T]]] = {}
        for name, index_of in table.indexes.items():
            those = by_parts.setdefault(table.parts.get(name), [])
            those.append((index_of, self._indexes[name]))
        self._groups = [(_same_in(parts), those) for parts, those in by_parts.items()]
        # All that any of them looks at; None where one does not say.
        every = None if None in by_parts else {name for parts in by_parts for name in parts or ()}
        self._filed_alike = _same_in(None if every is None else tuple(sorted(every)))

    def __len__(self) -> int:
        return len(self._rows)

    def get(self, key: str) -> Entry[T] | None:
        return self._rows.get(key)

    def scan(self, prefix: str = "", after: str = "") -> Iterator[Entry[T]]:
        """Rows whose keys start with ``prefix``, beyond ``after``, in key order."""
        rows = self._rows
        for key in self._order.scan(prefix, after):
            yield rows[key]

    def by(self, index: str, value: str) -> list[Entry[T]]:
        """Rows that the named index files under ``value``, in key order."""
        keys = self._indexes[index].get(value)
        if not keys:
            return []
        if len(keys) == 1:
            (key,) = keys
            return [self._rows[key]]
        return [self._rows[key] for key in sorted(keys)]

    def filed(self, index: str, value: str) -> list[Entry[T]]:
        """The same in the order in which they were filed, for who does not care for order."""
        rows = self._rows
        return [rows[key] for key in self._indexes[index].get(value, ())]

    def count(self, index: str, value: str) -> int:
        """How many rows the named index files under ``value``."""
        return len(self._indexes[index].get(value, ()))

    def shelves(self, prefix: str) -> list[str]:
        """The shelves below a prefix, sorted; the table has some."""
        assert isinstance(self._order, Shelves), "a table of one kind has no shelves"
        return self._order.names(prefix)

    def values_of(self, index: str) -> list[str]:
        """Every value the named index has rows for, sorted."""
        return sorted(self._indexes[index])

    def _apply(
        self, record: Record, present: bool, like: Entry[Any] | None = None
    ) -> Change[T] | None:
        """Take in a record, or that it is gone; None where that says nothing new. ``like`` is the
        row of another table for the same record."""
        old = self._rows.get(record.key)
        if present and old is not None and old.version >= record.version:
            return None
        new: Entry[T] | None = None
        if like is not None and self._accepts is not None and isinstance(like.value, self._accepts):
            new = like
        elif present:
            try:
                value = self._decode(record.body)
            except ValueError as error:
                log.error("undecodable record", key=record.key, error=str(error))
                value = None
            if value is not None:
                new = Entry(
                    record.key, record.body, record.version, record.created, value, record.lease
                )
        if old is None:
            if new is None:
                return None
            self._file(new)
        elif new is None:
            self._take_out(old)
        else:
            alike = self._filed_alike
            if alike is None or not alike(old.value, new.value):
                self._refile(old, new)
            self._rows[old.key] = new
        self.edition += 1
        return Change(record.key, record.version, old, new)

    def _file(self, new: Entry[T]) -> None:
        """Take in a row of a key that was not there."""
        key = new.key
        for _, those in self._groups:
            for index_of, index in those:
                _add(index, key, index_of(key, new.value))
        self._order.add(key)
        self._rows[key] = new

    def _take_out(self, old: Entry[T]) -> None:
        key = old.key
        for _, those in self._groups:
            for index_of, index in those:
                _move(index, key, index_of(key, old.value), ())
        del self._rows[key]
        self._order.remove(key)

    def _refile(self, old: Entry[T], new: Entry[T]) -> None:
        """A row is replaced, and may be found elsewhere now."""
        key = old.key
        for alike, those in self._groups:
            if alike is not None and alike(old.value, new.value):
                continue
            for index_of, index in those:
                before, after = index_of(key, old.value), index_of(key, new.value)
                if before != after:
                    _move(index, key, before, after)


def _move(
    index: dict[str, dict[str, None]], key: str, before: Iterable[str], after: Iterable[str]
) -> None:
    for value in before:
        rows = index.get(value)
        if rows is not None:
            rows.pop(key, None)
            if not rows:
                del index[value]
    _add(index, key, after)


def _add(index: dict[str, dict[str, None]], key: str, values: Iterable[str]) -> None:
    for value in values:
        there = index.get(value)
        if there is None:
            index[value] = {key: None}
        else:
            there[key] = None


def _same_in(names: tuple[str, ...] | None) -> Callable[[Any, Any], bool] | None:
    """``same_in`` of these attributes; None where they are not known."""
    if names is None:
        return None
    return same_in(names) if names else lambda _one, _other: True


def same_in(names: tuple[str, ...]) -> Callable[[Any, Any], bool]:
    """What tells whether two values are the same in these attributes (dotted). A change of a part
    leaves the others the same objects, and most often all names are of one: then none of them is
    compared."""
    look, first = attrgetter(*names), attrgetter(names[0].partition(".")[0])
    if len({name.partition(".")[0] for name in names}) > 1:
        return lambda one, other: bool(look(one) == look(other))
    return lambda one, other: first(one) is first(other) or bool(look(one) == look(other))


Subscriber = Callable[[Table[Any], Change[Any]], None]


class View:
    """All declared tables over one store prefix, as of ``version``."""

    def __init__(self, store: Store, tables: Iterable[Table[Any]], prefix: str = "") -> None:
        self._store = store
        self._prefix = prefix
        self._tables = {table: Rows(table) for table in tables}
        self._by_prefix: dict[str, list[Table[Any]]] = {}
        for table in self._tables:
            self._by_prefix.setdefault(table.prefix, []).append(table)
        self._prefixes = sorted(self._by_prefix)
        self._held: dict[str, list[Rows[Any]]] = {}  # by the parent of a key
        self._waiting: list[tuple[int, Callable[[], None]]] = []
        self.version = 0
        self.synced = asyncio.Event()

    def rows(self, table: Table[T]) -> Rows[T]:
        """The live rows of a declared table."""
        return self._tables[table]

    def subscribe(self, subscriber: Subscriber, tables: Iterable[Table[Any]] | None = None) -> None:
        """Be called, synchronously and in version order, with each change of these tables (of
        every table)."""
        for table in self._tables if tables is None else dict.fromkeys(tables):
            self._tables[table].told.append(subscriber)

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """Undo ``subscribe``."""
        for rows in self._tables.values():
            if subscriber in rows.told:
                rows.told.remove(subscriber)

    async def reached(self, version: int) -> None:
        """Return once everything up to ``version`` is visible here."""
        if self.version >= version:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((version, partial(_finish, future)))
        await future

    def when_reached(self, version: int, act: Callable[[], None]) -> None:
        """Have ``act`` called once everything up to ``version`` is visible here, at once if it
        is; it must not raise."""
        if self.version >= version:
            act()
        else:
            self._waiting.append((version, act))

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
        """Take in all records as of one version, which is reached only with the last of them: they
        come by key, so a newer one may be there before an older."""
        seen: set[str] = set()
        again = self.synced.is_set()
        page = await self._store.range(self._prefix, limit=1000)
        version = page.version
        while True:
            for record in page.records:
                seen.add(record.key)
                if again:
                    self._forget_another(record)
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

    def _forget_another(self, record: Record) -> None:
        """While nobody looked, a record may have gone and another of its key have come: that one
        did end, which is more than a change, and those who wait for its end look for that."""
        for rows in self._holders(record.key):
            old = rows.get(record.key)
            if old is not None and old.created < record.created:
                gone = Record(old.key, old.body, record.created, old.created)
                self._apply(gone, present=False)
                return

    def take(self, batch: Batch) -> None:
        """Take in what a watch has brought; ``run`` does, or an owner who watches by himself."""
        for event in batch.events:
            record = event.record
            if record.version > self.version:
                self.version = record.version
            self._apply(record, event.kind == "put")
        self._advance(batch.version)

    def _apply(self, record: Record, present: bool) -> None:
        key, like = record.key, None
        held = self._held.get(key[: key.rfind("/")])  # most keys have many siblings
        for rows in self._holders(key) if held is None else held:
            change = rows._apply(record, present, like)
            if change is not None:
                if like is None:
                    like = change.new
                table = rows.table
                for subscriber in rows.told:
                    subscriber(table, change)

    def _holders(self, key: str) -> list[Rows[Any]]:
        """The tables that hold a key, and where they promise it, all of its siblings."""
        prefixes = [prefix for prefix in self._prefixes if key.startswith(prefix)]
        tables = [table for prefix in prefixes for table in self._by_prefix[prefix]]
        found = [self._tables[table] for table in tables if table.matches(key)]
        if all(table.by_parent for table in tables):
            if len(self._held) >= PARENTS:
                self._held.clear()
            self._held[key[: key.rfind("/")]] = found
        return found

    def _advance(self, version: int) -> None:
        self.version = max(self.version, version)
        if not self._waiting:
            return
        ready = [act for wanted, act in self._waiting if wanted <= self.version]
        if ready:
            self._waiting = [item for item in self._waiting if item[0] > self.version]
        for act in ready:
            act()


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
