"""The process that writes a store's file: what it refuses, and what becomes of its death."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import apsw
import pytest

from proa.base.aio import gather
from proa.base.clock import SystemClock, VirtualClock, run_virtual
from proa.base.errors import TryAgain
from proa.store import sqlite
from proa.store.api import MAX_BYTES, Put, Transaction
from proa.store.sqlite import SqliteStore, memory_store
from proa.store.writer_process import WriterProcess, locked


def play(path: Path, story: Callable[[SqliteStore], Awaitable[None]]) -> None:
    """Run a test's coroutine against an open store."""

    async def whole() -> None:
        store = await SqliteStore.open(path)
        try:
            await story(store)
        finally:
            await store.close()

    asyncio.run(whole())


def writer() -> int:
    """The process id of the one writer that this process has started."""
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    found = [
        int(child)
        for child in children
        if b"store/writer.py" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]
    assert len(found) == 1, found
    return found[0]


def put(key: str, body: bytes = b"") -> Transaction:
    return Transaction(writes=(Put(key, body),))


def test_what_a_killed_writer_acknowledged_stays_and_the_store_goes_on(tmp_path: Path) -> None:
    async def story(store: SqliteStore) -> None:
        acknowledged: dict[str, int] = {}

        async def write(name: str) -> None:
            for number in range(60):
                key = f"{name}-{number:02}"
                with contextlib.suppress(TryAgain):  # whether it was written is not known
                    acknowledged[key] = (await store.commit(put(key))).version
                if (name, number) == ("0", 20):
                    os.kill(writer(), signal.SIGKILL)

        await gather([write(str(number)) for number in range(4)])
        assert 4 * 59 <= len(acknowledged) < 4 * 60, "who waited for it has to try again"
        found = {record.key: record.version for record in (await store.range("")).records}
        assert acknowledged.items() <= found.items()
        assert len(set(found.values())) == len(found)
        for key, version in found.items():
            record = await store.get(key)
            assert record is not None
            assert record.version == version

    play(tmp_path / "store.db", story)


def test_a_writer_that_does_not_start_again_at_once_is_started_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults: list[Exception] = [OSError("no memory"), apsw.IOError("the disk fails")]

    def starting(path: Path, lock: int, ended: Callable[[], None]) -> WriterProcess:
        if faults:
            raise faults.pop()
        return WriterProcess(path, lock, ended)

    async def story(store: SqliteStore) -> None:
        await store.commit(put("before"))
        monkeypatch.setattr(sqlite, "WriterProcess", starting)
        os.kill(writer(), signal.SIGKILL)
        with contextlib.suppress(TryAgain):  # it may have been handed to the one that died
            await store.commit(put("during"))
        await store.commit(put("later"))
        assert not faults and await store.get("later") is not None

    play(tmp_path / "store.db", story)


def test_watchers_of_a_killed_writer_are_told_to_list_again(tmp_path: Path) -> None:
    async def story(store: SqliteStore) -> None:
        async def follow() -> None:
            async for _ in store.watch("", after=0):
                watching.set()

        await store.commit(put("earlier"))
        watching = asyncio.Event()
        follower = asyncio.create_task(follow())
        await watching.wait()
        os.kill(writer(), signal.SIGKILL)
        with pytest.raises(TryAgain, match="list again"):
            await follower
        await store.commit(put("later"))
        assert await store.get("later") is not None

    play(tmp_path / "store.db", story)


def test_a_lease_outlives_the_writer_that_noted_it(tmp_path: Path) -> None:
    async def story(store: SqliteStore) -> None:
        lease = await store.grant(60)
        os.kill(writer(), signal.SIGKILL)
        bound = Transaction(writes=(Put("bound", b"", lease=lease),))
        with contextlib.suppress(TryAgain):  # of a writer that has just been killed
            await store.commit(bound)
        await store.commit(bound)
        await store.keep_alive(lease)
        await store.revoke(lease)
        assert await store.get("bound") is None
        assert await store.grant(60) == lease + 1

    play(tmp_path / "store.db", story)


def test_a_group_larger_than_the_link_holds_is_written_whole(tmp_path: Path) -> None:
    body = bytes(range(256)) * (MAX_BYTES // 256 - 8)

    async def story(store: SqliteStore) -> None:
        await gather([store.commit(put(str(number), body)) for number in range(8)])
        assert [record.body for record in (await store.range("")).records] == [body] * 8

    play(tmp_path / "store.db", story)


def test_nothing_is_there_of_what_the_file_refused(tmp_path: Path) -> None:
    path = tmp_path / "store.db"

    async def story(store: SqliteStore) -> None:
        before = await store.commit(put("a"))
        other = apsw.Connection(str(path))
        full = "SELECT RAISE(ABORT, 'the disk is full')"
        other.execute(f"CREATE TRIGGER refusal BEFORE INSERT ON entry BEGIN {full}; END")
        with pytest.raises(TryAgain, match="the disk is full"):
            await store.commit(put("b"))
        other.execute("DROP TRIGGER refusal")
        assert await store.get("b") is None
        done = await store.commit(put("c"))
        assert done.version >> 8 == (before.version >> 8) + 1
        other.close()

    play(path, story)


def test_a_file_has_one_store_at_a_time(tmp_path: Path) -> None:
    async def second() -> None:
        clock = VirtualClock()
        held = await locked(tmp_path / "store.db", clock)
        with pytest.raises(TryAgain, match="another"):
            await locked(tmp_path / "store.db", clock)
        os.close(held)
        os.close(await locked(tmp_path / "store.db", clock))

    run_virtual(second())


class Name(str):
    """Text to Python, and nothing to the link."""


@pytest.mark.parametrize("key", ["a \ud800", Name("a")])
def test_what_cannot_be_written_is_refused_and_others_need_not_wait(
    tmp_path: Path, key: str
) -> None:
    async def story(store: SqliteStore) -> None:
        await store.commit(put("first"))
        there = writer()
        with pytest.raises(TryAgain):
            await asyncio.wait_for(store.commit(put(key)), 10)
        await asyncio.wait_for(store.commit(put("second")), 10)
        assert [one.key for one in (await store.range("")).records] == ["first", "second"]
        assert writer() == there

    play(tmp_path / "store.db", story)


def test_what_a_store_in_memory_cannot_write_is_forgotten() -> None:
    async def story() -> None:
        store = await memory_store(VirtualClock())
        with pytest.raises(TryAgain):
            await store.commit(put("a \ud800"))
        await store.commit(put("another"))
        assert [record.key for record in (await store.range("")).records] == ["another"]
        await store.close()

    run_virtual(story())


def test_a_file_that_cannot_be_opened_is_not_kept_locked(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(b"no database at all" * 100)

    async def story() -> None:
        with pytest.raises(apsw.NotADBError):
            await SqliteStore.open(path)
        path.unlink()
        os.close(await asyncio.wait_for(locked(path, SystemClock()), 1))

    asyncio.run(story())
