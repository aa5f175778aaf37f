"""Container log files: CRI's line format, rotated segments as one stream, reading and following.

The runtime appends to ``<dir>/<attempt>.log``. Rotation renames that file to
``<attempt>.log.<start>`` where ``start`` is the offset of its first byte since the attempt
began, so an offset means the same line for ever. Used by ``LogShipper`` and by ``node.api``.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from proa.base.clock import from_iso8601

CHUNK = 256 * 1024
ROTATE_BYTES = 10 * 1024 * 1024
KEEP_SEGMENTS = 2  # rotated ones, beside the file that is written
_TAIL_BLOCK = 64 * 1024


@dataclass(slots=True, frozen=True)
class Entry:
    """One whole line. ``at`` is the RFC 3339 text of its first part; ``end`` is the offset
    behind it."""

    at: str
    stream: str
    message: bytes
    first: int
    end: int


def instant(text: str) -> float:
    """Seconds since the epoch of a CRI timestamp (nanoseconds are cut to microseconds)."""
    head, dot, tail = text.partition(".")
    if not dot:
        return from_iso8601(text)
    digits = tail.rstrip("Z").split("+")[0].split("-")[0]
    zone = tail[len(digits) :] or "Z"
    return from_iso8601(f"{head}.{digits[:6]}{zone}")


class LineParser:
    """Bytes in, whole lines out; partial lines (tag P) of a stream are joined."""

    def __init__(self, offset: int = 0) -> None:
        self._rest = b""
        self._offset = offset  # of the first byte in _rest
        self._parts: dict[str, tuple[str, int, bytes]] = {}

    def feed(self, data: bytes) -> Iterator[Entry]:
        """Lines that end in ``data``."""
        buffer = self._rest + data
        start = 0
        while (end := buffer.find(b"\n", start)) >= 0:
            line, first = buffer[start:end], self._offset + start
            start = end + 1
            entry = self._line(line, first, self._offset + start)
            if entry is not None:
                yield entry
        self._rest = buffer[start:]
        self._offset += start

    def _line(self, line: bytes, first: int, end: int) -> Entry | None:
        fields = line.split(b" ", 3)
        if len(fields) < 3 or fields[1] not in (b"stdout", b"stderr"):
            return None  # not a line of the runtime's: torn by a crash of the machine
        stream, content = fields[1].decode(), fields[3] if len(fields) == 4 else b""
        at, begun, before = self._parts.pop(stream, (fields[0].decode(), first, b""))
        if fields[2].startswith(b"P"):
            self._parts[stream] = (at, begun, before + content)
            return None
        return Entry(at, stream, before + content, begun, end)

    def pending(self) -> bool:
        """Whether part of a line is still awaited."""
        return bool(self._parts)


class LogFiles:
    """The segments of one attempt."""

    def __init__(self, folder: Path, attempt: int) -> None:
        self._folder, self._attempt = folder, attempt

    @property
    def current(self) -> Path:
        """The file that the runtime writes."""
        return self._folder / f"{self._attempt}.log"

    def segments(self) -> list[tuple[int, Path]]:
        """(offset of the first byte, path), oldest first."""
        prefix = f"{self._attempt}.log."
        try:
            names = [name for name in os.listdir(self._folder) if name.startswith(prefix)]
        except FileNotFoundError:
            return []
        found = sorted((int(name[len(prefix) :]), self._folder / name) for name in names)
        start = found[-1][0] + found[-1][1].stat().st_size if found else 0
        if self.current.exists():
            found.append((start, self.current))
        return found

    def read(self, offset: int, limit: int = CHUNK) -> tuple[int, bytes]:
        """(where the bytes begin, bytes). What was rotated away is skipped; no bytes: the end."""
        for start, path in self.segments():
            try:
                size = path.stat().st_size
                if start + size <= offset:
                    continue
                begin = max(offset, start)
                with path.open("rb") as file:
                    file.seek(begin - start)
                    data = file.read(limit)
            except FileNotFoundError:  # rotated under our hands: look again
                return self.read(offset, limit)
            if data:
                return begin, data
        return offset, b""

    def rotate(self) -> Path | None:
        """Rename the current file if it has grown too long; the runtime must then reopen it."""
        segments = self.segments()
        if not segments or segments[-1][1] != self.current:
            return None
        start, path = segments[-1]
        if path.stat().st_size < ROTATE_BYTES:
            return None
        target = self._folder / f"{self._attempt}.log.{start:020d}"
        path.rename(target)
        return target

    def prune(self, needed_from: int) -> None:
        """Delete old segments, but none that holds bytes from ``needed_from`` on."""
        rotated = [item for item in self.segments() if item[1] != self.current]
        for start, path in rotated[:-KEEP_SEGMENTS]:
            if start + path.stat().st_size <= needed_from:
                path.unlink(missing_ok=True)


def attempts(folder: Path) -> list[int]:
    """Attempts of a container that have log files, in order."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    numbers = {name.split(".")[0] for name in names if ".log" in name}
    return sorted(int(number) for number in numbers if number.isdigit())


