"""The store's contract: keys, versions, guarded transactions, watches that resume, leases.

Every backend passes ``tests/conformance/store``. The model is etcd's, with one addition: each
key written in a transaction has a version of its own, ``((revision + offset) << 8) | index``,
so that a reader who stopped inside a batch can resume without a gap or a duplicate. Versions
are what clients see (Kubernetes' resourceVersion); revisions stay inside the backends.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from typing import Protocol

import msgspec

from proa.base.errors import CallerFault, Conflict, TryAgain

MAX_OPERATIONS = 100
MAX_BYTES = 1_000_000


class GuardFailed(Conflict):
    """A guard did not hold; ``key`` is the first that failed, ``found`` its version (0: absent)."""

    def __init__(self, key: str, wanted: int, found: int) -> None:
        super().__init__(f"{key} is at version {found}, not {wanted}")
        self.key, self.wanted, self.found = key, wanted, found


class Compacted(TryAgain):
    """The history before ``oldest`` is gone: list again, then watch from what the list says."""

    def __init__(self, oldest: int) -> None:
        super().__init__(f"history before version {oldest} was compacted")
        self.oldest = oldest


class SlowReader(TryAgain):
    """This watcher fell behind its bounded buffer and was dropped: list again."""


class TooLarge(CallerFault):
    """A transaction over MAX_OPERATIONS or MAX_BYTES."""


class LeaseGone(TryAgain):
    """The lease has expired or was never granted."""


class Record(msgspec.Struct, frozen=True, gc=False):
    """A key's current value. ``created`` and ``version`` are versions, ``created`` exact only to
    the transaction; ``schema`` is the number of the body's schema, for upgrade on read."""

    key: str
    body: bytes
    version: int
    created: int
    schema: int = 1
    lease: int = 0


@dataclass(slots=True, frozen=True)
class Page:
    """Records in key order, all as of ``version``; ``more`` when the limit cut the range."""

    records: tuple[Record, ...]
    version: int
    more: bool = False


class Guard(msgspec.Struct, frozen=True, gc=False):
    """Commit only if the key is at this version; 0 means it must not exist."""

    key: str
    version: int


class Exists(msgspec.Struct, frozen=True, gc=False):
    """Commit only if the key exists, at whatever version (an owner that must still be there)."""

    key: str


class Put(msgspec.Struct, frozen=True, gc=False):
    key: str
    body: bytes
    schema: int = 1
    lease: int = 0


class Delete(msgspec.Struct, frozen=True, gc=False):
    """Deleting an absent key is no operation and no event."""

    key: str


class Transaction(msgspec.Struct, frozen=True, gc=False):
    """All or nothing. A key may be written at most once in a transaction."""

    guards: tuple[Guard | Exists, ...] = ()
    writes: tuple[Put | Delete, ...] = ()


class Committed(msgspec.Struct, frozen=True, gc=False):
    """``versions[i]`` is the version that write i got; ``version`` is the last of them."""

    version: int
    versions: tuple[int, ...]


class Event(msgspec.Struct, frozen=True, gc=False):
    """A change. ``record`` is the new value, or for a deletion the last value with ``version``
    set to the deletion's own version. ``previous`` is the value before, when there was one."""

    kind: str  # "put" or "delete"
    record: Record
    previous: Record | None


@dataclass(slots=True, frozen=True)
class Batch:
    """Events in version order. ``version`` is how far the watcher has now seen, even if empty."""

    events: tuple[Event, ...]
    version: int


def trimmed(body: bytes) -> bytes:
    """A body in as much memory as it is long: what orjson and msgspec return keeps the room of
    their buffers, up to six times that, for as long as it lives. Every backend that holds bodies
    in memory holds these."""
    return bytes(memoryview(body))


def check_size(transaction: Transaction) -> None:
    """Raises TooLarge; every backend asks before it does anything else."""
    writes = transaction.writes
    operations = len(transaction.guards) + len(writes)
    if operations > MAX_OPERATIONS:
        raise TooLarge(f"{operations} operations in one transaction; {MAX_OPERATIONS} are allowed")
    size = 0
    for write in writes:
        size += len(write.key) + (len(write.body) if isinstance(write, Put) else 0)
    if size > MAX_BYTES:
        raise TooLarge(f"{size} bytes in one transaction; {MAX_BYTES} are allowed")
    once = len(writes) == 1 or len({write.key for write in writes}) == len(writes)
    assert once, "a key is written twice in one transaction"


class Store(Protocol):
    """The port. Reads are consistent: they see every commit acknowledged before they began."""

    async def get(self, key: str) -> Record | None: ...

    async def range(self, prefix: str, *, after: str = "", limit: int = 0, at: int = 0) -> Page:
        """Records whose keys start with ``prefix``, beyond key ``after``, as of the transaction
        that version ``at`` belongs to (0: now); never half a transaction. Raises Compacted for
        an ``at`` that is no longer kept."""
        ...

    def version(self) -> Awaitable[int]:
        """A version that the newest commit's do not exceed, and that watches come to reach."""
        ...

    def commit(self, transaction: Transaction) -> Awaitable[Committed]:
        """Durable when it returns. Raises GuardFailed, TooLarge, LeaseGone."""
        ...

    def watch(self, prefix: str, *, after: int) -> AsyncIterator[Batch]:
        """Every change of the prefix with a version greater than ``after``, once, in order;
        a first, possibly empty, batch comes at once. Raises Compacted, SlowReader."""
        ...

    async def grant(self, ttl_s: float) -> int:
        """A lease: the keys bound to it are deleted once it is not kept alive for ``ttl_s``."""
        ...

    async def keep_alive(self, lease: int) -> None:
        """Raises LeaseGone."""
        ...

    async def revoke(self, lease: int) -> None: ...

    async def compact(self, version: int) -> None:
        """Forget history up to and including ``version``; current values stay."""
        ...

    async def close(self) -> None: ...
