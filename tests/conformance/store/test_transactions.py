"""Reads and guarded transactions, on every backend."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from proa.base.aio import gather
from proa.store.api import (
    MAX_BYTES,
    MAX_OPERATIONS,
    Committed,
    Delete,
    Exists,
    Guard,
    GuardFailed,
    Put,
    Store,
    TooLarge,
    Transaction,
)
from tests.conformance.store.backends import NAMES, World, world


@pytest.fixture(params=NAMES)
def backend(request: pytest.FixtureRequest) -> Iterator[World]:
    with world(request.param) as found:
        yield found


async def put(store: Store, **bodies: str) -> Committed:
    writes = tuple(Put(key, body.encode()) for key, body in bodies.items())
    return await store.commit(Transaction(writes=writes))


def test_a_record_comes_back_as_it_was_put(backend: World) -> None:
    async def story(store: Store) -> None:
        assert await store.get("a") is None
        first = await store.commit(Transaction(writes=(Put("a", b"\0\xff", schema=513),)))
        second = await store.commit(Transaction(writes=(Put("a", b"", schema=2),)))
        record = await store.get("a")
        assert record is not None
        assert (record.key, record.body, record.schema, record.lease) == ("a", b"", 2, 0)
        assert record.version == second.version > first.version
        assert record.created >> 8 == first.version >> 8

    backend.play(story)


def test_every_write_has_a_version_of_its_own_in_order(backend: World) -> None:
    async def story(store: Store) -> None:
        await put(store, gone="")
        seen = []
        for _ in range(3):
            writes = (
                Put("a", b""),
                Delete("gone"),
                Delete("never"),
                Put("b", b""),
                Put("gone", b""),
            )
            committed = await store.commit(Transaction(writes=writes[:-1]))
            again = await put(store, gone="")
            real = [committed.versions[i] for i in (0, 1, 3)]
            assert committed.version == real[-1]
            assert len({version >> 8 for version in real}) == 1
            seen += [*real, again.version]
            for key, version in (("a", real[0]), ("b", real[2]), ("gone", again.version)):
                record = await store.get(key)
                assert record is not None and record.version == version
        assert seen == sorted(set(seen))
        assert await store.version() >= seen[-1]

    backend.play(story)


def test_guards_hold_only_at_their_version(backend: World) -> None:
    async def story(store: Store) -> None:
        made = await put(store, a="1", b="1")
        guards = (Guard("a", made.versions[0]), Guard("b", made.versions[1]), Guard("c", 0))
        done = await store.commit(Transaction((*guards, Exists("a")), (Put("c", b"1"),)))
        cases = [
            (Guard("c", 0), "c", 0, done.version),
            (Guard("a", made.versions[1]), "a", made.versions[1], made.versions[0]),
            (Guard("a", done.version), "a", done.version, made.versions[0]),
            (Guard("never", made.version), "never", made.version, 0),
            (Exists("never"), "never", -1, 0),
        ]
        for guard, key, wanted, found in cases:
            with pytest.raises(GuardFailed) as caught:
                await store.commit(
                    Transaction((Exists("a"), guard), (Put("a", b"no"), Delete("b")))
                )
            assert (caught.value.key, caught.value.wanted, caught.value.found) == (
                key,
                wanted,
                found,
            )
        assert [record.body for record in (await store.range("")).records] == [b"1"] * 3

    backend.play(story)


def test_the_first_guard_that_fails_is_named(backend: World) -> None:
    async def story(store: Store) -> None:
        made = await put(store, a="", b="")
        stale = (Guard("a", made.versions[0]), Guard("b", 0), Guard("c", made.version))
        with pytest.raises(GuardFailed) as caught:
            await store.commit(Transaction(guards=stale))
        assert (caught.value.key, caught.value.found) == ("b", made.versions[1])

    backend.play(story)


def test_of_writers_that_race_for_a_key_one_wins(backend: World) -> None:
    async def story(store: Store) -> None:
        async def attempt(number: int) -> bool:
            try:
                write = Put("seat", str(number).encode())
                await store.commit(Transaction((Guard("seat", 0),), (write,)))
            except GuardFailed:
                return False
            return True

        won = await gather([attempt(number) for number in range(30)])
        record = await store.get("seat")
        assert won.count(True) == 1
        assert record is not None and record.body == str(won.index(True)).encode()

    backend.play(story)


def test_counters_raised_under_guards_lose_no_step(backend: World) -> None:
    async def story(store: Store) -> None:
        await put(store, count="0")

        async def raise_it() -> None:
            for _ in range(10):
                while True:
                    record = await store.get("count")
                    assert record is not None
                    write = Put("count", str(int(record.body) + 1).encode())
                    try:
                        await store.commit(Transaction((Guard("count", record.version),), (write,)))
                    except GuardFailed:
                        continue
                    break

        await gather([raise_it() for _ in range(4)])
        record = await store.get("count")
        assert record is not None and record.body == b"40"

    backend.play(story)


def test_transactions_beyond_the_limits_are_refused(backend: World) -> None:
    async def story(store: Store) -> None:
        full = tuple(Put(f"k{number:03}", b"x") for number in range(MAX_OPERATIONS))
        await store.commit(Transaction(writes=full))
        await store.commit(Transaction(writes=(Put("big", b"x" * (MAX_BYTES - 3)),)))
        with pytest.raises(TooLarge):
            await store.commit(Transaction((Exists("big"),), full))
        with pytest.raises(TooLarge):
            await store.commit(Transaction(writes=(Put("big", b"x" * (MAX_BYTES - 2)),)))
        assert len((await store.range("")).records) == MAX_OPERATIONS + 1

    backend.play(story)


def test_a_transaction_without_effect_reaches_no_new_version(backend: World) -> None:
    async def story(store: Store) -> None:
        made = await put(store, a="")
        before = await store.version()
        committed = await store.commit(Transaction((Exists("a"),), (Delete("never"),)))
        assert made.version <= committed.version <= await store.version() == before

    backend.play(story)


def test_what_was_acknowledged_is_there_after_reopening(backend: World) -> None:
    if not backend.reopens:
        pytest.skip("memory is gone when it is closed")
    made: list[Committed] = []

    async def before(store: Store) -> None:
        made.append(await put(store, a="1", b="2"))
        made.append(await store.commit(Transaction(writes=(Delete("b"), Put("c", b"3")))))

    async def behind(store: Store) -> None:
        records = (await store.range("")).records
        assert [(record.key, record.body, record.version) for record in records] == [
            ("a", b"1", made[0].versions[0]),
            ("c", b"3", made[1].versions[1]),
        ]
        assert await store.version() >= made[1].version
        assert (await put(store, d="")).version > made[1].version

    backend.play(before)
    backend.play(behind)


def test_after_a_restore_every_version_is_beyond_the_lost_ones(backend: World) -> None:
    async def story(store: Store) -> None:
        await put(store, a="1")
        lost = await store.version() + 5000 * 256
        await store.advance(lost)  # type: ignore[attr-defined]
        made = await put(store, b="2")
        assert made.version > lost
        record = await store.get("a")
        assert record is not None
        done = await store.commit(Transaction((Guard("a", record.version),), (Put("a", b"3"),)))
        assert (await store.range("")).version >= done.version > made.version

    backend.play(story)
