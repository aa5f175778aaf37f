"""Plays a large scenario: a plan's days in virtual time over the real control plane.

``proa sim run`` calls ``play``. Everything that happens follows from plan and seed: the same two
give the same trace, byte for byte. Regions share nothing, so each is a history of its own, and they
are played side by side. Progress is told to who asks for it.
"""

from __future__ import annotations

import gc
import hashlib
import heapq
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
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
from proa.sim.measured import Measured, together
from proa.sim.plan import CPU_UNITS, MIB, ChangePart, Churn, HostsPart, Plan, Workload, seconds
from proa.sim.processes import side_by_side
from proa.sim.stage import Stage
from proa.store.api import Event

JOINING_S = 5.0  # from the hosts' start to the first workload
GIB = 1024 * MIB
# What is there mostly stays there: to look through it all is seldom worth it.
_COLLECT = (400_000, 20, 1000)
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


@dataclass(slots=True)
class History:
    """What came of one region."""

    cpu_s: float
    virtual_s: float
    events: int
    trace_sha256: str
    problems: list[str]
    measured: Measured
    hosts: list[str]
    lines: list[str]


def play(
    plan: Plan, seed: str, progress: Progress = lambda _at, _of, _running: None, *,
    keep: bool = False, at_once: int = 0,
) -> Outcome:  # fmt: skip
    """Play a plan in virtual time. ``keep`` the trace's lines. Regions are played ``at_once``, by
    default as many as there are processors; that changes nothing but how long it takes. Raises
    CallerFault where the plan cannot be played."""
    for fault in plan.faults:
        check_fault(fault.fault, fault.given)
    began = time.perf_counter()
    lasts, heard = seconds(plan.lasts), dict.fromkeys(range(len(plan.regions)), (0.0, 0))

    def told(number: int, news: tuple[float, int]) -> None:
        heard[number] = news
        progress(min(at for at, _ in heard.values()), lasts, sum(n for _, n in heard.values()))

    def own_seed(region: str) -> str:
        return seed if len(plan.regions) == 1 else f"{seed} {region}"

    works = [partial(_history, plan.of(name), own_seed(name), keep) for name in plan.regions]
    histories = dict(zip(plan.regions, side_by_side(works, told, at_once), strict=True))
    outcome = _outcome(plan, seed, _together(histories))
    outcome.wall_s = time.perf_counter() - began
    return outcome


def _history(plan: Plan, seed: str, keep: bool, tell: Callable[[Any], None]) -> History:
    """One region's, played in this process."""
    began = time.process_time()
    thresholds = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(*_COLLECT)
    try:
        history = run_virtual(_Play(plan, seed, keep, tell).run())
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
    history.cpu_s = time.process_time() - began
    return history


def _together(histories: Mapping[str, History]) -> History:
    """All regions as one; what has a name is named with its region."""
    all = list(histories.values())
    if len(all) == 1:
        return all[0]

    def named(of: Callable[[History], list[str]], between: str) -> list[str]:
        return [f"{region}{between}{text}" for region, one in histories.items() for text in of(one)]

    traces = named(lambda one: [one.trace_sha256], " ")
    return History(
        cpu_s=sum(one.cpu_s for one in all),
        virtual_s=max(one.virtual_s for one in all),
        events=sum(one.events for one in all),
        trace_sha256=hashlib.sha256("\n".join(traces).encode()).hexdigest(),
        problems=named(lambda one: one.problems, ": "),
        measured=together({region: one.measured for region, one in histories.items()}),
        hosts=named(lambda one: one.hosts, "/"),
        lines=list(_in_time({region: one.lines for region, one in histories.items()})),
    )


def _in_time(lines: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Traces of several regions as one, by the instant that each line begins with."""

    def stamped(region: str, lines: Sequence[str]) -> Iterator[tuple[float, str]]:
        for line in lines:
            at, rest = line.split(" ", 1)
            yield float(at), f"{at} {region} {rest}"

    merged = heapq.merge(
        *(stamped(*item) for item in lines.items()), key=lambda stamped: stamped[0]
    )
    return (line for _, line in merged)


def _outcome(plan: Plan, seed: str, history: History) -> Outcome:
    return Outcome(
        plan.name,
        seed,
        cpu_s=history.cpu_s,
        virtual_s=history.virtual_s,
        events=history.events,
        trace_sha256=history.trace_sha256,
        problems=history.problems,
        measures=history.measured.shown(),
        packing=[(one.at_s, one.shares) for one in history.measured.packing],
        hosts=history.hosts,
        lines=history.lines,
    )


class _Play:
    """One region's history."""

    def __init__(self, plan: Plan, seed: str, keep: bool, tell: Callable[[Any], None]) -> None:
        self._plan, self._tell = plan, tell
        manners = Manners(plan.images, plan.curves)
        (region,) = plan.regions
        config = Config(strict=True, region=region)
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

    async def run(self) -> History:
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
        return History(
            cpu_s=0.0,
            virtual_s=stage.clock.monotonic(),
            events=stage.trace.events,
            trace_sha256=stage.trace.sha256(),
            problems=self._problems + self._bugs(),
            measured=self._measures.result(),
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
        self._tell((self._stage.clock.monotonic(), len(self._measures.running)))

    async def _sample(self) -> None:
        """At the same instants in every region."""
        every = seconds(self._plan.measure.every)
        for number in count(1):
            await self._until(JOINING_S + number * every)
            self._look()

    async def _pack(self) -> None:
        every = seconds(self._plan.measure.packing_every)
        for number in count(1):
            await self._until(JOINING_S + number * every)
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
