"""What may go wrong in a world, by name: each entry of a scenario's ``faults`` is one call.

A fault plays, lasts, and is over when it returns; ``scenario`` starts each at its instant. Which
container a fault hits is drawn from the scenario's seed. Faults of machines are in
``machine_faults``, what users do in ``user_faults``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from proa.base.chance import Chance
from proa.base.clock import VirtualLoop
from proa.node.sim import Behaviour
from proa.sim.clients import Clients
from proa.sim.machine_faults import MachineFaults
from proa.sim.user_faults import UserFaults
from proa.sim.world import World

STEPS_S = 1.0  # how often is looked whether a step has come
Fault = Callable[..., Awaitable[None]]


def _loop() -> VirtualLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop), "worlds live in virtual time"
    return loop


class Faults:
    """The faults of one run. ``behaviours`` are the images' present ones, which faults change."""

    def __init__(
        self,
        world: World,
        behaviours: dict[str, Behaviour],
        chance: Chance,
        clients: Clients | None = None,
    ) -> None:
        self._world, self._behaviours, self._chance = world, behaviours, chance
        self._usual = dict(behaviours)
        users = clients or Clients(world)
        self._machines = MachineFaults(world, users, chance)
        self._users = UserFaults(world, users, chance)

    def known(self) -> dict[str, Fault]:
        """Every fault by its name."""
        own: tuple[Fault, ...] = (
            self.restart_control_plane,
            self.kill_control_plane,
            self.lose_answers,
            self.refuse_requests,
            self.slow_commits,
            self.refuse_commits,
            self.lose_commits,
            self.lag_watches,
            self.break_watches,
            self.jump_clock,
            self.slow_pull,
            self.failing_pull,
        )
        return (
            {fault.__name__: fault for fault in own} | self._machines.known() | self._users.known()
        )

    async def play(self, fault: str, given: Mapping[str, Any]) -> None:
        """Carry out a fault to its end."""
        self._world.trace.note(f"fault {fault} {dict(sorted(given.items()))}")
        await self.known()[fault](**given)

    # The control plane

    async def restart_control_plane(self, away_s: float) -> None:
        """The control plane's process dies and is started again."""
        if self._world.front is None:
            return
        await self._world.crash_plane()
        await self._world.clock.sleep(away_s)
        await self._world.start_plane()

    async def kill_control_plane(self, steps: int, away_s: float) -> None:
        """The control plane's process dies before the so manieth step of the world from now: that
        may be between any two awaits."""
        at = _loop().steps + steps
        _loop().before_step(at, lambda: self._world.kill_for(away_s))
        while _loop().steps < at:
            await self._world.clock.sleep(STEPS_S)
        await self._world.clock.sleep(away_s + STEPS_S)

    async def lose_answers(self, for_s: float) -> None:
        """Requests are carried out, and half of their answers never arrive."""
        self._world.losing = True
        await self._world.clock.sleep(for_s)
        self._world.losing = False

    async def refuse_requests(self, for_s: float) -> None:
        """Half of all requests are turned away before they are carried out."""
        self._world.refusing = True
        await self._world.clock.sleep(for_s)
        self._world.refusing = False

    # Its store

    async def slow_commits(self, for_s: float, slow_s: float) -> None:
        """The disk is slow."""
        self._world.weather.slow_s = slow_s
        await self._world.clock.sleep(for_s)
        self._world.weather.slow_s = 0.0

    async def refuse_commits(self, for_s: float, share: float) -> None:
        """A share of commits fails."""
        self._world.weather.refused = share
        await self._world.clock.sleep(for_s)
        self._world.weather.refused = 0.0

    async def lose_commits(self, for_s: float, share: float) -> None:
        """A share of commits is carried out, and nobody is told."""
        self._world.weather.lost = share
        await self._world.clock.sleep(for_s)
        self._world.weather.lost = 0.0

    async def lag_watches(self, for_s: float, lag_s: float) -> None:
        """What watches bring is late."""
        self._world.weather.lag_s = lag_s
        await self._world.clock.sleep(for_s)
        self._world.weather.lag_s = 0.0

    async def break_watches(self) -> None:
        """Every watch of the store breaks, and what it was about to bring is lost."""
        self._world.weather.breaks += 1

    # Time and images

    async def jump_clock(self, who: str, by_s: float) -> None:
        """Wall time jumps, for the control plane or one host; monotonic time goes on."""
        world = self._world
        clock = world.clock if who == "plane" else world.hosts[who].clock
        clock.epoch += by_s

    async def slow_pull(self, image: str, pull_s: float, for_s: float) -> None:
        """The registry is slow."""
        await self._with(image, for_s, pull_s=pull_s)

    async def failing_pull(self, image: str, for_s: float) -> None:
        """The registry answers with an error."""
        await self._with(image, for_s, pull_error="503 Service Unavailable")

    async def _with(self, image: str, for_s: float, **changes: Any) -> None:
        """What else befalls the image meanwhile goes on, and ends, by itself."""
        usual = self._usual.get(image, Behaviour())
        self._behaviours[image] = replace(self._behaviours.get(image, usual), **changes)
        await self._world.clock.sleep(for_s)
        undone = {name: getattr(usual, name) for name in changes}
        self._behaviours[image] = replace(self._behaviours[image], **undone)
