"""The feeds: tell agents, as they connect and ever after, what their Hosts must run.

``FeedHub`` opens them and tells them of changes. Changes mark Sandboxes dirty; a stream compiles a
dirty Sandbox when its agent is ready to take it, so a slow agent gets the newest form once instead
of every form in between, and nothing here grows without bound. Compiled Sandboxes are never
stored.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol

from proa.base.clock import Clock
from proa.base.telemetry import get_logger
from proa.cloud import compute
from proa.dispatch.broadcast import Broadcast
from proa.dispatch.skin import Skin
from proa.model.feed import Assign, Down, Instances, Rules, Synced, Zones
from proa.model.sandbox import Assignment
from proa.reconcile.view import View

log = get_logger(__name__)
RETRY_COMPILE_S = 2.0
CROWD_SLICE = 64  # messages of a crowd's stream, or a Host's more, without letting others run


class Owner(Protocol):
    """What a line needs of its hub."""

    view: View
    clock: Clock
    skins: Sequence[Skin]
    broadcast: Broadcast

    def told(self, line: Line, key: str) -> None:
        """From now on changes of this Sandbox concern the line, wherever the Sandbox is."""
        ...

    def forgot(self, line: Line, key: str) -> None:
        """Undo ``told``."""
        ...

    def close(self, lines: Sequence[Line]) -> None:
        """These are told of nothing any more."""
        ...


class Line:
    """One Host of one connected agent: what it was told and what it must be told next.
    ``wake`` is called when there is something new to say."""

    def __init__(self, hub: Owner, host: str, wake: Callable[[Line], None]) -> None:
        self.host = host
        self._hub, self._wake = hub, wake
        self._dirty: dict[str, Skin] = {}
        self._told: dict[str, str] = {}  # key → uid of Sandboxes this agent was told of
        self._renewals: dict[str, asyncio.TimerHandle] = {}
        self._instances_dirty = True
        self._closed = False
        self._said: Instances | None = None

    def close(self) -> None:
        """No timer of this line rings any more, and what is being compiled is not told."""
        self._closed = True
        self._dirty.clear()
        for key in self._told:
            self._hub.forgot(self, key)
        for timer in self._renewals.values():
            timer.cancel()

    def mark(self, key: str, skin: Skin) -> None:
        """A Sandbox may have to be told anew."""
        self._dirty[key] = skin
        self._wake(self)

    def mark_instances(self) -> None:
        """The Host, its Instances or the networks may have to be told anew."""
        self._instances_dirty = True
        self._wake(self)

    def mark_all(self) -> None:
        """Every Sandbox that is on the Host now."""
        for instance in compute.instances_on(self._hub.view, self.host):
            for skin in self._hub.skins:
                for key in skin.sandboxes_on(self._hub.view, instance):
                    self._dirty[key] = skin

    async def next(self) -> Down | None:
        """The next there is to say of this Host, None where there is nothing now; no Rules and no
        Zones."""
        while self._dirty or self._instances_dirty:
            if self._instances_dirty:
                self._instances_dirty = False
                message = self._instances()
                if message is not None:
                    return message
            if self._dirty:
                key = next(iter(self._dirty))
                assignment = await self._compile(self._dirty.pop(key), key)
                if assignment is not None:
                    return Assign(assignment)
        return None

    def _instances(self) -> Instances | None:
        view = self._hub.view
        host = view.rows(compute.HOSTS).get(compute.host_key(self.host))
        if host is None:
            return None
        instances = tuple(compute.instances_on(view, self.host))
        message = Instances(host.value, instances, self._hub.broadcast.ranges())
        if message == self._said:
            return None
        self._said = message
        return message

    async def _compile(self, skin: Skin, key: str) -> Assignment | None:
        told = self._told.get(key)
        try:
            assignment = await skin.assignment(self._hub.view, key, told or "")
        except Exception as error:
            log.error("cannot compile", key=key, exc_info=error)
            asyncio.get_running_loop().call_later(RETRY_COMPILE_S, self.mark, key, skin)
            return None
        if self._closed:
            return None
        self._renew_later(skin, key, assignment.fresh_until if assignment else 0.0)
        if assignment is None:
            self._forget(key)
            return Assignment(uid=told, want="gone") if told else None
        if told is not None and told != assignment.uid:
            self._dirty[key] = skin
            self._forget(key)
            return Assignment(uid=told, want="gone")
        self._told[key] = assignment.uid
        self._hub.told(self, key)
        return assignment

    def _forget(self, key: str) -> None:
        if self._told.pop(key, None) is not None:
            self._hub.forgot(self, key)

    def _renew_later(self, skin: Skin, key: str, at: float) -> None:
        """Compile it anew when a part of it has aged."""
        timer = self._renewals.pop(key, None)
        if timer is not None:
            timer.cancel()
        if at:
            delay_s = max(RETRY_COMPILE_S, at - self._hub.clock.now())
            loop = asyncio.get_running_loop()
            self._renewals[key] = loop.call_later(delay_s, self._renew, skin, key)

    def _renew(self, skin: Skin, key: str) -> None:
        self._renewals.pop(key, None)
        self.mark(key, skin)


class Feed:
    """One connected agent's stream. ``close`` ends its following."""

    def __init__(self, hub: Owner, host: str) -> None:
        self._hub = hub
        self._wake = asyncio.Event()
        self.line = Line(hub, host, lambda _line: self._wake.set())
        self._traffic_dirty = True
        self._said: tuple[Rules | None, Zones | None] = (None, None)

    def close(self) -> None:
        """Stop following the view."""
        self._hub.close([self.line])

    def mark_traffic(self) -> None:
        """Virtual addresses or names may have to be told anew."""
        self._traffic_dirty = True
        self._wake.set()

    async def stream(self) -> AsyncIterator[Down]:
        """Everything as it is, ``Synced``, then changes until the caller stops iterating."""
        self.line.mark_all()
        async for message in self._drain():
            yield message
        yield Synced()
        while True:
            await self._wake.wait()
            self._wake.clear()
            async for message in self._drain():
                yield message

    async def _drain(self) -> AsyncIterator[Down]:
        while (message := await self.line.next()) is not None:
            yield message
        while self._traffic_dirty:
            self._traffic_dirty = False
            (rules, zones), (said_rules, said_zones) = self._hub.broadcast.traffic(), self._said
            self._said = rules, zones
            if rules is not said_rules:
                yield rules
            if zones is not said_zones:
                yield zones
            while (message := await self.line.next()) is not None:
                yield message


