"""What waits for an Instance: asks in the order they must be served, and asks that found no room.

The scheduler is the only caller. Those without room are parked by kind, that is by all they ask
for: when room grows, the first of a kind is tried for all its like (equivalence classes, as
kube-scheduler had them), so that ten thousand alike wait for the price of one.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter

from proa.dispatch.skin import Skin
from proa.placement.asks import Ask

_OWN = ("uid", "key")  # what asks of one kind differ in
_kind = attrgetter(*(name for name in Ask.__struct_fields__ if name not in _OWN))


@dataclass(slots=True, frozen=True)
class Waiting:
    """An ask and its skin; ``order`` is when it came first, among all."""

    skin: Skin
    ask: Ask
    order: int


class Backlog:
    """Ready asks by priority, then by age (kube-scheduler's PrioritySort); parked ones by kind."""

    def __init__(self) -> None:
        self._ready: dict[str, Waiting] = {}
        self._heap: list[tuple[int, int, str]] = []
        self._parked: dict[tuple[object, ...], dict[str, Waiting]] = {}
        self._kinds: dict[str, tuple[object, ...]] = {}  # of parked asks, by key
        self._count = 0

    def __len__(self) -> int:
        return len(self._ready) + len(self._kinds)

    @property
    def ready(self) -> int:
        """How many may be tried now."""
        return len(self._ready)

    @property
    def parked(self) -> int:
        """How many wait for room."""
        return len(self._kinds)

    def get(self, key: str) -> Waiting | None:
        """Whatever waits under a key."""
        found = self._ready.get(key)
        if found is None and key in self._kinds:
            found = self._parked[self._kinds[key]].get(key)
        return found

    def add(self, skin: Skin, ask: Ask) -> None:
        """Try this ask; one of the same key is replaced and keeps its age."""
        before = self.get(ask.key)
        self._unpark(ask.key)
        if before is None:
            self._count += 1
        order = before.order if before is not None else self._count
        self._push(Waiting(skin, ask, order))
        if before is not None and before.ask != ask:
            self.wake_alike(before.ask, 1)  # it may have stood for them

    def _push(self, waiting: Waiting) -> None:
        ask = waiting.ask
        before = self._ready.get(ask.key)
        self._ready[ask.key] = waiting
        if before is None or before.ask.priority != ask.priority:
            heapq.heappush(self._heap, (-ask.priority, waiting.order, ask.key))

    def take(self, count: int) -> list[Waiting]:
        """At most ``count`` ready asks in their order; they wait no longer."""
        found: list[Waiting] = []
        while self._heap and len(found) < count:
            priority, order, key = heapq.heappop(self._heap)
            waiting = self._ready.get(key)
            if waiting is None or (-waiting.ask.priority, waiting.order) != (priority, order):
                continue  # dropped or replaced since
            del self._ready[key]
            found.append(waiting)
        return found

    def park(self, waiting: Waiting) -> None:
        """There was no room for it."""
        kind = _kind(waiting.ask)
        self._kinds[waiting.ask.key] = kind
        self._parked.setdefault(kind, {})[waiting.ask.key] = waiting

    def drop(self, key: str) -> None:
        """It waits no longer."""
        ready = self._ready.pop(key, None)
        if ready is not None:
            self.wake_alike(ready.ask, 1)  # it may have stood for them
        self._unpark(key)

    def _unpark(self, key: str) -> None:
        kind = self._kinds.pop(key, None)
        if kind is not None:
            alike = self._parked[kind]
            del alike[key]
            if not alike:
                del self._parked[kind]

    def kinds(self) -> Iterator[Waiting]:
        """The first parked ask of each kind."""
        for alike in list(self._parked.values()):
            yield next(iter(alike.values()))

    def wake(self, holds: Callable[[Ask], bool]) -> None:
        """Try the first ask of each kind for which ``holds``."""
        for first in self.kinds():
            if holds(first.ask):
                self._unpark(first.ask.key)
                self._push(first)

    def wake_alike(self, ask: Ask, count: int) -> None:
        """Try at most ``count`` more that are parked of this kind."""
        alike = self._parked.get(_kind(ask)) if self._parked else None
        for waiting in list(islice(alike.values(), count)) if alike else ():
            self._unpark(waiting.ask.key)
            self._push(waiting)

    def wake_one(self, key: str) -> None:
        """Try what is parked under a key."""
        waiting = self.get(key)
        if waiting is not None and key in self._kinds:
            self._unpark(key)
            self._push(waiting)

    def wake_all(self) -> None:
        """Try everything."""
        for alike in list(self._parked.values()):
            for waiting in list(alike.values()):
                self._unpark(waiting.ask.key)
                self._push(waiting)
