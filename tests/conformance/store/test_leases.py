"""Leases, and the store against a dict, on every backend."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proa.base.clock import VirtualClock, run_virtual
from proa.store.api import (
    Delete,
    Exists,
    Guard,
    GuardFailed,
    LeaseGone,
    Put,
    Store,
    Transaction,
)
from proa.store.sqlite import memory_store
from tests.conformance.store.backends import NAMES, World, world


@pytest.fixture(params=NAMES)
def backend(request: pytest.FixtureRequest) -> Iterator[World]:
    with world(request.param) as found:
        yield found


async def bind(store: Store, lease: int, *keys: str) -> None:
    writes = tuple(Put(key, b"here", lease=lease) for key in keys)
    await store.commit(Transaction(writes=writes))


def test_keys_go_with_a_lease_that_nobody_keeps_alive(backend: World) -> None:
    async def story(store: Store) -> None:
        kept, left = await store.grant(3), await store.grant(1)
        await bind(store, kept, "kept")
        await bind(store, left, "left", "moved", "too")
        await store.commit(Transaction(writes=(Put("moved", b""), Put("free", b""))))
        record = await store.get("left")
        assert record is not None and record.lease == left != kept
        start = await store.version()
        batches = store.watch("", after=start)
        gone: list[str] = []

        async def expired() -> bool:
            await store.keep_alive(kept)
            return await store.get("left") is None

        await backend.settle(expired)
        while len(gone) < 2:
            for event in (await anext(batches)).events:
                assert event.kind == "delete" and event.record.version > start
                gone.append(event.record.key)
        assert sorted(gone) == ["left", "too"]
        with pytest.raises(LeaseGone):
            await store.keep_alive(left)
        with pytest.raises(LeaseGone):
            await bind(store, left, "late")
        keys = [record.key for record in (await store.range("")).records]
        assert keys == ["free", "kept", "moved"]
        await batches.aclose()  # type: ignore[attr-defined]

    backend.play(story)


def test_a_revoked_lease_takes_its_keys_at_once(backend: World) -> None:
    async def story(store: Store) -> None:
        lease = await store.grant(60)
        await bind(store, lease, *(f"k{number}" for number in range(90)))
        await bind(store, lease, *(f"l{number}" for number in range(90)))
        await store.revoke(lease)
        assert (await store.range("")).records == ()
        with pytest.raises(LeaseGone):
            await bind(store, lease, "a")
        await store.revoke(lease)

    backend.play(story)


def test_leases_that_never_were_cannot_be_used(backend: World) -> None:
    async def story(store: Store) -> None:
        with pytest.raises(LeaseGone):
            await store.keep_alive(12345)
        with pytest.raises(LeaseGone):
            await bind(store, 12345, "a")
        assert await store.get("a") is None

    backend.play(story)


def test_leases_outlive_a_reopened_store_and_then_expire(backend: World) -> None:
    if not backend.reopens:
        pytest.skip("memory is gone when it is closed")
    leases: list[int] = []

    async def before(store: Store) -> None:
        leases.append(await store.grant(2))
        await bind(store, leases[0], "a")

    async def behind(store: Store) -> None:
        await store.keep_alive(leases[0])
        assert await store.get("a") is not None
        assert await store.grant(60) != leases[0]

        async def expired() -> bool:
            return await store.get("a") is None

        await backend.settle(expired)

    backend.play(before)
    backend.play(behind)


_KEYS = st.text("ab/é\U0001f600￿", max_size=3)
_WRITES = st.dictionaries(_KEYS, st.none() | st.binary(max_size=3), min_size=1, max_size=5)
_STEPS = st.lists(st.tuples(_WRITES, st.booleans(), _KEYS), max_size=12)


async def _agrees(store: Store, steps: list[tuple[dict[str, bytes | None], bool, str]]) -> None:
    known: dict[str, bytes] = {}
    versions: dict[str, int] = {}
    for changes, guarded, other in steps:
        writes = tuple(
            Delete(key) if body is None else Put(key, body) for key, body in changes.items()
        )
        guards = [Guard(key, versions.get(key, 0)) for key in changes] if guarded else []
        transaction = Transaction((*guards, Exists(other)), writes)
        if other not in known:
            with pytest.raises(GuardFailed):
                await store.commit(transaction)
            transaction = Transaction(tuple(guards), writes)
        committed = await store.commit(transaction)
        for (key, body), version in zip(changes.items(), committed.versions, strict=True):
            known.pop(key, None), versions.pop(key, None)
            if body is not None:
                known[key], versions[key] = body, version
        prefix = other[:1]
        for limit in (0, 2):
            page = await store.range(prefix, after=other, limit=limit)
            wanted = sorted(k for k in known if k.startswith(prefix) and k > other)
            assert [record.key for record in page.records] == wanted[: limit or None]
            assert page.more == bool(limit and len(wanted) > limit)
    found = {r.key: (r.body, r.version) for r in (await store.range("")).records if r.key}
    assert found == {key: (known[key], versions[key]) for key in known if key}


@given(_STEPS)
@settings(max_examples=150, deadline=None)
def test_the_store_agrees_with_a_dict(
    steps: list[tuple[dict[str, bytes | None], bool, str]],
) -> None:
    async def story() -> None:
        store = await memory_store(VirtualClock())
        await _agrees(store, steps)
        await store.close()

    run_virtual(story())


@given(_STEPS)
@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_backends_agree_with_a_dict(
    backend: World, steps: list[tuple[dict[str, bytes | None], bool, str]]
) -> None:
    async def story(store: Store) -> None:
        old = [Delete(record.key) for record in (await store.range("")).records]
        if old:
            await store.commit(Transaction(writes=tuple(old)))
        await store.commit(Transaction(writes=(Delete(""),)))
        await _agrees(store, steps)

    backend.play(story)
