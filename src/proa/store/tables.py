"""What lies in the SQLite file, and the SQL that reads and writes it.

``entry`` holds every event since the last compaction and the newest value of each key, once;
``head`` says which entry is a key's newest; ``lease`` the terms of leases, ``meta`` counters.
``SqliteStore`` is the only caller; what it writes, ``writer`` writes, mostly in another process.
Nothing here waits; every read that needs two statements makes them in one snapshot.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from proa.base.errors import CallerFault
from proa.store.api import Compacted, Event, Page, Record
from proa.store.heads import COUNTERS, Counters
from proa.store.writer import Order, connect, write

# The file's own format, in PRAGMA user_version: entry n leads from n to n + 1.
_MIGRATIONS = (
    """
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
""",
    "ALTER TABLE log ADD COLUMN previous_schema INTEGER NOT NULL DEFAULT 1;"
    "ALTER TABLE log ADD COLUMN previous_lease INTEGER NOT NULL DEFAULT 0;",
    # Every value once. What was history before is compacted: its replaced values lay elsewhere.
    """
CREATE TABLE entry (
    version INTEGER PRIMARY KEY, key TEXT NOT NULL, kind TEXT NOT NULL, body BLOB NOT NULL,
    created INTEGER NOT NULL, schema INTEGER NOT NULL, lease INTEGER NOT NULL,
    previous INTEGER NOT NULL);
