"""The etcd backend: the store's contract over etcd v3, for several control planes on one store.

One watch of the whole keyspace feeds the hub, as a whole revision must be seen to count its
deletions (see ``etcd_codec``); a watcher that resumes reads etcd's history up to where that
follower stands. etcd may go away and come back: calls wait a while and then raise TryAgain,
watches go on where they were. Whoever shares this etcd must keep away from keys that start
with ``proa``.
"""

from __future__ import annotations

import contextlib
import math
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import grpc
import grpc.aio

from proa.base.aio import Tasks
from proa.base.clock import Clock
from proa.base.errors import CallerFault, TryAgain
from proa.pb import etcd_pb2 as pb
from proa.pb import etcd_pb2_grpc as services
from proa.store.api import (
    Batch,
    Committed,
    Compacted,
    Exists,
    Guard,
    LeaseGone,
    Page,
    Put,
    Record,
    TooLarge,
    Transaction,
    check_size,
)
from proa.store.etcd_codec import (
    OFFSET,
    OFFSET_KEY,
    Versions,
    beyond,
    full_key,
    index_of,
    is_ours,
)
from proa.store.hub import Hub

CALL_S = 10.0
RETRY_S = 0.2
CATCH_UP_S, CATCH_UP_TRIES = 0.005, 1000
PAGE = 1000
KNOWN_INDICES = 10_000
_NEVER = Exists("\0")  # a guard that fails: no key has this name
LEASE_KEYS = 255  # keys that one lease can delete in one revision, within the 8 bits of an index
_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
)


