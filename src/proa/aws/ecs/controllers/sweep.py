"""Sweep: what has been over for long enough is forgotten.

Stopped tasks stay for an hour (DescribeTasks' own promise), and until their service has taken
note of how they ended; INACTIVE services with their events likewise; client tokens for a day;
task definitions that are to be deleted until no task and no service refers to them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from proa.aws.ecs.keys import base_key, task_definition_key
from proa.aws.ecs.records import Deployment, Service, Task, TaskDefinition
from proa.aws.ecs.tables import EVENTS, SERVICES, TASK_DEFINITIONS, TASKS, TOKENS
from proa.reconcile.controller import Trigger
from proa.reconcile.plan import NOTHING, Commit, Plan
from proa.reconcile.runner import row_key
from proa.reconcile.view import Change, Entry, View
from proa.store.api import Delete, Guard, Transaction

KEEP_STOPPED_S = 3600.0
KEEP_INACTIVE_S = 3600.0
KEEP_TOKEN_S = 24 * 3600.0
EVENTS_AT_ONCE = 50
IN_USE_AGAIN_S = 60.0  # how often a definition that is to be deleted is looked at


class Sweep:
    """Keys are those of tasks, services, tokens and task definitions."""

    name = "ecs-sweep"

    def __init__(self) -> None:
        self.triggers: Sequence[Trigger] = (
            Trigger(TASKS, _if_over),
            Trigger(SERVICES, _if_inactive),
            *(Trigger(table, row_key) for table in (TOKENS, TASK_DEFINITIONS)),
        )

    def reconcile(self, view: View, key: str, now: float) -> Plan:
        """Delete the record if its time has come, or say when that will be."""
        if (token := view.rows(TOKENS).get(key)) is not None:
            return _due(token, token.value.at + KEEP_TOKEN_S, now)
        if (task := view.rows(TASKS).get(key)) is not None:
            if task.value.last_status != "STOPPED":
                return NOTHING
            if task.value.is_unnoted:
                owner = view.rows(SERVICES).get(task.value.service_key)
                if owner is not None and owner.value.status == "ACTIVE":
                    return Plan(again_at=now + KEEP_STOPPED_S)  # it may be deleted before it notes
            return _due(task, task.value.stopped_at + KEEP_STOPPED_S, now)
        if (definition := view.rows(TASK_DEFINITIONS).get(key)) is not None:
            return _unreferenced(view, definition, now)
        service = view.rows(SERVICES).get(key)
        if service is None or service.value.status != "INACTIVE":
            return NOTHING
        events = list(view.rows(EVENTS).scan(service.value.event_prefix))
        return _due(service, service.value.inactive_at + KEEP_INACTIVE_S, now, events)


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
    over = change.new is not None and change.new.value.last_status == "STOPPED"
    return (change.key,) if over else ()


def _if_inactive(_view: View, change: Change[Service]) -> Iterable[str]:
    over = change.new is not None and change.new.value.status == "INACTIVE"
    return (change.key,) if over else ()