CREATE TABLE head (key TEXT PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO entry SELECT version, key, 'put', body, created, schema, lease, 0 FROM current;
INSERT INTO head SELECT key, version FROM current;
INSERT OR REPLACE INTO meta SELECT 'compacted', max(
    (coalesce((SELECT value FROM meta WHERE name = 'revision'), 0)
   + coalesce((SELECT value FROM meta WHERE name = 'offset'), 0)) << 8 | 255,
    coalesce((SELECT value FROM meta WHERE name = 'compacted'), 0))
    WHERE EXISTS (SELECT 1 FROM log);
DROP TABLE current; DROP TABLE log;
""",
    # Heads follow entries by themselves: what is written is one statement.
    """
CREATE TRIGGER entry_put AFTER INSERT ON entry WHEN new.kind = 'put' BEGIN
    INSERT OR REPLACE INTO head VALUES (new.key, new.version);
END;
CREATE TRIGGER entry_delete AFTER INSERT ON entry WHEN new.kind = 'delete' BEGIN
    DELETE FROM head WHERE key = new.key;
END;
""",
)
_COLUMNS = "e.key, e.body, e.version, e.created, e.schema, e.lease"
_SPAN = "key >= ?1 AND key < ?2 AND key > ?3"
# Which entry was a key's newest as of ?4: its head if that is old enough, else what its first
# event after ?4 replaced.
_AT = f"""
SELECT key, version FROM (
 SELECT key, version FROM head WHERE {_SPAN} AND version <= ?4
 UNION ALL SELECT key, previous FROM entry WHERE version > ?4 AND {_SPAN}
  AND previous != 0 AND previous <= ?4
) ORDER BY key LIMIT ?5"""
_NOW = f"SELECT key, version FROM head WHERE {_SPAN} ORDER BY key LIMIT ?4"


def beyond(prefix: str) -> str:
    """The smallest text greater than every text that starts with ``prefix``."""
    return prefix + "\U0010ffff"


class Tables:
    """One connection to the file."""

    def __init__(self, path: str) -> None:
        self._sql = connect(path)
        self._migrate()

    def _migrate(self) -> None:
        found = self._sql.execute("PRAGMA user_version").fetchone()
        assert found is not None, "SQLite always answers this pragma"
        if int(found[0]) > len(_MIGRATIONS):
            raise CallerFault(f"the store's file is of a later Proa (format {found[0]})")
        for number in range(int(found[0]), len(_MIGRATIONS)):
            with self._sql:
                self._sql.execute(_MIGRATIONS[number])
                self._sql.execute(f"PRAGMA user_version={number + 1}")

    def close(self) -> None:
        self._sql.close()

    # Reads

    def counters(self) -> Counters:
        """The numbers in the file. The revision is written only with the others: it is that of
        the newest entry, or what was noted when that was still there."""
        rows: Any = self._sql.execute(
            "SELECT name, value FROM meta UNION ALL SELECT '', max(version) FROM entry"
        ).fetchall()
        known = {name: int(value or 0) for name, value in rows}
        found = Counters(**{name: known[name] for name in COUNTERS if name in known})
        found.revision = max(found.revision, (known[""] >> 8) - found.offset)
        return found

    def leases(self) -> dict[int, float]:
        """Every lease's term in seconds, by id."""
        return dict(self._sql.execute("SELECT id, ttl FROM lease"))

    def everything(self) -> list[Record]:
        """The newest record of each key, in key order."""
        sql = f"SELECT {_COLUMNS} FROM head h JOIN entry e ON e.version = h.version ORDER BY h.key"
        rows: Any = self._sql.execute(sql)
        return [Record(*row) for row in rows]

    def range(
        self, prefix: str, after: str, limit: int, at: int, known: Mapping[str, Record]
    ) -> Page:
        """See ``Store.range``; records of ``known`` are not read again."""
        span: tuple[Any, ...] = (max(prefix, after), beyond(prefix), after)
        count = limit + 1 if limit else -1
        with self._sql:
            counters = self.counters()
            newest = counters.version
            asked = min(at | 255, newest) if at else newest
            if asked < newest:
                if asked < counters.compacted:
                    raise Compacted(counters.compacted)
                found: Any = self._sql.execute(_AT, (*span, asked, count)).fetchall()
            else:
                found = self._sql.execute(_NOW, (*span, count)).fetchall()
            records = tuple(
                self._record(key, version, known) for key, version in found[: limit or None]
            )
        return Page(records, asked, bool(limit) and len(found) > limit)

    def _record(self, key: str, version: int, known: Mapping[str, Record]) -> Record:
        record = known.get(key)
        if record is not None and record.version == version:
            return record
        sql = f"SELECT {_COLUMNS} FROM entry e WHERE e.version = ?"
        row: Any = self._sql.execute(sql, (version,)).fetchone()
        return Record(*row)

    def history(self, prefix: str, after: int, limit: int) -> tuple[list[Event], int]:
        """The next events after a version, and the version they reach."""
        with self._sql:
            counters = self.counters()
            if after < counters.compacted:
                raise Compacted(counters.compacted)
            rows: Any = self._sql.execute(
                f"SELECT {_COLUMNS}, e.kind, p.body, p.version, p.schema, p.lease"
                " FROM entry e LEFT JOIN entry p ON p.version = e.previous"
                " WHERE e.version > ? AND e.key >= ? AND e.key < ? ORDER BY e.version LIMIT ?",
                (after, prefix, beyond(prefix), limit),
            ).fetchall()
        events = [_event(row) for row in rows]
        reached = max(counters.version, after)
        return events, events[-1].record.version if len(events) == limit else reached

    def slice_end(self, after: int, until: int, count: int) -> int:
        """The version of the last of the next ``count`` entries after one version and up to
        another; 0 where there is none."""
        row: Any = self._sql.execute(
            "SELECT max(version) FROM (SELECT version FROM entry"
            " WHERE version > ? AND version <= ? ORDER BY version LIMIT ?)",
            (after, until, count),
        ).fetchone()
        return int(row[0] or 0)

    def write(self, order: Order) -> None:
        """Write here and now. Raises apsw.Error, when nothing is written."""
        write(self._sql, order)


def _event(row: Sequence[Any]) -> Event:
    key, body, version, created, schema, lease, kind = row[:7]
    before_body, before_version, before_schema, before_lease = row[7:]
    previous = None
    if before_version:
        previous = Record(key, before_body, before_version, created, before_schema, before_lease)
    if kind == "delete" and previous is not None:
        body = previous.body
    return Event(kind, Record(key, body, version, created, schema, lease), previous)
