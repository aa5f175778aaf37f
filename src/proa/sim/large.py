"""Plays a large scenario: a plan's days in virtual time over the real control plane.

``proa sim run`` and ``proa compare`` call ``play``. Everything that happens follows from plan and
seed: the same two give the same trace, byte for byte. Progress is told to who asks for it.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from proa.base.aio import Tasks
from proa.base.clock import run_virtual
from proa.base.config import Config
from proa.cloud.network import simulated_vpc
from proa.cloud.network.records import SUBNETS
from proa.model.host import Host
from proa.model.resources import Resources
from proa.sim.asker import Asker
from proa.sim.crowd_behaviour import Manners
from proa.sim.large_faults import LargeFaults, check_fault
from proa.sim.measure import Measures
from proa.sim.plan import CPU_UNITS, MIB, ChangePart, Churn, HostsPart, Plan, Workload, seconds
from proa.sim.stage import Stage
from proa.store.api import Event

JOINING_S = 5.0  # from the hosts' start to the first workload
GIB = 1024 * MIB
# What is there mostly stays there: to look through it all is seldom worth it.
_COLLECT = (100_000, 20, 1000)
Progress = Callable[[float, float, int], None]


@dataclass(slots=True)
class Outcome:
    """What came of a run. Seconds are of the wall, of the processor, and virtual ones."""

    scenario: str
    seed: str
    wall_s: float = 0.0
    cpu_s: float = 0.0
    virtual_s: float = 0.0
    events: int = 0
    trace_sha256: str = ""
    problems: list[str] = field(default_factory=list)
    measures: dict[str, Any] = field(default_factory=dict)
    packing: list[tuple[float, bytes]] = field(default_factory=list)
    hosts: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def shown(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "scenario": self.scenario,
            "seed": self.seed,
            "wall_s": round(self.wall_s, 3),
            "cpu_s": round(self.cpu_s, 3),
            "virtual_s": round(self.virtual_s, 3),
            "events": self.events,
            "trace_sha256": self.trace_sha256,
            "problems": self.problems,
            "measures": self.measures,
        }


def play(
    plan: Plan, seed: str, progress: Progress = lambda _at, _of, _running: None, *,
    keep: bool = False,
) -> Outcome:  # fmt: skip
    """Play a plan in virtual time. ``keep`` the trace's lines. Raises CallerFault where the plan
    cannot be played."""
    for fault in plan.faults:
        check_fault(fault.fault, fault.given)
    began, began_cpu = time.perf_counter(), time.process_time()
    thresholds = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(*_COLLECT)
    try:
        outcome = run_virtual(_Play(plan, seed, progress, keep).run())
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
    outcome.wall_s = time.perf_counter() - began
    outcome.cpu_s = time.process_time() - began_cpu
    return outcome


class _Play:
    def __init__(self, plan: Plan, seed: str, progress: Progress, keep: bool) -> None:
        self._plan, self._seed, self._progress = plan, seed, progress
        manners = Manners(plan.images, plan.curves)
        config = Config(strict=True)
        self._stage = Stage(f"{plan.name} {seed}", manners, config, self._committed, keep=keep)
        self._measures = Measures(self._stage.clock)
        self._stage.crowd.observe = self._measures.observe
        self._stage.crowd.tells = plan.agents.events
        self._stage.crowd.gather_s = seconds(plan.agents.report_every)
        self._chance = self._stage.chance.child("play")
        self._tasks = Tasks(on_crash=self._crashed)
        self._problems: list[str] = []
        self._there: dict[str, None] = {}  # names of workloads that have been created
        self._asker: Asker
        self._faults: LargeFaults

    def _committed(self, events: Sequence[Event]) -> None:
        self._measures.commit(events)

    def _crashed(self, name: str, error: BaseException) -> None:
        self._problems.append(f"{name}: {error}")

    async def run(self) -> Outcome:
        """The whole history."""
        stage, lasts = self._stage, seconds(self._plan.lasts)
        await stage.open()
        try:
            for part in self._plan.hosts:
                stage.crowd.add(_hosts(part))
            await stage.clock.sleep(JOINING_S)
            self._asker = Asker(stage, self._subnets())
            self._faults = LargeFaults(stage, self._asker, stage.chance.child("faults"))
            self._start()
            await self._until(lasts)
            self._look()
        finally:
            await self._tasks.close()
            await stage.close()
        return Outcome(
            self._plan.name,
            self._seed,
            virtual_s=stage.clock.monotonic(),
            events=stage.trace.events,
            trace_sha256=stage.trace.sha256(),
            problems=self._problems + self._bugs(),
            measures=self._measures.result(),
            packing=[(one.at_s, one.shares) for one in self._measures.packing],
            hosts=list(stage.crowd.machines),
            lines=stage.trace.lines,
        )

    def _bugs(self) -> list[str]:
        return [f"bug in {name} at {key}" for name, key in self._stage.crashes()]

    def _subnets(self) -> tuple[str, ...]:
        config = self._stage.config
        vpc = simulated_vpc(config.account, config.region)
        rows = self._stage.view.rows(SUBNETS).by("vpc", vpc)
        return tuple(entry.value.id for entry in rows)

    def _start(self) -> None:
        """Set going everything that has its time."""
        plan, spawn = self._plan, self._tasks.spawn
        for workload in plan.workloads:
            for number, name in enumerate(workload.names):
                spawn(self._workload(workload, name, number), f"workload {name}")
        for change in plan.changes:
            spawn(self._change(change), f"change of {change.workload}")
        for fault in plan.faults:
            begin, end = (seconds(span) for span in fault.between)
            for number in range(fault.times):
                at = begin + (end - begin) * self._chance.random()
                spawn(self._fault(at, fault.fault, fault.given), f"fault {fault.fault} {number}")
        if plan.churn is not None and plan.churn.share_per_hour:
            spawn(self._ends(plan.churn), "ends of replicas")
            spawn(self._rollouts(plan.churn), "rollouts")
        spawn(self._sample(), "samples")
        spawn(self._pack(), "packing")

    async def _until(self, instant: float) -> None:
        clock = self._stage.clock
        if instant > clock.monotonic():
            await clock.sleep(instant - clock.monotonic())

    # What happens

    async def _workload(self, workload: Workload, name: str, number: int) -> None:
        await self._until(seconds(workload.at) + 0.1 * number)
        if workload.lasts:
            self._measures.wants(name, workload.replicas)
        await self._asker.create(workload, name)
        self._there[name] = None
        every, until = seconds(workload.every), seconds(workload.until)
        while every and (not until or self._stage.clock.monotonic() + every < until):
            await self._stage.clock.sleep(every)
            await self._asker.again(workload, name)

    async def _change(self, change: ChangePart) -> None:
        workload = next(one for one in self._plan.workloads if one.name == change.workload)
        names, at = workload.names, seconds(change.at)
        for number, name in enumerate(names):
            await self._until(at + seconds(change.spread) * number / len(names))
            self._stage.trace.note(f"change of {name}")
            if change.image:
                await self._asker.roll(workload, name, change.image)
            else:
                assert change.replicas is not None, "a change is one of the two"
                self._measures.wants(name, change.replicas)
                await self._asker.scale(workload, name, change.replicas)

    async def _fault(self, at: float, name: str, given: dict[str, Any]) -> None:
        await self._until(at)
        await self._faults.play(name, given)

    async def _ends(self, churn: Churn) -> None:
        """Replicas are ended one by one, at random instants, whoever they are."""
        share = churn.share_per_hour * (1.0 - churn.rollouts)
        async for _ in self._instants(churn, lambda: share * max(1, len(self._measures.running))):
            if running := self._measures.running:
                sandbox = self._chance.choice(running).run.sandbox
                await self._asker.end(sandbox.skin, sandbox.namespace, sandbox.name)

    async def _rollouts(self, churn: Churn) -> None:
        """Workloads are deployed anew at random instants, each as often as any other."""
        lasting = [one for one in self._plan.workloads if one.lasts]
        all = [(workload, name) for workload in lasting for name in workload.names]
        share = churn.share_per_hour * churn.rollouts
        async for _ in self._instants(churn, lambda: share * len(all)):
            workload, name = self._chance.choice(all)
            if name in self._there:
                await self._asker.restart(workload, name)

    async def _instants(self, churn: Churn, per_hour: Callable[[], float]) -> AsyncIterator[None]:
        """Random instants of the churn's span, this many an hour."""
        clock, end = self._stage.clock, seconds(churn.end) or seconds(self._plan.lasts)
        await self._until(seconds(churn.begin))
        while rate := per_hour():
            await clock.sleep(-math.log(1.0 - self._chance.random()) * 3600.0 / rate)
            if clock.monotonic() >= end:
                return
            yield

    # What is seen

    def _look(self) -> None:
        self._measures.sample(self._stage.crowd)
        running = len(self._measures.running)
        self._progress(self._stage.clock.monotonic(), seconds(self._plan.lasts), running)

    async def _sample(self) -> None:
        while True:
            await self._stage.clock.sleep(seconds(self._plan.measure.every))
            self._look()

    async def _pack(self) -> None:
        while True:
            await self._stage.clock.sleep(seconds(self._plan.measure.packing_every))
            self._measures.pack(self._stage.crowd)


def _hosts(part: HostsPart) -> list[Host]:
    pool = Resources(
        round(part.vcpu * CPU_UNITS), part.memory_mib * MIB, part.disk_gib * GIB, part.pods
    )
    digits = len(str(part.count))
    made = []
    for number in range(1, part.count + 1):
        id = f"{part.name}-{number:0{digits}d}"
        zone = part.zones[(number - 1) % len(part.zones)]
        made.append(
            Host(id, id, pool, pool, simulated=True, zone=zone, type=part.type or "proa.sim")
        )
    return made
