"""A control plane of a test's own: says what to run, remembers what it was told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from proa.base.clock import Clock
from proa.base.errors import TryAgain
from proa.model.feed import Assign, Down, Instances, LogBatch, Report, Synced
from proa.model.host import Host, Instance
from proa.model.resources import Resources
from proa.model.sandbox import Assignment, ContainerStatus, NodeEvent, Sandbox, SandboxStatus

CPU = 128_000
POOL = Resources(cpu=4 * CPU, memory=8 << 30, sandboxes=110)


class Control:
    """The ControlLink port, from the other side."""

    def __init__(self, clock: Clock, instances: tuple[Instance, ...] = ()) -> None:
        self._clock = clock
        self.instances = Instances(Host("h-1", pool=POOL), instances)
        self.wanted: dict[str, Assignment] = {}
        self.status: dict[str, SandboxStatus] = {}
        self.history: list[SandboxStatus] = []
        self.events: list[NodeEvent] = []
        self.batches: list[LogBatch] = []
        self.away = False
        self._streams: dict[asyncio.Queue[Down | None], None] = {}
        self._version = 0

    # The port

    async def feed(self) -> AsyncIterator[Down]:
        if self.away:
            raise TryAgain("away")
        queue: asyncio.Queue[Down | None] = asyncio.Queue()
        self._streams[queue] = None
        try:
            yield self.instances
            for assignment in list(self.wanted.values()):
                yield Assign(assignment)
            yield Synced()
            while (message := await queue.get()) is not None:
                yield message
            raise TryAgain("connection lost")
        finally:
            self._streams.pop(queue, None)

    async def report(self, report: Report) -> None:
        if self.away:
            raise TryAgain("away")
        for status in report.statuses:
            before = self.status.get(status.uid)
            if before is None or status.serial > before.serial:
                self.status[status.uid] = status
                self.history.append(status)
        self.events.extend(report.events)

    async def ship(self, batch: LogBatch) -> None:
        if self.away:
            raise TryAgain("away")
        self.batches.append(batch)

    # The test's side

    def _send(self, message: Down | None) -> None:
        for queue in self._streams:
            queue.put_nowait(message)

    def disconnect(self) -> None:
        """Break every feed; the agent connects again."""
        self._send(None)

    def want(self, sandbox: Sandbox, want: str = "run", grace_s: int = 30) -> None:
        """Assign, or assign anew."""
        self._version += 1
        since = self._clock.now() if want == "stop" else 0.0
        assignment = Assignment(sandbox.uid, want, self._version, sandbox, grace_s, since)
        self.wanted[sandbox.uid] = assignment
        self._send(Assign(assignment))

    def vanish(self, uid: str) -> None:
        """The record is gone."""
        self.wanted.pop(uid, None)
        self._send(Assign(Assignment(uid, "gone")))

    async def until(
        self, uid: str, holds: Callable[[SandboxStatus], bool], seconds: float = 30
    ) -> SandboxStatus:
        """Wait for a status; fails with the last one seen."""
        for _ in range(int(seconds / 0.02)):
            status = self.status.get(uid)
            if status is not None and holds(status):
                return status
            await self._clock.sleep(0.02)
        texts = [f"{event.reason}: {event.message}" for event in self.events if event.uid == uid]
        raise AssertionError(f"{self.status.get(uid)}\n" + "\n".join(texts))

    async def running(self, uid: str) -> ContainerStatus:
        """Wait until the first container runs and is ready."""
        status = await self.until(
            uid, lambda status: status.phase == "running" and status.containers[0].ready
        )
        return status.containers[0]

    async def gone(self, uid: str) -> SandboxStatus:
        return await self.until(uid, lambda status: status.gone)

    def lines(self, stream: str) -> list[str]:
        """Messages of a log stream, each batch once."""
        seen: dict[tuple[str, int], None] = {}
        found = []
        for batch in self.batches:
            if batch.stream != stream or (batch.source, batch.first) in seen:
                continue
            seen[batch.source, batch.first] = None
            found.extend(line.message for line in batch.lines)
        return found

    def reasons(self, uid: str) -> list[str]:
        return [event.reason for event in self.events if event.uid == uid]
