"""The service controller: keeps a service's tasks, rolls its deployments, drains it.

One reconcile is one transaction guarded by the service's version: it takes note of tasks that
ended, decides by ``rollout.decide``, starts and stops what fits, and says what it did in events.
What does not fit follows at once. What a round writes itself calls for no other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

import msgspec

from proa.aws.ecs import rollout, status, writes
from proa.aws.ecs.controllers import deployments
from proa.aws.ecs.controllers.muster import Muster, looked_at
from proa.aws.ecs.controllers.siblings import InstanceZones, Siblings
from proa.aws.ecs.ports import LogGroups, NoAddress, Vpc
from proa.aws.ecs.records import COUNTED, PENDING, Service, Task
from proa.aws.ecs.tables import SERVICES, TASKS
from proa.base.chance import Chance
from proa.cloud import compute
from proa.dispatch.skin import Parts
from proa.model.host import Instance
from proa.reconcile.controller import Trigger
from proa.reconcile.plan import NOTHING, Commit, Plan
from proa.reconcile.view import Change, Entry, View

OWN_ROOM = 12  # operations kept free for the service and its closing events
NOTES_LEAVE = 40  # operations that taking note of ended tasks leaves for starting and stopping
NO_ADDRESS_AGAIN_S = 30.0
STEADY_TOPIC = "steady"  # said again every SUPPRESS_S, as "Service event messages" has it
SUPPRESS_S = 6 * 3600.0  # the same complaint is not repeated within six hours


def _wanted(_view: View, change: Change[Service]) -> Iterable[str]:
    """A service of which something else is wanted now, or that is to say anew that it is steady:
    not because it has just said what it did, for what its controller writes down of a round calls
    for no other."""
    old, new = change.old, change.new
    if new is None:
        return ()
    if old is not None and _wishes(old.value) == _wishes(new.value):
        unsettled = old.value.steady and not new.value.steady
        return (change.key,) if unsettled and old.value.event_count == new.value.event_count else ()
    return (change.key,)


def _wishes(service: Service) -> tuple[object, ...]:
    deployments = [item.id for item in service.deployments]
    return service.status, service.desired_count, service.configuration, deployments


def _owner(view: View, change: Change[Task]) -> Iterable[str]:
    entry = change.new or change.old
    if entry is None or not entry.value.service:
        return ()
    old, new = change.old, change.new
    if new is None:  # that it is forgotten says nothing new of a task that was over
        return () if entry.value.last_status == "STOPPED" else (entry.value.service_key,)
    if _is_own_doing(old, new):
        return ()
    if old is not None and _standing(old.value) == _standing(new.value):
        came = _progress(old.value) != _progress(new.value)
        place = new.value.instance
        if came and not _is_to_settle(view, new.value):
            return (entry.value.service_key,)
        if place == old.value.instance or place not in compute.draining_instances(view):
            return ()
    return (entry.value.service_key,)


def _settling(view: View, change: Change[Task]) -> Iterable[str]:
    """The service of a task that runs and counts once it has settled, as far as is known now."""
    new = change.new.value if change.new is not None else None
    if change.old is None or new is None or _progress(change.old.value) == _progress(new):
        return ()
    return (new.service_key,) if _is_to_settle(view, new) else ()


def _is_to_settle(view: View, task: Task) -> bool:
    """Whether a task only has to go on running for its service to have something to decide."""
    if task.last_status != "RUNNING" or task.desired_status != "RUNNING" or not task.service:
        return False
    if any(item.essential and item.health_checked for item in task.containers):
        return False
    service = view.rows(SERVICES).get(task.service_key)
    return service is not None and service.value.primary.id == task.deployment


def _is_own_doing(old: Entry[Task] | None, new: Entry[Task]) -> bool:
    """Whether a round of the service has just started the task, or told it to stop: what follows
    from that was decided with it."""
    if old is None:  # a view that lists again shows at once what happened one after another
        return new.value.last_status == "PROVISIONING" and not new.value.unplaced
    is_told = old.value.desired_status == "RUNNING" and new.value.desired_status == "STOPPED"
    if not is_told or new.value.stop_code != "ServiceSchedulerInitiated" or new.value.is_unnoted:
        return False
    return old.value.last_status == new.value.last_status


def _standing(task: Task) -> tuple[object, ...]:
    """What calls for a decision of its service, besides the task's progress: where it is does not,
    though who is to stop is chosen by that too."""
    return (
        task.desired_status, task.health, task.deployment, task.counted, task.unplaced,
        task.healthy_at, task.stop_code, task.stopped_reason,
    )  # fmt: skip


def _progress(task: Task) -> tuple[object, float]:
    """How far a task has come: the steps towards RUNNING are one, as are those to its end."""
    status = task.last_status
    return "PENDING" if status in PENDING else status in COUNTED, task.started_at


def _moved(view: View, change: Change[Instance]) -> Iterable[str]:
    """The services with tasks on an Instance that is drained or comes back."""
    entry = change.new or change.old
    on_it = view.rows(TASKS).by("instance", entry.value.id) if entry else []
    return sorted({item.value.service_key for item in on_it if item.value.service})


class _Round:
    """What one reconcile is putting together."""

    def __init__(self, entry: Entry[Service], now: float) -> None:
        self.entry, self.now = entry, now
        self.service = entry.value
        self.parts: list[Parts] = []
        self._used = 0  # operations of these
        self.messages: list[str] = []
        self.again_at: list[float] = []
        self.is_cut = False  # there was more to do than one transaction takes

    @property
    def room(self) -> int:
        return writes.ROOM - OWN_ROOM - self._used - len(self.messages)

    def takes(self, parts: Parts) -> bool:
        """Add a piece; whether there was room for it. What finds none is for another round."""
        size = writes.size(parts)
        if size > self.room:
            self.is_cut = True
            return False
        self.parts.append(parts)
        self._used += size
        return True

    def complain(self, topic: str, message: str) -> None:
        """Say something unless it was said within six hours."""
        if self.now - self.service.said.get(topic, -SUPPRESS_S) < SUPPRESS_S:
            return
        self.messages.append(message)
        self.note(topic)

    def note(self, topic: str) -> None:
        """Remember that something has been said now."""
        recent = {name: at for name, at in self.service.said.items() if self.now - at < SUPPRESS_S}
        said = {**recent, topic: self.now}
        self.service = msgspec.structs.replace(self.service, said=said)

    def plan(self, chance: Chance) -> Plan:
        again_at = min((at for at in self.again_at if at > self.now), default=0.0)
        if self.is_cut:
            again_at = self.now
        if not self.parts and not self.messages and self.service == self.entry.value:
            return Plan(again_at=again_at)
        service, events = writes.said(self.service, self.messages, self.now, chance)
        own = writes.replaced(self.entry, service)
        return Plan((Commit(writes.transaction(own, *self.parts, events)),), again_at)


class ServiceController:
    """Keys are services'. ``settle_s`` is explained in ``controllers.CONTROLLERS``."""

    name = "ecs-service"

    def __init__(self, vpc: Vpc, logs: LogGroups, chance: Chance, settle_s: float) -> None:
        self._vpc, self._logs, self._chance, self._settle_s = vpc, logs, chance, settle_s
        self._zones = InstanceZones()
        self.triggers: Sequence[Trigger] = (
            Trigger(SERVICES, _wanted),
            Trigger(TASKS, _owner),
            Trigger(TASKS, _settling, ("last_status", "started_at"), due=self._settled),
            Trigger(compute.INSTANCES, _moved),
        )

    def _settled(self, change: Change[Task]) -> float:
        """When a task that has begun to run is looked at."""
        return looked_at(change.new.value.started_at, self._settle_s) if change.new else 0.0

    def reconcile(self, view: View, key: str, now: float) -> Plan:
        """One round for one service."""
        entry = view.rows(SERVICES).get(key)
        if entry is None or entry.value.status == "INACTIVE":
            return NOTHING
        tasks = view.rows(TASKS).by("attended", key)
        here = _Round(entry, now)
        if entry.value.status == "DRAINING":
            self._drain(here, tasks)
            return here.plan(self._chance)
        muster = Muster(view, tasks, entry.value.primary.id, now, self._settle_s)
        self._note_ends(here, muster)
        here.service, messages = deployments.judged(here.service, muster.available)
        here.messages += messages
        if here.service.primary.id != muster.primary:  # rolled back
            muster = Muster(view, tasks, here.service.primary.id, now, self._settle_s)
        self._step(view, here, muster)
        self._conclude(here, muster)
        return here.plan(self._chance)

    def _drain(self, here: _Round, tasks: list[Entry[Task]]) -> None:
        live = [item for item in tasks if item.value.desired_status == "RUNNING"]
        stopped = self._stop(here, live, "")
        if stopped:
            here.messages.append(_stopped(stopped))
        elif not live and all(item.value.last_status not in COUNTED for item in tasks):
            here.service = msgspec.structs.replace(
                here.service, status="INACTIVE", inactive_at=here.now
            )

    def _note_ends(self, here: _Round, muster: Muster) -> None:
        """Count each task that comes to its end once, as a failure of its deployment if it never
        served; before its replacement is decided, so that the breaker and the throttle see it."""
        for item in muster.ended:
            if here.room < NOTES_LEAVE:
                here.is_cut = True
                break
            here.takes(writes.replaced(item, msgspec.structs.replace(item.value, counted=True)))
            if deployments.is_failure(item.value, self._settle_s):
                here.service = deployments.with_failure(here.service, item.value, here.now)

    def _step(self, view: View, here: _Round, muster: Muster) -> None:
        service, primary = here.service, here.service.primary
        held = here.now < primary.hold_until
        decision = rollout.Decision()
        if not muster.is_as_wanted(service.desired_count):
            decision = rollout.decide(
                service.desired_count,
                rollout.bounds(service.desired_count, service.configuration),
                primary.id,
                muster.units(),
                may_start=not held and primary.rollout_state != "FAILED",
            )
        here.again_at += (primary.hold_until, *muster.settling)
        stopped = self._stop(here, [muster.by_key[key] for key in decision.stop], primary.id)
        started = self._start(view, here, muster, decision.start) if decision.start else []
        if started:
            here.messages.append(f"has started {len(started)} tasks: {_named(started)}.")
        if stopped:
            here.messages.append(_stopped(stopped))
        if started or stopped:
            here.service = msgspec.structs.replace(here.service, steady=False)
        if decision.blocked:
            here.complain("blocked", deployments.BLOCKED)
        if held and primary.streak:
            here.complain(f"throttled {primary.id}", deployments.UNABLE_TO_START)
        if muster.starved is not None:
            topic = f"unplaced {muster.starved.unplaced[0]}"
            here.complain(topic, deployments.unplaced(muster.starved))

    def _stop(self, here: _Round, items: list[Entry[Task]], deployment: str) -> list[Task]:
        """Tell tasks to stop, as many as the transaction takes."""
        stopped = []
        scaling = (
            f"Scaling activity initiated by (deployment {deployment or here.service.primary.id})"
        )
        for item in items:
            sick = item.value.health == "UNHEALTHY"
            reason = status.FAILED_HEALTH if sick else scaling
            task = status.asked_to_stop(item.value, "ServiceSchedulerInitiated", reason, here.now)
            if not sick:
                task = msgspec.structs.replace(task, counted=True)  # it tells nothing
            parts = writes.task_changed(item, task, self._vpc)
            if not here.takes(parts):
                break
            stopped.append(task)
            if sick and deployment:
                here.messages.append(f"(task {task.id}) failed container health checks.")
        return stopped

    def _start(self, view: View, here: _Round, muster: Muster, count: int) -> list[Task]:
        """Create tasks of the primary deployment, as many as the transaction takes."""
        tasks = [item.value for item in muster.by_key.values()]
        zones_of = partial(self._zones.of, view)
        siblings = Siblings(
            view, here.service, tasks, self._vpc, self._logs, self._chance, zones_of
        )
        started: list[Task] = []
        for _ in range(count):
            try:
                task, parts = siblings.next(here.now)
            except NoAddress as error:
                here.complain("address", f"was unable to place a task. Reason: {error}.")
                here.again_at.append(here.now + NO_ADDRESS_AGAIN_S)
                break
            if not here.takes(parts):
                break
            started.append(task)
        return started

    def _conclude(self, here: _Round, muster: Muster) -> None:
        """Drop deployments nothing is left of; say so when the service has become steady."""
        here.service = deployments.without_empty(here.service, muster.left)
        service = here.service
        is_steady = (
            len(service.deployments) == 1
            and muster.counted == len(muster.available) == service.desired_count
            and service.primary.rollout_state != "FAILED"
        )
        if is_steady and not here.parts:
            here.service, messages = deployments.completed(service, here.now)
            if messages:
                here.note(STEADY_TOPIC)
                here.messages += messages
            else:
                here.complain(STEADY_TOPIC, deployments.STEADY)
            here.again_at.append(here.service.said[STEADY_TOPIC] + SUPPRESS_S)
        elif not is_steady and service.steady:
            here.service = msgspec.structs.replace(here.service, steady=False)


def _named(tasks: list[Task]) -> str:
    return " ".join(f"(task {task.id})" for task in tasks)


def _stopped(tasks: list[Task]) -> str:
    return f"has stopped {len(tasks)} running tasks: {_named(tasks)}."
