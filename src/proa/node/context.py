"""What every part of the agent shares: the ports, the clock, and where news goes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from proa.base.clock import Clock
from proa.model.sandbox import NodeEvent
from proa.node.ports import ImageInfo, NetworkPort, Prober, Runtime, Volumes
from proa.node.state import Instant, SandboxRun


class Images:
    """Pulls, one at a time a reference: who asks while it runs gets the same answer."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._running: dict[str, asyncio.Task[ImageInfo]] = {}

    async def pull(self, reference: str) -> ImageInfo:
        """As ``Runtime.pull``; a waiter that is cancelled leaves the pull to the others."""
        task = self._running.get(reference)
        if task is None:
            loop = asyncio.get_running_loop()
            task = loop.create_task(self._runtime.pull(reference), name=f"pull {reference}")
            self._running[reference] = task
            task.add_done_callback(lambda done: self._ended(reference, done))
        return await asyncio.shield(task)

    def _ended(self, reference: str, task: asyncio.Task[ImageInfo]) -> None:
        self._running.pop(reference, None)
        if not task.cancelled():
            task.exception()  # it was told to whoever waited

    async def close(self) -> None:
        """Give up what is being pulled."""
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
