"""The blob port: content by its digest (sha256 or sha512), whole and verified or not there at all.

The image registry keeps layers and manifests in it. What is large comes as an upload: begun,
appended to (after a restart too, from the offset it has), and finished under a digest, which
makes it a blob in one step. ``FileBlobs`` is durable when ``finish``, ``put`` and ``remove``
return; its disk work runs in threads. ``MemoryBlobs`` is the fake, of the same suite.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from collections.abc import AsyncIterable, AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from proa.base.chance import Chance
from proa.base.errors import CallerFault, Conflict

CHUNK = 256 * 1024
WRITE = 1024 * 1024  # bytes handed to a thread at a time
MAX_UPLOADS = 256  # beyond it, the one that was left alone longest is dropped
DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
T = TypeVar("T")
_UPLOAD = re.compile(r"[0-9a-f]{32}")


class BlobUnknown(CallerFault):
    """No blob has this digest."""


class UploadUnknown(CallerFault):
    """The upload was never begun, is finished, or was dropped."""


class DigestMismatch(CallerFault):
    """What was uploaded has another digest; the upload is dropped."""


class WrongOffset(Conflict):
    """An append did not start where the upload ends, or another one is under way."""

    def __init__(self, offset: int) -> None:
        super().__init__(f"the upload is at byte {offset}")
        self.offset = offset


class Blobs(Protocol):
    """The port. Digests are ``sha256:<64 hex digits>`` or ``sha512:<128>``; anything else is no
    blob's. The same content under two digests is two blobs."""

    async def size(self, digest: str) -> int | None:
        """Bytes; None where there is no such blob."""
        ...

    def read(self, digest: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Bytes ``start`` to before ``end`` (None: the end), in chunks. Raises BlobUnknown."""
        ...

    async def put(self, content: bytes, algorithm: str = "sha256") -> str:
        """Keep something small; returns its digest."""
        ...

    async def begin(self) -> str:
        """A new, empty upload."""
        ...

    async def offset(self, upload: str) -> int:
        """How many bytes it has. Raises UploadUnknown."""
        ...

    async def append(self, upload: str, chunks: AsyncIterable[bytes], at: int | None = None) -> int:
        """Add to the end, which must be byte ``at`` unless that is None; returns the new end.
        When the source fails, what came before stays. Raises UploadUnknown, WrongOffset."""
        ...

    async def finish(self, upload: str, digest: str) -> None:
        """Make it the blob of that digest. Raises UploadUnknown, DigestMismatch, WrongOffset."""
        ...

    async def abandon(self, upload: str) -> None:
        """Drop it. Raises UploadUnknown, WrongOffset while it is appended to."""
        ...

    async def digests(self) -> list[str]:
        """Every blob, sorted."""
        ...

    async def remove(self, digest: str) -> None:
        """Forget a blob; unknown ones are ignored."""
        ...


async def read_whole(blobs: Blobs, digest: str) -> bytes:
    """A blob that is known to be small. Raises BlobUnknown."""
    return b"".join([chunk async for chunk in blobs.read(digest)])


def digest_of(content: bytes, algorithm: str = "sha256") -> str:
    """The name under which content is kept."""
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


def algorithm_of(digest: str) -> str:
    """What a digest was made with; sha256 for what is no digest."""
    return digest.partition(":")[0] if DIGEST.fullmatch(digest) else "sha256"


@dataclass(slots=True)
class _Progress:
    """What is known of an upload that this process has written from its first byte."""

    size: int = 0
    hash: Any = field(default_factory=hashlib.sha256)


class FileBlobs:
    """Blobs as files below one folder."""

    def __init__(self, root: Path, chance: Chance) -> None:
        self._blobs, self._uploads, self._chance = root / "blobs", root / "uploads", chance
        for folder in (self._blobs, self._uploads):
            folder.mkdir(parents=True, exist_ok=True)
        self._progress: dict[str, _Progress] = {}
        self._busy: set[str] = set()

    def _path(self, digest: str) -> Path | None:
        """Digests become names of files, so nothing else may."""
        return self._blobs / digest.replace(":", "-") if DIGEST.fullmatch(digest) else None

    async def size(self, digest: str) -> int | None:
        path = self._path(digest)
        return path.stat().st_size if path is not None and path.exists() else None

    async def read(
        self, digest: str, start: int = 0, end: int | None = None
    ) -> AsyncIterator[bytes]:
        path = self._path(digest)
        if path is None or not path.exists():
            raise BlobUnknown(digest)
        with path.open("rb", buffering=0) as file:
            file.seek(start)
            left = path.stat().st_size - start if end is None else end - start
            while left > 0:
                chunk = await _in_thread(file.read, min(CHUNK, left))
                if not chunk:
                    return
                left -= len(chunk)
                yield chunk

    async def put(self, content: bytes, algorithm: str = "sha256") -> str:
        digest = digest_of(content, algorithm)
        path = self._path(digest)
        assert path is not None, "a digest of ours is well formed"
        if not path.exists():
            partial = self._uploads / f"{self._chance.hex(32)}.put"
            self._busy.add(partial.name)
            try:
                await _in_thread(_write_new, partial, content)
                await _in_thread(_move, partial, path)
            finally:
                self._busy.discard(partial.name)
        return digest

    def _upload(self, upload: str) -> Path:
        path = self._uploads / upload
        if not _UPLOAD.fullmatch(upload) or not path.exists():
            raise UploadUnknown(upload)
        return path

    def _idle(self, upload: str) -> Path:
        path = self._upload(upload)
        if upload in self._busy:
            raise WrongOffset(path.stat().st_size)
        return path

    async def begin(self) -> str:
        upload = self._chance.hex(32)
        (self._uploads / upload).touch(exist_ok=False)
        self._progress[upload] = _Progress()
        self._drop_forgotten(upload)
        return upload

    def _drop_forgotten(self, newest: str) -> None:
        waiting = [path for path in self._uploads.iterdir() if path.name not in self._busy]
        waiting.sort(key=lambda path: (path.name == newest, path.stat().st_mtime_ns, path.name))
        for path in waiting[: max(0, len(waiting) - MAX_UPLOADS)]:
            path.unlink()
            self._progress.pop(path.name, None)

    async def offset(self, upload: str) -> int:
        return self._upload(upload).stat().st_size

    async def append(self, upload: str, chunks: AsyncIterable[bytes], at: int | None = None) -> int:
        path = self._idle(upload)
        size = path.stat().st_size
        if at is not None and at != size:
            raise WrongOffset(size)
        self._busy.add(upload)
        try:
            with path.open("ab", buffering=0) as file:
                async for part in _gathered(chunks):
                    await _in_thread(_add, file, part, self._progress.get(upload))
            return path.stat().st_size
        finally:
            self._busy.discard(upload)

    async def finish(self, upload: str, digest: str) -> None:
        path = self._idle(upload)
        self._busy.add(upload)
        try:
            algorithm = algorithm_of(digest)
            progress = self._progress.pop(upload, None)
            found = await _in_thread(_sealed, path, progress, algorithm)
            target = self._path(digest)
            if found != digest or target is None:
                path.unlink()
                raise DigestMismatch(f"the upload's digest is {found}, not {digest}")
            await _in_thread(_move, path, target)
        finally:
            self._busy.discard(upload)

    async def abandon(self, upload: str) -> None:
        self._idle(upload).unlink()
        self._progress.pop(upload, None)

    async def digests(self) -> list[str]:
        return sorted(path.name.replace("-", ":") for path in self._blobs.iterdir())

    async def remove(self, digest: str) -> None:
        path = self._path(digest)
        if path is not None and path.exists():
            path.unlink()
            await _in_thread(sync_folder, self._blobs)


async def _in_thread(work: Callable[..., T], *arguments: Any) -> T:
    """Run something that blocks. Whoever is cancelled still waits for it, because the thread
    holds a file that is closed next."""
    running = asyncio.ensure_future(asyncio.to_thread(work, *arguments))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await running
        raise


async def _gathered(chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Chunks joined to what is worth a thread's while; a source that fails loses nothing."""
    parts: list[bytes] = []
    size = 0
    failure: BaseException | None = None
    try:
        async for chunk in chunks:
            parts.append(chunk)
            size += len(chunk)
            if size >= WRITE:
                yield b"".join(parts)
                parts, size = [], 0
    except Exception as error:
        failure = error
    if parts:
        yield b"".join(parts)
    if failure is not None:
        raise failure


def _add(file: Any, part: bytes, progress: _Progress | None) -> None:
    rest = memoryview(part)
    while rest:
        rest = rest[file.write(rest) :]
    if progress is not None:
        progress.hash.update(part)
        progress.size += len(part)


def _sealed(path: Path, progress: _Progress | None, algorithm: str) -> str:
    """Sync an upload; returns its digest, which is counted anew for one that was resumed, or
    that is not of the usual kind."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        counted = progress is not None and progress.size == os.fstat(file.fileno()).st_size
        if progress is not None and counted and algorithm == progress.hash.name:
            return f"{algorithm}:{progress.hash.hexdigest()}"
        return f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}"


def _write_new(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _move(source: Path, target: Path) -> None:
    source.rename(target)
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class MemoryBlobs:
    """The fake: the same rules without a disk."""

    def __init__(self, chance: Chance) -> None:
        self._chance = chance
        self._blobs: dict[str, bytes] = {}
        self._uploads: dict[str, bytearray] = {}  # in the order they were last written
        self._busy: set[str] = set()

    async def size(self, digest: str) -> int | None:
        return len(self._blobs[digest]) if digest in self._blobs else None

    async def read(
        self, digest: str, start: int = 0, end: int | None = None
    ) -> AsyncIterator[bytes]:
        if digest not in self._blobs:
            raise BlobUnknown(digest)
        content = self._blobs[digest][start:end]
        for first in range(0, len(content), CHUNK):
            yield content[first : first + CHUNK]

    async def put(self, content: bytes, algorithm: str = "sha256") -> str:
        digest = digest_of(content, algorithm)
        self._blobs[digest] = content
        return digest

    async def begin(self) -> str:
        upload = self._chance.hex(32)
        self._uploads[upload] = bytearray()
        waiting = [name for name in self._uploads if name not in self._busy]
        for name in waiting[: max(0, len(waiting) - MAX_UPLOADS)]:
            del self._uploads[name]
        return upload

    def _idle(self, upload: str) -> bytearray:
        if upload not in self._uploads:
            raise UploadUnknown(upload)
        if upload in self._busy:
            raise WrongOffset(len(self._uploads[upload]))
        return self._uploads[upload]

    async def offset(self, upload: str) -> int:
        if upload not in self._uploads:
            raise UploadUnknown(upload)
        return len(self._uploads[upload])

    async def append(self, upload: str, chunks: AsyncIterable[bytes], at: int | None = None) -> int:
        content = self._idle(upload)
        if at is not None and at != len(content):
            raise WrongOffset(len(content))
        self._busy.add(upload)
        try:
            async for part in _gathered(chunks):
                content += part
        finally:
            self._busy.discard(upload)
            self._uploads[upload] = self._uploads.pop(upload)
        return len(content)

    async def finish(self, upload: str, digest: str) -> None:
        content = bytes(self._idle(upload))
        del self._uploads[upload]
        found = digest_of(content, algorithm_of(digest))
        if found != digest:
            raise DigestMismatch(f"the upload's digest is {found}, not {digest}")
        self._blobs[digest] = content

    async def abandon(self, upload: str) -> None:
        self._idle(upload)
        del self._uploads[upload]

    async def digests(self) -> list[str]:
        return sorted(self._blobs)

    async def remove(self, digest: str) -> None:
        self._blobs.pop(digest, None)
