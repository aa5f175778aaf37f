"""A crowd of simulated Hosts in one object, behind the agents' own messages.

``sim.large`` plays days with one in virtual time, ``proa sim hosts`` joins one to a running Proa.
The control plane cannot tell it from as many agents: Hosts join, are told what to run, report.
All share one connection, one timer queue and one heartbeat; news of many Hosts is gathered into
one call. After the control plane has been away the crowd joins anew, and what is not assigned
then is removed. Machines may be lost, come back empty, or be cut off for a while.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

import msgspec

from proa.base.aio import Tasks
from proa.base.chance import Chance
from proa.base.clock import Clock
from proa.base.errors import CallerFault, TryAgain
from proa.base.telemetry import get_logger
from proa.model.feed import Assign, Down, Hello, Instances, Report, Synced
from proa.model.host import Host
from proa.model.resources import Resources
from proa.model.sandbox import Assignment, NodeEvent, Sandbox, SandboxStatus
from proa.node.admission import admit
from proa.node.state import SandboxRun
from proa.sim.crowd_behaviour import Manner, Manners
from proa.sim.crowd_box import Box
from proa.sim.crowd_link import CrowdLink

log = get_logger(__name__)
HEARTBEAT_S = 10.0
GATHER_S = 0.25  # news of one instant travels together
RETRY_S = 1.0
MAX_EVENTS = 100  # of one Host in one report; the oldest are dropped first, as the agent does
# A status as it is reported; None for a Sandbox that vanished with its machine.
Observer = Callable[["Machine", Box, SandboxStatus | None], None]


class Machine:
    """One simulated Host. ``assigned`` is what the control plane wants of it, as it last said."""

    __slots__ = (
        "assigned", "boxes", "clock", "cpu", "cut", "down", "events", "facts", "images", "known",
        "memory", "pulling", "seen", "session",
    )  # fmt: skip

    def __init__(self, facts: Host, clock: Clock) -> None:
        self.facts, self.clock = facts, clock
        self.known: Instances | None = None
        self.boxes: dict[str, Box] = {}
        self.images: dict[str, None] = {}
        self.pulling: dict[str, float] = {}  # image → when its pull is over
        self.assigned: dict[str, Assignment] = {}
        self.seen: dict[str, None] | None = {}  # assigned since the connect; None once synced
        self.events: list[NodeEvent] = []
        self.cpu = self.memory = 0  # reserved by what holds its room here
        self.down = False  # it has lost its power
        self.cut = False  # nothing is heard of it, and it hears nothing
        self.session: asyncio.Task[None] | None = None  # of all that joined with it

    def pull_s(self, image: str, drawn_s: float) -> float:
        """How long a pull takes: who asks while it is under way waits for the rest."""
        now = self.clock.monotonic()
        due = self.pulling.get(image, 0.0)
        if due <= now:
            due = self.pulling[image] = now + drawn_s
        return due - now

    def held(self) -> list[Sandbox]:
        """What was admitted and still holds its room."""
        return [box.run.sandbox for box in self.boxes.values() if box.holds]


@dataclass(slots=True)
class Reserved:
    """What all machines' books count together, and how many of them hold anything."""

    cpu: int = 0
    memory: int = 0
    hosts: int = 0


