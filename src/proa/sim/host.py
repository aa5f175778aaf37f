"""A simulated Host of a world, and its line to the control plane.

``World`` makes them. ``SimLink`` speaks to the hull's own handlers, through the same messages as
the HTTP link and without a socket. A Host outlives its agent: ``crash`` ends the agent, its
containers stay, and ``start`` brings an agent that finds them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec

from proa.base.aio import Tasks
from proa.base.chance import Chance
from proa.base.clock import Clock
from proa.base.errors import CallerFault, TryAgain
from proa.base.http import Handler, Request
from proa.model.feed import Down, Hello, LogBatch, Report
from proa.model.host import Host
from proa.model.sandbox import Container
from proa.node.agent import Agent
from proa.node.sim import Behaviour
from proa.node.simhost import simulated_ports

HEARTBEAT_S = 10.0
_NO_FILES = Path("/nonexistent")  # simulated containers write no logs
_down = msgspec.json.Decoder(Down)
_encode = msgspec.json.Encoder().encode


class SimLink:
    """The ControlLink port over the hull's handler, which raises TryAgain while it is away."""

    def __init__(self, hello: Hello, clock: Clock, hull: Handler) -> None:
        self._hello, self._clock, self._hull = hello, clock, hull
        self._lines: asyncio.Queue[bytes | None] | None = None

    async def _post(self, path: str, body: bytes) -> None:
        answer = await self._hull(Request("POST", path, body=body))
        if answer.status == 503:
            raise TryAgain(answer.body.decode())
        if answer.status >= 400:
            raise CallerFault(f"{path}: {answer.status} {answer.body.decode()}")

    async def feed(self) -> AsyncIterator[Down]:
        """Introduce the Host, then every message until the connection is cut."""
        await self._post("/v1/hello", _encode(self._hello))
        query = (("host", self._hello.host.id),)
        answer = await self._hull(Request("GET", "/v1/feed", query))
        if answer.stream is None:
            raise TryAgain(f"feed: {answer.status} {answer.body.decode()}")
        lines: asyncio.Queue[bytes | None] = asyncio.Queue(maxsize=1)
        self._lines = lines
        tasks = Tasks()
        tasks.spawn(_pump(answer.stream, lines), f"feed of {self._hello.host.id}")
        try:
            while (line := await lines.get()) is not None:
                yield _down.decode(line)
        finally:
            self._lines = None
            await tasks.close()
        raise TryAgain("the feed broke")

    def cut(self) -> None:
        """Break the connection; what was on its way is lost."""
        if self._lines is not None:
            while not self._lines.empty():
                self._lines.get_nowait()
            self._lines.put_nowait(None)

    async def report(self, report: Report) -> None:
        await self._post("/v1/report", _encode(report))

    async def ship(self, batch: LogBatch) -> None:
        await self._post("/v1/logs", _encode(batch))

    async def heartbeat(self) -> None:
        """Tell the control plane, for as long as this runs, that the Host lives."""
        while True:
            with contextlib.suppress(TryAgain, CallerFault):
                await self.report(Report(self._hello.host.id))
            await self._clock.sleep(HEARTBEAT_S)


async def _pump(stream: AsyncIterator[bytes], lines: asyncio.Queue[bytes | None]) -> None:
    async for line in stream:
        await lines.put(line)


class SimHost:
    """One machine: its runtime and network live as long as the world, its agent comes and goes."""

    def __init__(
        self,
        facts: Host,
        clock: Clock,
        chance: Chance,
        hull: Handler,
        behaviour: Callable[[Container], Behaviour],
        note: Callable[[str], None],
    ) -> None:
        self.facts, self._note = facts, note
        self.link = SimLink(Hello(facts), clock, hull)
        self.ports, self.runtime, self.network = simulated_ports(
            self.link, clock, chance, behaviour
        )
        self.agent: Agent | None = None
        self._tasks = Tasks()

    def start(self) -> None:
        """Bring up an agent over what is there."""
        assert self.agent is None, f"{self.facts.id} has an agent"
        self.agent = Agent(self.ports, self.facts.id, _NO_FILES)
        self._tasks.spawn(self.agent.run(), f"agent {self.facts.id}")
        self._tasks.spawn(self.link.heartbeat(), f"heartbeat {self.facts.id}")
        self._note(f"agent {self.facts.id} starts")

    async def crash(self) -> None:
        """End the agent; containers live on."""
        self._note(f"agent {self.facts.id} stops")
        await self._tasks.close()
        self.agent = None

    async def close(self) -> None:
        """End the machine."""
        await self._tasks.close()
        await self.runtime.close()
