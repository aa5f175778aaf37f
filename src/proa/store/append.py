"""The append port: streams of timed entries in files, for what is too much for the store.

One file a stream, named by a hash of the stream's name. An entry is (length, checksum, time,
body); its position is its number in the file, from 1. ``append`` is durable when it returns;
appends to a stream that wait together share one write and one fsync. A torn tail, left by a
crash in the middle of a write, is not read, and cut off by the next write. Offsets and times are
kept in memory for streams in use (16 bytes an entry), bodies are read from the file. All work on
files is done in threads, since a stream may be large.
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
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from proa.store.blobs import sync_folder

_HEAD = struct.Struct("<IIq")  # length of the body, checksum, time in ms
_CHECKED = struct.Struct("<Iq")  # what the checksum covers besides the body
_SEED = 0x50524F41  # so that zeros, which a loss of power may leave, are no entry
READ_BUFFER = 1 << 20
OPEN_STREAMS = 256
T = TypeVar("T")
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


@dataclass(slots=True)
class _Round:
    """Entries of one stream that are written together, and who is writing them."""

    entries: list[tuple[int, bytes]]
    writing: asyncio.Task[None] | None = None


class AppendFiles:
    """All streams below one folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._open: OrderedDict[str, _Stream] = OrderedDict()
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}  # with how many want it
        self._rounds: dict[str, _Round] = {}  # those that still take entries
        self._workers = ThreadPoolExecutor(2, thread_name_prefix="proa-append")

    def _path(self, stream: str) -> Path:
        name = hashlib.sha256(stream.encode()).hexdigest()
        return self._folder / name[:2] / name

    async def _in_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._workers, work, *arguments)

    async def _stream(self, stream: str) -> _Stream:
        """The index of a stream; no writer is at work when it is made of the file."""
        if stream not in self._open:
            async with self._alone(stream):
                return await self._loaded(stream)
        self._open.move_to_end(stream)
        return self._open[stream]

    async def _loaded(self, stream: str) -> _Stream:
        if stream not in self._open:
            self._open[stream] = await self._in_thread(_load, self._path(stream))
            self._shut_oldest()
        self._open.move_to_end(stream)
        return self._open[stream]

    def _shut_oldest(self) -> None:
        """Forget the streams used longest ago, but none that is being written."""
        idle = [name for name in self._open if name not in self._locks]
        for name in idle[: max(0, len(self._open) - OPEN_STREAMS)]:
            del self._open[name]

    async def append(self, stream: str, entries: Sequence[tuple[int, bytes]]) -> None:
        """Add (time in ms, body) entries at the end: all, durably, or none. A caller that is
        cancelled leaves its write to end by itself, so that no other write cuts into it."""
        if not entries:
            return
        round = self._rounds.get(stream)
        if round is None:
            round = self._rounds[stream] = _Round([])
            round.writing = asyncio.get_running_loop().create_task(self._write(stream, round))
        round.entries += entries
        assert round.writing is not None, "a round is begun with its task"
        await asyncio.shield(round.writing)

    async def _write(self, stream: str, round: _Round) -> None:
        async with self._alone(stream):
            del self._rounds[stream]  # who comes now waits for the next one
            known = await self._loaded(stream)
            await self._in_thread(_write, known.path, known.end, round.entries)
            for at_ms, body in round.entries:
                known.add(known.end, at_ms, len(body))

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
        known = await self._stream(stream)
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
        places = [
            (number + 1, known.offsets[number], self._next(known, number)) for number in chosen
        ]
        return await self._in_thread(_bodies, known.path, places) if places else []

    @staticmethod
    def _next(known: _Stream, number: int) -> int:
        """Where the entry behind this one begins."""
        return known.offsets[number + 1] if number + 1 < len(known.offsets) else known.end

    async def extent(self, stream: str) -> tuple[int, int, int, int, bool]:
        """(entries, bytes, first time, last time, whether times never fell)."""
        known = await self._stream(stream)
        return len(known.times), known.size, known.first_ms, known.last_ms, known.ordered

    async def remove(self, stream: str) -> None:
        """Forget a stream; unknown ones are ignored."""
        async with self._alone(stream):
            self._open.pop(stream, None)
            self._path(stream).unlink(missing_ok=True)

    def close(self) -> None:
        """Let writes under way finish."""
        self._workers.shutdown(wait=True)


def _load(path: Path) -> _Stream:
    """Index a file up to a torn or damaged tail, which the next write cuts off."""
    stream = _Stream(path)
    try:
        file = path.open("rb", buffering=READ_BUFFER)
    except FileNotFoundError:
        return stream
    with file:
        left = os.fstat(file.fileno()).st_size
        while left >= _HEAD.size:
            length, checksum, at_ms = _HEAD.unpack(file.read(_HEAD.size))
            left -= _HEAD.size + length
            if left < 0 or checksum != _checksum(at_ms, file.read(length)):
                break
            stream.add(stream.end, at_ms, length)
    return stream


def _checksum(at_ms: int, body: bytes) -> int:
    return zlib.crc32(body, zlib.crc32(_CHECKED.pack(len(body), at_ms), _SEED))


def _write(path: Path, end: int, entries: Sequence[tuple[int, bytes]]) -> None:
    """Put entries at the ``end`` of what is whole, durably."""
    folder = path.parent
    folder.mkdir(exist_ok=True)
    parts: list[bytes] = []
    for at_ms, body in entries:
        parts += [_HEAD.pack(len(body), _checksum(at_ms, body), at_ms), body]
    with path.open("ab") as file:
        if file.tell() != end:
            file.truncate(end)
        file.write(b"".join(parts))
        file.flush()
        os.fsync(file.fileno())
    if not end:  # the file's name, and its folder's, must outlive a loss of power too
        sync_folder(folder)
        sync_folder(folder.parent)


def _bodies(path: Path, places: Sequence[tuple[int, int, int]]) -> list[Appended]:
    """The entries at (position, offset, offset behind it). A stream that was removed meanwhile
    has none."""
    found: list[Appended] = []
    try:
        file = path.open("rb", buffering=READ_BUFFER)
    except FileNotFoundError:
        return found
    with file:
        for position, offset, end in places:
            if file.tell() != offset:
                file.seek(offset)
            content = file.read(end - offset)
            at_ms = _HEAD.unpack_from(content)[2]
            found.append(Appended(position, at_ms, content[_HEAD.size :]))
    return found
