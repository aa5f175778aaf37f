"""What every ``EventLog`` must do: the fake, the append files, and both behind known extents."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proa.cloud.logs import EventLog, Extent, KnownExtents, MemoryEventLog, Stored
from proa.server.event_files import EventFiles
from proa.store.append import AppendFiles

Work = Callable[[EventLog], Awaitable[None]]


@pytest.fixture(params=["memory", "files", "known memory", "known files"])
def check(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Work], None]:
    """Runs a test's work on a fresh log."""

    def run(work: Work) -> None:
        async def main() -> None:
            files = AppendFiles(tmp_path)
            kind: str = request.param
            events: EventLog = EventFiles(files) if kind.endswith("files") else MemoryEventLog()
            try:
                await work(KnownExtents(events) if kind.startswith("known") else events)
            finally:
                files.close()

        asyncio.run(main())

    return run


def bodies(found: list[Stored]) -> list[bytes]:
    return [entry.body for entry in found]


def test_entries_come_back_with_rising_positions(check: Callable[[Work], None]) -> None:
    async def work(events: EventLog) -> None:
        await events.append("s", [(10, b"a"), (20, b"b")])
        await events.append("other", [(15, b"x")])
        await events.append("s", [(30, b"c")])
        assert await events.read("s") == [
            Stored(1, 10, b"a"), Stored(2, 20, b"b"), Stored(3, 30, b"c"),
        ]  # fmt: skip
        assert bodies(await events.read("s", after=1, limit=1)) == [b"b"]
        assert bodies(await events.read("s", backward=True, limit=2)) == [b"c", b"b"]
        assert bodies(await events.read("s", backward=True, before=3)) == [b"b", b"a"]
        assert bodies(await events.read("s", start_ms=20, end_ms=30)) == [b"b"]

    check(work)


def test_stream_nobody_wrote_to_is_empty(check: Callable[[Work], None]) -> None:
    async def work(events: EventLog) -> None:
        assert await events.read("s") == []
        assert await events.extent("s") == Extent()
        await events.remove("s")
        await events.expire("s", 10)

    check(work)


def test_extent_tells_size_times_and_order(check: Callable[[Work], None]) -> None:
    async def work(events: EventLog) -> None:
        await events.append("s", [(10, b"aa"), (10, b"b")])
        assert await events.extent("s") == Extent(2, 3, 10, 10, True)
        await events.append("s", [(5, b"c"), (20, b"d")])
        assert await events.extent("s") == Extent(4, 5, 5, 20, False)
        assert bodies(await events.read("s", start_ms=6)) == [b"aa", b"b", b"d"]

    check(work)


def test_removed_stream_starts_anew(check: Callable[[Work], None]) -> None:
    async def work(events: EventLog) -> None:
        await events.append("s", [(10, b"a")])
        await events.remove("s")
        assert (await events.read("s"), await events.extent("s")) == ([], Extent())
        await events.append("s", [(20, b"b")])
        assert bodies(await events.read("s")) == [b"b"]

    check(work)


def test_expiry_keeps_what_is_younger(check: Callable[[Work], None]) -> None:
    async def work(events: EventLog) -> None:
        await events.append("old", [(10, b"a")])
        await events.append("s", [(10, b"a"), (20, b"b")])
        for stream in ("old", "s"):
            await events.expire(stream, 15)
        assert await events.read("old") == []
        assert bodies(await events.read("s", start_ms=15)) == [b"b"]

    check(work)


@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 50), st.binary(max_size=3)), max_size=4), max_size=5
    ),
    st.integers(0, 50), st.integers(0, 50), st.integers(0, 12), st.integers(0, 12),
    st.integers(1, 5), st.booleans(),
)  # fmt: skip
def test_files_agree_with_the_fake(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[tuple[int, bytes]]],
    start_ms: int, end_ms: int, after: int, before: int, limit: int, backward: bool,
) -> None:  # fmt: skip
    async def main() -> None:
        fake, files = MemoryEventLog(), AppendFiles(tmp_path_factory.mktemp("events"))
        real = EventFiles(files)
        for batch in batches:
            await fake.append("s", batch)
            await real.append("s", batch)
        answers = [
            await log.read(
                "s", start_ms=start_ms, end_ms=end_ms, after=after, before=before, limit=limit,
                backward=backward,
            )
            for log in (fake, real)
        ]  # fmt: skip
        assert answers[0] == answers[1]
        assert await fake.extent("s") == await real.extent("s")
        files.close()

    asyncio.run(main())
