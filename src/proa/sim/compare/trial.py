"""One way of running a workload, played through virtual time over the real control plane.

``verdict`` asks for one trial a way, all under one seed. Replicas follow the load as those of an
autoscaler would; machines are rented and given back by ``capacity``; everything between is the
control plane: admission, placement, deployment, status. What a trial costs is metered as it goes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from proa.base.aio import Tasks
from proa.base.clock import run_virtual
from proa.base.config import Config
from proa.cloud.network import simulated_vpc
from proa.cloud.network.records import SUBNETS
from proa.cost.meter import Bill, Meter
from proa.model.sandbox import SandboxStatus
from proa.sim.asker import Asker
from proa.sim.compare.capacity import Capacity, Nodes, PodMachines, TaskMachines
from proa.sim.compare.question import Question, ServicePart, Way
from proa.sim.compare.ways import (
    ECS_LOOK_S,
    KUBE_LOOK_S,
    Rates,
    manners_for,
    shapes_of,
    sizes_of,
    workload_for,
)
from proa.sim.crowd import Machine
from proa.sim.crowd_behaviour import Manners
from proa.sim.crowd_box import Box
from proa.sim.measure import Measures, workload_of
from proa.sim.plan import MIB, Workload, seconds
from proa.sim.stage import Stage
from proa.store.api import Event

OPENING_S = 10.0  # from the start to the first replica
SAMPLE_S = 60.0


@dataclass(slots=True)
class Trial:
    """What came of one way. ``series`` has a row a minute: instant, replicas wanted and running,
    vCPUs asked for by what runs and vCPUs paid for, machines."""

    way: Way
    bill: Bill
    starts: dict[str, float]  # seconds from a replica's making until it is ready
    missing_share: float  # of all wanted replica-seconds
    packing: tuple[float, float]  # asked ÷ paid for, CPU and memory, over the whole time
    machines: int  # at most at once
    started: int
    series: list[tuple[float, ...]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    trace_sha256: str = ""
    wall_s: float = 0.0


def play_way(
    question: Question, way: Way, seed: str, rates: Rates,
    tell: Callable[[float], None] = lambda _at: None,
) -> Trial:  # fmt: skip
    """Play one way; ``tell`` hears how many seconds have been played. Raises CallerFault where the
    workload cannot be run so."""
    began = time.perf_counter()
    trial = run_virtual(_Play(question, way, seed, rates, tell).run())
    trial.wall_s = time.perf_counter() - began
    return trial


class _Play:
    def __init__(
        self, question: Question, way: Way, seed: str, rates: Rates, tell: Callable[[float], None]
    ) -> None:
        self._question, self._way, self._rates = question, way, rates
        self._tell = tell
        self._shapes, self._sizes = shapes_of(question, way), sizes_of(question)
        manners = Manners(manners_for(question, way), {})
        self._stage = Stage(
            f"{question.name} {way} {seed}", manners, Config(strict=True), self._committed
        )
        self._measures = Measures(self._stage.clock)
        self._stage.crowd.observe = self._observe
        self._meter = Meter()
        self._capacity = self._make_capacity()
        self._wanted: dict[str, int] = {}
        self._series: list[tuple[float, ...]] = []
        self._used = [0.0, 0.0, 0.0, 0.0]  # CPU asked, paid; memory asked, paid: × seconds
        self._tasks_paid: dict[str, tuple[float, int]] = {}
        self._machines = 0
        self._problems: list[str] = []
        self._tasks = Tasks(on_crash=lambda name, error: self._problems.append(f"{name}: {error}"))
        self._asker: Asker

    def _make_capacity(self) -> Capacity:
        question, rates, crowd = self._question, self._rates, self._stage.crowd
        chance = self._stage.chance.child("capacity")
        if self._way == "ecs-fargate":
            return TaskMachines(crowd, chance, self._meter, question)
        if self._way == "eks-fargate":
            return PodMachines(crowd, chance, self._meter, question, self._shapes, rates.fargate)
        rent = rates.node(question.nodes.type)
        is_ecs = self._way == "ecs-ec2"
        cluster = "ecs/default" if is_ecs else "eks/default"
        daemons = 0.0 if is_ecs else question.nodes.daemons_vcpu
        return Nodes(crowd, chance, self._meter, question, cluster, rent, daemons)

    def _committed(self, events: Sequence[Event]) -> None:
        self._measures.commit(events)

    def _observe(self, machine: Machine, box: Box, status: SandboxStatus | None) -> None:
        """A task on Fargate is paid for from its first news until it has gone."""
        self._measures.observe(machine, box, status)
        if self._way != "ecs-fargate":
            return
        uid, now = box.run.uid, self._stage.clock.monotonic()
        if status is None or status.gone:
            self._meter.stop(uid, now)
            self._tasks_paid.pop(uid, None)
        elif uid not in self._tasks_paid:
            shape = self._shapes[workload_of(box)]
            self._tasks_paid[uid] = shape
            self._meter.start(uid, self._rates.fargate(*shape), now)

    async def run(self) -> Trial:
        """The whole time, then the reckoning."""
        stage, lasts = self._stage, seconds(self._question.lasts)
        await stage.open()
        try:
            if isinstance(self._capacity, TaskMachines):
                self._capacity.open()
            await stage.clock.sleep(OPENING_S)
            self._asker = Asker(stage, self._subnets())
            control_plane = self._rates.control_plane(self._way)
            if control_plane is not None:
                self._meter.start("control plane", control_plane, OPENING_S)
            await self._open_services()
            self._tasks.spawn(self._look(), "capacity")
            self._tasks.spawn(self._sample(), "samples")
            await stage.clock.sleep(OPENING_S + lasts - stage.clock.monotonic())
            return self._reckon(OPENING_S, OPENING_S + lasts)
        finally:
            await self._tasks.close()
            await self._capacity.close()
            await stage.close()

    def _subnets(self) -> tuple[str, ...]:
        config = self._stage.config
        rows = self._stage.view.rows(SUBNETS)
        found = rows.by("vpc", simulated_vpc(config.account, config.region))
        if not found:  # no simulated Host has joined yet
            found = [entry for entry in rows.scan() if entry.value.region == config.region]
        return tuple(entry.value.id for entry in found)

    @property
    def _at(self) -> float:
        """Seconds of the workload's own time."""
        return self._stage.clock.monotonic() - OPENING_S

    # Replicas

    async def _open_services(self) -> None:
        for service in self._question.services:
            replicas = service.replicas(self._at)
            workload = workload_for(self._question, service, self._way, replicas)
            for name in service.names:
                self._want(name, replicas)
                await self._asker.create(self._selecting(workload, name), name)
                if service.load is not None:
                    self._tasks.spawn(self._follow(service, workload, name), f"scaling of {name}")

    def _selecting(self, workload: Workload, name: str) -> Workload:
        """On Fargate a pod goes to the machine that was made for its like."""
        if self._way != "eks-fargate":
            return workload
        return msgspec.structs.replace(workload, node_labels={"service": name})

    def _want(self, name: str, replicas: int) -> None:
        self._wanted[name] = replicas
        self._measures.wants(name, replicas)

    async def _follow(self, service: ServicePart, workload: Workload, name: str) -> None:
        """Replicas follow the load: up at once, down when fewer were enough for a while."""
        every, after = seconds(self._question.scale_every), seconds(self._question.scale_in_after)
        recent: list[tuple[float, int]] = []
        while True:
            await self._stage.clock.sleep(every)
            now = self._at
            recent = [(at, count) for at, count in recent if at > now - after]
            recent.append((now, service.replicas(now)))
            wanted = max(count for _, count in recent)
            if wanted != self._wanted[name]:
                self._want(name, wanted)
                await self._asker.scale(workload, name, wanted)

    # Capacity

    async def _look(self) -> None:
        every = ECS_LOOK_S if self._way == "ecs-ec2" else KUBE_LOOK_S
        while True:
            self._capacity.look(self._wanted, self._sizes)
            await self._stage.clock.sleep(every)

    def _paid(self) -> tuple[float, int, int]:
        """vCPUs, bytes and machines that are paid for now."""
        if self._way == "ecs-fargate":
            shapes = self._tasks_paid.values()
            return sum(one[0] for one in shapes), sum(one[1] for one in shapes) * MIB, len(shapes)
        rented = self._capacity.rented.values()
        return sum(one.vcpus for one in rented), sum(one.memory for one in rented), len(rented)

    async def _sample(self) -> None:
        while True:
            await self._stage.clock.sleep(SAMPLE_S)
            asked_cpu, asked_memory = self._asked()
            vcpus, memory, machines = self._paid()
            self._machines = max(self._machines, machines)
            for index, amount in enumerate((asked_cpu, vcpus, asked_memory, memory)):
                self._used[index] += amount * SAMPLE_S
            wanted, running = sum(self._wanted.values()), len(self._measures.running)
            row = (self._at, wanted, running, round(asked_cpu, 3), round(vcpus, 3), machines)
            self._series.append(row)
            self._tell(self._at)

    def _asked(self) -> tuple[float, float]:
        """vCPUs and bytes that what runs was asked to have, before any rounding up."""
        cpu = memory = 0.0
        counts: Mapping[str, int] = self._running_by_service()
        for service in self._question.services:
            count = sum(counts.get(name, 0) for name in service.names)
            cpu += count * service.vcpu
            memory += count * service.memory_mib * MIB
        return cpu, memory

    def _running_by_service(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for box in self._measures.running:
            name = workload_of(box)
            counts[name] = counts.get(name, 0) + 1
        return counts

    def _reckon(self, since: float, until: float) -> Trial:
        measured = self._measures.result().shown()
        wanted_s = sum(row[1] for row in self._series) * SAMPLE_S
        asked_cpu, cpu, asked_memory, memory = self._used
        bugs = [f"bug in {name} at {key}" for name, key in self._stage.crashes()]
        return Trial(
            self._way,
            self._meter.bill(since, until),
            measured["seconds_to_ready"],
            measured["missing_replica_s"] / wanted_s if wanted_s else 0.0,
            (asked_cpu / cpu if cpu else 0.0, asked_memory / memory if memory else 0.0),
            self._machines,
            measured["started"],
            self._series,
            [*self._problems, *bugs],
            self._stage.trace.sha256(),
        )
