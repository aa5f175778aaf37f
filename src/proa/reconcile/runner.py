"""The runner: feeds controllers from the view and carries out the plans they return.

One runner serves every controller of a process. A controller has a lane of its own: a queue, and
a few plans that may be carried out at a time. A reconcile itself is synchronous, and most find
nothing to do: those cost a function call, no task; nor does a plan that can be carried out without
waiting. After a plan, the key is not handed out again before the view shows the plan's last write,
so a reconcile never acts on a picture older than its own work (STYLE rule 5).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any

from proa.base.aio import Tasks
from proa.base.clock import Clock
from proa.base.errors import CallerFault, TryAgain
from proa.base.telemetry import get_logger
from proa.reconcile.controller import Controller, Trigger
from proa.reconcile.plan import Commit, Plan
from proa.reconcile.queue import WorkQueue
from proa.reconcile.view import Change, Entry, Table, View, same_in
from proa.store.api import Store

log = get_logger(__name__)
WORKERS = 4  # plans of one controller that are carried out at a time
TURN = 64  # reconciles of one controller before others have their turn
Performer = Callable[[Any], Awaitable[int]]
Keys = Callable[[View, Change[Any]], Iterable[str]]
Due = Callable[[Change[Any]], float]
Same = Callable[[Any, Any], bool]  # of the values of two rows


class _Turns:
    """Gives lanes their turns, all that ask together in one step of the loop."""

    def __init__(self) -> None:
        self._asking: list[_Lane] = []

    def ask(self, lane: _Lane) -> None:
        """A lane has something to do."""
        if not self._asking:
            asyncio.get_running_loop().call_soon(self._give)
        self._asking.append(lane)

    def _give(self) -> None:
        asking, self._asking = self._asking, []
        for lane in asking:
            lane.turn()


class _Steps:
    """Carries out the steps of plans."""

    def __init__(self, store: Store, view: View, performers: Mapping[type, Performer]) -> None:
        self._store, self._view = store, view
        self._performers: dict[type, Performer] = {Commit: self._commit, **performers}

    async def take(self, plan: Plan) -> tuple[int, Exception | None]:
        """The version that the view must reach, also where a step has failed, or the next
        decision would do again those before it; and how it failed. A step that is not a transaction
        yet finds in the view what those before it have written."""
        version = 0
        try:
            for step in plan.steps:
                if version > self._view.version and not isinstance(step, Commit):
                    await self._view.reached(version)
                version = max(version, await self._performers[type(step)](step))
        except Exception as error:
            return version, error
        return version, None

    async def _commit(self, step: Commit) -> int:
        return (await self._store.commit(step.transaction)).version


class _Lane:
    """One controller's queue, and who works it."""

    def __init__(
        self,
        controller: Controller,
        view: View,
        clock: Clock,
        steps: _Steps,
        turns: _Turns,
        tasks: Tasks,
    ) -> None:
        self.controller, self._view, self._clock = controller, view, clock
        self._steps, self._turns, self._tasks = steps, turns, tasks
        self.queue = WorkQueue(clock, self._wake)
        self._open = self._turning = False
        self._plans = 0  # that are being carried out
        self.crashes: list[tuple[str, str]] = []

    def start(self, crashes: list[tuple[str, str]]) -> None:
        """Begin to work; bugs are noted in ``crashes``."""
        self._open, self.crashes = True, crashes
        self._wake()

    def close(self) -> None:
        """Decide nothing any more."""
        self._open = False
        self.queue.close()

    def _wake(self) -> None:
        if self._open and not self._turning and self._plans < WORKERS:
            self._turning = True
            self._turns.ask(self)

    def turn(self) -> None:
        """Reconcile what is ready, but not for ever: others want their turn too."""
        self._turning = False
        for _ in range(TURN):
            if not self._open or self._plans >= WORKERS:
                return
            key = self.queue.take()
            if key is None:
                return
            self._once(key)
        self._wake()

    def _once(self, key: str) -> None:
        try:
            plan = self.controller.reconcile(self._view, key, self._clock.now())
        except Exception as error:
            self._failed(key, error)
            self.queue.done(key)
            return
        if plan.steps:
            self._plans += 1
            self._tasks.begin(self._carry_out(key, plan), self.controller.name)
        else:
            self._settled(key, plan)
            self.queue.done(key)

    async def _carry_out(self, key: str, plan: Plan) -> None:
        try:
            version, error = await self._steps.take(plan)
        except asyncio.CancelledError:
            self._release(key)
            raise
        self._view.when_reached(version, partial(self._shown, key, plan, error))

    def _shown(self, key: str, plan: Plan, error: Exception | None) -> None:
        """The view shows what became of a plan; after the end that says nothing any more."""
        if self._open and error is not None:
            self._failed(key, error)
        elif self._open:
            self._settled(key, plan)
        self._release(key)

    def _release(self, key: str) -> None:
        self._plans -= 1
        self.queue.done(key)
        self._wake()

    def _settled(self, key: str, plan: Plan) -> None:
        self.queue.forget(key)
        if plan.again_at:
            self.queue.add_after(key, max(0.0, plan.again_at - self._clock.now()))

    def _failed(self, key: str, error: Exception) -> None:
        name, delay = self.controller.name, self.queue.retry(key)
        if isinstance(error, TryAgain):
            log.debug("again", controller=name, key=key, delay=delay, why=str(error))
        elif isinstance(error, CallerFault):
            log.warning("refused", controller=name, key=key, why=str(error))
        else:
            self.crashes.append((name, key))
            del self.crashes[:-100]
            log.error("bug in controller", controller=name, key=key, exc_info=error)


