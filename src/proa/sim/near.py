"""A crowd's link to a control plane in the same process: no socket, no encoding, no thread.

``Stage`` plays large scenarios over it in virtual time; ``proa up --runtime sim`` runs its Hosts
by it. The messages are the very objects that the hull made, which nobody changes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from proa.base.aio import Tasks
from proa.base.errors import TryAgain
from proa.model.feed import Down, Hello, LogBatch, Report
from proa.server.hull import HullApi

WAITING = 1000  # messages of one feed that wait for the crowd
Carrier = Callable[[Awaitable[None]], Awaitable[None]]


async def _straight(work: Awaitable[None]) -> None:
    await work


class _Channel:
    """Messages of one feed on their way. ``broken``: the connection, and what was on its way."""

    def __init__(self) -> None:
        self.waiting: deque[tuple[str, Down]] = deque()
        self.news, self.room = asyncio.Event(), asyncio.Event()
        self.broken = False

    async def put(self, pair: tuple[str, Down]) -> None:
        """Returns once there is room for another."""
        self.waiting.append(pair)
        self.news.set()
        if len(self.waiting) >= WAITING:
            self.room.clear()
            await self.room.wait()

    def cut(self) -> None:
        self.broken = True
        self.waiting.clear()
        self.news.set()


class NearLink:
    """The CrowdLink port. ``hull`` gives the present control plane's hull and raises TryAgain
    while there is none; ``carry`` runs each call, and raises TryAgain where the control plane
    dies before it returns. ``cut`` is to be called when it has died."""

    def __init__(self, hull: Callable[[], HullApi], carry: Carrier = _straight) -> None:
        self._hull, self._carry = hull, carry
        self._feeds: dict[int, _Channel] = {}
        self._opened = 0

    async def join(self, hellos: Sequence[Hello]) -> None:
        await self._carry(self._hull().join(hellos))

    async def report(self, reports: Sequence[Report]) -> None:
        await self._carry(self._hull().report(reports))

    async def ship(self, batch: LogBatch) -> None:
        await self._carry(self._hull().ship(batch))

    async def leave(self, hosts: Sequence[str]) -> None:
        await self._carry(self._hull().leave(hosts))

    async def feed(self, hosts: Sequence[str]) -> AsyncIterator[tuple[str, Down]]:
        hull = self._hull()
        channel = _Channel()
        self._opened += 1
        number = self._opened
        self._feeds[number] = channel
        tasks = Tasks()
        tasks.spawn(_pump(hull, hosts, channel), f"feed of {len(hosts)} hosts")
        try:
            while True:
                while channel.waiting and not channel.broken:
                    yield channel.waiting.popleft()
                if channel.broken:
                    break
                channel.room.set()
                channel.news.clear()
                await channel.news.wait()
        finally:
            self._feeds.pop(number, None)
            await tasks.close()
        raise TryAgain("the feed broke")

    def cut(self) -> None:
        """Break every feed; what was on its way is lost."""
        for channel in self._feeds.values():
            channel.cut()


async def _pump(hull: HullApi, hosts: Sequence[str], channel: _Channel) -> None:
    feed = hull.feeds.open_many(hosts)
    try:
        async for pair in feed.stream():
            await channel.put(pair)
    finally:
        feed.close()
