"""What may go wrong with a world's machines: agents, runtimes, containers, disks, the way there.

Part of ``faults``, which see. A machine that is lost stays lost; an operator takes note of it as
the manuals of both APIs say.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import msgspec

from proa.aws.ecs.names import container_instance_id
from proa.base.chance import Chance
from proa.base.clock import VirtualLoop
from proa.base.errors import CallerFault, TryAgain
from proa.base.http import Request
from proa.sim.clients import Clients, Json
from proa.sim.host import SimHost
from proa.sim.user_faults import Operator, instances_on
from proa.sim.world import World

STEPS_S = 1.0
_WORK = ("run_sandbox", "stop_sandbox", "remove_sandbox", "create_container", "start_container",
         "stop_container", "remove_container", "list")  # fmt: skip


class MachineFaults:
    """``clients`` is the operator's."""

    def __init__(self, world: World, clients: Clients, chance: Chance) -> None:
        self._world, self._chance = world, chance
        self._operator = Operator(world, clients)

    def known(self) -> dict[str, Callable[..., Awaitable[None]]]:
        """Every fault by its name."""
        own: tuple[Callable[..., Awaitable[None]], ...] = (
            self.restart_agent,
            self.kill_agent,
            self.runtime_away,
            self.runtime_fails,
            self.start_fails,
            self.kill_container,
            self.kill_sandbox,
            self.cut_connection,
            self.partition,
            self.disk_full,
            self.lose_host,
            self.reclaim_host,
        )
        return {fault.__name__: fault for fault in own}

    def _alive(self, host: str) -> SimHost | None:
        machine = self._world.hosts[host]
        return None if machine.dead else machine

    # Agents

    async def restart_agent(self, host: str, away_s: float) -> None:
        """The agent's process dies and is started again; its containers run on."""
        machine = self._world.hosts[host]
        if machine.agent is None:
            return
        await machine.crash()
        await self._world.clock.sleep(away_s)
        machine.start_again()

    async def kill_agent(self, host: str, steps: int, away_s: float) -> None:
        """The same before the so manieth step of the world from now: between any two awaits."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop), "worlds live in virtual time"
        at = loop.steps + steps
        loop.before_step(at, self._world.hosts[host].kill)
        while loop.steps < at:
            await self._world.clock.sleep(STEPS_S)
        await self.restart_agent(host, away_s)

    # The runtime and what it runs

    async def runtime_away(self, host: str, for_s: float) -> None:
        """containerd restarts: every call fails, and event streams break."""
        runtime = self._world.hosts[host].runtime
        runtime.away = True
        runtime.lose_listeners()
        await self._world.clock.sleep(for_s)
        runtime.away = False

    async def runtime_fails(self, host: str, for_s: float, share: float) -> None:
        """A share of the runtime's calls fails with an error that may pass."""

        def trouble(port: str, method: str) -> Exception | None:
            if port == "runtime" and method in _WORK and self._chance.random() < share:
                return TryAgain(f"{method}: rpc error: code = Unavailable")
            return None

        await self._with(host, trouble, for_s)

    async def start_fails(self, host: str, for_s: float) -> None:
        """The first start of a container within this time fails by its own fault."""
        left = [1]

        def trouble(port: str, method: str) -> Exception | None:
            if port == "runtime" and method == "start_container" and left:
                left.clear()
                return CallerFault("start_container: no such file or directory")
            return None

        await self._with(host, trouble, for_s)

    async def disk_full(self, host: str, for_s: float) -> None:
        """Checkpoints cannot be written."""

        def trouble(port: str, method: str) -> Exception | None:
            if port == "checkpoint" and method.startswith("save"):
                return OSError(28, "No space left on device")
            return None

        await self._with(host, trouble, for_s)

    async def _with(
        self, host: str, trouble: Callable[[str, str], Exception | None], for_s: float
    ) -> None:
        troubles = self._world.hosts[host].troubles
        troubles.append(trouble)
        await self._world.clock.sleep(for_s)
        troubles.remove(trouble)

    async def kill_container(self, host: str, exit_code: int = 137) -> None:
        """A container ends by itself."""
        machine = self._alive(host)
        if machine is None or machine.runtime.away:
            return
        found = (await machine.runtime.list()).containers
        running = sorted(item.id for item in found if item.state == "running")
        if running:
            machine.runtime.kill(self._chance.choice(running), exit_code)

    async def kill_sandbox(self, host: str) -> None:
        """A sandbox's own process is killed, and everything in it."""
        machine = self._alive(host)
        if machine is None or machine.runtime.away:
            return
        ready = sorted(item.id for item in (await machine.runtime.list()).sandboxes if item.ready)
        if ready:
            machine.runtime.kill_sandbox(self._chance.choice(ready))

    # The way there

    async def cut_connection(self, host: str) -> None:
        """The agent's feed breaks."""
        self._world.hosts[host].link.cut()

    async def partition(self, host: str, for_s: float, ways: str = "both") -> None:
        """Nothing gets through: to the host ("in"), from it ("out") or both ways. A connection
        that was cut off so is reset in the end."""
        link = self._world.hosts[host].link
        link.deaf, link.mute = ways in ("in", "both"), ways in ("out", "both")
        await self._world.clock.sleep(for_s)
        link.deaf = link.mute = False
        link.cut()

    # Machines

    async def lose_host(self, host: str, noticed_after_s: float) -> None:
        """The machine dies for good; after a while an operator takes it out of both clusters, and
        out of Proa."""
        machine = self._alive(host)
        if machine is None:
            return
        await machine.die()
        await self._world.clock.sleep(noticed_after_s)
        await self._taken_out(host)

    async def reclaim_host(self, host: str, notice_s: float, noticed_after_s: float) -> None:
        """The machine is wanted back: on the notice nothing more is placed on it and what it has
        is moved, then it goes."""
        if self._alive(host) is None:
            return
        await self._operator.drain(host)
        await self._world.clock.sleep(notice_s)
        await self.lose_host(host, noticed_after_s)

    async def _taken_out(self, host: str) -> None:
        for instance in instances_on(self._world, host, "/kube/"):
            await self._operator.kube("DELETE", f"/api/v1/nodes/{instance.name}")
        for instance in instances_on(self._world, host, "/aws/"):
            given: Json = {"containerInstance": container_instance_id(instance.id), "force": True}
            await self._operator.ecs("DeregisterContainerInstance", given)
        await self._leaves(host)

    async def _leaves(self, host: str) -> None:
        """The operator tells Proa that the machine will not come back."""
        request = Request("POST", "/v1/leaves", body=msgspec.json.encode([host]))
        while True:
            with contextlib.suppress(TryAgain):
                answer = await self._world.hull(request)
                if answer.status < 300:
                    return
            await self._world.clock.sleep(STEPS_S)
