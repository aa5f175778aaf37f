"""Container logs: CRI lines, rotated segments as one stream, tail, follow, shipping."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proa.base.clock import SystemClock
from proa.base.errors import TryAgain
from proa.model.feed import Down, LogBatch, Report
from proa.model.sandbox import Container, LogSink, Sandbox
from proa.node import logs
from proa.node.logs import LineParser, LogFiles, LogOptions, instant, read_log
from proa.node.shipping import LogShipper


def line(text: str, second: int = 0, stream: str = "stdout", tag: str = "F") -> bytes:
    return f"2026-01-02T03:04:{second:02d}.123456789Z {stream} {tag} {text}\n".encode()


def read(files: LogFiles, **options: object) -> bytes:
    async def never() -> AsyncIterator[None]:
        yield None

    async def main() -> bytes:
        stream = read_log(files, LogOptions(**options), never, lambda: True)  # type: ignore[arg-type]
        return b"".join([chunk async for chunk in stream])

    return asyncio.run(main())


def test_partial_lines_are_joined() -> None:
    data = line("one ", tag="P") + line("other", stream="stderr") + line("two")
    entries = list(LineParser().feed(data))
    assert [(entry.stream, entry.message) for entry in entries] == [
        ("stderr", b"other"),
        ("stdout", b"one two"),
    ]
    assert entries[1].first == 0


def test_lines_may_arrive_in_any_pieces() -> None:
    data = line("first") + line("") + line("third with spaces ")
    parser = LineParser()
    found = [entry for byte in data for entry in parser.feed(bytes([byte]))]
    assert [entry.message for entry in found] == [b"first", b"", b"third with spaces "]
    assert [entry.end for entry in found][-1] == len(data)


def test_a_timestamp_is_read_to_the_microsecond() -> None:
    assert instant("2026-01-02T03:04:05.123456789Z") == pytest.approx(1767323045.123456)
    assert instant("2026-01-02T03:04:05.5+02:00") == pytest.approx(1767315845.5)


@pytest.mark.parametrize("count", [0, 1, 3, 1000])
def test_tail_gives_the_last_lines(tmp_path: Path, count: int) -> None:
    texts = [f"line {number}" for number in range(500)]
    (tmp_path / "0.log").write_bytes(b"".join(line(text) for text in texts))
    expected = "".join(f"{text}\n" for text in texts[max(0, 500 - count) :] if count)
    assert read(LogFiles(tmp_path, 0), tail=count).decode() == expected


def test_tail_reaches_back_over_many_blocks(tmp_path: Path) -> None:
    texts = [f"{number} " + "x" * 1000 for number in range(400)]
    (tmp_path / "0.log").write_bytes(b"".join(line(text) for text in texts))
    found = read(LogFiles(tmp_path, 0), tail=300).decode().splitlines()
    assert found == texts[100:]


def test_since_stream_timestamps_and_limit_select(tmp_path: Path) -> None:
    body = line("old", 1) + line("new", 5) + line("bad", 6, "stderr")
    (tmp_path / "0.log").write_bytes(body)
    files = LogFiles(tmp_path, 0)
    since = instant("2026-01-02T03:04:05Z")
    assert read(files, since=since) == b"new\nbad\n"
    assert read(files, stream="stderr") == b"bad\n"
    assert read(files, timestamps=True).startswith(b"2026-01-02T03:04:01.123456789Z old\n")
    assert read(files, limit_bytes=6) == b"old\nne"


def test_rotation_keeps_offsets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "ROTATE_BYTES", 10)
    files = LogFiles(tmp_path, 0)
    for number in range(3):
        files.current.write_bytes(line(f"line {number}"))
        if number < 2:
            assert files.rotate() is not None
    assert read(files) == b"line 0\nline 1\nline 2\n"
    size = len(line("line 0"))
    assert [start for start, _ in files.segments()] == [0, size, 2 * size]
    assert read(files, tail=2) == b"line 1\nline 2\n"


def test_pruning_spares_what_is_not_shipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "ROTATE_BYTES", 10)
    files = LogFiles(tmp_path, 0)
    for number in range(5):
        files.current.write_bytes(line(f"line {number}"))
        files.rotate()
    files.prune(needed_from=0)
    assert len(files.segments()) == 5
    files.prune(needed_from=1 << 60)
    assert read(files) == b"line 3\nline 4\n"


class Receiver:
    """A ControlLink that takes log batches, and may fail after having stored one."""

    def __init__(self) -> None:
        self.batches: list[LogBatch] = []
        self.fail = False

    async def feed(self) -> AsyncIterator[Down]:
        raise TryAgain("not here")
        yield

    async def report(self, report: Report) -> None:
        raise TryAgain("not here")

    async def ship(self, batch: LogBatch) -> None:
        self.batches.append(batch)
        if self.fail:
            raise TryAgain("the answer is lost")

    def texts(self) -> list[str]:
        return [line.message for batch in self.batches for line in batch.lines]


SINK = LogSink("group", "stream", "us-east-1", "000000000000")
SANDBOX = Sandbox(
    "u", "u", "default", "/k/u", "i-1", containers=(Container("main", "image", log=SINK),)
)


def test_lines_are_shipped_as_they_come_and_to_the_last(tmp_path: Path) -> None:
    async def main() -> None:
        receiver = Receiver()
        shipper = LogShipper(receiver, SystemClock(), tmp_path)
        shipper.follow(SANDBOX)
        await asyncio.sleep(0.05)
        path = tmp_path / "u" / "main" / "0.log"
        path.write_bytes(line("one"))
        for _ in range(100):
            if receiver.batches:
                break
            await asyncio.sleep(0.02)
        assert receiver.texts() == ["one"]
        assert receiver.batches[0].lines[0].at == 1767323040123
        with path.open("ab") as file:
            file.write(line("two"))
        (path.parent / "1.log").write_bytes(line("three"))
        await shipper.finish("u")
        assert receiver.texts() == ["one", "two", "three"]
        assert [batch.source for batch in receiver.batches][-1] == "u/main/1"
        await shipper.close()

    asyncio.run(main())


def test_a_batch_whose_answer_was_lost_is_sent_again_with_the_same_bounds(tmp_path: Path) -> None:
    async def main() -> None:
        folder = tmp_path / "u" / "main"
        folder.mkdir(parents=True)
        (folder / "0.log").write_bytes(line("one") + line("two"))
        receiver = Receiver()
        receiver.fail = True
        shipper = LogShipper(receiver, SystemClock(), tmp_path)
        shipper.follow(SANDBOX)
        await asyncio.sleep(0.1)
        await shipper.close()
        with (folder / "0.log").open("ab") as file:
            file.write(line("three"))
        receiver.fail = False
        again = LogShipper(receiver, SystemClock(), tmp_path)
        again.follow(SANDBOX)
        await again.finish("u")
        await again.close()
        first, second, third = receiver.batches
        assert first == second
        assert [item.message for item in third.lines] == ["three"]
        assert third.first == len(line("one") + line("two"))

    asyncio.run(main())
