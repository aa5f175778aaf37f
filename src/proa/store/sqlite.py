"""The embedded backend: one SQLite file, one writer, many commits to an fsync.

Whatever changes the file queues up. All that wait become one group: each is decided in memory
against the state the ones before it left (``heads``), and the writer's process makes the whole
durable by one COMMIT (synchronous=FULL) before any is acknowledged. Single keys are read from
memory, ranges and history over a connection on the loop.
With ``inline`` everything happens in the caller, without a process, for virtual time.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import apsw
import msgspec

from proa.base.clock import Clock, SystemClock
from proa.base.errors import TryAgain
from proa.base.telemetry import get_logger
from proa.store.api import (
    Batch,
    Committed,
    Event,
    LeaseGone,
    Page,
    Record,
    Transaction,
    check_size,
)
from proa.store.heads import Group, Heads
from proa.store.hub import Hub
from proa.store.tables import Tables
from proa.store.writer_process import WriterProcess, locked

log = get_logger(__name__)
HISTORY_SLICE = 1000  # events read from the log without letting others run
FORGET_SLICE = 500  # log rows deleted within one COMMIT
REAP_AGAIN_S = 0.5
PAUSE_S = 0.5  # before a writer that died is started again
R = TypeVar("R")
# What to do to the heads, and the events it made.
Act = Callable[[], tuple[R, Sequence[Event]]]


class _Work(msgspec.Struct):
    act: Act[Any]
    done: asyncio.Future[Any]
    result: object = None
    error: Exception | None = None
    events: Sequence[Event] = ()


class SqliteStore:
    """See ``store.api.Store``. Made by ``open``."""

    def __init__(self, path: str, clock: Clock, lock: int = -1) -> None:
        """``lock`` is held for the file; -1 where everything happens inline."""
        self._clock = clock
        self._lock = lock
        self._loop = asyncio.get_running_loop()
        self._tables = tables = Tables(path)
        self._heads = Heads(tables.everything(), tables.counters(), tables.leases())
        self._noted = replace(self._heads.counters)  # what the file says
        self._version = self._heads.counters.version
        self._hub = Hub(self._history)
        self._waiting: list[_Work] = []
        self._writing: list[_Work] = []
        self._busy = False
        self._path = Path(path)
        self._writer: WriterProcess | None = None
        self._restart: asyncio.Task[None] | None = None
        self._reaper: asyncio.Task[None] | None = None
        self._granted = asyncio.Event()
        # Lease → (term, when it ends); a store that was closed starts every term afresh.
        now = clock.monotonic()
        self._terms = {id: (ttl, now + ttl) for id, ttl in self._heads.leases.items()}

    @classmethod
    async def open(
        cls, path: Path | str, clock: Clock | None = None, *, inline: bool = False
    ) -> SqliteStore:
        """Open or make the file; ":memory:" with ``inline`` is the fake of every test."""
        assert inline or str(path) != ":memory:", "two connections to memory see different files"
        if str(path) != ":memory:":
            _keep_private(Path(path))
        clock = clock or SystemClock()
        lock = -1 if inline else await locked(Path(path), clock)
        try:
            store = cls(str(path), clock, lock)
            if not inline:
                store._writer = store._start()
        except BaseException:
            if not inline:
                os.close(lock)
            raise
        store._reaper = asyncio.get_running_loop().create_task(store._reap(), name="store-leases")
        return store

    # Reads

    async def version(self) -> int:
        return self._version

    async def get(self, key: str) -> Record | None:
        return self._heads.records.get(key)

    async def range(self, prefix: str, *, after: str = "", limit: int = 0, at: int = 0) -> Page:
        return self._tables.range(prefix, after, limit, at, self._heads.records)

    async def _history(self, prefix: str, after: int) -> AsyncIterator[Batch]:
        while True:
            events, reached = self._tables.history(prefix, after, HISTORY_SLICE)
            yield Batch(tuple(events), reached)
            if len(events) < HISTORY_SLICE:
                return
            after = reached
            await self._clock.sleep(0)

    def watch(self, prefix: str, *, after: int) -> AsyncIterator[Batch]:
        return self._hub.watch(prefix, after)

    # Writes

    def commit(self, transaction: Transaction) -> Awaitable[Committed]:
        check_size(transaction)
        return self._do(partial(self._heads.commit, transaction))

    def _do(self, act: Act[R]) -> asyncio.Future[R]:
        """Have the writer do something; there is a result when it is durable."""
        done: asyncio.Future[R] = self._loop.create_future()
        work = _Work(act, done)
        if self._lock < 0:
            group = self._decide([work])
            self._settle([work], group, self._write(group))
        else:
            self._waiting.append(work)
            if not self._busy:
                self._busy = True
                self._loop.call_soon(self._hand_over)
        return done

    def _hand_over(self) -> None:
        """Begin the next group with all who wait. The first to come to an idle writer waits for
        those who come in the same turn of the loop: a group costs as much as any other."""
        self._busy = bool(self._waiting)
        if self._busy:
            works, self._waiting = self._waiting, []
            group = self._decide(works)
            if group.changed:
                assert self._writer is not None, "who is not busy has a writer"
                self._writing = works
                written = partial(self._written, works, group)
                try:
                    self._writer.write(group.order(self._noted), written)
                except ValueError as error:  # it cannot be sent
                    self._loop.call_soon(written, str(error))
            else:
                self._loop.call_soon(self._written, works, group, "")

    def _decide(self, works: Sequence[_Work]) -> Group:
        """Decide all, each seeing those before it; a work that is refused writes nothing."""
        for work in works:
            try:
                work.result, work.events = work.act()
            except Exception as error:  # a guard that failed, mostly
                work.error = error
        return self._heads.group()

    def _write(self, group: Group) -> str:
        """Make the group durable here and now; what was in the way, "" for nothing."""
        try:
            self._tables.write(group.order(self._noted))
        except Exception as error:  # the file's, or what was to be written is none of its types
            return str(error)
        return ""

    def _written(self, works: Sequence[_Work], group: Group, fault: str) -> None:
        self._writing = []
        self._settle(works, group, fault)
        self._hand_over()

    def _settle(self, works: Sequence[_Work], group: Group, fault: str) -> None:
        """Watchers are woken before those who wrote: a view that follows shows what they wrote by
        the time they go on, and they need not wait for it. When the file fails, nothing of any is
        written and all may try again."""
        if fault:
            self._heads.undo(self._tables.counters(), self._tables.leases())
            for work in works:
                work.error, work.events = TryAgain(f"the store: {fault}"), ()
        else:
            self._heads.settle()
            self._noted = group.counters
        version = self._heads.counters.version
        if version > self._version:
            self._version = version
            self._hub.publish([event for work in works for event in work.events], version)
        _tell(works)

    # The writer

    def _start(self) -> WriterProcess:
        return WriterProcess(self._path, self._lock, self._writer_ended)

    def _writer_ended(self) -> None:
        self._busy = True
        self._restart = self._loop.create_task(self._start_again(), name="store-writer")

    async def _start_again(self) -> None:
        assert self._writer is not None, "it has ended"
        log.error("the store's writer has ended", code=await self._writer.close())
        started = False
        while not started:
            await self._clock.sleep(PAUSE_S)
            try:
                self._as_the_file_says()
                self._writer = self._start()
                started = True
            except (OSError, apsw.Error) as error:  # no memory, or a disk that fails
                log.error("the store's writer does not start", error=str(error))
        self._hand_over()

    def _as_the_file_says(self) -> None:
        """What a writer that died had in hand may have become durable, or not: everything is as
        the file says. Who wrote may try again, and watchers, who may have missed it, list again."""
        tables, works = self._tables, self._writing
        self._heads.load(tables.everything(), tables.counters(), tables.leases())
        self._noted, self._writing = replace(self._heads.counters), []
        self._version = self._heads.counters.version
        now = self._clock.monotonic()
        for id, ttl in self._heads.leases.items():
            self._terms.setdefault(id, (ttl, now + ttl))
        self._granted.set()
        self._hub.end(TryAgain("the store's writer has ended: list again"))
        for work in works:
            work.error = TryAgain("the store's writer has ended: whether it wrote is not known")
        _tell(works)

    # Leases

    async def grant(self, ttl_s: float) -> int:
        lease = await self._do(partial(self._heads.grant, ttl_s))
        self._terms[lease] = (ttl_s, self._clock.monotonic() + ttl_s)
        self._granted.set()
        return lease

    async def keep_alive(self, lease: int) -> None:
        now = self._clock.monotonic()
        ttl, due = self._terms.get(lease, (0.0, now))
        if due <= now:
            raise LeaseGone(f"lease {lease} has expired")
        self._terms[lease] = (ttl, now + ttl)

    async def revoke(self, lease: int) -> None:
        self._terms.pop(lease, None)
        await self._do(partial(self._heads.revoke, lease))

    async def _reap(self) -> None:
        """Wake when the next lease may be over, or another has been granted; else never."""
        while True:
            self._granted.clear()
            now = self._clock.monotonic()
            first = min((due for _, due in self._terms.values()), default=None)
            try:
                async with asyncio.timeout(None if first is None else max(0.0, first - now)):
                    await self._granted.wait()
                continue
            except TimeoutError:
                await self._end_leases()

    async def _end_leases(self) -> None:
        now = self._clock.monotonic()
        for lease, (ttl, due) in list(self._terms.items()):
            if due > now:
                continue
            try:
                await self.revoke(lease)
            except TryAgain:  # the file failed: the lease stays expired, and is tried again
                self._terms[lease] = (ttl, due)
                await self._clock.sleep(REAP_AGAIN_S)

    # Upkeep

    async def compact(self, version: int) -> None:
        await self._do(partial(self._heads.compact, version))
        while end := self._forgettable():
            await self._do(partial(self._heads.forget, end))
            await self._clock.sleep(0)

    def _forgettable(self) -> int:
        """The end of the next slice of what was compacted; 0 once nothing of it is left."""
        counters = self._heads.counters
        return self._tables.slice_end(counters.forgotten, counters.compacted, FORGET_SLICE)

    async def advance(self, version: int) -> None:
        """Make every later version greater than ``version`` (after a restore, before anybody
        reads): clients that hold versions of a lost history list again."""
        await self._do(partial(self._heads.advance, version))

    async def close(self) -> None:
        """Let writes under way finish."""
        if self._reaper is not None:
            self._reaper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reaper
        while self._waiting or self._busy:
            await self._clock.sleep(0.001)
        if self._writer is not None:
            await self._writer.close()
            os.close(self._lock)
        self._tables.close()


def _tell(works: Sequence[_Work]) -> None:
    """Those who wait what became of their works."""
    for work in works:
        if work.done.done():  # its caller was cancelled
            continue
        if work.error is not None:
            work.done.set_exception(work.error)
        else:
            work.done.set_result(work.result)


def _keep_private(path: Path) -> None:
    """Let only its owner read the file: task definitions and pods hold what is nobody else's.
    SQLite gives the files beside it the same mode; those of an earlier start are set too."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(name).chmod(0o600)


async def memory_store(clock: Clock) -> SqliteStore:
    """A store in memory without threads: the fake of tests and the store of simulations."""
    return await SqliteStore.open(":memory:", clock, inline=True)
