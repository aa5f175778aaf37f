"""A crowd's link to a control plane in the same process: no socket, no encoding, no thread.

``Stage`` plays large scenarios over it in virtual time; ``proa up --runtime sim`` runs its Hosts
by it. The messages are the very objects that the hull made, which nobody changes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from proa.base.errors import TryAgain
from proa.dispatch.feed import CrowdFeed
from proa.model.feed import Down, Hello, LogBatch, Report
from proa.server.hull import HullApi

Carrier = Callable[[Awaitable[None]], Awaitable[None]]


async def _straight(work: Awaitable[None]) -> None:
    await work


class NearLink:
    """The CrowdLink port. ``hull`` gives the present control plane's hull and raises TryAgain
    while there is none; ``carry`` runs each call, and raises TryAgain where the control plane
    dies before it returns. ``cut`` is to be called when it has died."""

    def __init__(self, hull: Callable[[], HullApi], carry: Carrier = _straight) -> None:
        self._hull, self._carry = hull, carry
        self._feeds: dict[CrowdFeed, None] = {}

    async def join(self, hellos: Sequence[Hello]) -> None:
        await self._carry(self._hull().join(hellos))

    async def report(self, reports: Sequence[Report]) -> None:
        await self._carry(self._hull().report(reports))

    async def beat(self, hosts: Sequence[str]) -> None:
        await self._carry(self._hull().beat(hosts))

    async def ship(self, batch: LogBatch) -> None:
        await self._carry(self._hull().ship(batch))

    async def leave(self, hosts: Sequence[str]) -> None:
        await self._carry(self._hull().leave(hosts))

    async def feed(self, hosts: Sequence[str]) -> AsyncIterator[Sequence[tuple[str, Down]]]:
        feed = self._hull().feeds.open_many(hosts)
        self._feeds[feed] = None
        try:
            async for pairs in feed.stream():
                if feed not in self._feeds:
                    break
                yield pairs
        finally:
            self._feeds.pop(feed, None)
            feed.close()
        raise TryAgain("the feed broke")

    def cut(self) -> None:
        """Break every feed; what was on its way is lost."""
        feeds, self._feeds = self._feeds, {}
        for feed in feeds:
            feed.close()
