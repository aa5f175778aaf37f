"""Ranges as of a version, watches that resume, compaction, slow readers, on every backend."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

import pytest

from proa.base.aio import gather
from proa.base.chance import Chance
from proa.store import hub
from proa.store.api import (
    Batch,
    Compacted,
    Delete,
    Event,
    Put,
    Record,
    SlowReader,
    Store,
    Transaction,
)
from tests.conformance.store.backends import NAMES, World, world


@pytest.fixture(params=NAMES)
def backend(request: pytest.FixtureRequest) -> Iterator[World]:
    with world(request.param) as found:
        yield found


async def put(store: Store, key: str, body: bytes = b"") -> int:
    return (await store.commit(Transaction(writes=(Put(key, body),)))).version


async def scribble(store: Store, seed: int, rounds: int) -> None:
    """Transactions of puts and deletes, present keys and absent ones, in two prefixes."""
    dice = Chance(f"scribble {seed}")
    names = [f"/{side}/{key}" for side in "xy" for key in range(6)]
    for number in range(rounds):
        dice.shuffle(names)
        writes = [
            Delete(name) if dice.random() < 0.4 else Put(name, f"{seed}-{number}".encode(), number)
            for name in names[:4]
        ]
        await store.commit(Transaction(writes=tuple(writes)))


# A store may still have at hand what it is asked for although it was compacted: etcd's follower
# is on its way to it. The tests of compaction let it catch up first, by ``seen_until``.
async def seen_until(store: Store, prefix: str, after: int, until: int) -> list[Event]:
    """What a watch brings up to a version; its batches must be in order."""
    events: list[Event] = []
    reached = after
    async with contextlib.aclosing(store.watch(prefix, after=after)) as batches:  # type: ignore[type-var]
        async for batch in batches:
            assert batch.version >= reached
            assert all(after < event.record.version <= batch.version for event in batch.events)
            reached = batch.version
            events += batch.events
            if reached >= until:
                return events
    raise AssertionError("a watch ended by itself")


def replay(events: list[Event]) -> dict[str, Record]:
    """The state that a history leads to; each event must fit what it finds."""
    state: dict[str, Record] = {}
    for event in events:
        assert event.previous == state.get(event.record.key)
        if event.kind == "put":
            state[event.record.key] = event.record
        else:
            gone = state.pop(event.record.key)
            assert (gone.body, gone.schema) == (event.record.body, event.record.schema)
    return state


def test_a_watch_sees_every_change_once_in_order_while_writers_write(backend: World) -> None:
    async def story(store: Store) -> None:
        writers = [asyncio.ensure_future(scribble(store, seed, 15)) for seed in range(3)]
        watching = asyncio.ensure_future(seen_until(store, "", 0, 1 << 60))
        await gather(writers)
        last = await store.version()
        history = await seen_until(store, "", 0, last)
        versions = [event.record.version for event in history]
        assert versions == sorted(set(versions)) and len(versions) > 80
        assert list(replay(history).values()) != []
        records = (await store.range("")).records
        assert {record.key: record for record in records} == replay(history)
        assert not watching.done()
        watching.cancel()

    backend.play(story)


def test_a_watch_resumes_at_every_version_without_gap_or_duplicate(backend: World) -> None:
    async def story(store: Store) -> None:
        await scribble(store, 1, 12)
        more = asyncio.ensure_future(scribble(store, 2, 25))
        last = await put(store, "/x/middle")
        history = await seen_until(store, "", 0, last)
        inside = [e.record.version for e in history if e.record.version & 255]
        assert len(inside) > 10
        resumed = await gather(
            [seen_until(store, "/x/", event.record.version, last) for event in history]
        )
        await more
        end = await store.version()
        whole = await seen_until(store, "/x/", 0, end)
        for event, found in zip(history, resumed, strict=True):
            wanted = [e for e in whole if e.record.version > event.record.version]
            assert wanted[: len(found)] == found
            assert [e for e in found if e.record.version <= last] == [
                e for e in wanted if e.record.version <= last
            ]

    backend.play(story)


def test_an_idle_watch_learns_how_far_others_have_written(backend: World) -> None:
    async def story(store: Store) -> None:
        batches = store.watch("/x/", after=await store.version())
        first = await anext(batches)
        assert first.events == ()
        await put(store, "/y/1")
        target = await store.version()
        batch: Batch = first
        while batch.version < target:
            batch = await anext(batches)
            assert batch.events == ()
        await batches.aclose()  # type: ignore[attr-defined]

    backend.play(story)


def test_pages_are_all_as_of_the_first_ones_version(backend: World) -> None:
    async def story(store: Store) -> None:
        for number in range(10):
            await put(store, f"/x/{number}", b"old")
        await put(store, "/y/1")
        first = await store.range("/x/", limit=3)
        assert first.more and [record.key for record in first.records] == ["/x/0", "/x/1", "/x/2"]
        await put(store, "/x/55", b"new")
        gone_and_new = (Put("/x/4", b"new"), Delete("/x/5"), Delete("/x/6"))
        await store.commit(Transaction(writes=gone_and_new))
        await put(store, "/x/6", b"new")
        records, page = list(first.records), first
        while page.more:
            after = page.records[-1].key
            page = await store.range("/x/", after=after, limit=3, at=first.version)
            assert page.version == first.version
            records += page.records
        assert [(r.key, r.body) for r in records] == [(f"/x/{n}", b"old") for n in range(10)]
        assert [r.key for r in (await store.range("/x/", after="/x/6")).records] == [
            "/x/7",
            "/x/8",
            "/x/9",
        ]

    backend.play(story)


def test_every_old_version_shows_the_state_its_transaction_left(backend: World) -> None:
    async def story(store: Store) -> None:
        await scribble(store, 3, 20)
        history = await seen_until(store, "", 0, await store.version())
        for event in history:
            at = event.record.version
            page = await store.range("/x/", at=at)
            past = [e for e in history if e.record.version <= at | 255]
            wanted = {k: r for k, r in replay(past).items() if k.startswith("/x/")}
            assert {record.key: record for record in page.records} == wanted
            assert at <= page.version <= at | 255

    backend.play(story)


def test_what_a_range_shows_is_not_watched_again(backend: World) -> None:
    async def story(store: Store) -> None:
        writer = asyncio.ensure_future(scribble(store, 4, 40))
        for _ in range(10):
            page = await store.range("")
            newest = await store.version()
            later = await seen_until(store, "", page.version, newest)
            state = {record.key: record for record in page.records}
            for event in later:
                assert event.previous == state.pop(event.record.key, None)
                if event.kind == "put":
                    state[event.record.key] = event.record
        await writer

    backend.play(story)


def test_compacted_history_is_refused_and_current_values_stay(backend: World) -> None:
    async def story(store: Store) -> None:
        versions = [await put(store, "/x/a", str(n).encode()) for n in range(8)]
        await put(store, "/x/b")
        await store.commit(Transaction(writes=(Delete("/x/b"),)))
        await seen_until(store, "", versions[7], await store.version())
        await store.compact(versions[5])
        with pytest.raises(Compacted) as caught:
            await anext(store.watch("/x/", after=versions[3]))
        assert caught.value.oldest > versions[3]
        with pytest.raises(Compacted):
            await store.range("/x/", at=versions[3])
        page = await store.range("/x/", at=versions[6])
        assert [record.body for record in page.records] == [b"6"]
        kept = await seen_until(store, "/x/", versions[5], await store.version())
        assert [event.kind for event in kept] == ["put", "put", "put", "delete"]
        assert kept[0].previous is not None and kept[0].previous.body == b"5"
        await store.compact(await store.version())
        assert [record.body for record in (await store.range("")).records] == [b"7"]
        assert await seen_until(store, "", await store.version(), await store.version()) == []

    backend.play(story)


def test_a_deletion_is_not_lost_where_compaction_ends(backend: World) -> None:
    async def story(store: Store) -> None:
        made = await put(store, "/x/a")
        committed = await store.commit(Transaction(writes=(Put("/x/b", b""), Delete("/x/a"))))
        await put(store, "/x/c")
        await seen_until(store, "", committed.version, await store.version())
        await store.compact(committed.versions[0])
        try:
            events = await seen_until(store, "", committed.versions[0], await store.version())
        except Compacted:
            pass
        else:
            assert [(e.kind, e.record.key) for e in events] == [
                ("delete", "/x/a"),
                ("put", "/x/c"),
            ]
        await store.compact(committed.version | 255)
        with pytest.raises(Compacted):
            await anext(store.watch("", after=made))
        with pytest.raises(Compacted):
            await anext(store.watch("", after=committed.versions[0]))

    backend.play(story)


def test_a_slow_reader_is_dropped_and_the_others_go_on(
    backend: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "BUFFER_EVENTS", 50)

    async def story(store: Store) -> None:
        start = await store.version()
        slow = store.watch("", after=start)
        other = store.watch("/y/", after=start)
        await anext(slow)
        await anext(other)
        for number in range(60):
            await put(store, f"/x/{number}")
        last = await put(store, "/y/1")
        reached = 0
        while reached < last:
            batch = await anext(other)
            reached = batch.version
        assert [event.record.key for event in batch.events] == ["/y/1"]
        with pytest.raises(SlowReader):
            await anext(slow)
        await other.aclose()  # type: ignore[attr-defined]

    backend.play(story)


def test_a_watch_resumes_after_the_store_was_reopened(backend: World) -> None:
    if not backend.reopens:
        pytest.skip("memory is gone when it is closed")
    histories: list[list[Event]] = []

    async def before(store: Store) -> None:
        await scribble(store, 5, 10)
        histories.append(await seen_until(store, "", 0, await store.version()))

    async def behind(store: Store) -> None:
        last = await put(store, "/x/later")
        for event in histories[0][:: len(histories[0]) // 5]:
            found = await seen_until(store, "", event.record.version, last)
            wanted = [e for e in histories[0] if e.record.version > event.record.version]
            assert found[:-1] == wanted and found[-1].record.key == "/x/later"

    backend.play(before)
    backend.play(behind)
