"""What a large scenario measures: how long things took, how full the hosts were, what was missing.

``large`` feeds it every event of the store and every status that the crowd reports, and asks for a
sample at fixed intervals. Instants are virtual seconds after the start. Nothing here changes what
happens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from proa.aws.ecs.tables import TASKS
from proa.base.clock import Clock
from proa.kube.tables import PODS
from proa.model.sandbox import SandboxStatus
from proa.sim.crowd import Crowd, Machine
from proa.sim.crowd_box import Box
from proa.sim.measured import Amount, Measured, Packing, Sample, WorkloadMeasured, share
from proa.store.api import Event

_LABEL, _FAMILY = "app", "com.amazonaws.ecs.task-definition-family"
_COUNTS = ("started", "ended", "failed", "restarts")  # as a Sample has them


@dataclass(slots=True)
class _Seen:
    """One Sandbox as it was last reported."""

    workload: str
    running: bool = False
    ready: bool = False
    restarts: int = 0
    ended: bool = False


@dataclass(slots=True)
class _Workload:
    """What one workload should have and has, and what was missing of it so far."""

    wanted: int = 0
    ready: int = 0
    since: float = 0.0
    wanted_s: float = 0.0  # replica-seconds
    missing_s: float = 0.0
    down_s: float = 0.0  # seconds with none ready, once there was one
    begun: bool = False

    def passes(self, now: float) -> None:
        """Take in the time since the last change."""
        spent = now - self.since
        self.since = now
        if self.begun:
            self.wanted_s += spent * self.wanted
            self.missing_s += spent * max(0, self.wanted - self.ready)
            self.down_s += spent if self.wanted and not self.ready else 0.0


class Measures:
    """The measures of one run."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._created: dict[str, float] = {}  # what has not run yet, by store key
        self._seen: dict[str, _Seen] = {}
        self._workloads: dict[str, _Workload] = {}
        self._running: list[Box] = []  # for who picks one at random
        self._places: dict[str, int] = {}
        self._wanted = self._ready = self._now_running = 0
        self._counts = dict.fromkeys(_COUNTS, 0)
        self.created = 0
        self.placed_s: list[float] = []
        self.running_s: list[float] = []
        self.ready_s: list[float] = []
        self.totals = dict.fromkeys(self._counts, 0)
        self.samples: list[Sample] = []
        self.packing: list[Packing] = []

    # What is told

    def commit(self, events: Sequence[Event]) -> None:
        """Changes of the store: pods and tasks that come and go."""
        for event in events:
            key = event.record.key
            if event.kind != "put":
                self._created.pop(key, None)
            elif event.previous is None and (PODS.matches(key) or TASKS.matches(key)):
                self._created[key] = self._clock.monotonic()
                self.created += 1

    def wants(self, workload: str, replicas: int) -> None:
        """From now on so many replicas of a workload are wanted."""
        found = self._workloads.setdefault(workload, _Workload(since=self._clock.monotonic()))
        found.passes(self._clock.monotonic())
        self._wanted += replicas - found.wanted
        found.wanted = replicas

    def observe(self, _machine: Machine, box: Box, status: SandboxStatus | None) -> None:
        """A status as the control plane is told of it; None: gone with its machine."""
        uid = box.run.uid
        seen = self._seen.get(uid)
        if seen is None and (status is None or status.gone):
            return  # it has been counted
        if seen is None:
            seen = self._seen[uid] = _Seen(workload_of(box))
        alive = status is not None and status.phase == "running" and not status.stopping
        ready = alive and status is not None and all(item.ready for item in status.containers)
        self._changes(box, seen, bool(alive), bool(ready))
        if status is not None:
            restarts = sum(item.restarts for item in status.containers)
            self._count("restarts", restarts - seen.restarts)
            seen.restarts = restarts
        gone = status is None or status.gone
        if not seen.ended and (gone or (status and status.phase in ("succeeded", "failed"))):
            seen.ended = True
            failed = status is not None and status.phase == "failed" and not box.asked_to_stop
            self._count("failed", int(failed))
            self._count("ended", 1)
            self._created.pop(box.run.sandbox.key, None)
        if gone:
            del self._seen[uid]

    def _changes(self, box: Box, seen: _Seen, running: bool, ready: bool) -> None:
        key, now = box.run.sandbox.key, self._clock.monotonic()
        if running and not seen.running:
            self._now_running += 1
            self._count("started", 1)
            self._places[box.run.uid] = len(self._running)
            self._running.append(box)
            created = self._created.get(key)
            if created is not None:
                self.running_s.append(now - created)
        elif seen.running and not running:
            self._now_running -= 1
            self._drop(box.run.uid)
        if ready and not seen.ready:
            self._is_ready(seen.workload, 1)
            created = self._created.pop(key, None)
            if created is not None:
                self.ready_s.append(now - created)
                begun = box.run.started_at - self._clock.now() + now
                self.placed_s.append(max(0.0, begun - created))
        elif seen.ready and not ready:
            self._is_ready(seen.workload, -1)
        seen.running, seen.ready = running, ready

    def _is_ready(self, workload: str, change: int) -> None:
        self._ready += change
        found = self._workloads.get(workload)
        if found is not None:
            found.passes(self._clock.monotonic())
            found.ready += change
            found.begun = found.begun or found.ready >= found.wanted

    def _count(self, what: str, number: int) -> None:
        self._counts[what] += number
        self.totals[what] += number

    def _drop(self, uid: str) -> None:
        place = self._places.pop(uid)
        last = self._running.pop()
        if last.run.uid != uid:
            self._running[place] = last
            self._places[last.run.uid] = place

    @property
    def running(self) -> Sequence[Box]:
        """Every Sandbox that runs now, in no order that means anything."""
        return self._running

    # What is told of it

    def sample(self, crowd: Crowd) -> None:
        """Look at everything now."""
        now = self._clock.monotonic()
        reserved, pool, used = crowd.reserved, crowd.pool, crowd.usage(now)
        counts = tuple(self._counts.values())
        self._counts = dict.fromkeys(self._counts, 0)
        pending = max(0, len(self._created) - (self._now_running - self._ready))
        self.samples.append(
            Sample(
                now, self._wanted, self._now_running, self._ready, pending, counts, reserved.hosts,
                Amount(reserved.cpu, reserved.memory), Amount(used.cpu, used.memory),
                Amount(pool.cpu, pool.memory),
            )
        )  # fmt: skip

    def pack(self, crowd: Crowd) -> None:
        """Note how full every host is."""
        self.packing.append(
            Packing(self._clock.monotonic(), bytes(_full(one) for one in crowd.machines.values()))
        )

    def result(self) -> Measured:
        """Everything until now."""
        now = self._clock.monotonic()
        workloads = {}
        for name, found in self._workloads.items():
            found.passes(now)
            workloads[name] = WorkloadMeasured(
                found.wanted, found.ready, found.wanted_s, found.missing_s, found.down_s
            )
        return Measured(
            self.created, self.totals, self._now_running, self._ready, self.placed_s,
            self.running_s, self.ready_s, workloads, self.samples, self.packing,
        )  # fmt: skip


def workload_of(box: Box) -> str:
    """The workload that a Sandbox is a replica of, by its labels; "" for a stranger."""
    labels = dict(box.run.sandbox.labels)
    return labels.get(_LABEL) or labels.get(_FAMILY) or ""


def _full(machine: Machine) -> int:
    pool = machine.facts.pool
    fuller = max(share(machine.cpu, pool.cpu), share(machine.memory, pool.memory))
    return min(255, round(100 * fuller))
