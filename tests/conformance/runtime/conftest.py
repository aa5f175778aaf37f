"""The containerd that all tests of this folder share, and stories played on a machine over it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import pytest

from tests.conformance.runtime.agent_host import Host
from tests.conformance.runtime.worlds import ContainerdWorld


@pytest.fixture(scope="session")
def containerd() -> Iterator[ContainerdWorld]:
    made = ContainerdWorld()
    yield made
    made.close()


@pytest.fixture
def play(containerd: ContainerdWorld) -> Callable[[Callable[[Host], Awaitable[None]]], None]:
    """Runs a story with a fresh agent; nothing it wanted may be left afterwards."""

    def run(story: Callable[[Host], Awaitable[None]]) -> None:
        async def main() -> None:
            host = Host(containerd.daemon)
            await host.start()
            try:
                async with asyncio.timeout(120):
                    await story(host)
                    for uid in list(host.control.wanted):
                        host.control.vanish(uid)
                        await host.control.gone(uid)
            finally:
                await host.stop()

        asyncio.run(main())

    return run
