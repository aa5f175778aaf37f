"""The embedded store's file is readable by its owner only, whoever made it and whenever."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path

from proa.store.api import Put, Transaction
from proa.store.sqlite import SqliteStore


def test_nobody_else_reads_the_store(tmp_path: Path) -> None:
    file = tmp_path / "store.db"

    async def write() -> dict[str, int]:
        store = await SqliteStore.open(file)
        try:
            await store.commit(Transaction((), (Put("a", b"b"),)))
            return {p.name: stat.S_IMODE(p.stat().st_mode) for p in tmp_path.iterdir()}
        finally:
            await store.close()

    before = os.umask(0o000)
    try:
        assert set(asyncio.run(write()).values()) == {0o600}
        file.chmod(0o644)  # made by an earlier version
        assert asyncio.run(write())["store.db"] == 0o600
    finally:
        os.umask(before)
