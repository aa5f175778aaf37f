"""The append port: what was acknowledged stays, torn tails go, reads by time and position."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from proa.base.aio import gather
from proa.store.append import AppendFiles


def reopened(folder: Path) -> list[bytes]:
    """The bodies of stream ``s`` as a new process finds them."""

    async def story() -> list[bytes]:
        files = AppendFiles(folder)
        found = [entry.body for entry in await files.read("s")]
        files.close()
        return found

    return asyncio.run(story())


def fill(folder: Path, *entries: tuple[int, bytes]) -> None:
    async def story() -> None:
        files = AppendFiles(folder)
        await files.append("s", entries)
        files.close()

    asyncio.run(story())


def only_file(folder: Path) -> Path:
    (found,) = [path for path in folder.rglob("*") if path.is_file()]
    return found


def test_appended_entries_are_there_after_reopening_in_order(tmp_path: Path) -> None:
    fill(tmp_path, (1, b"one"), (2, b""))
    fill(tmp_path, (1, b"\0three"))
    assert reopened(tmp_path) == [b"one", b"", b"\0three"]


@pytest.mark.parametrize("lost", range(1, 22))
def test_a_torn_tail_is_cut_off_and_writing_goes_on(tmp_path: Path, lost: int) -> None:
    fill(tmp_path, (1, b"kept"))
    whole = only_file(tmp_path).stat().st_size
    fill(tmp_path, (2, b"torn!"))
    file = only_file(tmp_path)
    content = file.read_bytes()
    assert len(content) == whole + 21
    file.write_bytes(content[:-lost])
    assert reopened(tmp_path) == [b"kept"]
    fill(tmp_path, (3, b"next"))
    assert reopened(tmp_path) == [b"kept", b"next"]


def test_a_damaged_entry_and_all_behind_it_are_cut_off(tmp_path: Path) -> None:
    fill(tmp_path, (1, b"kept"), (2, b"spoilt"), (3, b"behind"))
    file = only_file(tmp_path)
    file.write_bytes(file.read_bytes().replace(b"spoilt", b"spoi1t"))
    assert reopened(tmp_path) == [b"kept"]


def test_concurrent_appends_keep_each_ones_entries_together(tmp_path: Path) -> None:
    async def story() -> None:
        files = AppendFiles(tmp_path)
        works = [files.append("s", [(n, b"%d" % n), (n, b"%d" % n)]) for n in range(20)]
        await gather([*works, files.append("other", [(5, b"x")])])
        entries = await files.read("s")
        assert [entry.position for entry in entries] == list(range(1, 41))
        assert [entry.body for entry in entries[::2]] == [entry.body for entry in entries[1::2]]
        assert len(await files.read("other")) == 1
        files.close()

    asyncio.run(story())


@pytest.mark.parametrize("times", [[10, 20, 20, 30, 40], [40, 20, 10, 30, 20]])
def test_reads_select_by_time_and_position(tmp_path: Path, times: list[int]) -> None:
    async def story() -> None:
        files = AppendFiles(tmp_path)
        await files.append("s", [(at, b"%d" % at) for at in times])
        everything = [(number, at) for number, at in enumerate(times, 1)]
        for backward in (False, True):
            for limit in (1, 2, 9):
                for start, end, after, before in [
                    (0, 99, 0, 0),
                    (20, 40, 0, 0),
                    (20, 21, 1, 5),
                    (0, 99, 2, 0),
                    (0, 99, 0, 3),
                    (41, 99, 0, 0),
                    (0, 99, 5, 0),
                    (0, 99, 9, 0),
                ]:
                    wanted = [
                        (number, at)
                        for number, at in everything
                        if start <= at < end and after < number < (before or 99)
                    ]
                    found = await files.read(
                        "s",
                        start_ms=start,
                        end_ms=end,
                        after=after,
                        before=before,
                        limit=limit,
                        backward=backward,
                    )
                    chosen = (wanted[::-1] if backward else wanted)[:limit]
                    assert [(entry.position, entry.at_ms) for entry in found] == chosen
        assert await files.extent("s") == (5, 10, min(times), max(times), times == sorted(times))
        files.close()

    asyncio.run(story())


def test_a_removed_stream_starts_afresh(tmp_path: Path) -> None:
    async def story() -> None:
        files = AppendFiles(tmp_path)
        await files.append("s", [(1, b"old")])
        await files.remove("s")
        assert await files.read("s") == []
        await files.append("s", [(1, b"new")])
        assert [(entry.position, entry.body) for entry in await files.read("s")] == [(1, b"new")]
        files.close()

    asyncio.run(story())


def test_more_streams_than_are_kept_open_stay_readable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proa.store.append.OPEN_STREAMS", 2)

    async def story() -> None:
        files = AppendFiles(tmp_path)
        for turn in range(2):
            await gather([files.append(f"s{n}", [(turn, b"%d" % n)]) for n in range(6)])
        for n in range(6):
            assert [entry.body for entry in await files.read(f"s{n}")] == [b"%d" % n] * 2
        files.close()

    asyncio.run(story())


@pytest.mark.parametrize("zeros", [16, 17, 4096])
def test_zeros_behind_the_end_are_no_entries(tmp_path: Path, zeros: int) -> None:
    fill(tmp_path, (1, b"kept"), (0, b""))
    file = only_file(tmp_path)
    file.write_bytes(file.read_bytes() + bytes(zeros))
    assert reopened(tmp_path) == [b"kept", b""]
    fill(tmp_path, (3, b"next"))
    assert reopened(tmp_path) == [b"kept", b"", b"next"]


def test_appends_that_wait_together_share_an_fsync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (synced.append(file), real(file)))

    async def story() -> None:
        files = AppendFiles(tmp_path)
        await files.append("s", [(0, b"first")])
        before = len(synced)
        await gather([files.append("s", [(n, b"%d" % n)]) for n in range(50)])
        assert len(synced) - before <= 2
        assert [entry.at_ms for entry in await files.read("s")] == [0, *range(50)]
        files.close()

    asyncio.run(story())


def test_append_that_fails_fails_for_all_who_shared_it_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync

    def full(_file: int) -> None:
        raise OSError(28, "No space left on device")

    async def story() -> None:
        files = AppendFiles(tmp_path)
        await files.append("s", [(1, b"kept")])
        monkeypatch.setattr(os, "fsync", full)
        works = [asyncio.ensure_future(files.append("s", [(2, b"lost")])) for _ in range(3)]
        for work in works:
            with pytest.raises(OSError, match="No space"):
                await work
        monkeypatch.setattr(os, "fsync", real)
        assert [entry.body for entry in await files.read("s")] == [b"kept"]
        await files.append("s", [(3, b"next")])
        assert [entry.body for entry in await files.read("s")] == [b"kept", b"next"]
        files.close()

    asyncio.run(story())
    assert reopened(tmp_path) == [b"kept", b"next"]


def test_cancelled_append_is_written_whole(tmp_path: Path) -> None:
    async def story() -> None:
        files = AppendFiles(tmp_path)
        cancelled = asyncio.ensure_future(files.append("s", [(1, b"a"), (2, b"b")]))
        other = asyncio.ensure_future(files.append("s", [(3, b"c")]))
        await asyncio.sleep(0)
        cancelled.cancel()
        await other
        assert [entry.body for entry in await files.read("s")] == [b"a", b"b", b"c"]
        files.close()

    asyncio.run(story())
