"""Many small pieces of writing, in as few transactions as the store allows.

Called where one event concerns many records: hosts that join or leave by the thousand, the pods
of a set. Pieces that a conflict refuses are tried alone and handed back; each is decided again by
its owner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from proa.base.aio import gather
from proa.base.errors import Conflict
from proa.dispatch.skin import Parts
from proa.reconcile.view import View
from proa.store.api import Put, Store, Transaction

OPERATIONS, BYTES = 90, 500_000  # of one transaction; the store takes no more than 100 and 1 MB
T = TypeVar("T")
AT_ONCE = 32  # transactions under way; the store writes those that wait together


def packed(parts: Iterable[Parts]) -> Iterator[list[Parts]]:
    """The parts in order, in packs that fit a transaction; a guard that several share counts
    once."""
    return packed_by(lambda part: part, parts)


def packed_by(
    part_of: Callable[[T], Parts], items: Iterable[T], most_bytes: int = BYTES
) -> Iterator[list[T]]:
    """The same of whatever has a part to write."""
    pack: list[T] = []
    guards: set[object] = set()
    writes = size = 0
    items = list(items)
    if len(items) == 1:
        yield items
        return
    for item in items:
        part = part_of(item)
        length = sum([len(write.body) for write in part.writes if isinstance(write, Put)])
        fresh = sum([guard not in guards for guard in part.guards])
        count = len(guards) + fresh + writes + len(part.writes)
        if pack and (count > OPERATIONS or size + length > most_bytes):
            yield pack
            pack, guards, writes, size = [], set(), 0, 0
        pack.append(item)
        guards.update(part.guards)
        writes += len(part.writes)
        size += length
    if pack:
        yield pack


def merged(parts: Sequence[Parts]) -> Parts:
    """One piece of all parts; equal guards are named once."""
    if len(parts) == 1:
        return parts[0]
    return Parts(
        tuple(dict.fromkeys(guard for part in parts for guard in part.guards)),
        tuple(write for part in parts for write in part.writes),
    )


def transaction_of(parts: Sequence[Parts]) -> Transaction:
    """One transaction of all parts."""
    whole = merged(parts)
    return Transaction(whole.guards, whole.writes)


async def commit_all(store: Store, view: View, parts: Iterable[Parts]) -> list[Parts]:
    """Commit the parts and wait until the view shows them; returns those that a conflict refused.
    Each part is written whole or not at all."""
    refused: list[Parts] = []

    async def commit(pack: Sequence[Parts]) -> int:
        try:
            return (await store.commit(transaction_of(pack))).version
        except Conflict:
            if len(pack) == 1:
                refused.extend(pack)
                return 0
        return max([await commit([part]) for part in pack])

    packs = list(packed(parts))
    for first in range(0, len(packs), AT_ONCE):
        works = [commit(pack) for pack in packs[first : first + AT_ONCE]]
        await view.reached(await works[0] if len(works) == 1 else max(await gather(works)))
    if refused:
        await view.reached(await store.version())
    return refused
