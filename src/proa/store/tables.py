"""What lies in the SQLite file, and the SQL that reads and writes it.

``current`` holds the newest value of each key, ``log`` every event since the last compaction,
``lease`` the terms of leases, ``meta`` counters. ``SqliteStore`` is the only caller: one
``Tables`` on the writer's connection, one on the readers'. Nothing here waits or knows of
threads; every read that needs two statements makes them in one snapshot.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import apsw

from proa.store.api import (
    MAX_OPERATIONS,
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
    Transaction,
)

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
# The file's own format, in PRAGMA user_version: entry n leads from n to n + 1.
_MIGRATIONS = (
    _SCHEMA,
    "ALTER TABLE log ADD COLUMN previous_schema INTEGER NOT NULL DEFAULT 1;"
    "ALTER TABLE log ADD COLUMN previous_lease INTEGER NOT NULL DEFAULT 0;",
)
BUSY_ATTEMPTS = 5000
_COLUMNS = "key, body, version, created, schema, lease"
_SPAN = "key >= ?1 AND key < ?2 AND key > ?3"
# A key's value as of ?4: its current value if that is old enough, else its last event up to ?4,
# else what its first event after ?4 replaced.
_AT = f"""
SELECT {_COLUMNS} FROM (
 SELECT {_COLUMNS}, 'put' AS kind FROM current WHERE {_SPAN} AND version <= ?4
 UNION ALL SELECT {_COLUMNS}, kind FROM log AS l WHERE {_SPAN}
  AND version = (SELECT max(version) FROM log WHERE key = l.key AND version <= ?4)
  AND NOT EXISTS (SELECT 1 FROM current WHERE key = l.key AND version <= ?4)
 UNION ALL SELECT key, previous_body, previous, created, previous_schema, previous_lease, 'put'
  FROM log AS l WHERE {_SPAN} AND previous != 0 AND previous <= ?4
  AND version = (SELECT min(version) FROM log WHERE key = l.key AND version > ?4)
  AND NOT EXISTS (SELECT 1 FROM log WHERE key = l.key AND version <= ?4)
) WHERE kind = 'put' ORDER BY key LIMIT ?5"""


def beyond(prefix: str) -> str:
    """The smallest text greater than every text that starts with ``prefix``."""
    return prefix + "\U0010ffff"


def _wait_a_little(attempt: int) -> bool:
    """Locks are only ever held for moments, as there is one writer. This polls, because with
    busy_timeout this build of SQLite (SETLK_TIMEOUT) blocks inside a lock's mutex: a reader and
    the writer of one process then wait for each other until the time is over."""
    threading.Event().wait(0.001)
    return attempt < BUSY_ATTEMPTS


class Tables:
    """One connection to the file."""

    def __init__(self, path: str) -> None:
        self._sql = apsw.Connection(path)
        self._sql.set_busy_handler(_wait_a_little)
        self._sql.execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL")
        self._migrate()
        self.load()

    def _migrate(self) -> None:
        found = self._sql.execute("PRAGMA user_version").fetchone()
        assert found is not None, "SQLite always answers this pragma"
        for number in range(int(found[0]), len(_MIGRATIONS)):
            with self._sql:
                self._sql.execute(_MIGRATIONS[number])
                self._sql.execute(f"PRAGMA user_version={number + 1}")

    def load(self) -> None:
        """Take the counters from the file, at open and after a write that was rolled back."""
        self.revision = self.meta("revision")
        self.offset = self.meta("offset")

    def close(self) -> None:
        self._sql.close()

    def together(self) -> apsw.Connection:
        """As a context: one durable SQLite transaction. It takes the write lock at once: SQLite
        does not wait for the lock on behalf of a transaction that has already read."""
        self._sql.transaction_mode = "IMMEDIATE"
        return self._sql

    def meta(self, name: str) -> int:
        """A counter; 0 until it is set."""
        row = self._sql.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return int(row[0]) if row else 0

    def set_meta(self, name: str, value: int) -> None:
        self._sql.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    # Reads

    def version(self) -> int:
        """The version up to which this connection sees everything."""
        return max((self.meta("revision") + self.meta("offset")) << 8 | 255, self.meta("compacted"))

    def get(self, key: str) -> Record | None:
        sql = f"SELECT {_COLUMNS} FROM current WHERE key = ?"
        row: Any = self._sql.execute(sql, (key,)).fetchone()
        return Record(*row) if row else None

    def range(self, prefix: str, after: str, limit: int, at: int) -> Page:
        """See ``Store.range``."""
        span: tuple[Any, ...] = (max(prefix, after), beyond(prefix), after)
        count = limit + 1 if limit else -1
        with self._sql:
            newest = self.version()
            asked = min(at | 255, newest) if at else newest
            if asked < newest:
                if asked < self.meta("compacted"):
                    raise Compacted(self.meta("compacted"))
                rows: Any = self._sql.execute(_AT, (*span, asked, count)).fetchall()
            else:
                sql = f"SELECT {_COLUMNS} FROM current WHERE {_SPAN} ORDER BY key LIMIT ?4"
                rows = self._sql.execute(sql, (*span, count)).fetchall()
        more = bool(limit) and len(rows) > limit
        return Page(tuple(Record(*row) for row in rows[: limit or None]), asked, more)

    def history(self, prefix: str, after: int, limit: int) -> tuple[list[Event], int]:
        """The next events after a version, and the version they reach."""
        with self._sql:
            if after < self.meta("compacted"):
                raise Compacted(self.meta("compacted"))
            newest = self.version()
            rows = self._sql.execute(
                "SELECT key, body, version, created, schema, lease, kind, previous, previous_body,"
                " previous_schema, previous_lease FROM log"
                " WHERE version > ? AND key >= ? AND key < ? ORDER BY version LIMIT ?",
                (after, prefix, beyond(prefix), limit),
            ).fetchall()
        events = [_event(row) for row in rows]
        return events, events[-1].record.version if len(events) == limit else max(newest, after)

    # Writes

    def commit(self, transaction: Transaction) -> tuple[Committed, list[Event]]:
        """Check and write; a guard that fails leaves nothing written."""
        self._check(transaction)
        events = self._write(transaction.writes)
        of_key = {event.record.key: event.record.version for event in events}
        last = events[-1].record.version if events else self.version()
        versions = tuple(of_key.get(write.key, last) for write in transaction.writes)
        return Committed(last, versions), events

    def _check(self, transaction: Transaction) -> None:
        for guard in transaction.guards:
            row = self._sql.execute(
                "SELECT version FROM current WHERE key = ?", (guard.key,)
            ).fetchone()
            found = int(row[0]) if row else 0
            if isinstance(guard, Exists):
                if not found:
                    raise GuardFailed(guard.key, -1, 0)
            elif isinstance(guard, Guard) and found != guard.version:
                raise GuardFailed(guard.key, guard.version, found)
        leases = {write.lease for write in transaction.writes if isinstance(write, Put)}
        for lease in sorted(leases - {0}):
            if not self._sql.execute("SELECT 1 FROM lease WHERE id = ?", (lease,)).fetchone():
                raise LeaseGone(f"lease {lease} has expired")

    def _write(self, writes: Sequence[Put | Delete]) -> list[Event]:
        events: list[Event] = []
        for write in writes:
            version = (self.revision + 1 + self.offset) << 8 | len(events)
            previous = self.get(write.key)
            if isinstance(write, Put):
                created = previous.created if previous else version
                record = Record(write.key, write.body, version, created, write.schema, write.lease)
                self._sql.execute(
                    "INSERT OR REPLACE INTO current VALUES (?, ?, ?, ?, ?, ?)",
                    (write.key, write.body, version, created, write.schema, write.lease),
                )
                events.append(Event("put", record, previous))
            elif previous is not None:
                gone = Record(write.key, previous.body, version, previous.created, previous.schema)
                self._sql.execute("DELETE FROM current WHERE key = ?", (write.key,))
                events.append(Event("delete", gone, previous))
        for event in events:
            self._log(event.kind, event.record, event.previous)
        if events:
            self.revision += 1
            self.set_meta("revision", self.revision)
        return events

    def _log(self, kind: str, record: Record, before: Record | None) -> None:
        self._sql.execute(
            "INSERT INTO log VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (record.version, record.key, kind, record.body, record.created)
            + (record.schema, record.lease)
            + (
                (before.version, before.body, before.schema, before.lease)
                if before
                else (0, None, 1, 0)
            ),
        )

    # Leases

    def leases(self) -> dict[int, float]:
        """Every lease's term in seconds, by id."""
        return dict(self._sql.execute("SELECT id, ttl FROM lease"))

    def grant(self, ttl_s: float) -> int:
        """A new lease; ids are never used again."""
        id = self.meta("lease") + 1
        self.set_meta("lease", id)
        self._sql.execute("INSERT INTO lease VALUES (?, ?)", (id, ttl_s))
        return id

    def revoke(self, lease: int) -> list[Event]:
        """End a lease and delete its keys."""
        self._sql.execute("DELETE FROM lease WHERE id = ?", (lease,))
        keys = [
            row[0]
            for row in self._sql.execute(
                "SELECT key FROM current WHERE lease = ? AND lease != 0 ORDER BY key", (lease,)
            )
        ]
        events: list[Event] = []
        for start in range(0, len(keys), MAX_OPERATIONS):
            events += self._write([Delete(key) for key in keys[start : start + MAX_OPERATIONS]])
        return events

    # Upkeep

    def compact(self, version: int) -> None:
        """From now on history up to and including ``version`` is not served."""
        newest = self.version()
        if version > self.meta("compacted"):
            self.set_meta("compacted", min(version, newest))

    def forget(self, count: int) -> bool:
        """Delete a slice of what was compacted; False when none was left."""
        self._sql.execute(
            "DELETE FROM log WHERE version IN"
            " (SELECT version FROM log WHERE version <= ? ORDER BY version LIMIT ?)",
            (self.meta("compacted"), count),
        )
        return bool(self._sql.changes())

    def advance(self, version: int) -> None:
        """Make every later version greater than ``version``, and all before it history that is
        compacted: for a store that was restored, whose lost versions clients still hold."""
        self.offset = max(self.offset, (version >> 8) - self.revision)
        self.set_meta("offset", self.offset)
        self.compact(self.version())


def _event(row: Sequence[Any]) -> Event:
    key, body, version, created, schema, lease, kind = row[:7]
    record = Record(key, body, version, created, schema, lease)
    before_version, before_body, before_schema, before_lease = row[7:]
    if not before_version:
        return Event(kind, record, None)
    previous = Record(key, before_body, before_version, created, before_schema, before_lease)
    return Event(kind, record, previous)
