"""A bow of one kind of record, as small as dispatch allows, and a world around it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from proa.base.aio import Tasks
from proa.base.clock import VirtualClock, run_virtual
from proa.base.errors import Conflict
from proa.cloud import compute
from proa.cloud.network import NETWORK_TABLES
from proa.dispatch.scheduler import Scheduler
from proa.dispatch.skin import Held, Parts
from proa.model.feed import ServiceRange, Vip, ZoneRecord
from proa.model.host import Host, Instance
from proa.model.resources import Resources
from proa.model.sandbox import Assignment, NodeEvent, Sandbox, SandboxStatus
from proa.placement.asks import Ask, Row, Unplaced
from proa.reconcile.plan import NOTHING, Plan
from proa.reconcile.view import Change, Table, View
from proa.store.api import Guard, Put, Transaction
from proa.store.sqlite import SqliteStore, memory_store

CLUSTER = "/jobs/"


class Job(msgspec.Struct, frozen=True):
    """``cpu`` in units of a pool's; an empty ``instance`` waits for one."""

    cpu: int
    instance: str = ""
    priority: int = 0


JOBS: Table[Job] = Table(
    "jobs",
    CLUSTER,
    msgspec.json.Decoder(Job).decode,
    indexes={"instance": lambda _key, job: (job.instance,) if job.instance else ()},
)
encode = msgspec.json.Encoder().encode


class JobSkin:
    """Jobs are bound by writing their Instance; ``before_bind`` may play a race."""

    name = "jobs"
    sandboxes: Table[Any] = JOBS
    nodes: Sequence[Table[Any]] = ()
    namespaces: Sequence[Table[Any]] = ()
    traffic: Sequence[Table[Any]] = ()
    stakes: Sequence[Table[Any]] = ()

    def __init__(self) -> None:
        self.refused: list[str] = []
        self.asked: list[str] = []
        self.bound: list[str] = []
        self.before_bind: Callable[[str], None] = lambda _key: None

    def row(self, _view: View, instance: Instance) -> Row | None:
        return Row(instance.id, instance.id, CLUSTER, instance.host, instance.capacity)

    def instance_of_node(self, _view: View, _change: Change[Any]) -> str | None:
        return None

    def namespace(self, _change: Change[Any]) -> tuple[str, str, dict[str, str]]:
        raise AssertionError("there are no namespaces")

    def _ask(self, key: str, job: Job) -> Ask:
        return Ask(key, key, CLUSTER, Resources(job.cpu, 1, 0), priority=job.priority)

    def ask(self, view: View, key: str) -> Ask | None:
        entry = view.rows(JOBS).get(key)
        return self._ask(key, entry.value) if entry and not entry.value.instance else None

    def held(self, view: View, key: str) -> Held | None:
        entry = view.rows(JOBS).get(key)
        if entry is None or not entry.value.instance:
            return None
        return Held(self._ask(key, entry.value), entry.value.instance)

    def place(self, view: View, key: str) -> Instance | None:
        entry = view.rows(JOBS).get(key)
        return compute.instance_of(view, entry.value.instance) if entry else None

    def sandboxes_on(self, view: View, instance: Instance) -> Sequence[str]:
        return [entry.key for entry in view.rows(JOBS).by("instance", instance.id)]

    def bind(self, view: View, ask: Ask, instance: Instance, taken: set[str], now: float) -> Parts:
        self.before_bind(ask.key)
        entry = view.rows(JOBS).get(ask.key)
        if entry is None or entry.value.instance:
            raise Conflict(f"{ask.key} waits no longer")
        self.bound.append(ask.key)
        job = msgspec.structs.replace(entry.value, instance=instance.id)
        return Parts((Guard(entry.key, entry.version),), (Put(entry.key, encode(job)),))

    def refuse(self, _view: View, unplaced: Unplaced, _now: float) -> Plan:
        self.refused.append(unplaced.ask.key)
        return NOTHING

    def stakeholders(self, _view: View, _change: Change[Any]) -> Sequence[str]:
        return ()

    def alters(self, _change: Change[Any]) -> bool:
        return True

    async def assignment(self, view: View, key: str, told: str = "") -> Assignment | None:
        entry = view.rows(JOBS).get(key)
        if entry is None or not entry.value.instance:
            return None
        sandbox = Sandbox(key, key, "jobs", key, entry.value.instance, (), skin="jobs")
        return Assignment(uid=key, want="run", version=entry.version, sandbox=sandbox)

    async def report(
        self, _view: View, _statuses: Sequence[SandboxStatus], _events: Sequence[NodeEvent]
    ) -> None:
        raise AssertionError("nobody reports")

    def ranges(self, _view: View) -> tuple[ServiceRange, ...]:
        return ()

    def vips(self, _view: View) -> tuple[Vip, ...]:
        return ()

    def zones(self, _view: View) -> tuple[ZoneRecord, ...]:
        return ()


class Bow:
    """A store, its view, the scheduler and one skin."""

    def __init__(self, store: SqliteStore) -> None:
        self.store, self.clock, self.skin = store, VirtualClock(0.0), JobSkin()
        tables = (JOBS, compute.HOSTS, compute.INSTANCES, *NETWORK_TABLES)
        self.view = View(store, tables)
        self.scheduler = Scheduler(store, self.view, self.clock, [self.skin], self.perform)
        self.tasks = Tasks()

    async def perform(self, plan: Plan) -> None:
        assert plan is NOTHING, "jobs are refused without a word"

    async def put(self, key: str, job: Job) -> None:
        await self.write(Put(key, encode(job)))

    async def write(self, *writes: Any) -> None:
        done = await self.store.commit(Transaction(writes=writes))
        await self.view.reached(done.version)

    async def host(self, name: str, cpu: int, sandboxes: int = 1000) -> None:
        """A Host with one Instance of the same name."""
        pool = Resources(cpu, 1 << 40, 1 << 40, sandboxes)
        instance = Instance(name, name, CLUSTER, capacity=pool)
        await self.write(compute.put_host(Host(name, pool=pool)), compute.put_instance(instance))

    def places(self) -> dict[str, str]:
        return {entry.key: entry.value.instance for entry in self.view.rows(JOBS).scan()}


def play(scene: Callable[[Bow], Awaitable[None]]) -> None:
    """Run a scene with the scheduler following."""

    async def main() -> None:
        bow = Bow(await memory_store(VirtualClock(0.0)))
        bow.tasks.spawn(bow.view.run(), "view")
        await bow.view.synced.wait()
        bow.scheduler.start()
        bow.tasks.spawn(bow.scheduler.run(), "scheduler")
        await scene(bow)
        await bow.tasks.close()
        await bow.store.close()

    run_virtual(main())
