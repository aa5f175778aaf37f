"""What the agent has accepted, kept over its own restarts: one file a Sandbox.

The files hold resolved secrets: they are sealed, with a key that only root can read. A file is
written beside its place, flushed, and renamed, so that a crash leaves the old or the new one.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from proa.base.telemetry import get_logger
from proa.cloud.secrets import CannotOpen, Sealer
from proa.model.feed import Instances
from proa.model.sandbox import Assignment

log = get_logger(__name__)
T = TypeVar("T")
_INSTANCES = "instances"
_SUFFIX = ".sealed"


class FileCheckpoint:
    """The Checkpoint port on a directory of the Host."""

    def __init__(self, folder: Path, sealer: Sealer) -> None:
        self._folder, self._sealer = folder, sealer
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = asyncio.Lock()  # of writes, so that the last one asked for wins

    def load(self) -> tuple[Assignment, ...]:
        """Every assignment, by uid; one that cannot be read is logged and left out."""
        found = []
        for path in sorted(self._folder.glob(f"*{_SUFFIX}")):
            assignment = self._read(path, Assignment) if path.stem != _INSTANCES else None
            if assignment is not None:
                found.append(assignment)
        return tuple(found)

    def _read(self, path: Path, kind: type[T]) -> T | None:
        try:
            body = self._sealer.open(path.read_bytes(), path.stem)
            return msgspec.json.decode(body, type=kind)
        except FileNotFoundError:
            return None
        except (OSError, CannotOpen, msgspec.DecodeError) as error:
            log.error("checkpoint is unreadable", path=str(path), error=str(error))
            return None

    async def save(self, assignment: Assignment) -> None:
        await self._in_order(lambda: self._write(assignment.uid, assignment))

    async def _in_order(self, work: Callable[[], None]) -> None:
        async with self._lock:
            await asyncio.to_thread(work)

    def _write(self, name: str, value: object) -> None:
        body = self._sealer.seal(msgspec.json.encode(value), name)
        partial = self._folder / f"{name}.partial"
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(self._folder / f"{name}{_SUFFIX}")

    async def forget(self, uid: str) -> None:
        async with self._lock:
            (self._folder / f"{uid}{_SUFFIX}").unlink(missing_ok=True)

    def instances(self) -> Instances | None:
        return self._read(self._folder / f"{_INSTANCES}{_SUFFIX}", Instances)

    async def save_instances(self, instances: Instances) -> None:
        await self._in_order(lambda: self._write(_INSTANCES, instances))


class MemoryCheckpoint:
    """The Checkpoint port of simulation: survives the agent object, not the process."""

    def __init__(self) -> None:
        self._kept: dict[str, Assignment] = {}
        self._instances: Instances | None = None

    def load(self) -> tuple[Assignment, ...]:
        return tuple(self._kept[uid] for uid in sorted(self._kept))

    async def save(self, assignment: Assignment) -> None:
        self._kept[assignment.uid] = assignment

    async def forget(self, uid: str) -> None:
        self._kept.pop(uid, None)

    def instances(self) -> Instances | None:
        return self._instances

    async def save_instances(self, instances: Instances) -> None:
        self._instances = instances
