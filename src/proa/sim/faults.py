"""What may go wrong in a world, by name: each entry of a scenario's ``faults`` is one call.

A fault plays, lasts, and is over when it returns; ``scenario`` starts each at its instant. Which
container a fault hits is drawn from the scenario's seed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from proa.base.chance import Chance
from proa.node.sim import Behaviour
from proa.sim.world import World


class Faults:
    """The faults of one run. ``behaviours`` are the images' present ones, which faults change."""

    def __init__(self, world: World, behaviours: dict[str, Behaviour], chance: Chance) -> None:
        self._world, self._behaviours, self._chance = world, behaviours, chance

    async def play(self, fault: str, given: Mapping[str, Any]) -> None:
        """Carry out a fault to its end."""
        known: dict[str, Callable[..., Awaitable[None]]] = {
            "restart_agent": self.restart_agent,
            "restart_control_plane": self.restart_control_plane,
            "runtime_away": self.runtime_away,
            "kill_container": self.kill_container,
            "kill_sandbox": self.kill_sandbox,
            "cut_connection": self.cut_connection,
            "lose_answers": self.lose_answers,
            "slow_pull": self.slow_pull,
            "failing_pull": self.failing_pull,
        }
        self._world.trace.note(f"fault {fault} {dict(sorted(given.items()))}")
        await known[fault](**given)

    async def restart_agent(self, host: str, away_s: float) -> None:
        """The agent's process dies and is started again; its containers run on."""
        machine = self._world.hosts[host]
        if machine.agent is None:
            return
        await machine.crash()
        await self._world.clock.sleep(away_s)
        machine.start()

    async def restart_control_plane(self, away_s: float) -> None:
        """The control plane's process dies and is started again."""
        if self._world.front is None:
            return
        await self._world.crash_plane()
        await self._world.clock.sleep(away_s)
        await self._world.start_plane()

    async def runtime_away(self, host: str, for_s: float) -> None:
        """containerd restarts: every call fails, and event streams break."""
        runtime = self._world.hosts[host].runtime
        runtime.away = True
        runtime.lose_listeners()
        await self._world.clock.sleep(for_s)
        runtime.away = False

    async def kill_container(self, host: str, exit_code: int = 137) -> None:
        """A container ends by itself."""
        runtime = self._world.hosts[host].runtime
        if runtime.away:
            return
        found = (await runtime.list()).containers
        running = sorted(item.id for item in found if item.state == "running")
        if running:
            runtime.kill(self._chance.choice(running), exit_code)

    async def kill_sandbox(self, host: str) -> None:
        """A sandbox's own process is killed, and everything in it."""
        runtime = self._world.hosts[host].runtime
        if runtime.away:
            return
        ready = sorted(item.id for item in (await runtime.list()).sandboxes if item.ready)
        if ready:
            runtime.kill_sandbox(self._chance.choice(ready))

    async def cut_connection(self, host: str) -> None:
        """The agent's feed breaks."""
        self._world.hosts[host].link.cut()

    async def lose_answers(self, for_s: float) -> None:
        """Requests are carried out, and half of their answers never arrive."""
        self._world.losing = True
        await self._world.clock.sleep(for_s)
        self._world.losing = False

    async def slow_pull(self, image: str, pull_s: float, for_s: float) -> None:
        """The registry is slow."""
        await self._with(image, for_s, pull_s=pull_s)

    async def failing_pull(self, image: str, for_s: float) -> None:
        """The registry answers with an error."""
        await self._with(image, for_s, pull_error="503 Service Unavailable")

    async def _with(self, image: str, for_s: float, **changes: Any) -> None:
        before = self._behaviours.get(image, Behaviour())
        self._behaviours[image] = replace(before, **changes)
        await self._world.clock.sleep(for_s)
        self._behaviours[image] = before
