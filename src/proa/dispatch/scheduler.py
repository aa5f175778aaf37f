"""The scheduler: keeps the fleet's arrays current, places what waits, binds it in batches.

One per control plane (the leader's). It follows the view; nothing it holds is a source of
truth. A batch becomes one fenced transaction; when a guard fails, the batch is split so that
only what really changed waits for its next turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from proa.base.clock import Clock
from proa.base.errors import CallerFault, Conflict
from proa.base.telemetry import get_logger
from proa.cloud import compute
from proa.dispatch.skin import Parts, Skin
from proa.model.host import Host, Instance
from proa.placement import engine
from proa.placement.asks import Ask, Placed, Unplaced
from proa.placement.fleet import Fleet
from proa.reconcile.plan import Plan
from proa.reconcile.view import Change, Table, View
from proa.store.api import Exists, Store, Transaction

log = get_logger(__name__)
BATCH = 64
TRANSACTION_OPERATIONS = 90
RETRY_UNPLACED_S = 300.0  # kube-scheduler's flush of the unschedulable


class Scheduler:
    """``perform`` carries out the Plans of refusals (the runner's)."""

    def __init__(
        self,
        store: Store,
        view: View,
        clock: Clock,
        skins: Sequence[Skin],
        perform: Callable[[Plan], Awaitable[None]],
    ) -> None:
        self._store, self._view, self._clock = store, view, clock
        self._skins = {skin.sandboxes: skin for skin in skins}
        self._node_tables = {table: skin for skin in skins for table in skin.nodes}
        self._perform = perform
        self.fleet = Fleet()
        self._pending: dict[str, tuple[Skin, Ask]] = {}
        self._unplaced: dict[str, tuple[Skin, Ask]] = {}
        self._refused: dict[str, tuple[object, ...]] = {}
        self._binding: set[str] = set()
        self._wake = asyncio.Event()
        self.bound = 0  # Sandboxes bound since start

    def start(self) -> None:
        """Take the view as it is, then follow it. The view is synced."""
        for host in self._view.rows(compute.HOSTS).scan():
            self.fleet.set_pool(host.value.id, host.value.pool)
        for instance in self._view.rows(compute.INSTANCES).scan():
            self._instance(instance.value)
        for table in self._skins:
            for entry in self._view.rows(table).scan():
                self._sandbox(self._skins[table], entry.key)
        self._view.subscribe(self._changed)

    @property
    def waiting(self) -> int:
        """Sandboxes without an Instance."""
        return len(self._pending) + len(self._unplaced)

    def ask_of(self, key: str) -> Ask | None:
        """What a Sandbox without an Instance asks for; None for one that asks nothing."""
        waiting = self._pending.get(key) or self._unplaced.get(key)
        return waiting[1] if waiting else None

    def _changed(self, table: Table[Any], change: Change[Any]) -> None:
        skin = self._skins.get(table)
        if skin is not None:
            self._sandbox(skin, change.key)
        elif table is compute.INSTANCES:
            if change.new is not None:
                self._instance(change.new.value)
            elif change.old is not None:
                self.fleet.remove_row(change.old.value.id)
        elif table is compute.HOSTS and change.new is not None:
            host: Host = change.new.value
            self.fleet.set_pool(host.id, host.pool)
            self._room_grew()
        elif table in self._node_tables:
            id = self._node_tables[table].instance_of_node(self._view, change)
            instance = compute.instance_of(self._view, id) if id else None
            if instance is not None:
                self._instance(instance)

    def _instance(self, instance: Instance) -> None:
        for skin in self._skins.values():
            row = skin.row(self._view, instance)
            if row is not None:
                self.fleet.set_row(row)
                self._room_grew()

    def _sandbox(self, skin: Skin, key: str) -> None:
        held = skin.held(self._view, key)
        if held is not None:
            self._drop_waiting(key)
            instance = compute.instance_of(self._view, held.instance)
            pool = instance.host if instance else ""
            booking = engine.booking_for(self.fleet, held.ask, held.instance, pool)
            self.fleet.book(booking)
            return
        ask = skin.ask(self._view, key)
        if ask is not None:
            if key not in self._binding:  # its batch is under way
                self._pending[key] = (skin, ask)
                self._unplaced.pop(key, None)
                self._wake.set()
            return
        self._drop_waiting(key)
        self._release(key)

    def _drop_waiting(self, key: str) -> None:
        self._pending.pop(key, None)
        self._unplaced.pop(key, None)
        self._refused.pop(key, None)

    def _release(self, key: str) -> None:
        if key in self.fleet.bookings and key not in self._binding:
            self.fleet.release(key)
            self._room_grew()

    def _room_grew(self) -> None:
        if self._unplaced:
            self._pending.update(self._unplaced)
            self._unplaced.clear()
        if self._pending:
            self._wake.set()

    async def run(self) -> None:
        """Place and bind until cancelled."""
        while True:
            if not self._pending:
                self._wake.clear()
                try:
                    async with asyncio.timeout(RETRY_UNPLACED_S):
                        await self._wake.wait()
                except TimeoutError:
                    self._refused.clear()
                    self._room_grew()
                continue
            await self._batch()

    def try_place(self, skin: Skin, asks: Sequence[Ask]) -> list[Placed | Unplaced]:
        """Decide without binding, for calls that must answer at once (RunTask). What is placed
        stays booked under its key until the record that was written with it says otherwise, or
        ``cancel`` gives it back."""
        return engine.place(self.fleet, asks)

    def cancel(self, key: str) -> None:
        """Give back what ``try_place`` booked for a Sandbox that was not written after all."""
        self.fleet.release(key)

    async def _batch(self) -> None:
        keys = sorted(self._pending, key=lambda key: (-self._pending[key][1].priority, key))
        work = [self._pending.pop(key) for key in keys[:BATCH]]
        skin_of = {ask.key: skin for skin, ask in work}
        self._binding = set(skin_of)
        try:
            decisions = engine.place(self.fleet, [ask for _, ask in work])
            placed = [item for item in decisions if isinstance(item, Placed)]
            await self._bind(skin_of, placed)
        finally:
            self._binding = set()
        for item in decisions:
            if isinstance(item, Unplaced):
                await self._refuse(skin_of[item.ask.key], item)

    async def _refuse(self, skin: Skin, unplaced: Unplaced) -> None:
        key = unplaced.ask.key
        if skin.ask(self._view, key) is None:
            return
        self._unplaced[key] = (skin, unplaced.ask)
        said = (unplaced.total, unplaced.reasons)
        if self._refused.get(key) == said:
            return
        self._refused[key] = said
        try:
            await self._perform(skin.refuse(self._view, unplaced, self._clock.now()))
        except (Conflict, CallerFault) as error:
            log.debug("refusal not written", key=key, why=str(error))

    async def _bind(self, skin_of: dict[str, Skin], placed: Sequence[Placed]) -> None:
        taken: set[str] = set()
        parts: list[tuple[Placed, Parts]] = []
        for item in placed:
            try:
                parts.append((item, self._parts(skin_of[item.ask.key], item, taken)))
            except Conflict as error:
                self._undo(item, error)
                await self._again(skin_of, item)
            except CallerFault as error:
                self._undo(item, error)
                self._unplaced[item.ask.key] = (skin_of[item.ask.key], item.ask)
                log.warning("cannot bind", key=item.ask.key, why=str(error))
        while parts:
            size, count = 0, 0
            for _, part in parts:
                size += len(part.guards) + len(part.writes)
                if count and size > TRANSACTION_OPERATIONS:
                    break
                count += 1
            await self._commit(skin_of, parts[:count])
            parts = parts[count:]

    def _parts(self, skin: Skin, item: Placed, taken: set[str]) -> Parts:
        now = self._clock.now()
        if item.instance:
            instance = compute.instance_of(self._view, item.instance)
            if instance is None:
                raise Conflict(f"instance {item.instance} has gone")
            part = skin.bind(self._view, item.ask, instance, taken, now)
            return Parts((Exists(compute.instance_key(instance.id)), *part.guards), part.writes)
        made = compute.fargate_instance(
            item.ask.uid, item.pool, item.ask.cluster, item.ask.zone, item.ask.reserve, now
        )
        part = skin.bind(self._view, item.ask, made, taken, now)
        return Parts(part.guards, (compute.put_instance(made), *part.writes))

    async def _commit(self, skin_of: dict[str, Skin], parts: list[tuple[Placed, Parts]]) -> None:
        transaction = Transaction(
            tuple(dict.fromkeys(guard for _, part in parts for guard in part.guards)),
            tuple(write for _, part in parts for write in part.writes),
        )
        try:
            done = await self._store.commit(transaction)
        except Conflict as error:
            if len(parts) == 1:
                self._undo(parts[0][0], error)
                await self._again(skin_of, parts[0][0])
                return
            for part in parts:
                await self._commit(skin_of, [part])
            return
        self.bound += len(parts)
        await self._view.reached(done.version)

    def _undo(self, item: Placed, error: Exception) -> None:
        log.debug("bind lost", key=item.ask.key, why=str(error))
        self.fleet.release(item.ask.key)

    async def _again(self, skin_of: dict[str, Skin], item: Placed) -> None:
        """After a lost race, look at the newest picture and queue it again if it still asks."""
        await self._view.reached(await self._store.version())
        skin = skin_of[item.ask.key]
        ask = skin.ask(self._view, item.ask.key)
        if ask is not None:
            self._pending[item.ask.key] = (skin, ask)
