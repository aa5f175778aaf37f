"""Writers that wait together share one durable COMMIT."""

from __future__ import annotations

import asyncio
import struct
from pathlib import Path

from proa.base.aio import gather
from proa.store.api import Guard, GuardFailed, Put, Transaction
from proa.store.sqlite import SqliteStore


def commits(file: Path) -> int:
    """How many COMMITs lie in the log of a file that was never checkpointed: their last frames
    say how large the file is (SQLite's file format, "WAL Frame Header")."""
    log = Path(f"{file}-wal").read_bytes()
    frame = 24 + struct.unpack_from(">I", log, 8)[0]
    sizes = (struct.unpack_from(">I", log, at + 4)[0] for at in range(32, len(log), frame))
    return sum(size != 0 for size in sizes)


def test_concurrent_writers_share_commits(tmp_path: Path) -> None:
    async def story() -> None:
        file = tmp_path / "store.db"
        store = await SqliteStore.open(file)
        before = commits(file)

        async def write(name: str) -> None:
            for number in range(10):
                body = str(number).encode()
                await store.commit(Transaction(writes=(Put(f"{name}-{number}", body),)))

        await gather([write(str(number)) for number in range(20)])
        assert len((await store.range("")).records) == 200
        assert 10 <= commits(file) - before <= 40
        await store.close()

    asyncio.run(story())


def test_a_failed_guard_spoils_nothing_for_those_who_share_its_commit(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        file = tmp_path / "store.db"
        store = await SqliteStore.open(file)
        before = commits(file)

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
        assert commits(file) - before < 10
        await store.close()

    asyncio.run(story())
