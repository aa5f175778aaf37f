"""ECS's side of the hull: how its tasks are placed, bound, sent out and reported on.

``EcsSkin`` satisfies ``dispatch.skin.Skin``; ``SchedulerPlacer`` lets RunTask ask the scheduler
at once. The lifecycle that both keep: a task is created PROVISIONING with its interface; the
provision controller sees to its log groups; placement binds it, PENDING; its agent's reports move
it on; when nothing of it is left on the Host it is STOPPED and its interface is given back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, Protocol

import msgspec

from proa.aws.ecs import binding, compile, hostports, launch, status, writes
from proa.aws.ecs.fargate import NO_CAPACITY
from proa.aws.ecs.keys import task_definition_key
from proa.aws.ecs.names import arn, container_instance_id
from proa.aws.ecs.ports import Objects, Secrets, Vpc
from proa.aws.ecs.records import ContainerAddress, InstanceNote, Task, TaskDefinition
from proa.aws.ecs.references import References
from proa.aws.ecs.tables import INSTANCE_NOTES, TASK_DEFINITIONS, TASKS
from proa.base.clock import Clock
from proa.base.errors import Conflict
from proa.cloud import compute
from proa.dispatch.skin import Held, Parts, Skin
from proa.model.feed import Endpoint, ServiceRange, Vip, ZoneRecord
from proa.model.host import Instance
from proa.model.sandbox import Assignment, NodeEvent, SandboxStatus
from proa.placement.asks import Ask, Placed, Row, Unplaced
from proa.reconcile.plan import NOTHING, Commit, Plan
from proa.reconcile.view import Change, Entry, Table, View
from proa.store.api import Guard, Store

ATTEMPTS = 5
_CODES = {
    "cpu": "RESOURCE:CPU",
    "pool-cpu": "RESOURCE:CPU",
    "memory": "RESOURCE:MEMORY",
    "pool-memory": "RESOURCE:MEMORY",
    "sandboxes": "RESOURCE:ENI",
    "ports": "RESOURCE:PORTS",
    "notready": "AGENT",
    "pinned": "MISSING",
    "cordoned": "INACTIVE",
}


def definition_of(view: View, task: Task) -> TaskDefinition:
    """The definition a task was launched from; task definitions are never deleted under it."""
    key = task_definition_key(task.account, task.region, task.family, task.revision)
    entry = view.rows(TASK_DEFINITIONS).get(key)
    assert entry is not None, f"the task definition of {task.key} has vanished"
    return entry.value


def built_in_attributes(instance: Instance) -> dict[str, str]:
    """The attributes that the agent of ECS gives a container instance."""
    return {
        "ecs.availability-zone": instance.zone,
        "ecs.cpu-architecture": "x86_64",
        "ecs.instance-type": instance.type,
        "ecs.os-type": "linux",
        "ecs.os-family": "LINUX",
        "ecs.subnet-id": instance.subnet,
    }


def note_of(view: View, instance: str) -> Entry[InstanceNote] | None:
    """What was noted of a container instance by PutAttributes and TagResource."""
    found = view.rows(INSTANCE_NOTES).by("instance", instance)
    return found[0] if found else None


def attributes_of(view: View, instance: Instance) -> dict[str, str]:
    """A container instance's attributes, custom ones included, as constraints and spreads see
    them."""
    note = note_of(view, instance.id)
    return {**(note.value.attributes if note else {}), **built_in_attributes(instance)}


def failures_of(
    unplaced: Unplaced, account: str, region: str, cluster: str
) -> list[dict[str, str]]:
    """RunTask's and StartTask's ``failures`` for a task that found no room: one a reason, with
    the container instance that came closest."""
    if unplaced.ask.fargate:
        return [{"reason": NO_CAPACITY}]
    found = []
    for code, instance in _codes(unplaced):
        failure = {"reason": code}
        if instance:
            identifier = container_instance_id(instance)
            failure["arn"] = arn(account, region, "container-instance", cluster, identifier)
        found.append(failure)
    return found


def _codes(unplaced: Unplaced) -> list[tuple[str, str]]:
    codes: dict[str, str] = {}
    for reason in unplaced.reasons:
        codes.setdefault(_CODES.get(reason.code, "ATTRIBUTE"), reason.instance)
    if not codes:
        codes["MISSING"] = unplaced.ask.pinned
    return list(codes.items())


class EcsSkin:
    """The ECS bow's part of the hull. ``store`` is written by ``report`` alone."""

    name = "ecs"
    sandboxes: Table[Any] = TASKS
    nodes: Sequence[Table[Any]] = (INSTANCE_NOTES,)
    namespaces: Sequence[Table[Any]] = ()
    traffic: Sequence[Table[Any]] = (TASKS,)
    stakes: Sequence[Table[Any]] = ()

    def __init__(
        self, store: Store, clock: Clock, vpc: Vpc, secrets: Secrets, objects: Objects
    ) -> None:
        self._store, self._clock, self._vpc = store, clock, vpc
        self._references = References(secrets, objects)

    def row(self, view: View, instance: Instance) -> Row | None:
        """Container instances are rows; Fargate's Instances are made for one task each."""
        if not instance.cluster.startswith("/aws/") or instance.purchase == "fargate":
            return None
        labels = {**attributes_of(view, instance), "topology.kubernetes.io/zone": instance.zone}
        return Row(
            id=instance.id,
            name=instance.name,
            cluster=instance.cluster,
            pool=instance.host,
            allocatable=instance.capacity,
            labels=tuple(labels.items()),
            schedulable=instance.state == "active",
        )

    def instance_of_node(self, _view: View, change: Change[InstanceNote]) -> str | None:
        """Custom attributes alter an Instance's row."""
        entry = change.new or change.old
        return entry.value.instance if entry else None

    def namespace(self, change: Change[Any]) -> tuple[str, str, dict[str, str]]:
        """Tasks know no namespaces."""
        raise AssertionError(f"{change.key} is no namespace")

    def ask(self, view: View, key: str) -> Ask | None:
        """What a prepared task without an Instance asks for."""
        entry = view.rows(TASKS).get(key)
        if entry is None or not _wants_place(entry.value):
            return None
        return launch.request_of(entry.value, definition_of(view, entry.value))

    def held(self, view: View, key: str) -> Held | None:
        """The room of a task that has an Instance and is not over."""
        entry = view.rows(TASKS).get(key)
        if entry is None or not entry.value.instance or entry.value.last_status == "STOPPED":
            return None
        task = entry.value
        ask = launch.request_of(task, definition_of(view, task))
        return Held(ask, task.instance, task.desired_status == "STOPPED")

    def place(self, view: View, key: str) -> Instance | None:
        """The Instance of a task, until the task is over."""
        entry = view.rows(TASKS).get(key)
        if entry is None or entry.value.last_status == "STOPPED":
            return None
        return compute.instance_of(view, entry.value.instance)

    def sandboxes_on(self, view: View, instance: Instance) -> Sequence[str]:
        """The tasks of an Instance that are not over."""
        return [entry.key for entry in view.rows(TASKS).by("instance", instance.id)]

    def bind(self, view: View, ask: Ask, instance: Instance, taken: set[str], now: float) -> Parts:
        """The task PENDING on ``instance``. Raises Conflict when it no longer wants a place."""
        entry = view.rows(TASKS).get(ask.key)
        if entry is None or not _wants_place(entry.value):
            raise Conflict(f"{ask.key} no longer waits for a place")
        definition = definition_of(view, entry.value)
        task, parts = binding.reserved(
            view, entry.value, definition, instance, self._vpc, taken, now
        )
        return writes.joined((writes.replaced(entry, binding.started(task)), parts))

    def refuse(self, view: View, unplaced: Unplaced, now: float) -> Plan:
        """A standalone task ends; a service's keeps waiting, its service says why."""
        entry = view.rows(TASKS).get(unplaced.ask.key)
        if entry is None or not _wants_place(entry.value):
            return NOTHING
        task = entry.value
        codes = _codes(unplaced)
        if not task.service:
            reason = NO_CAPACITY if unplaced.ask.fargate else codes[0][0]
            task = status.failed(task, reason, now)
        else:
            task = msgspec.structs.replace(
                task,
                unplaced=tuple(code for code, _ in codes),
                unplaced_closest=codes[0][1] if unplaced.total else "",
                changes=task.changes + 1,
            )
        return Plan((Commit(writes.transaction(writes.task_changed(entry, task, self._vpc))),))

    def stakeholders(self, _view: View, _change: Change[Any]) -> Sequence[str]:
        """A task's compiled form depends on its own record and immutable definition only."""
        return ()

    def alters(self, change: Change[Any]) -> bool:
        """All but how far the task has come. A task that is to end is told of every change: its
        agent answers with how it ended."""
        if change.old is None or change.new is None:
            return True
        old, new = change.old.value, change.new.value
        if new.desired_status != "RUNNING" or is_dispatched(old) != is_dispatched(new):
            return True
        if (old.last_status == "PROVISIONING") != (new.last_status == "PROVISIONING"):
            return True
        if _beginning(old) != _beginning(new):
            return True
        one, other = old.interface, new.interface
        if one is not other and (one and _attachment(one)) != (other and _attachment(other)):
            return True
        return old.containers is not new.containers and _addresses(old) != _addresses(new)

    async def assignment(self, view: View, key: str, told: str = "") -> Assignment | None:
        """The task for its agent: to run, or to stop gracefully; None when it is over."""
        entry = view.rows(TASKS).get(key)
        if entry is None or not is_dispatched(entry.value):
            self._references.forget(key)
            return None
        task = entry.value
        definition = definition_of(view, task)
        grace_s = compile.common_of(task, definition).grace_s
        stops = task.desired_status == "STOPPED"
        if stops and told == task.id:
            since = task.stopping_at
            return Assignment(task.id, "stop", entry.version, grace_s=grace_s, since=since)
        resolved = await self._references.of_task(task, definition)
        return Assignment(
            uid=task.id,
            want="stop" if stops else "run",
            version=entry.version,
            sandbox=compile.compile_task(task, definition, resolved),
            grace_s=grace_s,
            since=task.stopping_at if stops else 0.0,
        )

    async def report(
        self, view: View, statuses: Sequence[SandboxStatus], events: Sequence[NodeEvent]
    ) -> None:
        """Take in what an agent says, in as few transactions as possible; lost races are decided
        again on the newest picture. Node events have no place in ECS's API."""
        await commit_again(
            self._store, view, lambda: [
                part for item in statuses if (part := self._reported(view, item)) is not None
            ],
        )  # fmt: skip

    def _reported(self, view: View, item: SandboxStatus) -> Parts | None:
        entry = view.rows(TASKS).get(item.key)
        if entry is None:  # its key is not told of what nobody knows here any more
            entry = next(iter(view.rows(TASKS).by("uid", item.uid)), None)
        return apply_status(entry, item, self._vpc, self._clock.now()) if entry else None

    def ranges(self, _view: View) -> tuple[ServiceRange, ...]:
        """ECS has no virtual addresses of its own yet."""
        return ()

    def vips(self, view: View) -> tuple[Vip, ...]:
        """The published ports of bridge tasks: a port of the Instance leads to the container's."""
        found = []
        for entry in view.rows(TASKS).by("published", "yes"):
            instance = compute.instance_of(view, entry.value.instance)
            if instance is not None:
                found.extend(published(entry.value, instance))
        return tuple(found)

    def zones(self, _view: View) -> tuple[ZoneRecord, ...]:
        """Task names are not in DNS before Cloud Map is there."""
        return ()


