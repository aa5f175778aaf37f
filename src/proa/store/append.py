"""The append port: streams of timed entries in files, for what is too much for the store.

One file a stream, named by a hash of the stream's name. An entry is (length, checksum, time,
body); its position is its number in the file, from 1. ``append`` is durable when it returns;
appends that wait together share the writer's round. A torn tail, left by a crash in the middle
of a write, is not read, and cut off by the next write. Offsets and times are kept in memory for
streams in use (16 bytes an entry), bodies are read from the file.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import struct
import zlib
from array import array
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
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
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}  # with how many want it
        self._writers = ThreadPoolExecutor(2, thread_name_prefix="proa-append")

    def _path(self, stream: str) -> Path:
        name = hashlib.sha256(stream.encode()).hexdigest()
        return self._folder / name[:2] / name

    def _stream(self, stream: str) -> _Stream:
        found = self._open.get(stream)
        if found is None:
            found = _load(self._path(stream))
            self._open[stream] = found
            self._shut_oldest()
        self._open.move_to_end(stream)
        return found

    def _shut_oldest(self) -> None:
        """Forget the streams used longest ago, but none that is being written."""
        idle = [name for name in self._open if name not in self._locks]
        for name in idle[: max(0, len(self._open) - OPEN_STREAMS)]:
            del self._open[name]

    async def append(self, stream: str, entries: Sequence[tuple[int, bytes]]) -> None:
        """Add (time in ms, body) entries at the end: all, durably, or none. A caller that is
        cancelled leaves its write to end by itself, so that no other write cuts into it."""
        if entries:
            await asyncio.shield(asyncio.ensure_future(self._append(stream, list(entries))))

    async def _append(self, stream: str, entries: Sequence[tuple[int, bytes]]) -> None:
        async with self._alone(stream):
            known = self._stream(stream)
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._writers, _write, known, entries)

    @contextlib.asynccontextmanager
    async def _alone(self, stream: str) -> AsyncIterator[None]:
        """One writer of a stream at a time; the lock goes with the last who wants it."""
        lock, wanted = self._locks.get(stream, (asyncio.Lock(), 0))
        self._locks[stream] = (lock, wanted + 1)
        try:
            async with lock:
                yield
        finally:
            lock, wanted = self._locks[stream]
            if wanted == 1:
                del self._locks[stream]
            else:
                self._locks[stream] = (lock, wanted - 1)

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
        async with self._alone(stream):
            self._open.pop(stream, None)
            self._path(stream).unlink(missing_ok=True)

    def close(self) -> None:
        """Let writes under way finish."""
        self._writers.shutdown(wait=True)


def _load(path: Path) -> _Stream:
    """Index a file up to a torn or damaged tail, which the next write cuts off."""
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
    return stream


def _checksum(at_ms: int, body: bytes) -> int:
    return zlib.crc32(body, at_ms & 0xFFFFFFFF)


def _write(stream: _Stream, entries: Sequence[tuple[int, bytes]]) -> None:
    folder = stream.path.parent
    folder.mkdir(exist_ok=True)
    parts: list[bytes] = []
    for at_ms, body in entries:
        parts += [_HEAD.pack(len(body), _checksum(at_ms, body), at_ms), body]
    with stream.path.open("ab") as file:
        if file.tell() != stream.end:
            file.truncate(stream.end)
        file.write(b"".join(parts))
        file.flush()
        os.fsync(file.fileno())
    if not stream.end:  # the file's name, and its folder's, must outlive a loss of power too
        _sync_folder(folder)
        _sync_folder(folder.parent)
    offset = stream.end
    for at_ms, body in entries:
        stream.add(offset, at_ms, len(body))
        offset = stream.end


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