class Crowd:
    """Many Hosts. ``observe`` is told of every status as it is reported."""

    def __init__(
        self,
        link: CrowdLink,
        clock: Clock,
        chance: Chance,
        manners: Manners,
        observe: Observer = lambda _machine, _box, _status: None,
    ) -> None:
        self.clock, self.chance, self.manners = clock, chance, manners
        self.machines: dict[str, Machine] = {}
        self._link, self.observe = link, observe
        self.tells = True  # events; without, statuses only
        self.gather_s = GATHER_S
        # (CPU curve, memory curve) → CPU and memory reserved by what runs with it
        self._loads: dict[tuple[str | float, str | float], list[int]] = {}
        self._dirty: dict[str, tuple[Machine, Box | None]] = {}
        self._wake = asyncio.Event()
        self._up: tuple[str, ...] = ()  # who gives signs of life; empty: to be looked up anew
        self.reserved = Reserved()
        self._pool: Resources | None = None
        self._tasks = Tasks()
        self._reporting = False

    # Machines

    def add(self, hosts: Sequence[Host]) -> None:
        """Machines are switched on: they join together, over a connection of their own."""
        for facts in hosts:
            self.machines[facts.id] = Machine(facts, self.clock)
        self._others_up()
        ids = [facts.id for facts in hosts]
        session = self._tasks.spawn(self._session(ids), f"feed of {len(ids)} hosts from {ids[0]}")
        for id in ids:
            self.machines[id].session = session
        if not self._reporting:
            self._reporting = True
            self._tasks.spawn(self._report(), "reports of the crowd")
            self._tasks.spawn(self._beat(), "heartbeat of the crowd")

    def lose(self, host: str) -> None:
        """A machine loses its power, and all that ran on it is gone."""
        machine = self.machines[host]
        machine.down = True
        self._others_up()
        for box in machine.boxes.values():
            self._vanish(machine, box)
            self.observe(machine, box, None)
        machine.boxes.clear()
        machine.images.clear()
        machine.events.clear()

    async def leave(self, host: str) -> None:
        """A machine is switched off for good and gone from the control plane's books. Raises
        TryAgain while that is away; the machine is off all the same."""
        self.lose(host)
        await self._link.leave([host])
        machine = self.machines.pop(host, None)
        self._others_up()
        session = machine.session if machine else None
        if session and all(other.session is not session for other in self.machines.values()):
            session.cancel()

    def restore(self, host: str) -> None:
        """A lost machine is switched on again, empty; what is wanted of it starts anew."""
        machine = self.machines[host]
        machine.down = False
        self._others_up()
        for assignment in list(machine.assigned.values()):
            self._assign(machine, assignment)

    def cut(self, host: str) -> None:
        """A machine cannot be reached; what runs on it goes on."""
        self.machines[host].cut = True
        self._others_up()

    def heal(self, host: str) -> None:
        """A machine can be reached again, and hears what it has missed."""
        machine = self.machines[host]
        machine.cut = False
        self._others_up()
        for assignment in list(machine.assigned.values()):
            self._assign(machine, assignment)
        for uid in [uid for uid in machine.boxes if uid not in machine.assigned]:
            self._unwanted(machine, uid)
        self._again(machine)

    # The feed

    async def _session(self, ids: Sequence[str]) -> None:
        while ids := [id for id in ids if id in self.machines]:
            try:
                await self._link.join([Hello(self.machines[id].facts) for id in ids])
                for id in ids:
                    self.machines[id].seen = {}
                async for pairs in self._link.feed(ids):
                    for host, message in pairs:
                        machine = self.machines.get(host)
                        if machine is not None:
                            self._take(machine, message)
            except TryAgain as error:
                log.info("control plane is away", error=str(error))
            await self.clock.sleep(RETRY_S)

    def _take(self, machine: Machine, message: Down) -> None:
        match message:
            case Assign(assignment):
                self._assigned(machine, assignment)
            case Instances():
                machine.known = message
            case Synced():
                self._synced(machine)

    def _assigned(self, machine: Machine, assignment: Assignment) -> None:
        if machine.seen is not None:
            machine.seen[assignment.uid] = None
        known = machine.assigned.get(assignment.uid)
        if assignment.sandbox is None and known is not None:
            assignment = msgspec.structs.replace(assignment, sandbox=known.sandbox)
        if assignment.want == "gone":
            machine.assigned.pop(assignment.uid, None)
        else:
            machine.assigned[assignment.uid] = assignment
        if not machine.down and not machine.cut:
            self._assign(machine, assignment)

    def _assign(self, machine: Machine, assignment: Assignment) -> None:
        box = machine.boxes.get(assignment.uid)
        if box is not None:
            self._reassign(machine, box, assignment)
            return
        if assignment.sandbox is None or assignment.want == "gone":
            return
        run = SandboxRun.of(assignment, assignment.sandbox)
        run.started_at = self.clock.now()
        if assignment.want == "run" and machine.known is not None:
            run.refusal = admit(assignment.sandbox, machine.held(), machine.known)
        if run.refusal[0]:
            event = NodeEvent(run.uid, *run.refusal, kind="Warning", at=run.started_at)
            self.event(machine, event)
        box = machine.boxes[run.uid] = Box(self, machine, run)
        box.poke()

    def _reassign(self, machine: Machine, box: Box, assignment: Assignment) -> None:
        run = box.run
        if assignment.sandbox is None:
            assignment = msgspec.structs.replace(assignment, sandbox=run.sandbox)
        if run.gone:
            if assignment.want == "gone":
                self._forget(machine, box)
            elif box.said is not None:
                box.said = None
                self.changed(machine, box)
            return
        if msgspec.structs.replace(assignment, version=run.assignment.version) == run.assignment:
            return  # the record was written anew, and nothing in it concerns this Host
        box.assign(assignment)

    def _forget(self, machine: Machine, box: Box) -> None:
        self._vanish(machine, box)
        machine.boxes.pop(box.run.uid, None)

    def _vanish(self, machine: Machine, box: Box) -> None:
        box.vanish()
        self._book(machine, box, holds=False)

    def _book(self, machine: Machine, box: Box, *, holds: bool) -> None:
        if holds == box.holds:
            return
        box.holds, sign = holds, 1 if holds else -1
        reserve, whole = box.run.sandbox.reserve, self.reserved
        was_used = machine.memory > 0
        machine.cpu += sign * reserve.cpu
        machine.memory += sign * reserve.memory
        whole.cpu += sign * reserve.cpu
        whole.memory += sign * reserve.memory
        whole.hosts += (machine.memory > 0) - was_used

    def _synced(self, machine: Machine) -> None:
        """Now it is known what is not wanted any more; everything is reported once more."""
        seen, machine.seen = machine.seen or {}, None
        for uid in [uid for uid in machine.assigned if uid not in seen]:
            del machine.assigned[uid]
        if machine.down or machine.cut:
            return
        for uid in [uid for uid in machine.boxes if uid not in seen]:
            self._unwanted(machine, uid)
        self._again(machine)

    def _unwanted(self, machine: Machine, uid: str) -> None:
        box = machine.boxes[uid]
        gone = msgspec.structs.replace(box.run.assignment, want="gone")
        self._reassign(machine, box, gone)

    def _again(self, machine: Machine) -> None:
        for box in machine.boxes.values():
            box.said = None
            self.changed(machine, box)

    # Reports

    def changed(self, machine: Machine, box: Box) -> None:
        """A Sandbox may have news."""
        self._dirty[box.run.uid] = (machine, box)
        self._wake.set()
        run = box.run
        self._book(machine, box, holds=not run.gone and not run.ended())
        if run.gone and run.assignment.want == "gone":
            self._forget(machine, box)

    def event(self, machine: Machine, event: NodeEvent) -> None:
        """News for users."""
        if not self.tells:
            return
        machine.events.append(event)
        del machine.events[:-MAX_EVENTS]
        self._dirty.setdefault(event.uid, (machine, machine.boxes.get(event.uid)))
        self._wake.set()

    async def _report(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self.clock.sleep(self.gather_s)
            reports = self._gathered()
            while reports and not await self._heard(self._link.report(reports)):
                await self.clock.sleep(RETRY_S)

    def _gathered(self) -> list[Report]:
        """One report a Host with news; those of Hosts that are cut off wait."""
        dirty, self._dirty = self._dirty, {}
        statuses: dict[str, list[SandboxStatus]] = {}
        for uid, (machine, box) in dirty.items():
            id = machine.facts.id
            if machine.down or machine.cut:
                if not machine.down:
                    self._dirty[uid] = (machine, box)
                continue
            news = statuses.setdefault(id, [])
            status = box.news() if box is not None else None
            if box is not None and status is not None:
                news.append(status)
                self.observe(machine, box, status)
        reports = []
        for id, news in statuses.items():
            machine = self.machines[id]
            if news or machine.events:
                reports.append(Report(id, tuple(news), tuple(machine.events)))
                machine.events = []
        return reports

    async def _heard(self, call: Awaitable[None]) -> bool:
        """Whether the control plane has heard; what it refuses is not said again."""
        try:
            await call
        except TryAgain:
            return False
        except CallerFault as error:
            log.warning("report not taken", error=str(error))
        return True

    async def _beat(self) -> None:
        """One call says that every machine lives."""
        while True:
            await self.clock.sleep(HEARTBEAT_S)
            if not self._up:
                machines = self.machines.values()
                self._up = tuple(one.facts.id for one in machines if not one.down and not one.cut)
            await self._heard(self._link.beat(self._up))

    def _others_up(self) -> None:
        """A machine has come, has gone, or is heard or not heard of from now on."""
        self._up, self._pool = (), None

    # Usage

    @property
    def pool(self) -> Resources:
        """What all machines that are not down have together."""
        if self._pool is None:
            up = [machine.facts.pool for machine in self.machines.values() if not machine.down]
            self._pool = Resources(sum(one.cpu for one in up), sum(one.memory for one in up))
        return self._pool

    def load(self, manner: Manner, cpu: int, memory: int, sign: int) -> None:
        """A container of this behaviour starts (1) or ends (-1) using what it reserves."""
        sums = self._loads.setdefault((manner.cpu, manner.memory), [0, 0])
        sums[0] += sign * cpu
        sums[1] += sign * memory

    def usage(self, at_s: float) -> Resources:
        """What all containers use, ``at_s`` after the start."""
        cpu = memory = 0.0
        for (cpu_curve, memory_curve), (cpu_sum, memory_sum) in self._loads.items():
            cpu += cpu_sum * self.manners.load(cpu_curve, at_s)
            memory += memory_sum * self.manners.load(memory_curve, at_s)
        return Resources(int(cpu), int(memory))

    def usage_of(self, host: str, uid: str, at_s: float) -> Resources:
        """What one Sandbox uses; nothing where it is not."""
        box = self.machines[host].boxes.get(uid)
        cpu = memory = 0.0
        for manner, own_cpu, own_memory in box.loads.values() if box else ():
            cpu += own_cpu * self.manners.load(manner.cpu, at_s)
            memory += own_memory * self.manners.load(manner.memory, at_s)
        return Resources(int(cpu), int(memory))

    def boxes(self) -> Iterable[tuple[Machine, Box]]:
        """Every Sandbox with its machine."""
        for machine in self.machines.values():
            for box in machine.boxes.values():
                yield machine, box

    @property
    def synced(self) -> bool:
        """Whether every machine has joined and knows what is wanted of it."""
        return all(machine.seen is None for machine in self.machines.values())

    async def close(self) -> None:
        """Every machine vanishes without a word."""
        await self._tasks.close()
        for _, box in list(self.boxes()):
            box.vanish()
