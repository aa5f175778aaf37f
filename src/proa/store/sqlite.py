"""The embedded backend: one SQLite file, one writer, many commits to an fsync.

``current`` holds the newest value of each key, ``log`` every event since the last compaction.
Transactions queue up; the writer takes all that wait into one SQLite transaction, each checked
against the state the ones before it left, and acknowledges them after one durable COMMIT
(synchronous=FULL). Reads use a second connection on the loop: they cost microseconds. With
``inline`` everything happens in the caller, without threads, for virtual time.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import apsw

from proa.base.clock import Clock, SystemClock
from proa.store.api import (
    MAX_BYTES,
    MAX_OPERATIONS,
    Batch,
    Committed,
    Compacted,
    Delete,
    Event,
    Exists,
    Guard,
    GuardFailed,
    LeaseGone,
    Page,
    Put,
    Record,
    TooLarge,
    Transaction,
)
from proa.store.hub import Hub

_SCHEMA = """
CREATE TABLE IF NOT EXISTS current (
    key TEXT PRIMARY KEY, body BLOB NOT NULL, version INTEGER NOT NULL,
    created INTEGER NOT NULL, schema INTEGER NOT NULL, lease INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_lease ON current (lease) WHERE lease != 0;
CREATE TABLE IF NOT EXISTS log (
    version INTEGER PRIMARY KEY, key TEXT NOT NULL, kind TEXT NOT NULL, body BLOB NOT NULL,
    created INTEGER NOT NULL, schema INTEGER NOT NULL, lease INTEGER NOT NULL,
    previous INTEGER NOT NULL, previous_body BLOB);
CREATE INDEX IF NOT EXISTS log_by_key ON log (key, version);
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS lease (id INTEGER PRIMARY KEY, ttl REAL NOT NULL);
"""
_COLUMNS = "key, body, version, created, schema, lease"


def _beyond(prefix: str) -> str:
    """The smallest text greater than every text that starts with ``prefix``."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1) if prefix else "\U0010ffff"


@dataclass(slots=True)
class _Work:
    transaction: Transaction
    done: asyncio.Future[Committed]
    result: Committed | Exception | None = None
    events: list[Event] = field(default_factory=list)


def _check_size(transaction: Transaction) -> None:
    operations = len(transaction.guards) + len(transaction.writes)
    if operations > MAX_OPERATIONS:
        raise TooLarge(f"{operations} operations in one transaction; {MAX_OPERATIONS} are allowed")
    size = sum(
        len(write.key) + (len(write.body) if isinstance(write, Put) else 0)
        for write in transaction.writes
    )
    if size > MAX_BYTES:
        raise TooLarge(f"{size} bytes in one transaction; {MAX_BYTES} are allowed")
    keys = [write.key for write in transaction.writes]
    assert len(set(keys)) == len(keys), "a key is written twice in one transaction"


def _configure(connection: apsw.Connection) -> apsw.Connection:
    connection.execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA busy_timeout=5000")
    return connection


class SqliteStore:
    """See ``store.api.Store``. Made by ``open``."""

    def __init__(self, path: str, clock: Clock, inline: bool) -> None:
        self._clock = clock
        self._inline = inline
        self._writer = _configure(apsw.Connection(path))
        self._writer.execute(_SCHEMA)
        self._reader = self._writer if inline else _configure(apsw.Connection(path))
        self._revision = self._meta("revision")
        self._offset = self._meta("offset")
        self._compacted = self._meta("compacted")
        self._version = self._last_version()
        self._hub = Hub(self._history)
        self._deadlines: dict[int, float] = {}
        self._queue: queue.SimpleQueue[list[_Work] | None] = queue.SimpleQueue()
        self._waiting: list[_Work] = []
        self._busy = False
        self._thread: threading.Thread | None = None
        self._reaper: asyncio.Task[None] | None = None
        for id, ttl in self._writer.execute("SELECT id, ttl FROM lease"):
            self._deadlines[id] = clock.monotonic() + ttl
        self._next_lease = max(self._deadlines, default=self._meta("lease")) + 1

    @classmethod
    async def open(
        cls, path: Path | str, clock: Clock | None = None, *, inline: bool = False
    ) -> SqliteStore:
        """Open or make the file; ":memory:" with ``inline`` is the fake of every test."""
        store = cls(str(path), clock or SystemClock(), inline)
        if not inline:
            loop = asyncio.get_running_loop()
            store._thread = threading.Thread(target=store._write_loop, args=(loop,), daemon=True)
            store._thread.start()
        store._reaper = asyncio.get_running_loop().create_task(store._reap(), name="store-leases")
        return store

    def _meta(self, name: str) -> int:
        row = self._writer.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return int(row[0]) if row else 0

    def _last_version(self) -> int:
        row = self._writer.execute("SELECT max(version) FROM log").fetchone()
        return max(int(row[0] or 0) if row else 0, self._compacted)

    # Reads

    async def version(self) -> int:
        return self._version

    async def get(self, key: str) -> Record | None:
        sql = f"SELECT {_COLUMNS} FROM current WHERE key = ?"
        row = self._reader.execute(sql, (key,)).fetchone()
        return Record(*_ordered(row)) if row else None

    async def range(self, prefix: str, *, after: str = "", limit: int = 0, at: int = 0) -> Page:
        bounds = (max(prefix, after), _beyond(prefix), after)
        count = limit + 1 if limit else -1
        if at and at < self._version:
            if at < self._compacted:
                raise Compacted(self._compacted)
            rows = self._at(bounds, at, count)
        else:
            at = self._version
            rows = self._reader.execute(
                f"SELECT {_COLUMNS} FROM current WHERE key >= ? AND key < ? AND key > ?"
                " ORDER BY key LIMIT ?",
                (*bounds, count),
            ).fetchall()
        more = bool(limit) and len(rows) > limit
        return Page(tuple(Record(*_ordered(row)) for row in rows[: limit or None]), at, more)

    def _at(self, bounds: tuple[str, str, str], at: int, count: int) -> list[tuple[object, ...]]:
        return self._reader.execute(
            "SELECT key, body, version, created, schema, lease FROM ("
            " SELECT key, body, version, created, schema, lease, 'put' AS kind FROM current"
            "  WHERE key >= ?1 AND key < ?2 AND key > ?3 AND version <= ?4"
            " UNION ALL SELECT key, body, version, created, schema, lease, kind FROM log AS l"
            "  WHERE key >= ?1 AND key < ?2 AND key > ?3 AND version = ("
            "   SELECT max(version) FROM log WHERE key = l.key AND version <= ?4)"
            "  AND NOT EXISTS (SELECT 1 FROM current WHERE key = l.key AND version <= ?4)"
            " UNION ALL SELECT key, previous_body, previous, created, schema, lease, 'put'"
            "  FROM log AS l WHERE key >= ?1 AND key < ?2 AND key > ?3 AND previous != 0"
            "  AND previous <= ?4 AND version = ("
            "   SELECT min(version) FROM log WHERE key = l.key AND version > ?4)"
            "  AND NOT EXISTS (SELECT 1 FROM log WHERE key = l.key AND version <= ?4)"
            ") WHERE kind = 'put' ORDER BY key LIMIT ?5",
            (*bounds, at, count),
        ).fetchall()

    def _history(self, prefix: str, after: int) -> tuple[Sequence[Event], int]:
        if after < self._compacted:
            raise Compacted(self._compacted)
        rows = self._reader.execute(
            "SELECT key, body, version, created, schema, lease, kind, previous, previous_body"
            " FROM log WHERE version > ? AND version <= ? AND key >= ? AND key < ?"
            " ORDER BY version",
            (after, self._version, prefix, _beyond(prefix)),
        )
        return [_event(row) for row in rows], self._version

    def watch(self, prefix: str, *, after: int) -> AsyncIterator[Batch]:
        return self._hub.watch(prefix, after)

    # Writes

    async def commit(self, transaction: Transaction) -> Committed:
        _check_size(transaction)
        work = _Work(transaction, asyncio.get_running_loop().create_future())
        if self._inline:
            self._apply([work])
            self._settle([work])
        else:
            self._waiting.append(work)
            self._hand_over()
        return await work.done

    def _hand_over(self) -> None:
        if self._waiting and not self._busy:
            self._busy = True
            self._queue.put(self._waiting)
            self._waiting = []

    def _write_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        while (works := self._queue.get()) is not None:
            try:
                self._apply(works)
            except Exception as error:
                for work in works:
                    work.result, work.events = error, []
            loop.call_soon_threadsafe(self._settled, works)

    def _settled(self, works: list[_Work]) -> None:
        self._busy = False
        self._settle(works)
        self._hand_over()

    def _settle(self, works: list[_Work]) -> None:
        events: list[Event] = []
        for work in works:
            if isinstance(work.result, Committed):
                self._version = max(self._version, work.result.version)
                events.extend(work.events)
            if work.done.done():
                continue
            if isinstance(work.result, Committed):
                work.done.set_result(work.result)
            else:
                assert work.result is not None, "every work has a result"
                work.done.set_exception(work.result)
        if events:
            self._hub.publish(events, self._version)

    def _apply(self, works: Iterable[_Work]) -> None:
        """One SQLite transaction for all; a failed guard writes nothing of its own."""
        revision = self._revision
        with self._writer:
            for work in works:
                try:
                    self._check(work.transaction)
                except (GuardFailed, LeaseGone) as error:
                    work.result = error
                    continue
                revision += 1
                work.events = self._write(work.transaction.writes, revision)
                versions = [event.record.version for event in work.events]
                last = versions[-1] if versions else (revision + self._offset) << 8
                work.result = Committed(last, _versions(work, last))
            self._writer.execute("INSERT OR REPLACE INTO meta VALUES ('revision', ?)", (revision,))
        self._revision = revision

    def _check(self, transaction: Transaction) -> None:
        for guard in transaction.guards:
            found = self._current_version(guard.key)
            if isinstance(guard, Exists):
                if not found:
                    raise GuardFailed(guard.key, -1, 0)
            elif isinstance(guard, Guard) and found != guard.version:
                raise GuardFailed(guard.key, guard.version, found)
        for write in transaction.writes:
            if isinstance(write, Put) and write.lease and write.lease not in self._deadlines:
                raise LeaseGone(f"lease {write.lease} has expired")

    def _current_version(self, key: str) -> int:
        row = self._writer.execute("SELECT version FROM current WHERE key = ?", (key,)).fetchone()
        return int(row[0]) if row else 0

    def _write(self, writes: Sequence[Put | Delete], revision: int) -> list[Event]:
        events: list[Event] = []
        for write in writes:
            version = (revision + self._offset) << 8 | len(events)
            sql = f"SELECT {_COLUMNS} FROM current WHERE key = ?"
            row = self._writer.execute(sql, (write.key,)).fetchone()
            previous = Record(*_ordered(row)) if row else None
            if isinstance(write, Put):
                created = previous.created if previous else version
                record = Record(write.key, write.body, version, created, write.schema, write.lease)
                self._writer.execute(
                    "INSERT OR REPLACE INTO current VALUES (?, ?, ?, ?, ?, ?)",
                    (write.key, write.body, version, created, write.schema, write.lease),
                )
                event = Event("put", record, previous)
            elif previous is not None:
                gone = Record(write.key, previous.body, version, previous.created, previous.schema)
                self._writer.execute("DELETE FROM current WHERE key = ?", (write.key,))
                event = Event("delete", gone, previous)
            else:
                continue
            events.append(event)
            self._log(event)
        return events

    def _log(self, event: Event) -> None:
        record, before = event.record, event.previous
        self._writer.execute(
            "INSERT INTO log VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                record.version,
                record.key,
                event.kind,
                record.body,
                record.created,
                record.schema,
                record.lease,
                before.version if before else 0,
                before.body if before else None,
            ),
        )

    # Leases

    async def grant(self, ttl_s: float) -> int:
        id, self._next_lease = self._next_lease, self._next_lease + 1
        self._deadlines[id] = self._clock.monotonic() + ttl_s
        self._reader.execute("INSERT INTO lease VALUES (?, ?)", (id, ttl_s))
        return id

    async def keep_alive(self, lease: int) -> None:
        row = self._reader.execute("SELECT ttl FROM lease WHERE id = ?", (lease,)).fetchone()
        if row is None or lease not in self._deadlines:
            raise LeaseGone(f"lease {lease} has expired")
        self._deadlines[lease] = self._clock.monotonic() + float(row[0])

    async def revoke(self, lease: int) -> None:
        self._deadlines.pop(lease, None)
        rows = self._reader.execute("SELECT key FROM current WHERE lease = ?", (lease,))
        keys = [str(row[0]) for row in rows]
        for start in range(0, len(keys), MAX_OPERATIONS):
            writes = tuple(Delete(key) for key in keys[start : start + MAX_OPERATIONS])
            await self.commit(Transaction(writes=writes))
        self._reader.execute("DELETE FROM lease WHERE id = ?", (lease,))

    async def _reap(self) -> None:
        while True:
            await self._clock.sleep(0.5)
            now = self._clock.monotonic()
            for lease in [id for id, due in self._deadlines.items() if due <= now]:
                await self.revoke(lease)

    # Upkeep

    async def compact(self, version: int) -> None:
        version = min(version, self._version)
        if version <= self._compacted:
            return
        self._compacted = version
        self._reader.execute("INSERT OR REPLACE INTO meta VALUES ('compacted', ?)", (version,))
        while True:
            self._reader.execute(
                "DELETE FROM log WHERE version IN"
                " (SELECT version FROM log WHERE version <= ? ORDER BY version LIMIT 500)",
                (version,),
            )
            if not self._reader.changes():
                return
            await self._clock.sleep(0)

    async def close(self) -> None:
        if self._reaper is not None:
            self._reaper.cancel()
        if self._thread is not None:
            while self._waiting or self._busy:
                await self._clock.sleep(0.001)
            self._queue.put(None)
            self._thread.join()
            self._reader.close()
        self._writer.close()


def _ordered(row: Sequence[object]) -> tuple[str, bytes, int, int, int, int]:
    key, body, version, created, schema, lease = row
    return key, body, version, created, schema, lease  # type: ignore[return-value]


def _versions(work: _Work, last: int) -> tuple[int, ...]:
    of_key = {event.record.key: event.record.version for event in work.events}
    return tuple(of_key.get(write.key, last) for write in work.transaction.writes)


def _event(row: Sequence[object]) -> Event:
    record = Record(*_ordered(row[:6]))
    previous_version = int(row[7])  # type: ignore[call-overload]
    previous = (
        Record(record.key, row[8], previous_version, record.created)  # type: ignore[arg-type]
        if previous_version
        else None
    )
    return Event(str(row[6]), record, previous)


async def memory_store(clock: Clock) -> SqliteStore:
    """A store in memory without threads: the fake of tests and the store of simulations."""
    return await SqliteStore.open(":memory:", clock, inline=True)
