"""The scheduler: keeps the fleet's arrays current, places what waits, and has it bound.

One per control plane (the leader's). It follows the view; nothing it holds is a source of truth.
Asks are decided in slices, so that no turn of the loop is long; ``binder`` carries decisions out
while the next are made. What finds no room is parked until something grows that may help it.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from proa.base.aio import Tasks
from proa.base.clock import Clock
from proa.base.errors import CallerFault, TryAgain
from proa.base.telemetry import get_logger
from proa.cloud import compute
from proa.dispatch.backlog import Backlog, Waiting
from proa.dispatch.binder import Binder
from proa.dispatch.preemptor import Preemptor
from proa.dispatch.skin import Skin
from proa.model.host import Host, Instance
from proa.model.resources import Resources
from proa.placement import engine
from proa.placement.asks import Ask, Placed, Unplaced
from proa.placement.fleet import Fleet
from proa.reconcile.plan import Plan
from proa.reconcile.view import Change, Table, View
from proa.store.api import Store

log = get_logger(__name__)
SLICE = 32  # asks decided without letting others run
ROWS_TRIED = 64  # more rows than these have grown: everything parked is tried
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
        self._view, self._clock = view, clock
        self._skins = {skin.sandboxes: skin for skin in skins}
        self._node_tables = {table: skin for skin in skins for table in skin.nodes}
        self._namespaces = {table: skin for skin in skins for table in skin.namespaces}
        self._perform = perform
        self.fleet = Fleet()
        self._backlog = Backlog()
        self._binder = Binder(store, view, clock, self._bound, self._lost)
        self._preemptor = Preemptor(self.fleet, view, clock, perform, self._try_again)
        self._refused: dict[str, tuple[object, ...]] = {}  # what was said of those without room
        self._refusing: OrderedDict[str, Unplaced] = OrderedDict()  # what is yet to be said
        self._grown: dict[int, None] = {}  # rows with more room than before
        self._all_grown = False
        self._counts_changed = False  # of Sandboxes by domain, which spreads and terms look at
        self._wake = asyncio.Event()
        self._wake_refuser = asyncio.Event()
        self._held = False
        self.bound = 0  # Sandboxes bound since start

    def start(self) -> None:
        """Take the view as it is, then follow it. The view is synced."""
        for host in self._view.rows(compute.HOSTS).scan():
            self.fleet.set_pool(host.value.id, host.value.pool)
        for instance in self._view.rows(compute.INSTANCES).scan():
            self._instance(instance.value)
        for table, skin in self._namespaces.items():
            for entry in self._view.rows(table).scan():
                self._namespace(Change(entry.key, entry.version, None, entry), skin)
        for table in self._skins:
            for entry in self._view.rows(table).scan():
                self._sandbox(self._skins[table], entry.key)
        followed = (*self._skins, *self._node_tables, *self._namespaces)
        self._view.subscribe(self._changed, (compute.INSTANCES, compute.HOSTS, *followed))

    @property
    def waiting(self) -> int:
        """Sandboxes without an Instance."""
        return len(self._backlog)

    def ask_of(self, key: str) -> Ask | None:
        """What a Sandbox without an Instance asks for; None for one that asks nothing."""
        waiting = self._backlog.get(key)
        return waiting.ask if waiting else None

    # The view

    def _changed(self, table: Table[Any], change: Change[Any]) -> None:
        skin = self._skins.get(table)
        if skin is not None:
            if skin.alters(change) or not self._knows(change.key):
                self._sandbox(skin, change.key)
            else:  # only how far it has come
                self._preemptor.heard(skin, change.key)
        elif table is compute.INSTANCES:
            if change.new is not None:
                self._instance(change.new.value)
                if change.old is None:
                    self._inhabitants(change.new.value)
            elif change.old is not None:
                self.fleet.remove_row(change.old.value.id)
        elif table is compute.HOSTS:
            self._host(change)
        elif table in self._node_tables:
            id = self._node_tables[table].instance_of_node(self._view, change)
            instance = compute.instance_of(self._view, id) if id else None
            if instance is not None:
                self._instance(instance)
        elif table in self._namespaces:
            self._namespace(change, self._namespaces[table])

    def _knows(self, key: str) -> bool:
        """Whether a Sandbox holds room, or waits for it."""
        return key in self.fleet.bookings or self._backlog.get(key) is not None

    def _namespace(self, change: Change[Any], skin: Skin) -> None:
        if self.fleet.set_namespace(*skin.namespace(change)):
            self._room_grew()

    def _host(self, change: Change[Host]) -> None:
        """A Host has come, has changed, or has left for good: then there is no room on it."""
        if change.new is not None:
            self.fleet.set_pool(change.new.value.id, change.new.value.pool)
            self._room_grew()
        elif change.old is not None:
            self.fleet.set_pool(change.old.value.id, Resources())

    def _instance(self, instance: Instance) -> None:
        for skin in self._skins.values():
            row = skin.row(self._view, instance)
            if row is not None and self.fleet.set_row(row):
                self._room_grew(self.fleet.number_of[row.id])

    def _inhabitants(self, instance: Instance) -> None:
        """Sandboxes that were on an Instance before it came hold their room."""
        for skin in self._skins.values():
            for key in skin.sandboxes_on(self._view, instance):
                self._hold_room(skin, key)

    def _sandbox(self, skin: Skin, key: str) -> None:
        instance = skin.place(self._view, key)
        if instance is not None:
            if self._binder.goes_to(key, instance.id) and key in self.fleet.bookings:
                return  # booked when it was decided
            self._hold_room(skin, key)
            return
        ask = skin.ask(self._view, key)
        if ask is not None:
            if key not in self._binder:
                self._preemptor.restore(skin, ask)
                self._backlog.add(skin, ask)
                self._wake.set()
            return
        self._forget(key)
        if key not in self._binder:
            self._release(key)

    def _hold_room(self, skin: Skin, key: str) -> None:
        """A Sandbox is on an Instance, however it came there."""
        held = skin.held(self._view, key)
        if held is None:
            return
        self._forget(key)
        instance = compute.instance_of(self._view, held.instance)
        pool = instance.host if instance else ""
        self.fleet.book(
            engine.booking_for(self.fleet, held.ask, held.instance, pool, held.terminating)
        )
        self._preemptor.heard(skin, key)
        self._counts_changed = True

    def _forget(self, key: str) -> None:
        """A Sandbox waits no longer."""
        self._backlog.drop(key)
        self._preemptor.forget(key)
        self._refused.pop(key, None)
        self._refusing.pop(key, None)

    def _release(self, key: str) -> None:
        booking = self.fleet.bookings.get(key)
        if booking is not None:
            self.fleet.release(key)
            self._room_grew(booking.row)
            for row in self.fleet.rows_of_pool(booking.pool):  # those of other clusters as well
                self._room_grew(row)

    def _room_grew(self, row: int = -1) -> None:
        """There is more room on a row, or somewhere (-1)."""
        if row < 0:
            self._all_grown = True
        else:
            self._grown[row] = None
        if self._backlog.parked:
            self._wake.set()

    # Placing

    def hold(self) -> None:
        """Let everything wait from the next slice on, until ``release``."""
        self._held = True

    def release(self) -> None:
        """Undo ``hold``."""
        self._held = False
        self._wake.set()

    async def run(self) -> None:
        """Place and bind until cancelled."""
        tasks = Tasks()
        tasks.spawn(self._refuse_all(), "refusals")
        try:
            while True:
                self._wake_parked()
                if self._backlog.ready and not self._held:
                    await self._slice()
                    continue
                self._wake.clear()
                try:
                    async with asyncio.timeout(RETRY_UNPLACED_S):
                        await self._wake.wait()
                except TimeoutError:
                    self._refused.clear()
                    self._backlog.wake_all()
        finally:
            await tasks.close()
            await self._preemptor.close()
            await self._binder.close()

    async def _slice(self) -> None:
        work = self._backlog.take(SLICE)
        decisions = self._decide([waiting.ask for waiting in work])
        placed: list[tuple[Waiting, Placed]] = []
        for waiting, decision in zip(work, decisions, strict=True):
            if isinstance(decision, Placed):
                placed.append((waiting, decision))
            else:
                self._park(waiting, decision)
        if placed:
            self._counts_changed = True
            for waiting, _ in placed:
                self._backlog.wake_alike(waiting.ask, SLICE)
        await self._binder.send(placed)
        await self._clock.sleep(0)

    def _decide(self, asks: Sequence[Ask]) -> list[Placed | Unplaced]:
        """What is held for nominated Sandboxes is seen by each ask as its priority says."""
        if self._preemptor.idle:
            return engine.place(self.fleet, asks)
        decisions = []
        for ask in asks:
            with self._preemptor.as_seen_by(ask):
                decisions += engine.place(self.fleet, [ask])
            if isinstance(decisions[-1], Placed):
                self._preemptor.forget(ask.key)
        return decisions

    def _try_again(self, key: str) -> None:
        self._backlog.wake_one(key)
        self._wake.set()

    def _wake_parked(self) -> None:
        """Try again what may find room now: by the rows that grew, and, where a place depends on
        who is where, by any change of that."""
        grown, everywhere = list(self._grown), self._all_grown
        elsewhere = bool(grown) or self._counts_changed
        self._grown.clear()
        self._all_grown = self._counts_changed = False
        if not self._backlog.parked or not (everywhere or elsewhere):
            return
        if everywhere or len(grown) > ROWS_TRIED:
            self._backlog.wake(lambda _ask: True)
        for key in self._preemptor.on_rows(grown):
            self._backlog.wake_one(key)
        if everywhere or len(grown) > ROWS_TRIED:
            return
        self._backlog.wake(
            lambda ask: (
                (elsewhere and _looks_around(ask))
                or any(engine.fits(self.fleet, ask, row) for row in grown)
            )
        )

    def try_place(self, skin: Skin, asks: Sequence[Ask]) -> list[Placed | Unplaced]:
        """Decide without binding, for calls that must answer at once (RunTask). What is placed
        stays booked under its key until the record that was written with it says otherwise, or
        ``cancel`` gives it back."""
        return list(engine.place(self.fleet, asks))

    def cancel(self, key: str) -> None:
        """Give back what ``try_place`` booked for a Sandbox that was not written after all."""
        self._release(key)

    # Outcomes

    def _bound(self, done: Sequence[Waiting]) -> None:
        self.bound += len(done)
        for waiting in done:
            self._refused.pop(waiting.ask.key, None)

    def _lost(self, waiting: Waiting, error: Exception) -> None:
        """A decision could not be carried out: look at the newest picture."""
        key = waiting.ask.key
        if isinstance(error, CallerFault):  # no room has come back: none could be used
            self.fleet.release(key)
            log.warning("cannot bind", key=key, why=str(error))
            self._backlog.park(waiting)
            return
        self._release(key)
        log.debug("bind lost", key=key, why=str(error))
        self._sandbox(waiting.skin, key)

    def _park(self, waiting: Waiting, unplaced: Unplaced) -> None:
        key = unplaced.ask.key
        if waiting.skin.ask(self._view, key) is None:
            return
        note = self._preemptor.consider(waiting.skin, unplaced.ask)
        unplaced = replace(unplaced, preemption=note) if note is not None else unplaced
        self._backlog.park(waiting)
        said = (unplaced.total, unplaced.reasons, note)
        if self._refused.get(key) != said:
            self._refused[key] = said
            self._refusing[key] = unplaced
            self._wake_refuser.set()

    async def _refuse_all(self) -> None:
        """Say why what waits has no place, one after another beside the placing."""
        while True:
            await self._wake_refuser.wait()
            self._wake_refuser.clear()
            while self._refusing:
                key, unplaced = self._refusing.popitem(last=False)
                waiting = self._backlog.get(key)
                if waiting is not None:
                    await self._refuse(waiting.skin, unplaced)

    async def _refuse(self, skin: Skin, unplaced: Unplaced) -> None:
        try:
            await self._perform(skin.refuse(self._view, unplaced, self._clock.now()))
        except (TryAgain, CallerFault) as error:
            log.debug("refusal not written", key=unplaced.ask.key, why=str(error))


def _looks_around(ask: Ask) -> bool:
    """Whether a place for it depends on more than the row it would be on."""
    return ask.fargate or bool(ask.spreads or ask.pod_affinity or ask.pod_anti_affinity)