class _Triggers:
    """Those of one table, by what they look at. What several ask is answered once."""

    def __init__(self, view: View, clock: Clock) -> None:
        self._view, self._clock = view, clock
        self._all: dict[tuple[str, ...], dict[tuple[Keys, Due | None], list[WorkQueue]]] = {}
        self._groups: list[tuple[Same | None, list[tuple[Keys, Due | None, list[WorkQueue]]]]] = []

    def add(self, trigger: Trigger, queue: WorkQueue) -> None:
        """``queue`` is given the keys that a trigger names."""
        those = self._all.setdefault(trigger.parts, {})
        those.setdefault((trigger.keys, trigger.due), []).append(queue)
        self._groups = [
            (
                same_in(parts) if parts else None,
                [(keys, due, queues) for (keys, due), queues in of_parts.items()],
            )
            for parts, of_parts in self._all.items()
        ]

    def changed(self, _table: Table[Any], change: Change[Any]) -> None:
        """Enqueue all that a change concerns."""
        view, old, new = self._view, change.old, change.new
        for same, those in self._groups:
            if (
                same is not None
                and old is not None
                and new is not None
                and same(old.value, new.value)
            ):
                continue
            for keys, due, queues in those:
                for key in keys(view, change):
                    delay_s = 0.0 if due is None else due(change) - self._clock.now()
                    for queue in queues:
                        if delay_s <= 0.0:
                            queue.add(key)
                        else:
                            queue.add_after(key, delay_s)


class Runner:
    """Runs controllers until closed. ``performers`` carry out steps by their type and return
    the version the view must reach (0 for none)."""

    def __init__(
        self,
        store: Store,
        view: View,
        clock: Clock,
        controllers: Iterable[Controller],
        performers: Mapping[type, Performer] | None = None,
    ) -> None:
        self._view = view
        self._steps = _Steps(store, view, performers or {})
        self._tasks = Tasks()
        turns = _Turns()
        self._lanes = [
            _Lane(controller, view, clock, self._steps, turns, self._tasks)
            for controller in controllers
        ]
        names = {lane.controller.name for lane in self._lanes}
        assert len(names) == len(self._lanes), "two controllers share a name"
        self._triggers: dict[Table[Any], _Triggers] = {}
        for lane in self._lanes:
            for trigger in lane.controller.triggers:
                those = self._triggers.setdefault(trigger.table, _Triggers(view, clock))
                those.add(trigger, lane.queue)
        self.crashes: list[tuple[str, str]] = []  # (controller, key) of bugs met

    @property
    def idle(self) -> bool:
        """Every queue is empty and nobody works (delayed keys may wait)."""
        return all(lane.queue.idle for lane in self._lanes)

    def start(self) -> None:
        """Enqueue every existing row, follow changes, start to work. The view is synced."""
        for table, triggers in self._triggers.items():
            for entry in self._view.rows(table).scan():
                triggers.changed(table, Change(entry.key, entry.version, None, entry))
            self._view.subscribe(triggers.changed, [table])
        for lane in self._lanes:
            lane.start(self.crashes)

    async def close(self) -> None:
        """Stop all work; a step under way is cancelled between two awaits."""
        for lane in self._lanes:
            lane.close()
        await self._tasks.close()

    async def perform(self, plan: Plan) -> None:
        """Carry out the steps in order, then wait until the view shows them."""
        version, error = await self._steps.take(plan)
        await self._view.reached(version)
        if error is not None:
            raise error


def row_key(_view: View, change: Change[Any]) -> Iterable[str]:
    """The commonest trigger: the changed row's own key."""
    return (change.key,)


def entry_of(change: Change[Any]) -> Entry[Any]:
    """The newer of a change's two sides."""
    entry = change.new or change.old
    assert entry is not None
    return entry
