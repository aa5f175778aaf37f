"""The append port: streams of timed entries in files, for what is too much for the store.

One file a stream, named by a hash of the stream's name. An entry is (length, checksum, time,
body); its position is its number in the file, from 1. ``append`` is durable when it returns;
appends that wait together share the writer's round. A torn tail, left by a crash in the middle
of a write, is cut off when the file is next opened. Offsets and times are kept in memory for
streams in use (16 bytes an entry), bodies are read from the file.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import struct
import zlib
from array import array
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

_HEAD = struct.Struct("<IIq")  # length of the body, crc32 of time and body, time in ms
OPEN_STREAMS = 256
FOREVER_MS = 1 << 62


@dataclass(slots=True, frozen=True)
class Appended:
    """An entry as it lies in its stream."""

    position: int
    at_ms: int
    body: bytes


@dataclass(slots=True)
class _Stream:
    path: Path
    offsets: array[int] = field(default_factory=lambda: array("q"))
    times: array[int] = field(default_factory=lambda: array("q"))
    size: int = 0  # bytes of bodies
    end: int = 0
    ordered: bool = True
    first_ms: int = 0
    last_ms: int = 0

    def add(self, offset: int, at_ms: int, length: int) -> None:
        if self.times and at_ms < self.times[-1]:
            self.ordered = False
        self.first_ms = min(self.first_ms, at_ms) if self.times else at_ms
        self.last_ms = max(self.last_ms, at_ms) if self.times else at_ms
        self.offsets.append(offset)
        self.times.append(at_ms)
        self.size += length
        self.end = offset + _HEAD.size + length


class AppendFiles:
    """All streams below one folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._open: OrderedDict[str, _Stream] = OrderedDict()
        self._locks: dict[str, asyncio.Lock] = {}
        self._writers = ThreadPoolExecutor(2, thread_name_prefix="proa-append")

    def _path(self, stream: str) -> Path:
        name = hashlib.sha256(stream.encode()).hexdigest()
        return self._folder / name[:2] / name

    def _stream(self, stream: str) -> _Stream:
        found = self._open.get(stream)
        if found is None:
            found = _load(self._path(stream))
            self._open[stream] = found
            while len(self._open) > OPEN_STREAMS:
                self._open.popitem(last=False)
        self._open.move_to_end(stream)
        return found

    async def append(self, stream: str, entries: Sequence[tuple[int, bytes]]) -> None:
        """Add (time in ms, body) entries at the end: all, durably, or none."""
        if not entries:
            return
        lock = self._locks.setdefault(stream, asyncio.Lock())
        async with lock:
            known = self._stream(stream)
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._writers, _write, known, list(entries))
            self._open[stream] = known

    async def read(
        self,
        stream: str,
        *,
        start_ms: int = 0,
        end_ms: int = FOREVER_MS,
        after: int = 0,
        before: int = 0,
        limit: int = 1000,
        backward: bool = False,
    ) -> list[Appended]:
        """Entries with ``start_ms`` <= time < ``end_ms`` and positions beyond ``after`` and below
        ``before`` (0: no bound), at most ``limit``, by rising position; with ``backward`` the
        last ones, by falling position."""
        known = self._stream(stream)
        low, high = after, (before - 1 if before else len(known.times))
        high = min(high, len(known.times))
        if known.ordered:
            low = max(low, bisect_left(known.times, start_ms))
            high = min(high, bisect_left(known.times, end_ms))
        numbers = range(high - 1, low - 1, -1) if backward else range(low, high)
        chosen: list[int] = []
        for number in numbers:
            if start_ms <= known.times[number] < end_ms:
                chosen.append(number)
                if len(chosen) == limit:
                    break
        return _bodies(known, chosen)

    async def extent(self, stream: str) -> tuple[int, int, int, int, bool]:
        """(entries, bytes, first time, last time, whether times never fell)."""
        known = self._stream(stream)
        return len(known.times), known.size, known.first_ms, known.last_ms, known.ordered

    async def remove(self, stream: str) -> None:
        """Forget a stream; unknown ones are ignored."""
        self._open.pop(stream, None)
        self._locks.pop(stream, None)
        self._path(stream).unlink(missing_ok=True)

    def close(self) -> None:
        """Let writes under way finish."""
        self._writers.shutdown(wait=True)


def _load(path: Path) -> _Stream:
    """Index a file; a torn or damaged tail is cut off."""
    stream = _Stream(path)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return stream
    offset = 0
    while offset + _HEAD.size <= len(content):
        length, checksum, at_ms = _HEAD.unpack_from(content, offset)
        body = content[offset + _HEAD.size : offset + _HEAD.size + length]
        if len(body) != length or checksum != _checksum(at_ms, body):
            break
        stream.add(offset, at_ms, length)
        offset += _HEAD.size + length
    if offset != len(content):
        os.truncate(path, offset)
    return stream


def _checksum(at_ms: int, body: bytes) -> int:
    return zlib.crc32(body, at_ms & 0xFFFFFFFF)


def _write(stream: _Stream, entries: Sequence[tuple[int, bytes]]) -> None:
    stream.path.parent.mkdir(exist_ok=True)
    parts: list[bytes] = []
    for at_ms, body in entries:
        parts += [_HEAD.pack(len(body), _checksum(at_ms, body), at_ms), body]
    with stream.path.open("ab") as file:
        if file.tell() != stream.end:
            file.truncate(stream.end)
        file.write(b"".join(parts))
        file.flush()
        os.fsync(file.fileno())
    offset = stream.end
    for at_ms, body in entries:
        stream.add(offset, at_ms, len(body))
        offset = stream.end


def _bodies(stream: _Stream, numbers: Sequence[int]) -> list[Appended]:
    if not numbers:
        return []
    found: list[Appended] = []
    with stream.path.open("rb") as file:
        for number in numbers:
            file.seek(stream.offsets[number])
            length, _, at_ms = _HEAD.unpack(file.read(_HEAD.size))
            found.append(Appended(number + 1, at_ms, file.read(length)))
    return found
