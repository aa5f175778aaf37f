"""Binding: decisions become fenced transactions, of which many are on their way at a time.

The scheduler hands in what was placed. A transaction carries as many as its limit of operations
takes; when a guard fails, it is split, so that only what really changed is decided again. What
is bound here stays marked until the view shows it: nobody decides over it meanwhile, and no
address is chosen twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

import msgspec

from proa.base.aio import Tasks
from proa.base.clock import Clock
from proa.base.errors import CallerFault, Conflict, TryAgain
from proa.base.telemetry import get_logger
from proa.cloud import compute
from proa.dispatch.backlog import Waiting
from proa.dispatch.batches import packed_by, transaction_of
from proa.dispatch.skin import Parts
from proa.placement.asks import Placed
from proa.reconcile.view import View
from proa.store.api import Exists, Store

log = get_logger(__name__)
TRANSACTION_BYTES = 900_000
IN_FLIGHT = 64  # transactions
RETRY_S = 1.0  # after the store could not be written


class Bind(msgspec.Struct, frozen=True):
    """One decision, the piece of a transaction that carries it out, and the addresses it takes."""

    waiting: Waiting
    placed: Placed
    instance: str
    parts: Parts
    addresses: tuple[str, ...]


class _Taken(set[str]):
    """Addresses on their way; remembers which were added since ``begin``."""

    def __init__(self) -> None:
        super().__init__()
        self.fresh: list[str] = []

    def begin(self) -> None:
        self.fresh = []

    def add(self, address: str) -> None:
        self.fresh.append(address)
        super().add(address)


@dataclass(slots=True)
class _Room:
    """How many more transactions may leave."""

    free: int = IN_FLIGHT
    wake: asyncio.Event = field(default_factory=asyncio.Event)


class Binder:
    """``bound`` and ``lost`` are told, once the view shows the outcome, of what is bound, and of
    what must be looked at again."""

    def __init__(
        self,
        store: Store,
        view: View,
        clock: Clock,
        bound: Callable[[Sequence[Waiting]], None],
        lost: Callable[[Waiting, Exception], None],
    ) -> None:
        self._store, self._view, self._clock = store, view, clock
        self._bound, self._lost = bound, lost
        self._under_way: dict[str, str] = {}  # key → Instance it is being bound to
        self._taken = _Taken()
        self._room = _Room()
        self._tasks = Tasks()

    def __contains__(self, key: str) -> bool:
        """Whether a transaction with this Sandbox is on its way."""
        return key in self._under_way

    def goes_to(self, key: str, instance: str) -> bool:
        """Whether the Sandbox, which now shows on an Instance, was sent there from here; true
        once, for the change that binds it."""
        if not instance or self._under_way.get(key) != instance:
            return False
        self._under_way[key] = ""
        return True

    async def close(self) -> None:
        """Stop everything; what was committed is bound."""
        await self._tasks.close()

    async def send(self, decided: Sequence[tuple[Waiting, Placed]]) -> None:
        """Start binding; returns when it has left, maybe before it is bound."""
        binds: list[Bind] = []
        refused: list[tuple[Waiting, Exception]] = []
        for waiting, placed in decided:
            try:
                binds.append(self._bind(waiting, placed))
            except (TryAgain, CallerFault) as error:
                refused.append((waiting, error))
            except Exception as error:  # one Sandbox that cannot be bound holds up no other
                log.error("bug in bind", key=placed.ask.key, exc_info=error)
                refused.append((waiting, CallerFault(str(error))))
        for bind in binds:
            self._under_way[bind.placed.ask.key] = bind.instance
        for batch in packed_by(attrgetter("parts"), binds, TRANSACTION_BYTES):
            while not self._room.free:
                self._room.wake.clear()
                await self._room.wake.wait()
            self._room.free -= 1
            self._tasks.spawn(self._carry(batch), f"bind {batch[0].placed.ask.key}")
        if refused:
            self._tasks.spawn(self._look_again(refused), f"look again {refused[0][0].ask.key}")

    def _bind(self, waiting: Waiting, placed: Placed) -> Bind:
        ask, now = placed.ask, self._clock.now()
        self._taken.begin()
        if placed.instance:
            instance = compute.instance_of(self._view, placed.instance)
            if instance is None:
                raise Conflict(f"instance {placed.instance} has gone")
            part = waiting.skin.bind(self._view, ask, instance, self._taken, now)
            there = Exists(compute.instance_key(instance.id))
            parts = Parts((there, *part.guards), part.writes)
        else:
            instance = compute.fargate_instance(
                ask.uid, placed.pool, ask.cluster, ask.zone, ask.reserve, now
            )
            part = waiting.skin.bind(self._view, ask, instance, self._taken, now)
            parts = Parts(part.guards, (compute.put_instance(instance), *part.writes))
        return Bind(waiting, placed, instance.id, parts, tuple(self._taken.fresh))

    async def _carry(self, binds: Sequence[Bind]) -> None:
        try:
            await self._commit(binds)
        finally:
            self._room.free += 1
            self._room.wake.set()

    async def _commit(self, binds: Sequence[Bind]) -> None:
        try:
            done = await self._store.commit(transaction_of([bind.parts for bind in binds]))
            version = done.version
        except Conflict as error:
            if len(binds) > 1:
                for bind in binds:
                    await self._commit([bind])
                return
            await self._view.reached(await self._store.version())
            self._landed(binds)
            self._lost(binds[0].waiting, error)
            return
        except TryAgain as error:
            await self._clock.sleep(RETRY_S)
            self._landed(binds)
            for bind in binds:
                self._lost(bind.waiting, error)
            return
        await self._view.reached(version)
        self._landed(binds)
        self._bound([bind.waiting for bind in binds])

    def _landed(self, binds: Sequence[Bind]) -> None:
        for bind in binds:
            self._under_way.pop(bind.placed.ask.key, None)
            self._taken.difference_update(bind.addresses)

    async def _look_again(self, refused: Sequence[tuple[Waiting, Exception]]) -> None:
        await self._view.reached(await self._store.version())
        for waiting, error in refused:
            self._lost(waiting, error)
