"""Machines as one way of running things rents them: rented when replicas wait, given back idle.

``trial`` calls ``look`` at a way's own interval and says which replicas are wanted; what runs where
is read from the crowd. Nothing here places anything: the control plane's scheduler does. These are
models of what the cloud does around it: Auto Scaling, just-in-time nodes, Fargate's machines.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from proa.base.aio import Tasks
from proa.base.chance import Chance
from proa.base.errors import TryAgain
from proa.cost.meter import Meter, Rent
from proa.model.host import Host
from proa.model.resources import Resources
from proa.sim.compare.question import Question
from proa.sim.crowd import Crowd, Machine
from proa.sim.crowd_behaviour import drawn
from proa.sim.measure import workload_of
from proa.sim.plan import CPU_UNITS, MIB, seconds

DISK = 100 * 1024 * MIB
SERVICE_LABEL = "service"  # of a Fargate pod's own node
RETRY_S = 2.0


@dataclass(slots=True)
class Rented:
    """A machine that somebody pays for. ``vcpus`` and ``memory`` (bytes) are what is paid for,
    ``host`` what the control plane is told of it; ``idle_since`` is when nothing ran on it any
    more."""

    id: str
    host: Host
    vcpus: float
    memory: int
    service: str = ""
    joined: bool = False
    used: bool = False
    idle_since: float | None = None


class Capacity:
    """All machines of one trial. ``wanted`` names each service's replicas as they should be."""

    def __init__(self, crowd: Crowd, chance: Chance, meter: Meter, question: Question) -> None:
        self._crowd, self._chance, self._meter, self._question = crowd, chance, meter, question
        self.rented: dict[str, Rented] = {}
        self._made = 0
        self._tasks = Tasks()

    @property
    def _now(self) -> float:
        return self._crowd.clock.monotonic()

    def _rent(self, machine: Rented, rent: Rent, boot_s: float) -> None:
        self.rented[machine.id] = machine
        self._meter.start(machine.id, rent, self._now)
        self._tasks.spawn(self._boot(machine, boot_s), f"boot of {machine.id}")

    async def _boot(self, machine: Rented, boot_s: float) -> None:
        await self._crowd.clock.sleep(boot_s)
        self._crowd.add([machine.host])
        machine.joined = True
        machine.idle_since = self._now

    def _give_back(self, machine: Rented) -> None:
        del self.rented[machine.id]
        self._meter.stop(machine.id, self._now)
        self._tasks.spawn(self._leave(machine.id), f"end of {machine.id}")

    async def _leave(self, id: str) -> None:
        while True:
            try:
                await self._crowd.leave(id)
                return
            except TryAgain:
                await self._crowd.clock.sleep(RETRY_S)

    def _name(self, kind: str) -> str:
        self._made += 1
        return f"{kind}-{self._made:05d}"

    def _on(self, machine: Rented) -> Machine | None:
        return self._crowd.machines.get(machine.id)

    def look(self, wanted: Mapping[str, int], sizes: Mapping[str, Resources]) -> None:
        """Rent what is missing, give back what is not needed."""
        raise NotImplementedError

    async def close(self) -> None:
        """Stop waiting for machines."""
        await self._tasks.close()


class Nodes(Capacity):
    """Machines of one type for many replicas each. New ones are rented for what does not fit on
    those that there are, first fit, largest first."""

    def __init__(
        self, crowd: Crowd, chance: Chance, meter: Meter, question: Question, cluster: str,
        rent: Rent, daemons_vcpu: float,
    ) -> None:  # fmt: skip
        super().__init__(crowd, chance, meter, question)
        part, facts = question.nodes, question.nodes.facts
        self._cluster, self._rent_of = cluster, rent
        self._pool = Resources(
            round((facts.vcpus - daemons_vcpu) * CPU_UNITS),
            round(facts.memory_mib * (1 - part.kept_share)) * MIB,
            DISK,
            facts.interfaces * (facts.addresses - 1) + 2,  # the VPC plugin's limit of pods
        )

    def look(self, wanted: Mapping[str, int], sizes: Mapping[str, Resources]) -> None:
        part = self._question.nodes
        placed: Counter[str] = Counter()
        free: list[list[int]] = []
        for rented in self.rented.values():
            machine = self._on(rented)
            room = [self._pool.cpu, self._pool.memory, self._pool.sandboxes]
            if machine is not None:
                for box in machine.boxes.values():
                    name = workload_of(box)
                    placed[name] += not box.asked_to_stop
                    _take(room, sizes.get(name, Resources()))
                self._note_idle(rented, bool(machine.boxes))
            free.append(room)
        missing = [sizes[name] for name in wanted for _ in range(wanted[name] - placed[name])]
        missing.sort(key=lambda size: (-max(_shares(size, self._pool)), size.cpu, size.memory))
        new = _overflow(missing, free, self._pool)
        room_for = part.max - len(self.rented)
        for _ in range(min(max(new, part.min - len(self.rented)), room_for)):
            self._add()
        self._shrink(seconds(part.idle_s), part.min)

    def _add(self) -> None:
        id, facts = self._name("node"), self._question.nodes.facts
        host = Host(
            id, id, self._pool, self._pool, simulated=True, type=facts.name,
            clusters=(self._cluster,), zone=f"us-east-1{'abc'[self._made % 3]}",
        )  # fmt: skip
        machine = Rented(id, host, facts.vcpus, facts.memory_mib * MIB)
        boot_s = drawn(self._question.nodes.boot_s, self._chance)
        self._rent(machine, self._rent_of, boot_s)

    def _note_idle(self, rented: Rented, busy: bool) -> None:
        if busy:
            rented.idle_since = None
        elif rented.idle_since is None:
            rented.idle_since = self._now

    def _shrink(self, idle_s: float, least: int) -> None:
        idle = [
            machine
            for machine in self.rented.values()
            if machine.joined
            and machine.idle_since is not None
            and self._now - machine.idle_since >= idle_s
        ]
        for machine in idle[: max(0, len(self.rented) - least)]:
            self._give_back(machine)