def published(task: Task, instance: Instance) -> list[Vip]:
    """The virtual addresses by which a bridge task's bindings are reached."""
    if task.network_mode != "bridge":
        return []
    return [
        Vip(
            vpc=container.address.vpc,
            address=instance.address,
            port=host,
            protocol=binding["protocol"],
            endpoints=(Endpoint(container.address.address, inside),),
        )
        for container in task.containers
        for binding in container.bindings
        for host, inside in hostports.pairs(binding)
        if container.address is not None
    ]


def apply_status(entry: Entry[Task], item: SandboxStatus, vpc: Vpc, now: float) -> Parts | None:
    """The write that takes in an agent's report; None when it says nothing new."""
    task = status.after_report(entry.value, item, now)
    return None if task is None else writes.task_changed(entry, task, vpc)


def lost(entry: Entry[Task], code: str, reason: str, vpc: Vpc, now: float) -> Parts:
    """The write for a task whose Instance goes with all that runs on it."""
    task = status.asked_to_stop(entry.value, code, reason, now)
    return writes.task_changed(entry, status.ended(task, now), vpc)


def is_dispatched(task: Task) -> bool:
    """Whether the task's agent must know of it."""
    return bool(task.instance) and task.last_status not in ("PROVISIONING", "STOPPED")