class EtcdStore:
    """See ``store.api.Store``. Made by ``open``."""

    def __init__(self, target: str, clock: Clock) -> None:
        self._clock = clock
        self._channel = grpc.aio.insecure_channel(target, options=_OPTIONS)
        self._kv = services.KVStub(self._channel)
        self._watch = services.WatchStub(self._channel)
        self._lease = services.LeaseStub(self._channel)
        self._versions = Versions()
        self._oldest = 0
        self._followed = 0  # the revision up to which events were published
        self._indices: OrderedDict[str, tuple[int, int]] = OrderedDict()
        self._leased: dict[int, set[str]] = {}
        self._hub = Hub(self._history)
        self._tasks = Tasks()

    @classmethod
    async def open(cls, url: str, clock: Clock) -> EtcdStore:
        """``url`` is etcd://<host>:<port>. Raises TryAgain while etcd is away."""
        scheme, _, target = url.partition("://")
        if scheme != "etcd" or not target:
            raise CallerFault(f"an etcd store is named etcd://<host>:<port>, not {url!r}")
        store = cls(target, clock)
        try:
            answer = await _call(store._kv.Range, pb.RangeRequest(key=OFFSET_KEY))
        except BaseException:
            await store._channel.close()
            raise
        for entry in answer.kvs:
            store._versions.offset, store._oldest = OFFSET.unpack(entry.value)
        store._followed = answer.header.revision
        store._tasks.spawn(store._follow(), "store-follow")
        return store

    # Reads

    async def version(self) -> int:
        answer = await _call(self._kv.Range, pb.RangeRequest(key=OFFSET_KEY))
        return self._versions.of(answer.header.revision)

    async def get(self, key: str) -> Record | None:
        answer = await _call(self._kv.Range, pb.RangeRequest(key=full_key(key)))
        return self._versions.record(answer.kvs[0]) if answer.kvs else None

    async def range(self, prefix: str, *, after: str = "", limit: int = 0, at: int = 0) -> Page:
        if at and at < self._oldest:
            raise Compacted(self._oldest)
        start = full_key(prefix)
        if after >= prefix:
            start = full_key(after) + b"\0"
        revision = self._versions.revision(at) if at else 0
        records: list[Record] = []
        while True:
            count = min(PAGE, limit - len(records)) if limit else PAGE
            request = pb.RangeRequest(
                key=start, range_end=beyond(prefix), limit=count, revision=revision
            )
            try:
                answer = await _call(self._kv.Range, request)
            except _FutureRevision:  # as of a version that is yet to come is as of now
                revision = 0
                continue
            revision = revision or answer.header.revision
            records += map(self._versions.record, answer.kvs)
            if not answer.more or len(records) == limit:
                return Page(tuple(records), self._versions.of(revision), answer.more)
            start = answer.kvs[-1].key + b"\0"

    # Watches

    async def _responses(self, needed: int) -> AsyncGenerator[Any, None]:
        """Every change from revision ``needed`` on, in whole revisions. It asks from one
        revision earlier: etcd still serves a compacted revision itself, but not its deletions."""
        call = self._watch.Watch(wait_for_ready=True)
        try:
            await call.write(
                pb.WatchRequest(
                    create_request=pb.WatchCreateRequest(
                        key=b"\0", range_end=b"\0", start_revision=max(1, needed - 1), prev_kv=True
                    )
                )
            )
            while (answer := await call.read()) is not grpc.aio.EOF:
                if answer.compact_revision:
                    raise Compacted(self._versions.of(answer.compact_revision))
                if answer.canceled:
                    raise TryAgain(f"etcd ended a watch: {answer.cancel_reason}")
                changes = [item for item in answer.events if item.kv.mod_revision >= needed]
                for change in changes:
                    await self._with_previous(change)
                yield changes
            raise TryAgain("etcd ended a watch")
        except grpc.aio.AioRpcError as error:
            raise _translate(error) from error
        finally:
            call.cancel()

    async def _with_previous(self, change: Any) -> None:
        """What a key was before a change; on a busy machine etcd now and then leaves it out.
        Raises Compacted."""
        replaces = change.type != pb.StoredEvent.PUT or change.kv.version > 1
        if change.prev_kv.key or not replaces or not is_ours(change.kv.key):
            return
        before = change.kv.mod_revision - 1
        answer = await _call(self._kv.Range, pb.RangeRequest(key=change.kv.key, revision=before))
        if not answer.kvs:
            raise Compacted(self._versions.of(before))
        change.prev_kv.CopyFrom(answer.kvs[0])

    async def _follow(self) -> None:
        while True:
            try:
                async with contextlib.aclosing(self._responses(self._followed + 1)) as responses:
                    async for changes in responses:
                        if changes:
                            self._followed = changes[-1].kv.mod_revision
                            version = self._versions.of(self._followed)
                            self._hub.publish(self._versions.events(changes), version)
            except Compacted as error:  # compacted beyond us while etcd was away
                self._hub.end(error)
                self._followed = self._versions.revision(error.oldest)
            except TryAgain:
                await self._clock.sleep(RETRY_S)

    async def _history(self, prefix: str, after: int) -> AsyncIterator[Batch]:
        if after < self._oldest:
            raise Compacted(self._oldest)
        needed = max(2, self._versions.revision(after + 1))  # an empty etcd is at revision 1
        target = self._followed
        if needed > target:
            yield Batch((), max(after, self._versions.of(target)))
            return
        async with contextlib.aclosing(self._responses(needed)) as responses:
            async for changes in responses:
                if not changes:
                    continue
                events = tuple(
                    event
                    for event in self._versions.events(changes)
                    if event.record.version > after and event.record.key.startswith(prefix)
                )
                reached = changes[-1].kv.mod_revision
                yield Batch(events, self._versions.of(reached))
                if reached >= target:
                    return

    def watch(self, prefix: str, *, after: int) -> AsyncIterator[Batch]:
        return self._hub.watch(prefix, after)

    # Writes

    async def commit(self, transaction: Transaction) -> Committed:
        check_size(transaction)
        if not await self._right_indices(transaction):
            transaction = Transaction((*transaction.guards, _NEVER))
        self._check_leases(transaction)
        answer = await _call(self._kv.Txn, self._versions.request(transaction))
        if not answer.succeeded:
            raise self._versions.failure(transaction.guards, answer)
        committed = self._versions.committed(transaction.writes, answer)
        for write, version in zip(transaction.writes, committed.versions, strict=True):
            self._remember(write.key, version)
        return committed

    async def _right_indices(self, transaction: Transaction) -> bool:
        """Whether the guards' versions have the right indices, as etcd compares revisions only.
        A key's index in a revision never changes, so one that was seen is remembered, and
        another is looked up before the transaction."""
        for guard in transaction.guards:
            if not isinstance(guard, Guard) or not guard.version:
                continue
            revision, index = self._versions.revision(guard.version), guard.version & 255
            known = self._indices.get(guard.key)
            if known is None or known[0] != revision:
                answer = await _call(self._kv.Range, pb.RangeRequest(key=full_key(guard.key)))
                if not answer.kvs:
                    return False
                known = (answer.kvs[0].mod_revision, index_of(answer.kvs[0]))
            if known != (revision, index):
                return False
            self._remember(guard.key, guard.version)
        return True

    def _remember(self, key: str, version: int) -> None:
        self._indices[key] = (self._versions.revision(version), version & 255)
        self._indices.move_to_end(key)
        while len(self._indices) > KNOWN_INDICES:
            self._indices.popitem(last=False)

    # Leases

    def _check_leases(self, transaction: Transaction) -> None:
        for write in transaction.writes:
            if isinstance(write, Put) and write.lease:
                keys = self._leased.setdefault(write.lease, set())
                keys.add(write.key)
                if len(keys) > LEASE_KEYS:
                    raise TooLarge(f"more than {LEASE_KEYS} keys at one lease")

    async def grant(self, ttl_s: float) -> int:
        answer = await _call(
            self._lease.LeaseGrant, pb.LeaseGrantRequest(TTL=max(1, math.ceil(ttl_s)))
        )
        return int(answer.ID)

    async def keep_alive(self, lease: int) -> None:
        call = self._lease.LeaseKeepAlive(wait_for_ready=True, timeout=CALL_S)
        try:
            await call.write(pb.LeaseKeepAliveRequest(ID=lease))
            answer = await call.read()
        except grpc.aio.AioRpcError as error:
            raise _translate(error) from error
        finally:
            call.cancel()
        if answer is grpc.aio.EOF or answer.TTL <= 0:
            self._leased.pop(lease, None)
            raise LeaseGone(f"lease {lease} has expired")

    async def revoke(self, lease: int) -> None:
        self._leased.pop(lease, None)
        with contextlib.suppress(LeaseGone):
            await _call(self._lease.LeaseRevoke, pb.LeaseRevokeRequest(ID=lease))

    # Upkeep

    async def compact(self, version: int) -> None:
        """Whole revisions only: a version inside one leaves that revision."""
        newest = await self.version()
        revision = self._versions.revision(min(version, newest) + 1) - 1
        if revision > 1:
            await self._catch_up(revision)
            with contextlib.suppress(Compacted):
                await _call(self._kv.Compact, pb.CompactionRequest(revision=revision))

    async def _catch_up(self, revision: int) -> None:
        """Wait until this process has seen ``revision`` itself: what it has not yet seen must
        not be compacted under it, and its watchers must learn of the compaction from here on.
        Raises TryAgain where etcd stays silent."""
        for _ in range(CATCH_UP_TRIES):
            if self._followed >= revision:
                return
            await self._clock.sleep(CATCH_UP_S)
        raise TryAgain(f"revision {revision} of etcd has not been seen here yet")

    async def advance(self, version: int) -> None:
        """Make every later version greater than ``version`` (after a restore, before any other
        control plane opens this etcd): clients with versions of a lost history list again."""
        now = self._versions.revision(await self.version())
        offset = max(self._versions.offset, (version >> 8) - now)
        oldest = Versions(offset).of(now + 1)
        await _call(self._kv.Put, pb.PutRequest(key=OFFSET_KEY, value=OFFSET.pack(offset, oldest)))
        self._versions.offset, self._oldest = offset, oldest
        self._hub.end(Compacted(oldest))

    async def close(self) -> None:
        await self._tasks.close()
        await self._channel.close()


class _FutureRevision(CallerFault):
    """etcd has not reached the revision that was asked for."""


async def _call(method: Any, request: Any) -> Any:
    try:
        return await method(request, timeout=CALL_S, wait_for_ready=True)
    except grpc.aio.AioRpcError as error:
        raise _translate(error) from error


def _translate(error: Any) -> Exception:
    """etcd tells its errors apart by their texts."""
    text = str(error.details())
    if "required revision has been compacted" in text:
        return Compacted(0)
    if "required revision is a future revision" in text:
        return _FutureRevision(text)
    if "requested lease not found" in text:
        return LeaseGone(text)
    if "too large" in text or "too many operations" in text:
        return TooLarge(text)
    return TryAgain(f"etcd: {error.code().name}: {text}")
