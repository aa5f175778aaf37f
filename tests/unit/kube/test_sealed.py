"""What the store keeps of Secrets, and what its readers get."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

from proa.base.chance import Chance
from proa.base.clock import VirtualClock, run_virtual
from proa.cloud.secrets import Sealer
from proa.kube.keys import object_key
from proa.kube.sealed import SealingStore
from proa.store.api import Batch, Put, Store, Transaction
from proa.store.sqlite import memory_store

SECRET = object_key("c1", "", "secrets", "default", "db")
OTHER = object_key("c1", "", "secrets", "default", "other")
MAP = object_key("c1", "", "configmaps", "default", "db")
BODY = b'{"kind":"Secret","data":{"password":"c2VjcmV0"}}'


def sealer(seed: str = "k") -> Sealer:
    return Sealer(Chance(seed).token(32), Chance("nonces"))


def with_stores(check: Callable[[Store, SealingStore], Awaitable[None]]) -> None:
    async def run() -> None:
        below = await memory_store(VirtualClock())
        try:
            await check(below, SealingStore(below, sealer()))
        finally:
            await below.close()

    run_virtual(run())


async def kept(store: Store, key: str) -> bytes:
    record = await store.get(key)
    assert record is not None
    return record.body


def test_secrets_are_kept_sealed_and_read_plain_by_every_way() -> None:
    async def check(below: Store, store: SealingStore) -> None:
        done = await store.commit(Transaction(writes=(Put(SECRET, BODY), Put(MAP, BODY))))
        assert b"c2VjcmV0" not in await kept(below, SECRET)
        assert await kept(below, MAP) == BODY
        assert await kept(store, SECRET) == BODY
        page = await store.range("/kube/c1/")
        assert [record.body for record in page.records] == [BODY, BODY]
        changed = BODY.replace(b"c2Vj", b"d2Vj")
        await store.commit(Transaction(writes=(Put(SECRET, changed),)))
        watch = store.watch("/kube/c1/", after=done.version)
        events = [event async for batch in _until_event(watch) for event in batch.events]
        assert [
            (event.record.body, event.previous and event.previous.body) for event in events
        ] == [(changed, BODY)]

    with_stores(check)


async def _until_event(watch: AsyncIterator[Batch]) -> AsyncIterator[Batch]:
    async for batch in watch:
        yield batch
        if batch.events:
            return


def test_secrets_written_before_are_read_as_they_lie() -> None:
    async def check(below: Store, store: SealingStore) -> None:
        await below.commit(Transaction(writes=(Put(SECRET, BODY),)))
        assert await kept(store, SECRET) == BODY

    with_stores(check)


def test_a_sealed_secret_opens_nowhere_else_and_with_no_other_key() -> None:
    async def check(below: Store, store: SealingStore) -> None:
        await store.commit(Transaction(writes=(Put(SECRET, BODY),)))
        sealed = await kept(below, SECRET)
        await below.commit(Transaction(writes=(Put(OTHER, sealed),)))
        assert await kept(store, OTHER) == sealed
        assert await kept(SealingStore(below, sealer("another")), SECRET) == sealed

    with_stores(check)
