"""What the agent has accepted, kept over its own restarts: one file a Sandbox.

The files hold resolved secrets, so they are readable by root only. A file is written beside
its place, flushed, and renamed, so that a crash leaves the old or the new one.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import msgspec

from proa.base.telemetry import get_logger
from proa.model.sandbox import Assignment

log = get_logger(__name__)


class FileCheckpoint:
    """The Checkpoint port on a directory of the Host."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = asyncio.Lock()  # of writes, so that the last one asked for wins

    def load(self) -> tuple[Assignment, ...]:
        """Every assignment, by uid; one that cannot be read is logged and left out."""
        found = []
        for path in sorted(self._folder.glob("*.json")):
            try:
                found.append(msgspec.json.decode(path.read_bytes(), type=Assignment))
            except (OSError, msgspec.DecodeError) as error:
                log.error("checkpoint is unreadable", path=str(path), error=str(error))
        return tuple(found)

    async def save(self, assignment: Assignment) -> None:
        body = msgspec.json.encode(assignment)
        async with self._lock:
            await asyncio.to_thread(self._write, assignment.uid, body)

    def _write(self, uid: str, body: bytes) -> None:
        partial = self._folder / f"{uid}.partial"
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(self._folder / f"{uid}.json")

    async def forget(self, uid: str) -> None:
        async with self._lock:
            (self._folder / f"{uid}.json").unlink(missing_ok=True)


class MemoryCheckpoint:
    """The Checkpoint port of simulation: survives the agent object, not the process."""

    def __init__(self) -> None:
        self._kept: dict[str, Assignment] = {}

    def load(self) -> tuple[Assignment, ...]:
        return tuple(self._kept[uid] for uid in sorted(self._kept))

    async def save(self, assignment: Assignment) -> None:
        self._kept[assignment.uid] = assignment

    async def forget(self, uid: str) -> None:
        self._kept.pop(uid, None)
