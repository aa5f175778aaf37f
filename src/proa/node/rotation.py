"""Keeps container log files short: rename at 10 MB, let the runtime reopen, drop old ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from proa.base.clock import Clock
from proa.base.errors import CallerFault, TryAgain
from proa.base.telemetry import get_logger
from proa.node.logs import LogFiles
from proa.node.ports import Runtime
from proa.node.worker import SandboxWorker

log = get_logger(__name__)
_EVERY_S = 10.0  # the kubelet's period


class LogRotation:
    """``needed_from(uid, container, attempt)`` tells which bytes are not shipped yet."""

    def __init__(
        self,
        runtime: Runtime,
        clock: Clock,
        log_root: Path,
        needed_from: Callable[[str, str, int], int],
    ) -> None:
        self._runtime, self._clock, self._root = runtime, clock, log_root
        self._needed_from = needed_from

    async def run(self, workers: Callable[[], Iterable[SandboxWorker]]) -> None:
        """Look at every running container's file, for ever."""
        while True:
            await self._clock.sleep(_EVERY_S)
            for worker in list(workers()):
                await self.rotate(worker)

    async def rotate(self, worker: SandboxWorker) -> None:
        """One Sandbox's files."""
        uid = worker.run.uid
        for container in list(worker.run.containers.values()):
            if container.state != "running":
                continue
            files = LogFiles(self._root / uid / container.name, container.attempt)
            if files.rotate() is None:
                continue
            try:
                await self._runtime.reopen_log(container.id)
            except (TryAgain, CallerFault) as error:
                log.warning("log not reopened", uid=uid, error=str(error))
            files.prune(self._needed_from(uid, container.name, container.attempt))
