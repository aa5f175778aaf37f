"""Dumps of every backend load into every backend; versions only grow; nothing damaged loads."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator

import pytest

from proa.store.api import Compacted, Guard, Put, Store, Transaction
from proa.store.dump import Damaged, Head, Item, NotEmpty, Tail, export, frame, load, read
from proa.store.sqlite import SqliteStore
from tests.conformance.store.backends import NAMES, World, world

RECORDS = {f"/a/{n:04d}": bytes([n % 256]) * (n * 7 % 40_000) for n in range(700)}


@pytest.fixture(params=NAMES)
def backend(request: pytest.FixtureRequest) -> Iterator[World]:
    with world(request.param) as found:
        yield found


def dumped(records: dict[str, bytes], version: int) -> bytes:
    items = [frame(Item(key, body, 3)) for key, body in records.items()]
    return b"".join([frame(Head(version)), *items, frame(Tail(len(items)))])


async def content(store: Store) -> dict[str, bytes]:
    return {record.key: record.body for record in (await store.range("/")).records}


def test_what_was_exported_is_what_is_loaded_and_versions_go_on(backend: World) -> None:
    async def story(store: Store) -> None:
        old = 123_456 << 8
        count = await load(store, read(io.BytesIO(dumped(RECORDS, old))))  # type: ignore[arg-type]
        assert count == len(RECORDS)
        assert await content(store) == RECORDS
        record = await store.get("/a/0001")
        assert record is not None
        assert record.schema == 3
        written = await store.commit(Transaction(writes=(Put("/b", b"new"),)))
        assert written.version > old
        with pytest.raises(Compacted):
            async for _ in store.watch("/", after=old - 512):
                break

        stream = b"".join([chunk async for chunk in export(store)])
        frames = list(read(io.BytesIO(stream)))
        assert {item.key: item.body for item in frames if isinstance(item, Item)} == {
            **RECORDS,
            "/b": b"new",
        }
        assert isinstance(frames[0], Head)
        assert frames[0].version >= written.version

    backend.play(story)


def test_an_export_is_of_one_version_whatever_is_written_meanwhile(backend: World) -> None:
    async def story(store: Store) -> None:
        await load(store, read(io.BytesIO(dumped(RECORDS, 1))))  # type: ignore[arg-type]
        stream = export(store)
        first = await anext(stream)
        found = await store.get("/a/0699")
        assert found is not None
        guard = Guard("/a/0699", found.version)
        await store.commit(Transaction((guard,), (Put("/a/0699", b"later"), Put("/z", b"later"))))
        rest = [chunk async for chunk in stream]
        frames = read(io.BytesIO(b"".join([first, *rest])))
        bodies = {item.key: item.body for item in frames if isinstance(item, Item)}
        assert bodies == RECORDS

    backend.play(story)


def test_keys_that_a_lease_holds_are_left_out(backend: World) -> None:
    async def story(store: Store) -> None:
        lease = await store.grant(60)
        held = Put("/leader", b"me", lease=lease)
        await store.commit(Transaction(writes=(held, Put("/kept", b""))))
        stream = b"".join([chunk async for chunk in export(store)])
        keys = [item.key for item in read(io.BytesIO(stream)) if isinstance(item, Item)]
        assert keys == ["/kept"]

    backend.play(story)


def test_a_store_that_holds_something_is_not_loaded_into(backend: World) -> None:
    async def story(store: Store) -> None:
        await store.commit(Transaction(writes=(Put("/mine", b"1"),)))
        with pytest.raises(NotEmpty):
            await load(store, read(io.BytesIO(dumped({"/a": b""}, 1))))  # type: ignore[arg-type]
        assert await content(store) == {"/mine": b"1"}

    backend.play(story)


WHOLE = dumped({"/a": b"1", "/b": b"22"}, 512)
DAMAGED = {
    "cut in a frame": WHOLE[:-2],
    "cut between frames": WHOLE[: -len(frame(Tail(2)))],
    "empty": b"",
    "foreign": b"PK\x03\x04 something else",
    "a record too few": frame(Head(1)) + frame(Tail(1)),
    "no head": frame(Item("/a", b"", 1)) + frame(Tail(1)),
    "more behind the end": WHOLE + frame(Tail(0)),
    "a format of the future": frame(Head(1, format=2)) + frame(Tail(0)),
    "a frame too large": b"\xff\xff\xff\xff",
}


@pytest.mark.parametrize("stream", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_dump_is_recognised(stream: bytes) -> None:
    with pytest.raises(Damaged):
        list(read(io.BytesIO(stream)))


def test_large_records_are_loaded_in_transactions_within_the_limits() -> None:
    records = {f"/big/{n}": b"x" * 450_000 for n in range(5)}

    async def story() -> None:
        store = await SqliteStore.open(":memory:", inline=True)
        await load(store, read(io.BytesIO(dumped(records, 1))))
        assert await content(store) == records
        await store.close()

    asyncio.run(story())
