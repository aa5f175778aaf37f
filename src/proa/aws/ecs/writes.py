"""Writes: pieces of transactions and how they are put together within the store's limits.

Called by operations, controllers and the hull's port. Whatever is replaced is guarded by the
version it was read at; a task that ends gives back what it owns in the same transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from proa.aws.ecs.hostports import taken_ports
from proa.aws.ecs.keys import port_key
from proa.aws.ecs.ports import Vpc
from proa.aws.ecs.records import Service, ServiceEvent, Task, put
from proa.base.chance import Chance
from proa.cloud import compute
from proa.dispatch.skin import Parts
from proa.reconcile.view import Entry
from proa.store.api import Delete, Guard, Transaction

ROOM = 95  # operations planned into one transaction, of the store's 100


def created(record: msgspec.Struct, key: str) -> Parts:
    """A record that must not exist yet."""
    return Parts((Guard(key, 0),), (put(key, record),))


def replaced(entry: Entry[Any], record: msgspec.Struct) -> Parts:
    """A record in place of the one that was read."""
    return Parts((Guard(entry.key, entry.version),), (put(entry.key, record),))


def task_changed(entry: Entry[Task], task: Task, vpc: Vpc) -> Parts:
    """The write of a changed task; once STOPPED, its interface or addresses, its host ports and
    its Fargate Instance go."""
    parts = replaced(entry, task)
    if task.last_status != "STOPPED" or entry.value.last_status == "STOPPED":
        return parts
    pieces = [parts]
    if task.interface is not None:
        pieces.append(vpc.release_interface(task.account, task.region, task.interface.id))
    if any(item.address for item in task.containers):
        pieces.append(vpc.release_addresses(task.key))
    claims = tuple(
        Delete(port_key(task.account, task.region, task.instance, port.protocol, port.number))
        for port in taken_ports(task)
    )
    pieces.append(Parts((), claims))
    if task.launch_type == "FARGATE" and task.instance:
        pieces.append(Parts((), (Delete(compute.instance_key(task.instance)),)))
    return joined(pieces)


def said(
    service: Service, messages: Sequence[str], now: float, chance: Chance
) -> tuple[Service, Parts]:
    """The service having said these events, and the writes of its ring of the newest 100."""
    writes = []
    for message in messages:
        text = f"(service {service.name}) {message}"
        event = ServiceEvent(service.event_count, chance.uid(), now, text)
        writes.append(put(service.event_key(service.event_count), event))
        service = msgspec.structs.replace(service, event_count=service.event_count + 1)
    return service, Parts((), tuple(writes))


def joined(parts: Iterable[Parts]) -> Parts:
    """One piece out of several; equal guards are named once."""
    pieces = list(parts)
    if len(pieces) == 1:
        return pieces[0]
    guards = dict.fromkeys(guard for piece in pieces for guard in piece.guards)
    return Parts(tuple(guards), tuple(write for piece in pieces for write in piece.writes))


def size(parts: Parts) -> int:
    """Operations that a piece takes of a transaction."""
    return len(parts.guards) + len(parts.writes)


def transaction(*parts: Parts) -> Transaction:
    """All or nothing."""
    whole = joined(parts)
    return Transaction(whole.guards, whole.writes)


def batches(parts: Iterable[Parts]) -> list[Transaction]:
    """Independent pieces packed, in order, into as few transactions as their sizes allow."""
    packed: list[list[Parts]] = [[]]
    used = 0
    for piece in parts:
        if used + size(piece) > ROOM and packed[-1]:
            packed.append([])
            used = 0
        packed[-1].append(piece)
        used += size(piece)
    return [transaction(*pieces) for pieces in packed if pieces]
