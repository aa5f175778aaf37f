"""What may go wrong on a stage: each entry of a large scenario's ``faults`` is one of these.

A fault plays, lasts, and is over when it returns; ``large`` starts each at its instant. Who is hit
is drawn from the scenario's seed unless it is given. Faults inside one agent or one transaction are
played in small worlds, see ``faults``.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from proa.base.chance import Chance
from proa.base.errors import CallerFault
from proa.sim.stage import Stage

Fault = Callable[..., Awaitable[None]]


class LargeFaults:
    """The faults of one run."""

    def __init__(self, stage: Stage, chance: Chance) -> None:
        self._stage, self._chance = stage, chance

    async def play(self, fault: str, given: Mapping[str, Any]) -> None:
        """Carry out a fault to its end."""
        self._stage.trace.note(f"fault {fault} {dict(sorted(given.items()))}")
        await getattr(self, fault)(**given)

    def _host(self, host: str) -> str:
        if host:
            if host not in self._stage.crowd.machines:
                raise CallerFault(f"there is no host {host!r}")
            return host
        up = [id for id, one in self._stage.crowd.machines.items() if not one.down and not one.cut]
        if not up:
            raise CallerFault("no host is left for a fault")
        return self._chance.choice(up)

    async def lose_node(self, for_s: float, host: str = "") -> None:
        """A machine loses its power, and comes back empty."""
        id = self._host(host)
        self._stage.crowd.lose(id)
        await self._stage.clock.sleep(for_s)
        self._stage.crowd.restore(id)

    async def partition(self, for_s: float, share: float = 0.01) -> None:
        """A share of all machines cannot be reached for a while; what runs there goes on."""
        machines = self._stage.crowd.machines
        hit = sorted(id for id, one in machines.items() if not one.down and not one.cut)
        self._chance.shuffle(hit)
        hit = hit[: max(1, round(share * len(machines)))]
        for id in hit:
            self._stage.crowd.cut(id)
        await self._stage.clock.sleep(for_s)
        for id in hit:
            self._stage.crowd.heal(id)

    async def restart_control_plane(self, away_s: float) -> None:
        """The control plane's process dies and is started again."""
        if self._stage.front is None:
            return
        await self._stage.crash_plane()
        await self._stage.clock.sleep(away_s)
        await self._stage.start_plane()

    async def kill_containers(self, count: int, exit_code: int = 137) -> None:
        """Containers end by themselves, all at once."""
        running = [(box, name) for _, box in self._stage.crowd.boxes() for name in list(box.loads)]
        self._chance.shuffle(running)
        for box, name in running[:count]:
            box.kill(name, exit_code)

    async def slow_pulls(self, image: str, pull_s: float, for_s: float) -> None:
        """The registry is slow."""
        await self._with(image, for_s, pull_s=pull_s)

    async def failing_pulls(self, image: str, for_s: float) -> None:
        """The registry answers with an error."""
        await self._with(image, for_s, pull_error="503 Service Unavailable")

    async def api_errors(self, share: float, for_s: float) -> None:
        """Both APIs answer a share of all requests with 503."""
        self._stage.failing = share
        await self._stage.clock.sleep(for_s)
        self._stage.failing = 0.0

    async def _with(self, image: str, for_s: float, **changes: Any) -> None:
        manners = self._stage.crowd.manners
        manners.change(image, msgspec.structs.replace(manners.of_image(image), **changes))
        await self._stage.clock.sleep(for_s)
        manners.change(image, None)


NAMES = tuple(
    name
    for name, found in vars(LargeFaults).items()
    if inspect.iscoroutinefunction(found) and not name.startswith("_") and name != "play"
)


def check_fault(fault: str, given: Mapping[str, Any]) -> None:
    """Whether a scenario's fault can be played as it is given; raises CallerFault."""
    if fault not in NAMES:
        raise CallerFault(f"there is no fault {fault!r}; there are {', '.join(NAMES)}")
    try:
        inspect.signature(getattr(LargeFaults, fault)).bind(None, **given)
    except TypeError as error:
        raise CallerFault(f"fault {fault}: {error}") from error
