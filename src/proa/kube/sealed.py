"""Secrets at rest: the store keeps Kubernetes' Secrets sealed, everybody above reads them plain.

``SealingStore`` wraps the store that the control plane opens. What is written below a cluster's
secrets is sealed whole (a Secret's annotations may repeat its data) for its own key, and opened in
every read; all other keys pass untouched. Secrets written before this are read as they lie, and
sealed when they are next written. Opened bytes live in memory only.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from dataclasses import replace

from msgspec import structs

from proa.base.telemetry import get_logger
from proa.cloud.secrets import CannotOpen, Sealer
from proa.kube.keys import is_resource
from proa.store.api import Batch, Committed, Delete, Event, Page, Put, Record, Store, Transaction

log = get_logger(__name__)
MARK = b"\0sealed1"  # no JSON begins like this


_BELOW = "/core/secrets/"  # is in the key of every Secret


def _is_secret(key: str) -> bool:
    return _BELOW in key and is_resource(key, "", "secrets")


class SealingStore:
    """A store whose Secrets are sealed; see ``store.api.Store``."""

    def __init__(self, store: Store, sealer: Sealer) -> None:
        self._store, self._sealer = store, sealer

    def _sealed(self, write: Put | Delete) -> Put | Delete:
        if isinstance(write, Delete) or not _is_secret(write.key):
            return write
        return structs.replace(write, body=MARK + self._sealer.seal(write.body, write.key))

    def _opened(self, record: Record) -> Record:
        if not record.body.startswith(MARK):
            return record
        try:
            return structs.replace(
                record, body=self._sealer.open(record.body[len(MARK) :], record.key)
            )
        except CannotOpen:
            log.error("a Secret was sealed with another key", key=record.key)
            return record

    def _event(self, event: Event) -> Event:
        if not _is_secret(event.record.key):
            return event
        previous = self._opened(event.previous) if event.previous else None
        return Event(event.kind, self._opened(event.record), previous)

    async def get(self, key: str) -> Record | None:
        record = await self._store.get(key)
        return self._opened(record) if record else None

    async def range(self, prefix: str, *, after: str = "", limit: int = 0, at: int = 0) -> Page:
        page = await self._store.range(prefix, after=after, limit=limit, at=at)
        return replace(page, records=tuple(map(self._opened, page.records)))

    async def watch(self, prefix: str, *, after: int) -> AsyncIterator[Batch]:
        async for batch in self._store.watch(prefix, after=after):
            for event in batch.events:
                if _BELOW in event.record.key:
                    yield replace(batch, events=tuple(map(self._event, batch.events)))
                    break
            else:
                yield batch

    def version(self) -> Awaitable[int]:
        return self._store.version()

    def commit(self, transaction: Transaction) -> Awaitable[Committed]:
        for write in transaction.writes:
            if _BELOW in write.key:
                writes = tuple(map(self._sealed, transaction.writes))
                transaction = Transaction(transaction.guards, writes)
                break
        return self._store.commit(transaction)

    async def grant(self, ttl_s: float) -> int:
        return await self._store.grant(ttl_s)

    async def keep_alive(self, lease: int) -> None:
        await self._store.keep_alive(lease)

    async def revoke(self, lease: int) -> None:
        await self._store.revoke(lease)

    async def compact(self, version: int) -> None:
        await self._store.compact(version)

    async def close(self) -> None:
        await self._store.close()
