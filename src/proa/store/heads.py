"""What the SQLite backend knows by heart: the newest record of each key, and the counters.

``SqliteStore`` decides every change here, in memory and in the order it was asked for; what the
decisions amount to is a ``Group``, which the file takes in one durable transaction. Only then are
they shown to readers: until ``settle``, ``records`` is what the file was known to hold before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace

from proa.store.api import (
    MAX_OPERATIONS,
    Committed,
    Delete,
    Event,
    Exists,
    GuardFailed,
    LeaseGone,
    Put,
    Record,
    Transaction,
    trimmed,
)
from proa.store.writer import Order, Row


@dataclass(slots=True)
class Counters:
    """Numbers that outlive the process, by their names in the file. ``compacted`` is the version
    up to which history is not served, ``forgotten`` that up to which it was deleted."""

    revision: int = 0
    offset: int = 0
    lease: int = 0
    compacted: int = 0
    forgotten: int = 0

    @property
    def version(self) -> int:
        """The version that no commit so far exceeds."""
        return max((self.revision + self.offset) << 8 | 255, self.compacted)


COUNTERS = tuple(field.name for field in fields(Counters))


@dataclass(slots=True)
class Group:
    """Changes that become durable together: rows of ``entry``, heads that move, other SQL."""

    entries: list[Row] = field(default_factory=list)
    heads: dict[str, Record | None] = field(default_factory=dict)
    statements: list[tuple[str, Row]] = field(default_factory=list)
    counters: Counters = field(default_factory=Counters)
    changed: bool = False

    def order(self, noted: Counters) -> Order:
        """What the writer is to write, where the file notes these counters. The revision is noted
        with the others only: it is that of the newest entry."""
        numbers: list[Row] = []
        if self.statements or replace(self.counters, revision=noted.revision) != noted:
            numbers = [(name, getattr(self.counters, name)) for name in COUNTERS]
        return self.entries, self.statements, numbers


class Heads:
    """Made of what the file holds. One group is open at a time, from the first change after
    ``settle`` (or ``undo``) to the next."""

    def __init__(
        self, records: Sequence[Record], counters: Counters, leases: dict[int, float]
    ) -> None:
        self._group = Group()
        self.load(records, counters, leases)

    def load(self, records: Sequence[Record], counters: Counters, leases: dict[int, float]) -> None:
        """Everything is as the file says, whatever was decided."""
        self.records = {record.key: record for record in records}
        self.undo(counters, leases)

    def group(self) -> Group:
        """What has been decided since the last ``settle``."""
        self._group.counters = replace(self.counters)
        return self._group

    def settle(self) -> None:
        """The group is durable: readers may see it."""
        records = self.records
        for key, record in self._group.heads.items():
            if record is None:
                records.pop(key, None)
            else:
                records[key] = record
        self._group = Group()

    def undo(self, counters: Counters, leases: dict[int, float]) -> None:
        """The group was not written: everything is as the file says."""
        self.counters, self.leases = counters, leases
        self._group = Group()

    def _head(self, key: str) -> Record | None:
        heads = self._group.heads
        return heads[key] if key in heads else self.records.get(key)

    # Writes

    def commit(self, transaction: Transaction) -> tuple[Committed, Sequence[Event]]:
        """Check and write; a guard that fails leaves nothing written."""
        for guard in transaction.guards:
            found = self._head(guard.key)
            if isinstance(guard, Exists):
                if found is None:
                    raise GuardFailed(guard.key, -1, 0)
            elif (found.version if found else 0) != guard.version:
                raise GuardFailed(guard.key, guard.version, found.version if found else 0)
        for write in transaction.writes:
            if isinstance(write, Put) and write.lease and write.lease not in self.leases:
                raise LeaseGone(f"lease {write.lease} has expired")
        events = self._write(transaction.writes)
        last = events[-1].record.version if events else self.counters.version
        if len(events) == len(transaction.writes):
            return Committed(last, tuple(event.record.version for event in events)), events
        of_key = {event.record.key: event.record.version for event in events}
        versions = tuple(of_key.get(write.key, last) for write in transaction.writes)
        return Committed(last, versions), events

    def _write(self, writes: Sequence[Put | Delete]) -> list[Event]:
        heads, entries = self._group.heads, self._group.entries
        base = (self.counters.revision + 1 + self.counters.offset) << 8
        events: list[Event] = []
        for write in writes:
            key, version = write.key, base | len(events)
            before = self._head(key)
            previous = before.version if before else 0
            if isinstance(write, Put):
                created = before.created if before else version
                body = trimmed(write.body)
                record = Record(key, body, version, created, write.schema, write.lease)
                heads[key] = record
                events.append(Event("put", record, before))
                kind, schema, lease = "put", write.schema, write.lease
            elif before is not None:
                created = before.created
                heads[key] = None
                gone = Record(key, before.body, version, created, before.schema)
                events.append(Event("delete", gone, before))
                kind, body, schema, lease = "delete", b"", before.schema, 0
            else:
                continue
            entries.append((version, key, kind, body, created, schema, lease, previous))
        if events:
            self.counters.revision += 1
            self._group.changed = True
        return events

    def _say(self, sql: str, values: Row) -> None:
        self._group.statements.append((sql, values))
        self._group.changed = True

    # Leases

    def grant(self, ttl_s: float) -> tuple[int, Sequence[Event]]:
        """A new lease; ids are never used again."""
        self.counters.lease += 1
        id = self.counters.lease
        self.leases[id] = ttl_s
        self._say("INSERT INTO lease VALUES (?, ?)", (id, ttl_s))
        return id, ()

    def revoke(self, lease: int) -> tuple[None, Sequence[Event]]:
        """End a lease and delete its keys."""
        if self.leases.pop(lease, None) is None:
            return None, ()
        self._say("DELETE FROM lease WHERE id = ?", (lease,))
        keys = sorted(
            key
            for key in {**self.records, **self._group.heads}
            if (record := self._head(key)) is not None and record.lease == lease
        )
        events: list[Event] = []
        for start in range(0, len(keys), MAX_OPERATIONS):
            events += self._write([Delete(key) for key in keys[start : start + MAX_OPERATIONS]])
        return None, events

    # Upkeep

    def compact(self, version: int) -> tuple[None, Sequence[Event]]:
        """From now on history up to and including ``version`` is not served."""
        counters = self.counters
        if version > counters.compacted:
            counters.compacted = min(version, counters.version)
            self._group.changed = True
        return None, ()

    def forget(self, version: int) -> tuple[None, Sequence[Event]]:
        """Delete what no longer counts up to a version that was compacted: values that were
        replaced by then, and deletions."""
        span = (self.counters.forgotten, version)
        replaced = (
            "DELETE FROM entry WHERE version IN (SELECT previous FROM entry"
            " WHERE version > ? AND version <= ? AND previous != 0)"
        )
        gone = "DELETE FROM entry WHERE version > ? AND version <= ? AND kind = 'delete'"
        self._say(replaced, span)
        self._say(gone, span)
        self.counters.forgotten = version
        return None, ()

    def advance(self, version: int) -> tuple[None, Sequence[Event]]:
        """Make every later version greater than ``version``, and all before it history that is
        compacted: for a store that was restored, whose lost versions clients still hold."""
        counters = self.counters
        counters.offset = max(counters.offset, (version >> 8) - counters.revision)
        self._group.changed = True
        return self.compact(counters.version)
