"""What only etcd's backend can be asked: it goes away and comes back, several stores share it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proa.base.aio import gather
from proa.base.clock import SystemClock
from proa.store import etcd
from proa.store.api import (
    Batch,
    Compacted,
    Delete,
    Event,
    Guard,
    GuardFailed,
    Put,
    Store,
    Transaction,
)
from proa.store.etcd import EtcdStore
from tests.conformance.store.backends import Etcd


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Etcd]:
    found = Etcd(tmp_path)
    found.start()
    try:
        yield found
    finally:
        found.kill()


@contextlib.asynccontextmanager
async def opened(server: Etcd, count: int = 1):  # type: ignore[no-untyped-def]
    stores = [await EtcdStore.open(server.url, SystemClock()) for _ in range(count)]
    try:
        yield stores
    finally:
        for store in stores:
            await store.close()


async def put(store: Store, *keys: str, body: bytes = b"") -> int:
    writes = tuple(Put(key, body) for key in keys)
    return (await store.commit(Transaction(writes=writes))).version


async def until(batches: object, version: int) -> list[Event]:
    """What a watch that is under way brings up to a version."""
    events: list[Event] = []
    batch = Batch((), 0)
    while batch.version < version:
        batch = await asyncio.wait_for(anext(batches), 30)  # type: ignore[call-overload]
        events += batch.events
    return events


def test_a_watch_goes_on_where_it_was_when_etcd_comes_back(server: Etcd) -> None:
    async def story() -> None:
        async with opened(server) as (store,):
            await put(store, "/x/0")
            batches = store.watch("/x/", after=0)
            seen = await until(batches, await store.version())
            for turn in range(1, 4):
                server.kill()
                waiting = asyncio.ensure_future(anext(batches))
                await asyncio.sleep(0.3)
                assert not waiting.done(), "nothing comes while etcd is away"
                server.start()
                last = await put(store, f"/x/{turn}", f"/x/{turn}b")
                await store.commit(Transaction(writes=(Delete(f"/x/{turn}b"),)))
                last = await put(store, f"/x/{turn}c")
                batch = await asyncio.wait_for(waiting, 30)
                seen += batch.events
                if batch.version < last:
                    seen += await until(batches, last)
            keys = [(e.kind, e.record.key) for e in seen]
            wanted = [("put", "/x/0")]
            for turn in range(1, 4):
                wanted += [("put", f"/x/{turn}"), ("put", f"/x/{turn}b")]
                wanted += [("delete", f"/x/{turn}b"), ("put", f"/x/{turn}c")]
            assert keys == wanted
            await batches.aclose()

    asyncio.run(story())


def test_calls_ask_to_be_tried_again_while_etcd_is_away(
    server: Etcd, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        async with opened(server) as (store,):
            made = await put(store, "a", body=b"1")
            server.kill()
            monkeypatch.setattr(etcd, "CALL_S", 0.3)
            for call in (store.get("a"), store.range(""), put(store, "b"), store.grant(5)):
                with pytest.raises(etcd.TryAgain):
                    await call
            server.start()
            monkeypatch.setattr(etcd, "CALL_S", 10.0)
            record = await store.get("a")
            assert record is not None and (record.body, record.version) == (b"1", made)

    asyncio.run(story())


def test_stores_that_share_an_etcd_see_each_others_writes_alike(server: Etcd) -> None:
    async def story() -> None:
        async with opened(server, 3) as stores:
            start = await stores[0].version()
            watches = [store.watch("", after=start) for store in stores]

            async def write(store: Store, name: int) -> None:
                for number in range(15):
                    await put(store, f"/{name}/{number}", "/shared", f"/z/{name}")
                    await store.commit(Transaction(writes=(Delete(f"/{name}/{number}"),)))

            await gather([write(store, name) for name, store in enumerate(stores)])
            last = await stores[0].version()
            seen = await gather([until(watch, last) for watch in watches])
            assert seen[0] == seen[1] == seen[2] and len(seen[0]) == 3 * 15 * 4
            versions = [event.record.version for event in seen[0]]
            assert versions == sorted(set(versions))
            pages = [await store.range("") for store in stores]
            assert pages[0] == pages[1] == pages[2]
            for watch in watches:
                await watch.aclose()

    asyncio.run(story())


def test_a_guard_of_one_store_holds_against_another(server: Etcd) -> None:
    async def story() -> None:
        async with opened(server, 2) as (one, other):
            await put(one, "pad", "a", body=b"1")
            seen = await one.get("a")
            assert seen is not None and seen.version & 255 == 1
            guarded = Transaction((Guard("a", seen.version),), (Put("a", b"2"),))
            await other.commit(guarded)
            with pytest.raises(GuardFailed) as caught:
                await one.commit(guarded)
            record = await one.get("a")
            assert record is not None and caught.value.found == record.version

    asyncio.run(story())


def test_a_watch_that_etcd_has_compacted_beyond_says_so(server: Etcd) -> None:
    async def story() -> None:
        async with opened(server) as (store,):
            versions = [await put(store, "/x/a", body=b"%d" % n) for n in range(10)]
        async with opened(server, 2) as (store, other):
            await other.compact(versions[7])
            with pytest.raises(Compacted) as caught:
                await anext(store.watch("/x/", after=versions[2]))
            assert caught.value.oldest > versions[2]
            batches = store.watch("/x/", after=caught.value.oldest)
            bodies = [e.record.body for e in await until(batches, await store.version())]
            assert bodies in ([b"7", b"8", b"9"], [b"8", b"9"]), "etcd forgets whole revisions"
            await batches.aclose()

    asyncio.run(story())


def test_what_etcd_leaves_out_of_a_change_is_asked_for(
    server: Etcd, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_previous = EtcdStore._with_previous

    async def from_forgetful_etcd(self: EtcdStore, change: Any) -> None:
        change.ClearField("prev_kv")
        await with_previous(self, change)

    monkeypatch.setattr(EtcdStore, "_with_previous", from_forgetful_etcd)

    async def story() -> None:
        async with opened(server) as (store,):
            live = store.watch("/x/", after=0)
            await put(store, "/x/a", body=b"1")
            await put(store, "/x/a", body=b"2")
            last = (await store.commit(Transaction(writes=(Delete("/x/a"),)))).version
            past = store.watch("/x/", after=0)
            for batches in (live, past):
                events = await until(batches, last)
                assert [(e.kind, e.previous and e.previous.body) for e in events] == [
                    ("put", None),
                    ("put", b"1"),
                    ("delete", b"2"),
                ]
                await batches.aclose()

    asyncio.run(story())
