"""The runner: feeds controllers from the view and carries out the plans they return.

One runner serves every controller of a process. A controller has a queue of its own and a few
workers; a reconcile itself is synchronous, only its steps await. After a plan, the key is not
handed out again before the view shows the plan's last write, so a reconcile never acts on a
picture older than its own work (STYLE rule 5).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from proa.base.aio import Tasks
from proa.base.clock import Clock
from proa.base.errors import CallerFault, TryAgain
from proa.base.telemetry import get_logger
from proa.reconcile.controller import Controller
from proa.reconcile.plan import Commit, Plan
from proa.reconcile.queue import WorkQueue
from proa.reconcile.view import Change, Entry, Table, View
from proa.store.api import Store

log = get_logger(__name__)
WORKERS = 4
Performer = Callable[[Any], Awaitable[int]]


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
        self._store, self._view, self._clock = store, view, clock
        self._performers: dict[type, Performer] = {Commit: self._commit, **(performers or {})}
        self._controllers = list(controllers)
        self._queues = {controller.name: WorkQueue(clock) for controller in self._controllers}
        assert len(self._queues) == len(self._controllers), "two controllers share a name"
        self._triggers: dict[Table[Any], list[tuple[WorkQueue, Callable[..., Iterable[str]]]]] = {}
        for controller in self._controllers:
            for trigger in controller.triggers:
                where = self._triggers.setdefault(trigger.table, [])
                where.append((self._queues[controller.name], trigger.keys))
        self._tasks = Tasks()
        self.crashes: list[tuple[str, str]] = []  # (controller, key) of bugs met

    @property
    def idle(self) -> bool:
        """Every queue is empty and nobody works (delayed keys may wait)."""
        return all(queue.idle for queue in self._queues.values())

    def start(self) -> None:
        """Enqueue every existing row, follow changes, start the workers. The view is synced."""
        for table, targets in self._triggers.items():
            for entry in self._view.rows(table).scan():
                self._enqueue(targets, Change(entry.key, entry.version, None, entry))
        self._view.subscribe(self._changed)
        for controller in self._controllers:
            for number in range(WORKERS):
                self._tasks.spawn(self._work(controller), f"{controller.name}-{number}")

    async def close(self) -> None:
        """Stop every worker; a step under way is cancelled between two awaits."""
        await self._tasks.close()

    def _changed(self, table: Table[Any], change: Change[Any]) -> None:
        targets = self._triggers.get(table)
        if targets:
            self._enqueue(targets, change)

    def _enqueue(
        self, targets: list[tuple[WorkQueue, Callable[..., Iterable[str]]]], change: Change[Any]
    ) -> None:
        for queue, keys in targets:
            for key in keys(self._view, change):
                queue.add(key)

    async def _work(self, controller: Controller) -> None:
        queue = self._queues[controller.name]
        while True:
            key = await queue.get()
            try:
                await self._once(controller, queue, key)
            finally:
                queue.done(key)

    async def _once(self, controller: Controller, queue: WorkQueue, key: str) -> None:
        try:
            plan = controller.reconcile(self._view, key, self._clock.now())
            await self.perform(plan)
        except TryAgain as error:
            delay = queue.retry(key)
            log.debug("again", controller=controller.name, key=key, delay=delay, why=str(error))
        except CallerFault as error:
            delay = queue.retry(key)
            log.warning("refused", controller=controller.name, key=key, why=str(error))
        except Exception as error:
            self.crashes.append((controller.name, key))
            del self.crashes[:-100]
            queue.retry(key)
            log.error("bug in controller", controller=controller.name, key=key, exc_info=error)
        else:
            queue.forget(key)
            if plan.again_at:
                queue.add_after(key, max(0.0, plan.again_at - self._clock.now()))

    async def perform(self, plan: Plan) -> None:
        """Carry out the steps in order, then wait until the view shows them; also those before
        one that fails, or the next decision would do them again."""
        version = 0
        try:
            for step in plan.steps:
                version = max(version, await self._performers[type(step)](step))
        finally:
            if version:
                await self._view.reached(version)

    async def _commit(self, step: Commit) -> int:
        return (await self._store.commit(step.transaction)).version


def row_key(_view: View, change: Change[Any]) -> Iterable[str]:
    """The commonest trigger: the changed row's own key."""
    return (change.key,)


def entry_of(change: Change[Any]) -> Entry[Any]:
    """The newer of a change's two sides."""
    entry = change.new or change.old
    assert entry is not None
    return entry
