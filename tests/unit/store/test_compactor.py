"""History is kept as long, and as much of it, as the policy says."""

from __future__ import annotations

import asyncio

import pytest

from proa.base.clock import VirtualClock, run_virtual
from proa.store.api import Compacted, Put, SlowReader, Transaction
from proa.store.compactor import Compactor
from proa.store.sqlite import SqliteStore, memory_store


async def oldest(store: SqliteStore, versions: list[int]) -> int:
    """How many of the versions can no longer be watched from."""
    gone = 0
    for version in versions:
        try:
            await anext(store.watch("", after=version))
        except Compacted:
            gone += 1
    return gone


@pytest.mark.parametrize(
    ("bounds", "gone"),
    [
        ({"keep_s": 1e9}, 0),
        ({"keep_s": 35.0}, 16),
        ({"keep_s": 1e9, "keep_events": 5}, 15),
        ({"keep_s": 1e9, "keep_bytes": 305}, 17),
    ],
)
def test_history_beyond_a_bound_is_compacted(bounds: dict[str, float], gone: int) -> None:
    async def story() -> None:
        clock = VirtualClock()
        store = await memory_store(clock)
        compactor = Compactor(store, clock, **bounds)  # type: ignore[arg-type]
        running = asyncio.get_running_loop().create_task(compactor.run())
        await clock.sleep(1)
        versions = []
        for number in range(20):
            write = Put(f"k{number:02}", b"x" * 97)
            versions.append((await store.commit(Transaction(writes=(write,)))).version)
            await clock.sleep(10)
        assert await oldest(store, versions) == gone
        assert len((await store.range("")).records) == 20
        running.cancel()
        await store.close()

    run_virtual(story())


def test_compactions_are_few_beside_the_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        clock = VirtualClock()
        store = await memory_store(clock)
        compacted: list[int] = []
        real = store.compact

        async def counted(version: int) -> None:
            compacted.append(version)
            await real(version)

        monkeypatch.setattr(store, "compact", counted)
        running = asyncio.get_running_loop().create_task(Compactor(store, clock, keep_s=60).run())
        for _ in range(3000):
            await store.commit(Transaction(writes=(Put("k", b"x"),)))
            await clock.sleep(0.05)
        assert 20 <= len(compacted) <= 40
        running.cancel()
        await store.close()

    run_virtual(story())


def test_who_fell_behind_while_much_is_written_catches_up() -> None:
    async def story() -> None:
        clock = VirtualClock()
        store = await memory_store(clock)
        compactor = Compactor(store, clock, keep_events=5000)
        running = asyncio.get_running_loop().create_task(compactor.run())
        writes = tuple(Put(f"k{number:02}", b"x") for number in range(100))
        versions = []
        for second in range(30):
            await clock.sleep(1)
            if second == 3:
                store._hub.end(SlowReader("this watcher fell behind: list again"))
            for _ in range(20):
                versions.append((await store.commit(Transaction(writes=writes))).version)
        await clock.sleep(2)
        assert await oldest(store, versions) >= len(versions) - 5000 // len(writes)
        running.cancel()
        await store.close()

    run_virtual(story())