# What a task's agent and placement go by. The rest is what the agent reports, or never changes.
_beginning = attrgetter("prepared", "instance", "zone")
_attachment = attrgetter("id", "address", "public_address")


def _addresses(task: Task) -> list[ContainerAddress | None]:
    return [container.address for container in task.containers]


def _wants_place(task: Task) -> bool:
    return (
        task.last_status == "PROVISIONING"
        and task.desired_status == "RUNNING"
        and task.prepared
        and not task.instance
    )


async def commit_again(store: Store, view: View, decide: Callable[[], list[Parts]]) -> None:
    """Commit what ``decide`` says in batches; after a lost race decide again on the newest view.
    Raises Conflict when that did not help ATTEMPTS times."""
    for attempt in range(ATTEMPTS):
        try:
            version = 0
            for transaction in writes.batches(decide()):
                version = (await store.commit(transaction)).version
            await view.reached(version)
            return
        except Conflict:
            if attempt == ATTEMPTS - 1:
                raise
            await view.reached(await store.version())


class _Scheduler(Protocol):
    def try_place(self, skin: Skin, asks: Sequence[Ask]) -> list[Placed | Unplaced]: ...

    def cancel(self, key: str) -> None: ...


class SchedulerPlacer:
    """``ports.Placer`` over the hull's scheduler."""

    def __init__(self, scheduler: _Scheduler, skin: Skin) -> None:
        self._scheduler, self._skin = scheduler, skin

    async def try_place(self, asks: Sequence[Ask]) -> list[Placed | Unplaced]:
        """Decide and book at once."""
        return self._scheduler.try_place(self._skin, asks)

    def cancel(self, key: str) -> None:
        """Give back what was booked."""
        self._scheduler.cancel(key)


def made_or_found(view: View, placed: Placed, now: float) -> tuple[Instance, Parts]:
    """The Instance of a placed ask: an existing one, or Fargate's, made with the task.

    Raises Conflict when the Instance has gone meanwhile."""
    if placed.instance:
        instance = compute.instance_of(view, placed.instance)
        if instance is None:
            raise Conflict(f"instance {placed.instance} has gone")
        return instance, Parts((), ())
    ask = placed.ask
    made = compute.fargate_instance(ask.uid, placed.pool, ask.cluster, ask.zone, ask.reserve, now)
    return made, Parts((Guard(compute.instance_key(made.id), 0),), (compute.put_instance(made),))
