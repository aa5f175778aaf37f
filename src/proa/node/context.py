"""What every part of the agent shares: the ports, the clock, and where news goes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from proa.base.clock import Clock
from proa.model.sandbox import NodeEvent
from proa.node.ports import ImageInfo, NetworkPort, Prober, Runtime, Volumes
from proa.node.state import Instant, SandboxRun


class Images:
    """Looks for images and pulls them, one call at a time for a reference: who asks while it runs
    gets the same answer."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._running: dict[str, asyncio.Task[ImageInfo | None]] = {}

    async def find(self, reference: str) -> ImageInfo | None:
        """As ``Runtime.image``; a waiter that is cancelled leaves the call to the others."""
        return await self._shared(f"find {reference}", partial(self._runtime.image, reference))

    async def pull(self, reference: str) -> ImageInfo:
        """As ``Runtime.pull``, and as ``find`` for who waits."""
        image = await self._shared(f"pull {reference}", partial(self._runtime.pull, reference))
        assert image is not None, "a pull ends with an image or fails"
        return image

    async def _shared(
        self, name: str, work: Callable[[], Coroutine[Any, Any, ImageInfo | None]]
    ) -> ImageInfo | None:
        task = self._running.get(name)
        if task is None:
            task = asyncio.get_running_loop().create_task(work(), name=name)
            self._running[name] = task
            task.add_done_callback(partial(self._ended, name))
        return await asyncio.shield(task)

    def _ended(self, name: str, task: asyncio.Task[ImageInfo | None]) -> None:
        self._running.pop(name, None)
        if not task.cancelled():
            task.exception()  # it was told to whoever waited

    async def close(self) -> None:
        """Give up what is under way."""
        for task in list(self._running.values()):
            task.cancel()


@dataclass(slots=True, frozen=True)
class Context:
    """Handed to each worker. ``changed`` is called when a Sandbox's status may be new,
    ``event`` with news for users."""

    runtime: Runtime
    network: NetworkPort
    volumes: Volumes
    prober: Prober
    clock: Clock
    log_root: Path
    changed: Callable[[SandboxRun], None]
    event: Callable[[NodeEvent], None]
    images: Images

    def now(self) -> Instant:
        return Instant(self.clock.now(), self.clock.monotonic())

    def log_dir(self, uid: str) -> Path:
        """Where the runtime writes a Sandbox's log files."""
        return self.log_root / uid