class PodMachines(Capacity):
    """Fargate under Kubernetes: a machine of its own for each pod, of the smallest size that holds
    it, and gone with it."""

    def __init__(
        self, crowd: Crowd, chance: Chance, meter: Meter, question: Question,
        shapes: Mapping[str, tuple[float, int]], rent: Callable[[float, int], Rent],
    ) -> None:  # fmt: skip
        super().__init__(crowd, chance, meter, question)
        self._shapes, self._rent_of = shapes, rent

    def look(self, wanted: Mapping[str, int], sizes: Mapping[str, Resources]) -> None:
        there: Counter[str] = Counter()
        for rented in list(self.rented.values()):
            machine = self._on(rented)
            if machine is not None and machine.boxes:
                rented.used = True
                leaves = all(box.asked_to_stop for box in machine.boxes.values())
                there[rented.service] += not leaves
            elif rented.used or (rented.joined and there[rented.service] >= wanted[rented.service]):
                self._give_back(rented)
            else:
                there[rented.service] += 1
        for name in wanted:
            for _ in range(wanted[name] - there[name]):
                self._add(name)

    def _add(self, service: str) -> None:
        vcpus, memory_mib = self._shapes[service]
        id = self._name("fargate")
        pool = Resources(round(vcpus * CPU_UNITS), memory_mib * MIB, DISK, 1)
        host = Host(
            id, id, pool, pool, simulated=True, type="fargate", clusters=("eks/default",),
            zone=f"us-east-1{'abc'[self._made % 3]}", labels=((SERVICE_LABEL, service),),
        )  # fmt: skip
        machine = Rented(id, host, vcpus, memory_mib * MIB, service)
        start_s = drawn(self._question.fargate.start_s, self._chance)
        self._rent(machine, self._rent_of(vcpus, memory_mib), start_s)


class TaskMachines(Capacity):
    """Fargate under ECS: the control plane cuts a machine for each task out of a ground of its
    own, so there is nothing to rent beforehand; a task is paid for from its first news to its
    last."""

    GROUND = Resources(100_000 * CPU_UNITS, 400_000 * 1024 * MIB, 10**18, 1_000_000)

    def open(self) -> None:
        """Lay the ground, once."""
        for letter in "abc":
            id = f"fargate-{letter}"
            host = Host(
                id, id, self.GROUND, self.GROUND, simulated=True, type="fargate",
                clusters=("ecs/default",), zone=f"us-east-1{letter}",
            )  # fmt: skip
            self._crowd.add([host])

    def look(self, wanted: Mapping[str, int], sizes: Mapping[str, Resources]) -> None:
        """Nothing to do."""


def _shares(size: Resources, pool: Resources) -> tuple[float, float]:
    return size.cpu / pool.cpu, size.memory / pool.memory


def _take(room: list[int], size: Resources) -> bool:
    """Take a replica's size out of a machine's room, where it fits."""
    fits = room[0] >= size.cpu and room[1] >= size.memory and room[2] >= 1
    if fits:
        room[0] -= size.cpu
        room[1] -= size.memory
        room[2] -= 1
    return fits


def _overflow(missing: list[Resources], free: list[list[int]], pool: Resources) -> int:
    """How many new machines of that size replicas need that do not fit into the free room."""
    new: list[list[int]] = []
    for size in missing:
        if any(_take(room, size) for room in (*free, *new)):
            continue
        room = [pool.cpu, pool.memory, pool.sandboxes]
        if _take(room, size):  # what fits on no machine waits for ever, as it would there
            new.append(room)
    return len(new)
