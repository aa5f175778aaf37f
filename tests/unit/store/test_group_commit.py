"""Writers that wait together share one durable COMMIT."""

from __future__ import annotations

import asyncio
from pathlib import Path

import apsw
import pytest

from proa.base.aio import gather
from proa.store.api import Guard, GuardFailed, Put, Transaction
from proa.store.sqlite import SqliteStore


@pytest.fixture
def commits() -> list[int]:
    """One entry for each COMMIT of any SQLite connection made meanwhile."""
    counted: list[int] = []

    def count(connection: apsw.Connection) -> None:
        connection.set_commit_hook(lambda: bool(counted.append(1)))

    apsw.connection_hooks.append(count)
    yield counted
    apsw.connection_hooks.remove(count)


def test_concurrent_writers_share_commits(tmp_path: Path, commits: list[int]) -> None:
    async def story() -> None:
        store = await SqliteStore.open(tmp_path / "store.db")
        before = len(commits)

        async def write(name: str) -> None:
            for number in range(10):
                body = str(number).encode()
                await store.commit(Transaction(writes=(Put(f"{name}-{number}", body),)))

        await gather([write(str(number)) for number in range(20)])
        assert len((await store.range("")).records) == 200
        assert 10 <= len(commits) - before <= 40
        await store.close()

    asyncio.run(story())


def test_a_failed_guard_spoils_nothing_for_those_who_share_its_commit(
    tmp_path: Path, commits: list[int]
) -> None:
    async def story() -> None:
        store = await SqliteStore.open(tmp_path / "store.db")
        before = len(commits)

        async def claim(number: int) -> bool:
            writes = (Put(f"seat-{number // 4}", b""), Put(f"by-{number}", b""))
            try:
                await store.commit(Transaction((Guard(f"seat-{number // 4}", 0),), writes))
            except GuardFailed:
                return False
            return True

        won = await gather([claim(number) for number in range(40)])
        assert won == [number % 4 == 0 for number in range(40)]
        keys = {record.key for record in (await store.range("by-")).records}
        assert keys == {f"by-{number}" for number in range(0, 40, 4)}
        assert len(commits) - before < 10
        await store.close()

    asyncio.run(story())
