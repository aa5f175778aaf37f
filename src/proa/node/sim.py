"""A runtime without containers: the Runtime port under virtual time, behaviour given as data.

``simhost`` makes one for each simulated Host; it passes the same conformance suite as
containerd's. Nothing here uses threads, sockets or files, and every delay comes from the
``Behaviour`` and from a seeded ``Chance``. A ``SimRuntime`` outlives the ``Agent`` that uses
it, so restarts of agents can be played.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace

from proa.base.aio import Tasks
from proa.base.chance import Chance
from proa.base.clock import Clock
from proa.base.errors import CallerFault, TryAgain
from proa.model.feed import Instances
from proa.model.sandbox import Container
from proa.node.ports import (
    AttachRequest,
    ContainerSpec,
    ExecRequest,
    ExecResult,
    ExecSession,
    Exited,
    ImageError,
    ImageInfo,
    Listing,
    NetworkPort,
    NotFound,
    RegistryAway,
    RuntimeContainer,
    RuntimeSandbox,
    SandboxSpec,
    Usage,
)

_JITTER = 0.2  # delays vary by this share
_KILLED, _TERMINATED = 137, 143


@dataclass(slots=True, frozen=True)
class Behaviour:
    """How one image's containers behave. Seconds are virtual; ``runs_s`` None: for ever;
    ``stops_s`` None: the stop signal is ignored."""

    pull_s: float = 1.0
    pull_error: str = ""
    start_s: float = 0.1
    start_error: str = ""
    ready_s: float = 0.0
    runs_s: float | None = None
    exit_code: int = 0
    stops_s: float | None = 0.1
    stop_exit_code: int = 0
    oom: bool = False
    oom_told_s: float = 0.0  # how long after the exit its word comes
    command_exit_code: int = 0  # of exec and exec probes
    command_output: bytes = b""


@dataclass(slots=True)
class _Box:
    seen: RuntimeContainer
    behaviour: Behaviour
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class SimRuntime:
    """The Runtime port. ``behaviour`` is asked for each container as it is created."""

    def __init__(
        self,
        clock: Clock,
        chance: Chance,
        network: NetworkPort,
        behaviour: Callable[[Container], Behaviour],
        sandbox_s: float = 0.1,
    ) -> None:
        self._clock, self._chance = clock, chance
        self._network, self._behaviour = network, behaviour
        self._sandbox_s = sandbox_s
        self._images: dict[str, ImageInfo] = {}
        self._sandboxes: dict[str, RuntimeSandbox] = {}
        self._boxes: dict[str, _Box] = {}
        self._listeners: dict[asyncio.Queue[Exited | None], None] = {}
        self._tasks = Tasks()
        self._pids = 1000
        self.away = False  # every call fails, as while containerd restarts
        self.registry_away = False  # pulls fail, as while the control plane restarts

    # Faults that a scenario may play

    def kill(self, id: str, exit_code: int = _KILLED) -> None:
        """End a container from outside."""
        self._end(id, exit_code)

    def kill_sandbox(self, id: str) -> None:
        """End the sandbox's own process and everything in it (a shim is killed)."""
        for box in self._in(id):
            self._end(box.seen.id, _KILLED)
        self._sandboxes[id] = replace(self._sandboxes[id], ready=False)
        self._publish(Exited(id, _KILLED, self._clock.now()))

    def lose_listeners(self) -> None:
        """Break every event stream, as a restart of containerd does."""
        for queue in self._listeners:
            queue.put_nowait(None)
        self._listeners.clear()

    def have(self, reference: str) -> None:
        """Put an image onto the Host."""
        self._images[reference] = ImageInfo(f"sim:{reference}", f"{reference}@sim", size=1)

    # The port

    def _check(self) -> None:
        if self.away:
            raise TryAgain("the runtime is away")

    async def _delay(self, seconds: float) -> None:
        if seconds > 0:
            share = 1 - _JITTER / 2 + _JITTER * self._chance.random()
            await self._clock.sleep(seconds * share)
        self._check()

    def adapt(self, container: Container) -> tuple[Container, tuple[str, ...]]:
        """A simulated machine lacks nothing."""
        return container, ()

    async def version(self) -> str:
        self._check()
        return "sim://1"

    async def ensure(self, instances: Instances) -> None:
        """Simulated containers use nothing."""
        self._check()

    async def image(self, reference: str) -> ImageInfo | None:
        self._check()
        return self._images.get(reference)

    async def pull(self, reference: str) -> ImageInfo:
        if not reference or reference != reference.strip() or " " in reference:
            raise ImageError(f"invalid reference format: {reference!r}")
        behaviour = self._behaviour(Container("", reference))
        await self._delay(behaviour.pull_s)
        if self.registry_away:
            raise RegistryAway("connection refused")
        if behaviour.pull_error:
            raise TryAgain(behaviour.pull_error)
        self.have(reference)
        return self._images[reference]

    async def run_sandbox(self, spec: SandboxSpec) -> RuntimeSandbox:
        await self._delay(self._sandbox_s)
        sandbox = spec.sandbox
        id = f"{sandbox.uid}.{spec.attempt}"
        address = ""
        if sandbox.network.mode == "vpc":
            address = await self._network.attach(f"sim:{id}", sandbox.network, sandbox.uid)
        made = RuntimeSandbox(
            id, sandbox.uid, spec.attempt, True, address, f"sim:{id}", self._clock.now()
        )
        self._sandboxes[id] = made
        return made

    def _in(self, sandbox_id: str) -> list[_Box]:
        return [box for box in self._boxes.values() if box.seen.sandbox_id == sandbox_id]

    async def stop_sandbox(self, id: str) -> None:
        self._check()
        sandbox = self._sandboxes.get(id)
        if sandbox is None:
            return
        for box in self._in(id):
            self._end(box.seen.id, _KILLED)
        if sandbox.netns:  # one that was killed still has its interface
            self._sandboxes[id] = replace(sandbox, ready=False, netns="")
            await self._network.detach(sandbox.uid)

    async def remove_sandbox(self, id: str) -> None:
        await self.stop_sandbox(id)
        for box in self._in(id):
            del self._boxes[box.seen.id]
        self._sandboxes.pop(id, None)

    async def create_container(self, sandbox: RuntimeSandbox, spec: ContainerSpec) -> str:
        self._check()
        if sandbox.id not in self._sandboxes:
            raise NotFound(f"no sandbox {sandbox.id}")
        container = spec.container
        id = f"{sandbox.id}.{container.name}.{spec.attempt}"
        if id in self._boxes:
            raise CallerFault(f"name {id} is reserved")
        seen = RuntimeContainer(
            id, sandbox.id, sandbox.uid, container.name, spec.attempt, "created",
            container.image, spec.image.digest, created_at=self._clock.now(),
        )  # fmt: skip
        self._boxes[id] = _Box(seen, self._behaviour(container))
        return id

    async def start_container(self, id: str) -> int:
        self._check()
        box = self._box(id)
        await self._delay(box.behaviour.start_s)
        now = self._clock.now()
        if box.behaviour.start_error:
            box.seen = replace(
                box.seen, state="exited", exit_code=128, reason="StartError", finished_at=now
            )
            box.ended.set()
            raise CallerFault(box.behaviour.start_error)
        self._pids += 1
        box.seen = replace(box.seen, state="running", started_at=now, pid=self._pids)
        if box.behaviour.runs_s is not None:
            self._tasks.spawn(self._live(box, box.behaviour.runs_s), f"life of {id}")
        return self._pids

    async def _live(self, box: _Box, seconds: float) -> None:
        await self._clock.sleep(seconds)
        behaviour, id = box.behaviour, box.seen.id
        if not behaviour.oom_told_s:
            self._end(id, behaviour.exit_code, behaviour.oom)
            return
        self._end(id, behaviour.exit_code)
        finished_at = box.seen.finished_at
        await self._clock.sleep(behaviour.oom_told_s)
        box.seen = replace(box.seen, reason="OOMKilled")
        self._publish(Exited(id, behaviour.exit_code, finished_at, oom=True))

    def _box(self, id: str) -> _Box:
        if id not in self._boxes:
            raise NotFound(f"no container {id}")
        return self._boxes[id]

    def _end(self, id: str, exit_code: int, oom: bool = False) -> None:
        box = self._boxes.get(id)
        if box is None or box.seen.state != "running":
            return
        now = self._clock.now()
        reason = "OOMKilled" if oom else "Completed" if exit_code == 0 else "Error"
        box.seen = replace(
            box.seen, state="exited", exit_code=exit_code, finished_at=now, reason=reason, pid=0
        )
        box.ended.set()
        self._publish(Exited(id, exit_code, now, oom))

    def _publish(self, event: Exited) -> None:
        for queue in self._listeners:
            queue.put_nowait(event)

    async def stop_container(self, id: str, grace_s: float, signal: str = "") -> None:
        self._check()
        box = self._boxes.get(id)
        if box is None or box.seen.state != "running":
            return
        needs_s = box.behaviour.stops_s
        if signal == "SIGKILL" or needs_s is None or needs_s > grace_s:
            await self._clock.sleep(grace_s)
            self._end(id, _KILLED)
        else:
            await self._clock.sleep(needs_s)
            self._end(id, box.behaviour.stop_exit_code)

    async def remove_container(self, id: str) -> None:
        self._check()
        self._end(id, _KILLED)
        self._boxes.pop(id, None)

    async def container(self, id: str) -> RuntimeContainer:
        self._check()
        return self._box(id).seen

    async def list(self) -> Listing:
        self._check()
        return Listing(
            tuple(self._sandboxes.values()), tuple(box.seen for box in self._boxes.values())
        )

    async def events(self) -> AsyncIterator[Exited | None]:
        self._check()
        queue: asyncio.Queue[Exited | None] = asyncio.Queue()
        self._listeners[queue] = None
        try:
            yield None
            while (event := await queue.get()) is not None:
                yield event
            raise TryAgain("event stream lost")
        finally:
            self._listeners.pop(queue, None)

    async def exec_sync(self, id: str, command: tuple[str, ...], timeout_s: float) -> ExecResult:
        self._check()
        box = self._running(id)
        return ExecResult(box.behaviour.command_exit_code, box.behaviour.command_output)

    def _running(self, id: str) -> _Box:
        box = self._box(id)
        if box.seen.state != "running":
            raise CallerFault(f"container {id} is not running")
        return box

    async def exec(self, id: str, request: ExecRequest) -> ExecSession:
        self._check()
        return SimExec(self._running(id).behaviour)

    async def attach(self, id: str, request: AttachRequest) -> ExecSession:
        self._check()
        box = self._running(id)
        return SimAttachment(box.behaviour, box.ended)

    async def reopen_log(self, id: str) -> None:
        self._check()

    async def usage(self) -> tuple[Usage, ...]:
        self._check()
        now = self._clock.now()
        return tuple(
            Usage(box.seen.id, box.seen.uid, box.seen.name, now, 0, 0)
            for box in self._boxes.values()
            if box.seen.state == "running"
        )

    def ready(self, id: str) -> bool:
        """Whether a probe of this container succeeds now."""
        box = self._boxes.get(id)
        if box is None or box.seen.state != "running":
            return False
        return self._clock.now() >= box.seen.started_at + box.behaviour.ready_s

    async def close(self) -> None:
        """End the simulation of this Host."""
        await self._tasks.close()


class SimExec:
    """An exec session that says what the behaviour says."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour

    async def write(self, data: bytes) -> None:
        """Input is ignored."""

    async def close_stdin(self) -> None:
        """Nothing reads it."""

    async def output(self) -> AsyncIterator[tuple[int, bytes]]:
        if self._behaviour.command_output:
            yield 1, self._behaviour.command_output

    async def resize(self, columns: int, rows: int) -> None:
        """There is no terminal."""

    async def wait(self) -> int:
        return self._behaviour.command_exit_code

    async def close(self) -> None:
        """Nothing is held."""


class SimAttachment(SimExec):
    """Streams of a simulated container, which says what its commands say, and that at its end."""

    def __init__(self, behaviour: Behaviour, ended: asyncio.Event) -> None:
        super().__init__(behaviour)
        self._ended = ended

    async def output(self) -> AsyncIterator[tuple[int, bytes]]:
        await self._ended.wait()
        async for item in super().output():
            yield item

    async def wait(self) -> int:
        await self._ended.wait()
        return 0
