"""Preemption carried out: victims leave, and their room is held for whom they left for.

The scheduler's helper. Rules: kube-scheduler 1.36's DefaultPreemption and its nominator: the room
of a nominated Sandbox counts as taken for all of the same or lower priority, is its own when it is
tried again, and goes to one of higher priority, whose victim the nomination then is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeGuard

from msgspec.structs import replace

from proa.base.aio import Tasks, gather
from proa.base.clock import Clock
from proa.base.errors import CallerFault, TryAgain
from proa.base.telemetry import get_logger
from proa.cloud import compute
from proa.dispatch.nominations import Nomination, Nominations
from proa.dispatch.skin import Preempting
from proa.placement import engine
from proa.placement.asks import Ask
from proa.placement.fleet import Booking, Fleet
from proa.placement.preemption import preempt
from proa.reconcile.plan import Plan
from proa.reconcile.view import View

log = get_logger(__name__)
NEVER = "not eligible due to preemptionPolicy=Never."
ENDING = "not eligible due to a terminating pod on the nominated node."


_preempting: dict[type, bool] = {}  # bows; issubclass is slow: it looks at every method


def _is_preempting(skin: object) -> TypeGuard[Preempting]:
    bow = type(skin)
    if bow not in _preempting:
        _preempting[bow] = issubclass(bow, Preempting)
    return _preempting[bow]


class Preemptor:
    """``wake`` has a waiting Sandbox tried again."""

    def __init__(
        self,
        fleet: Fleet,
        view: View,
        clock: Clock,
        perform: Callable[[Plan], Awaitable[None]],
        wake: Callable[[str], None],
    ) -> None:
        self._fleet, self._view, self._clock = fleet, view, clock
        self._perform, self._wake = perform, wake
        self._held = Nominations()
        self._tasks = Tasks()

    async def close(self) -> None:
        """Stop everything; who was told to leave leaves."""
        await self._tasks.close()

    def restore(self, skin: object, ask: Ask) -> None:
        """Hold what a Sandbox was promised before this process was."""
        if _is_preempting(skin) and self._held.get(ask.key) is None:
            instance = skin.nominated(self._view, ask.key)
            if instance in self._fleet.number_of:
                self._hold(skin, ask, instance, ())

    def forget(self, key: str) -> None:
        """A Sandbox waits no longer: nothing is held for it."""
        nomination = self._held.pop(key)
        if nomination is not None:
            self._fleet.release(nomination.booking.uid)

    def heard(self, skin: object, key: str) -> None:
        """Something of a Sandbox that holds room has changed: maybe it has begun."""
        booking = self._fleet.bookings.get(key)
        if booking is None or booking.since or not _is_preempting(skin):
            return
        since = skin.started(self._view, key)
        if since:
            self._fleet.book(replace(booking, since=since))

    def on_rows(self, rows: Iterable[int]) -> list[str]:
        """Who is promised room of these rows that nobody is yet to leave."""
        if self.idle:
            return []
        return [
            one.ask.key
            for row in dict.fromkeys(rows)
            for one in self._held.on_row(row)
            if not self._waits(one)
        ]

    @contextmanager
    def as_seen_by(self, ask: Ask) -> Iterator[None]:
        """The fleet without what is held for the ask itself and for those of lower priority."""
        own = self._held.get(ask.key)
        aside = [one.booking.uid for one in self._held.below(ask.priority)]
        with self._fleet.without([own.booking.uid, *aside] if own is not None else aside):
            yield

    @property
    def idle(self) -> bool:
        """Whether no room is held for anybody."""
        return not len(self._held)

    def consider(self, skin: object, ask: Ask) -> str | None:
        """Make room for an ask that found none, if that helps: what ``Unplaced.preemption``
        says."""
        if not _is_preempting(skin):
            return None
        if not ask.preempts:
            return NEVER
        before = self._held.get(ask.key)
        if before is not None and self._waits(before):
            return ENDING
        if not any(level < ask.priority for level in self._fleet.levels):
            self._withdraw(skin, ask)
            return None
        with self.as_seen_by(ask):
            found = preempt(self._fleet, ask, skin.budgets(self._view, ask))
        if found is None:
            self._withdraw(skin, ask)
            return None
        self.forget(ask.key)
        row = self._fleet.number_of[found.instance]
        for other in self._held.on_row(row):
            if other.ask.priority < ask.priority:
                self._drop(other)
        self._hold(skin, ask, found.instance, found.victims)
        self._tasks.spawn(self._carry_out(skin, ask, found.instance, found.victims), "preempt")
        return ""

    def _waits(self, nomination: Nomination) -> bool:
        """Whether victims are yet to leave the room that is promised."""
        fleet, row = self._fleet, nomination.booking.row
        return any(
            uid in nomination.victims or fleet.bookings[uid].terminating
            for uid in fleet.on_row.get(row, ())
            if fleet.bookings[uid].priority < nomination.ask.priority
        )

    def _hold(self, skin: Preempting, ask: Ask, instance: str, victims: tuple[str, ...]) -> None:
        found = compute.instance_of(self._view, instance)
        pool = found.host if found else ""
        made = engine.booking_for(self._fleet, ask, instance, pool)
        booking = Booking(f"nominated:{ask.key}", made.row, made.pool, made.claim)
        self._held.add(Nomination(skin, ask, booking, victims))
        self._fleet.book(booking)

    def _withdraw(self, skin: Preempting, ask: Ask) -> None:
        before = self._held.get(ask.key)
        if before is not None:
            self._drop(before)

    def _drop(self, nomination: Nomination) -> None:
        """Nothing is promised any more; it is tried again elsewhere."""
        key = nomination.ask.key
        self.forget(key)
        self._tasks.spawn(self._tell(nomination.skin.nominate(self._view, key, "")), "nomination")

    async def _tell(self, plan: Plan) -> bool:
        try:
            await self._perform(plan)
        except (TryAgain, CallerFault) as error:
            log.debug("preemption not written", why=str(error))
            return False
        return True

    async def _carry_out(
        self, skin: Preempting, ask: Ask, instance: str, victims: Sequence[str]
    ) -> None:
        await self._tell(skin.nominate(self._view, ask.key, instance))
        now = self._clock.now()
        done = await gather(
            [self._tell(skin.evict(self._view, ask, victim, instance, now)) for victim in victims]
        )
        held = self._held.get(ask.key)
        if not all(done) and held is not None:
            self._drop(held)
            self._wake(ask.key)
