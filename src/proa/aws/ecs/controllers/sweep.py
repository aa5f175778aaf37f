"""Sweep: what has been over for long enough is forgotten.

Stopped tasks stay for at least an hour (DescribeTasks' own promise), and until their service has
taken note of how they ended; those that ended within one minute go together. INACTIVE services with
their events stay for an hour too; client tokens for a day; task definitions that are to be deleted
until no task and no service refers to them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from proa.aws.ecs import writes
from proa.aws.ecs.keys import base_key, task_definition_key
from proa.aws.ecs.records import Deployment, Service, Task, TaskDefinition
from proa.aws.ecs.tables import EVENTS, SERVICES, TASK_DEFINITIONS, TASKS, TOKENS, minute_of
from proa.dispatch.skin import Parts
from proa.reconcile.controller import Trigger
from proa.reconcile.plan import NOTHING, Commit, Plan
from proa.reconcile.runner import row_key
from proa.reconcile.view import Change, Entry, View
from proa.store.api import Delete, Guard, Transaction

KEEP_STOPPED_S = 3600.0
KEEP_INACTIVE_S = 3600.0
KEEP_TOKEN_S = 24 * 3600.0
EVENTS_AT_ONCE = 50
COMMITS_AT_ONCE = 20  # of tasks that ended in one minute
IN_USE_AGAIN_S = 60.0  # how often a definition that is to be deleted is looked at


_MINUTE = "minute "  # what the key of the tasks that ended in one begins with


class Sweep:
    """Keys are those of services, tokens and task definitions, and minutes in which tasks ended."""

    name = "ecs-sweep"

    def __init__(self) -> None:
        self.triggers: Sequence[Trigger] = (
            Trigger(TASKS, _if_over, due=_forgotten_at),
            Trigger(SERVICES, _if_inactive),
            *(Trigger(table, row_key) for table in (TOKENS, TASK_DEFINITIONS)),
        )

    def reconcile(self, view: View, key: str, now: float) -> Plan:
        """Delete the records whose time has come, or say when that will be."""
        if key.startswith(_MINUTE):
            return _ended(view, key.removeprefix(_MINUTE), now)
        if (token := view.rows(TOKENS).get(key)) is not None:
            return _due(token, token.value.at + KEEP_TOKEN_S, now)
        if (definition := view.rows(TASK_DEFINITIONS).get(key)) is not None:
            return _unreferenced(view, definition, now)
        service = view.rows(SERVICES).get(key)
        if service is None or service.value.status != "INACTIVE":
            return NOTHING
        events = list(view.rows(EVENTS).scan(service.value.event_prefix))
        return _due(service, service.value.inactive_at + KEEP_INACTIVE_S, now, events)


def _ended(view: View, minute: str, now: float) -> Plan:
    """Delete the tasks that ended in a minute."""
    due = _after(minute)
    if now < due:
        return Plan(again_at=due)
    over = view.rows(TASKS).by("over", minute)
    parts = [
        Parts((Guard(entry.key, entry.version),), (Delete(entry.key),))
        for entry in over
        if not _is_awaited(view, entry.value)
    ]
    steps = [Commit(transaction) for transaction in writes.batches(parts)]
    if len(steps) > COMMITS_AT_ONCE:
        return Plan(tuple(steps[:COMMITS_AT_ONCE]), now)
    # Services may be deleted before they take note.
    return Plan(tuple(steps), now + KEEP_STOPPED_S if len(parts) < len(over) else 0.0)


def _is_awaited(view: View, task: Task) -> bool:
    """Whether its service has yet to take note of how it ended."""
    owner = view.rows(SERVICES).get(task.service_key) if task.is_unnoted else None
    return owner is not None and owner.value.status == "ACTIVE"


def _after(minute: str) -> float:
    """When tasks that ended in a minute have all been over for long enough."""
    return (int(minute) + 1) * 60.0 + KEEP_STOPPED_S


def _unreferenced(view: View, entry: Entry[TaskDefinition], now: float) -> Plan:
    """Delete a definition that is to go once nothing refers to it."""
    definition = entry.value
    if definition.status != "DELETE_IN_PROGRESS":
        return NOTHING
    services = view.rows(SERVICES).scan(
        f"{base_key(definition.account, definition.region)}service/"
    )
    in_use = bool(view.rows(TASKS).by("definition", entry.key)) or any(
        task_definition_key(definition.account, definition.region, item.family, item.revision)
        == entry.key
        for service in services
        for item in _deployments(service.value)
    )
    return _due(entry, now + IN_USE_AGAIN_S if in_use else now, now)


def _deployments(service: Service) -> list[Deployment]:
    if service.status == "INACTIVE":
        return []
    last = service.last_completed
    return [*service.deployments, *([last] if last else [])]


def _due(entry: Entry[Any], at: float, now: float, below: Sequence[Entry[Any]] = ()) -> Plan:
    if now < at:
        return Plan(again_at=at)
    steps = [
        Commit(
            Transaction(
                (Guard(entry.key, entry.version),),
                tuple(Delete(item.key) for item in below[first : first + EVENTS_AT_ONCE]),
            )
        )
        for first in range(0, len(below), EVENTS_AT_ONCE)
    ]
    last = Transaction((Guard(entry.key, entry.version),), (Delete(entry.key),))
    return Plan((*steps, Commit(last)))


def _if_over(_view: View, change: Change[Task]) -> Iterable[str]:
    if change.new is None or change.new.value.last_status != "STOPPED":
        return ()
    return (_MINUTE + minute_of(change.new.value.stopped_at),)


def _forgotten_at(change: Change[Task]) -> float:
    return _after(minute_of(change.new.value.stopped_at)) if change.new is not None else 0.0


def _if_inactive(_view: View, change: Change[Service]) -> Iterable[str]:
    over = change.new is not None and change.new.value.status == "INACTIVE"
    return (change.key,) if over else ()
