"""Upgrade on read: bodies of old schema numbers leave the store in the newest form.

Whoever changes the form of the bodies below a key prefix raises the schema number it puts and
registers one upgrader from each number to the next. ``UpgradingStore`` wraps a backend, so that
get, range and watch see only newest bodies; nothing is rewritten until somebody writes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

from msgspec import structs

from proa.store.api import Batch, Committed, Event, Page, Record, Store, Transaction

Upgrade = Callable[[bytes], bytes]  # a body of schema n → the same of schema n + 1


class Upgraders:
    """Upgraders by key prefix and schema number."""

    def __init__(self) -> None:
        self._steps: dict[str, dict[int, Upgrade]] = {}

    def register(self, prefix: str, schema: int, upgrade: Upgrade) -> None:
        """``upgrade`` leads bodies below ``prefix`` from ``schema`` to the next. Prefixes do not
        contain each other, and a number has one upgrader."""
        for other in self._steps:
            nested = other.startswith(prefix) or prefix.startswith(other)
            assert other == prefix or not nested, f"{prefix} and {other} overlap"
        steps = self._steps.setdefault(prefix, {})
        assert schema not in steps, f"{prefix} has two upgraders from schema {schema}"
        steps[schema] = upgrade

    @property
    def idle(self) -> bool:
        """Whether there is nothing to upgrade."""
        return not self._steps

    def record(self, record: Record) -> Record:
        """The record in its newest form; its version stays."""
        for prefix, steps in self._steps.items():
            if record.key.startswith(prefix):
                body, schema = record.body, record.schema
                while schema in steps:
                    body, schema = steps[schema](body), schema + 1
                return structs.replace(record, body=body, schema=schema)
        return record

    def event(self, event: Event) -> Event:
        """Both values of an event in their newest form."""
        previous = self.record(event.previous) if event.previous else None
        return Event(event.kind, self.record(event.record), previous)


class UpgradingStore:
    """A store whose reads are upgraded; see ``store.api.Store``."""

    def __init__(self, store: Store, upgraders: Upgraders) -> None:
        self._store, self._upgraders = store, upgraders

    async def get(self, key: str) -> Record | None:
        record = await self._store.get(key)
        return self._upgraders.record(record) if record else None

    async def range(self, prefix: str, *, after: str = "", limit: int = 0, at: int = 0) -> Page:
        page = await self._store.range(prefix, after=after, limit=limit, at=at)
        return replace(page, records=tuple(map(self._upgraders.record, page.records)))

    async def watch(self, prefix: str, *, after: int) -> AsyncIterator[Batch]:
        async for batch in self._store.watch(prefix, after=after):
            if self._upgraders.idle:
                yield batch
            else:
                yield replace(batch, events=tuple(map(self._upgraders.event, batch.events)))

    def version(self) -> Awaitable[int]:
        return self._store.version()

    def commit(self, transaction: Transaction) -> Awaitable[Committed]:
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
