"""The crowd's link in process: a feed that breaks says nothing more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from proa.base.clock import VirtualClock, run_virtual
from proa.base.errors import TryAgain
from proa.model.feed import Down, Synced
from proa.server.hull import HullApi
from proa.sim.near import NearLink


class Hull:
    """Its one feed has something to say at once, and more when it is told to go on."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()

    @property
    def feeds(self) -> Hull:
        return self

    def open_many(self, _hosts: Any) -> Hull:
        return self

    def close(self) -> None:
        return

    async def stream(self) -> AsyncIterator[list[tuple[str, Down]]]:
        yield [("first", Synced())]
        await self.go_on.wait()
        yield [("second", Synced())]


def test_what_is_said_after_a_feed_broke_does_not_arrive() -> None:
    async def main() -> None:
        hull, came = Hull(), []
        link = NearLink(lambda: cast(HullApi, hull))

        async def read() -> None:
            async for pairs in link.feed(["first", "second"]):
                came.extend(host for host, _ in pairs)

        reading = asyncio.create_task(read())
        await VirtualClock().sleep(1)
        hull.go_on.set()  # the message is on its way as the connection breaks
        link.cut()
        with pytest.raises(TryAgain):
            await reading
        assert came == ["first"]

    run_virtual(main())
