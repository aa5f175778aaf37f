"""What may go wrong on a stage: each entry of a large scenario's ``faults`` is one of these.

A fault plays, lasts, and is over when it returns; ``large`` starts each at its instant. Who is hit
is drawn from the scenario's seed unless it is given. Faults inside one agent or one transaction are
played in small worlds, see ``faults``.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from proa.aws.ecs.names import container_instance_id
from proa.base.chance import Chance
from proa.base.clock import VirtualLoop
from proa.base.errors import CallerFault, TryAgain
from proa.cloud import compute
from proa.sim.asker import Asker, Refusal
from proa.sim.stage import Stage

RETRY_S = 2.0
Fault = Callable[..., Awaitable[None]]


class LargeFaults:
    """The faults of one run. ``asker`` says to both APIs what an operator says of a machine."""

    def __init__(self, stage: Stage, asker: Asker, chance: Chance) -> None:
        self._stage, self._asker, self._chance = stage, asker, chance
        self._replaced = 0

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
        if id in self._stage.crowd.machines:
            self._stage.crowd.restore(id)

    async def reclaim(self, notice_s: float = 120.0, again_s: float = 60.0, host: str = "") -> None:
        """The cloud wants an instance back (EC2 Spot's two minutes): on the notice nothing more is
        placed there and ECS moves its services' tasks; then the machine is gone for good, and
        ``again_s`` later its group has started another."""
        crowd, clock = self._stage.crowd, self._stage.clock
        id = self._host(host)
        facts = crowd.machines[id].facts
        await self._drain(id)
        await clock.sleep(notice_s)
        while id in crowd.machines:
            try:
                await crowd.leave(id)
            except TryAgain:
                await clock.sleep(RETRY_S)
        await clock.sleep(again_s)
        self._replaced += 1
        name = f"{id}-{self._replaced}"
        crowd.add([msgspec.structs.replace(facts, id=name, hostname=name)])

    async def _drain(self, host: str) -> None:
        """What the handlers of such a notice ask for; a machine that has gone needs none of it."""
        try:
            known = compute.instances_on(self._stage.view, host)
        except TryAgain:
            return  # nobody is there to hear of it
        for instance in known:
            if not instance.shared:
                continue
            try:
                if instance.cluster.startswith("/kube/"):
                    body = {"spec": {"unschedulable": True}}
                    path = f"/api/v1/nodes/{instance.name}"
                    await self._asker.kube("PATCH", path, body, "application/merge-patch+json")
                else:
                    ids = [container_instance_id(instance.id)]
                    given = {"containerInstances": ids, "status": "DRAINING"}
                    await self._asker.ecs("UpdateContainerInstancesState", given)
            except Refusal:
                continue

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
            if id in self._stage.crowd.machines:
                self._stage.crowd.heal(id)

    async def cut_feeds(self) -> None:
        """Every connection of an agent breaks; all of them come back and are told anew."""
        self._stage.cut_feeds()

    async def break_watches(self) -> None:
        """Every watch on the store breaks, as of readers that have fallen behind: the control
        plane lists again."""
        self._stage.store.break_watches()

    async def jump_clock(self, by_s: float, for_s: float = 0.0) -> None:
        """The wall clock of everybody steps by ``by_s``, back too where that is negative; after
        ``for_s``, unless that is 0, it steps to where it would have been."""
        clock = self._stage.clock
        clock.epoch += by_s
        if for_s:
            await clock.sleep(for_s)
            clock.epoch -= by_s

    async def restart_control_plane(self, away_s: float) -> None:
        """The control plane's process dies and is started again."""
        if self._stage.front is None:
            return
        await self._stage.crash_plane()
        await self._stage.clock.sleep(away_s)
        await self._stage.start_plane()

    async def kill_control_plane(self, away_s: float, steps: int = 5000) -> None:
        """The same before one of the next ``steps`` steps of the world: between any two awaits of
        whatever part of it is at work then."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop), "stages live in virtual time"
        struck: asyncio.Future[None] = loop.create_future()
        at = loop.steps + self._chance.integer(1, steps)
        loop.before_step(at, lambda: struck.set_result(None))
        await struck
        await self.restart_control_plane(away_s)

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
