"""A simulated Host of a world, and its line to the control plane.

``World`` makes them. ``SimLink`` speaks to the hull's own handlers, through the same messages as
the HTTP link and without a socket. A Host outlives its agent: ``crash`` ends the agent, its
containers stay, and ``start`` brings an agent that finds them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from proa.base.aio import Tasks
from proa.base.chance import Chance
from proa.base.clock import Clock, VirtualClock
from proa.base.errors import CallerFault, TryAgain
from proa.base.http import Handler, Request, Response
from proa.model.feed import Down, Hello, LogBatch, Report
from proa.model.host import Host
from proa.model.sandbox import Container, Network
from proa.node.agent import Agent, Ports
from proa.node.checkpoint import MemoryCheckpoint
from proa.node.ports import Listing, RuntimeSandbox, SandboxSpec
from proa.node.sim import Behaviour, SimRuntime
from proa.node.simhost import SimLogs, SimNetwork, SimProber, SimVolumes
from proa.sim.laws.places import Places
from proa.sim.mortal import Life, Mortal, Trouble

HEARTBEAT_S = 10.0
TIMEOUT_S = 5.0  # after which a request without an answer is given up
_MORTAL = ("link", "runtime", "network", "volumes", "checkpoint")
_NO_FILES = Path("/nonexistent")  # simulated containers write no logs
_down = msgspec.json.Decoder(Down)
_encode = msgspec.json.Encoder().encode


class SimLink:
    """The ControlLink port over the hull's handler, which raises TryAgain while it is away.

    ``deaf`` and ``mute`` are the two directions of a partition: what the control plane says waits
    until it is over, what the agent says is lost, and answers with it."""

    def __init__(self, hello: Hello, clock: Clock, hull: Handler) -> None:
        self._hello, self._clock, self._hull = hello, clock, hull
        self._lines: asyncio.Queue[bytes | None] | None = None
        self.mute = False
        self._hears = asyncio.Event()
        self._hears.set()

    @property
    def deaf(self) -> bool:
        return not self._hears.is_set()

    @deaf.setter
    def deaf(self, deaf: bool) -> None:
        if deaf:
            self._hears.clear()
        else:
            self._hears.set()

    async def _ask(self, request: Request) -> Response:
        if self.mute:
            await self._clock.sleep(TIMEOUT_S)
            raise TryAgain("no answer")
        answer = await self._hull(request)
        if self.deaf:
            await self._clock.sleep(TIMEOUT_S)
            raise TryAgain("no answer")
        return answer

    async def _post(self, path: str, body: bytes) -> None:
        answer = await self._ask(Request("POST", path, body=body))
        if answer.status == 503:
            raise TryAgain(answer.body.decode())
        if answer.status >= 400:
            raise CallerFault(f"{path}: {answer.status} {answer.body.decode()}")

    async def feed(self) -> AsyncIterator[Down]:
        """Introduce the Host, then every message until the connection is cut."""
        await self._post("/v1/hello", _encode(self._hello))
        query = (("host", self._hello.host.id),)
        answer = await self._ask(Request("GET", "/v1/feed", query))
        if answer.stream is None:
            raise TryAgain(f"feed: {answer.status} {answer.body.decode()}")
        lines: asyncio.Queue[bytes | None] = asyncio.Queue(maxsize=1)
        self._lines = lines
        tasks = Tasks()
        tasks.spawn(_pump(answer.stream, lines), f"feed of {self._hello.host.id}")
        try:
            while (line := await lines.get()) is not None:
                await self._hears.wait()
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


class _Network(SimNetwork):
    """Tells the laws of every interface."""

    def __init__(self, host: str, places: Places) -> None:
        super().__init__()
        self._host, self._places = host, places

    async def attach(self, netns_path: str, network: Network, uid: str) -> str:
        address = await super().attach(netns_path, network, uid)
        self._places.attached(self._host, uid, address)
        return address

    async def isolate(self, uid: str, container: str, network: Network) -> str:
        namespace = await super().isolate(uid, container, network)
        self._places.attached(self._host, f"{uid}#{container}", network.address)
        return namespace

    async def detach(self, uid: str) -> None:
        before = self.attached
        await super().detach(uid)
        self._gone(before)

    async def keep(self, uids: Collection[str]) -> None:
        before = self.attached
        await super().keep(uids)
        self._gone(before)

    def _gone(self, before: dict[str, str]) -> None:
        for key, address in before.items():
            if key not in self.attached:
                self._places.detached(self._host, key, address)


class _Runtime(SimRuntime):
    """Tells the laws of every sandbox."""

    told: Callable[[str], None]

    def listing(self) -> Listing:
        """What there is, whether the runtime answers or not."""
        boxes = tuple(box.seen for box in self._boxes.values())
        return Listing(tuple(self._sandboxes.values()), boxes)

    async def run_sandbox(self, spec: SandboxSpec) -> RuntimeSandbox:
        made = await super().run_sandbox(spec)
        self.told(made.uid)
        return made


class SimHost:
    """One machine: its runtime and network live as long as the world, its agent comes and goes.

    ``trouble`` is asked before each call that an agent makes of its ports."""

    def __init__(
        self,
        facts: Host,
        clock: VirtualClock,
        chance: Chance,
        hull: Handler,
        behaviour: Callable[[Container], Behaviour],
        note: Callable[[str], None],
        places: Places,
    ) -> None:
        self.facts, self.clock, self._note = facts, clock, note
        self._places = places
        self.link = SimLink(Hello(facts), clock, hull)
        self.network = _Network(facts.id, places)
        self.runtime = _Runtime(clock, chance, self.network, behaviour)
        self.runtime.told = partial(places.runs, facts.id)
        self.troubles: list[Trouble] = []
        self.dead = False  # the machine itself, for good
        self.agent: Agent | None = None
        self.ports = Ports(
            link=self.link,
            runtime=self.runtime,
            network=self.network,
            volumes=SimVolumes(),
            prober=SimProber(self.runtime, clock),
            checkpoint=MemoryCheckpoint(),
            logs=SimLogs(),
            clock=clock,
        )
        self._life = Life()
        self._tasks = Tasks()

    def _trouble(self, port: str, method: str) -> Exception | None:
        for trouble in self.troubles:
            error = trouble(port, method)
            if error is not None:
                return error
        return None

    def start(self) -> None:
        """Bring up an agent over what is there."""
        assert self.agent is None, f"{self.facts.id} has an agent"
        life = self._life = Life()

        def held(name: str) -> Any:
            return Mortal(name, getattr(self.ports, name), life, self._trouble)

        ports = replace(self.ports, **{name: held(name) for name in _MORTAL})
        self.agent = Agent(ports, self.facts.id, _NO_FILES)
        self._tasks.spawn(self.agent.run(), f"agent {self.facts.id}")
        self._tasks.spawn(self.link.heartbeat(), f"heartbeat {self.facts.id}")
        self._note(f"agent {self.facts.id} starts")

    def start_again(self) -> None:
        """Start an agent where there is none, on a machine that is still there."""
        if self.agent is None and not self.dead:
            self.start()

    def kill(self) -> None:
        """From this instant nothing that the agent does reaches anything; ``crash`` follows."""
        self._life.ended = True

    async def crash(self) -> None:
        """End the agent; containers live on."""
        self._note(f"agent {self.facts.id} stops")
        self.kill()
        await self._tasks.close()
        self.agent = None

    async def die(self) -> None:
        """The machine is lost for good, with all that ran on it."""
        self.dead = True
        if self.agent is not None:
            await self.crash()
        await self.runtime.close()
        self._places.lost(self.facts.id)
        self._note(f"machine {self.facts.id} is lost")

    async def close(self) -> None:
        """End the machine."""
        await self._tasks.close()
        await self.runtime.close()