class CrowdFeed:
    """One stream for many simulated Hosts, which need neither Rules nor Zones."""

    def __init__(self, hub: Owner, hosts: Sequence[str]) -> None:
        self._hub = hub
        self._wake = asyncio.Event()
        self._ready: OrderedDict[Line, None] = OrderedDict()
        self._closed = False
        self.lines = [Line(hub, host, self._mark) for host in dict.fromkeys(hosts)]

    def close(self) -> None:
        """Stop following the view; the stream ends once it has nothing more to say."""
        if not self._closed:
            self._closed = True
            self._ready.clear()
            self._hub.close(self.lines)
            self._wake.set()

    def _mark(self, line: Line) -> None:
        self._ready[line] = None
        self._wake.set()

    async def stream(self) -> AsyncIterator[list[tuple[str, Down]]]:
        """For each Host everything as it is and ``Synced``, then changes of all of them until
        ``close``; what is there to say comes together, and others run in between: a taker that
        never waits must not hold the loop."""
        sleep = self._hub.clock.sleep
        batch: list[tuple[str, Down]] = []
        for line in self.lines:
            line.mark_all()
            self._ready.pop(line, None)
            await self._gather(line, batch)
            batch.append((line.host, Synced()))
            if len(batch) >= CROWD_SLICE:
                yield batch
                batch = []
                await sleep(0)
        if batch and not self._closed:
            yield batch
        while not self._closed:
            await self._wake.wait()
            self._wake.clear()
            while self._ready:
                batch = []
                while self._ready and len(batch) < CROWD_SLICE:
                    await self._gather(self._ready.popitem(last=False)[0], batch)
                if batch and not self._closed:
                    yield batch
                if len(batch) >= CROWD_SLICE:
                    await sleep(0)

    async def _gather(self, line: Line, batch: list[tuple[str, Down]]) -> None:
        while (message := await line.next()) is not None:
            batch.append((line.host, message))
