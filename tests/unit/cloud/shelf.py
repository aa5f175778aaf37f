"""A store and view in memory for synchronous tests: commits show at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import msgspec

from proa.reconcile.view import Table, View
from proa.store.api import (
    Batch,
    Committed,
    Delete,
    Event,
    Exists,
    Guard,
    GuardFailed,
    Put,
    Record,
    Transaction,
)


class Parts(Protocol):
    @property
    def guards(self) -> tuple[Guard | Exists, ...]: ...

    @property
    def writes(self) -> tuple[Put | Delete, ...]: ...


class Shelf:
    """``commit`` checks guards like the real stores and feeds the view before it returns."""

    def __init__(self, tables: Iterable[Table[Any]]) -> None:
        self.records: dict[str, Record] = {}
        self.view = View(None, tables)  # type: ignore[arg-type]
        self._revision = 0

    def commit(self, transaction: Transaction) -> Committed:
        for guard in transaction.guards:
            found = self.records.get(guard.key)
            version = found.version if found else 0
            if isinstance(guard, Exists) and found is None:
                raise GuardFailed(guard.key, 1, 0)
            if isinstance(guard, Guard) and guard.version != version:
                raise GuardFailed(guard.key, guard.version, version)
        keys = [write.key for write in transaction.writes]
        assert len(set(keys)) == len(keys), "a key may be written once"
        self._revision += 1
        events: list[Event] = []
        versions: list[int] = []
        for index, write in enumerate(transaction.writes):
            version = self._revision << 8 | index
            versions.append(version)
            old = self.records.get(write.key)
            if isinstance(write, Put):
                new = Record(write.key, write.body, version, old.created if old else version)
                self.records[write.key] = new
                events.append(Event("put", new, old))
            elif old is not None:
                del self.records[write.key]
                gone = Record(old.key, old.body, version, old.created)
                events.append(Event("delete", gone, old))
        last = versions[-1] if versions else self._revision << 8
        self.view.take(Batch(tuple(events), last))
        return Committed(last, tuple(versions))

    def apply(self, parts: Parts) -> Committed:
        return self.commit(Transaction(parts.guards, parts.writes))

    def put(self, key: str, record: msgspec.Struct) -> Committed:
        return self.commit(Transaction((), (Put(key, msgspec.json.encode(record)),)))