@dataclass(slots=True, frozen=True)
class LogOptions:
    """What ``kubectl logs`` can ask for. ``since`` is wall time; ``tail`` None: everything."""

    follow: bool = False
    tail: int | None = None
    since: float = 0.0
    timestamps: bool = False
    limit_bytes: int | None = None
    stream: str = ""  # "stdout" or "stderr"; empty: both


async def read_log(
    files: LogFiles,
    options: LogOptions,
    changed: Callable[[], AsyncIterator[None]],
    ended: Callable[[], bool],
) -> AsyncIterator[bytes]:
    """Lines as they stand, then, when following, new ones until the container has ended.
    ``changed`` yields whenever there may be more, and once more some time after the end."""
    left, last = options.limit_bytes, False
    parser, offset = _start(files, options)
    news = changed() if options.follow else None
    while True:
        over = ended()  # asked before reading, so that nothing is missed at the end
        begin, data = files.read(offset)
        if data:
            if begin != offset:
                parser = LineParser(begin)
            offset = begin + len(data)
            text = b"".join(_render(parser.feed(data), options))
            if left is not None:
                text, left = text[:left], left - len(text)
            if text:
                yield text
            if left is not None and left <= 0:
                return
            continue
        if news is None or last:
            return
        await anext(news, None)
        last = over


def _render(entries: Iterator[Entry], options: LogOptions) -> Iterator[bytes]:
    for entry in entries:
        if options.stream and entry.stream != options.stream:
            continue
        if options.since and instant(entry.at) < options.since:
            continue
        if options.timestamps:
            yield entry.at.encode() + b" "
        yield entry.message + b"\n"


def _start(files: LogFiles, options: LogOptions) -> tuple[LineParser, int]:
    """Where to begin for ``tail``: the offset of the n-th last line."""
    if options.tail is None:
        return LineParser(), 0
    firsts: deque[int] = deque(maxlen=max(options.tail, 1))
    segments = files.segments()
    if not segments:
        return LineParser(), 0
    end = segments[-1][0] + segments[-1][1].stat().st_size
    if options.tail == 0:
        return LineParser(end), end
    begin = end
    floor = segments[0][0]
    while begin > floor and len(firsts) < options.tail + 1:
        begin = max(floor, begin - _TAIL_BLOCK * max(1, (end - begin) // _TAIL_BLOCK))
        firsts = deque(_firsts(files, begin, end, begin > floor), maxlen=options.tail)
        if len(firsts) == options.tail:
            break
    start = firsts[0] if firsts else end
    return LineParser(start), start


def last_lines(files: LogFiles, lines: int, limit: int) -> str:
    """The end of what a container wrote: at most so many lines and bytes."""
    parser, offset = _start(files, LogOptions(tail=lines))
    text = b""
    while True:
        begin, data = files.read(offset)
        if not data:
            return text.decode(errors="replace")
        offset = begin + len(data)
        text = (text + b"".join(_render(parser.feed(data), LogOptions())))[-limit:]


def _firsts(files: LogFiles, begin: int, end: int, torn: bool) -> Iterator[int]:
    """Offsets of the lines from ``begin`` on; the first is dropped where it may be torn."""
    parser, offset = LineParser(begin), begin
    while offset < end:
        at, data = files.read(offset)
        if not data:
            return
        offset = at + len(data)
        for entry in parser.feed(data):
            if torn:
                torn = False
                continue
            yield entry.first
