"""Crowds of watchers: each a TLS connection of its own, whose bytes are counted and searched.

Used by ``api``. One protocol object a watcher and no decoding, so that a thousand of them cost
the measuring process little beside what the server spends.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from proa.bench.live.clients import Kubeconfig

_OPEN_AT_ONCE = 50


class _Watcher(asyncio.Protocol):
    def __init__(self, request: bytes) -> None:
        loop = asyncio.get_running_loop()
        self.open: asyncio.Future[None] = loop.create_future()
        self.found: asyncio.Future[float] = loop.create_future()
        self.bytes = 0
        self._request, self._mark, self._tail = request, b"", b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        transport.write(self._request)  # type: ignore[attr-defined]

    def expect(self, mark: bytes) -> None:
        self._mark, self._tail = mark, b""
        self.found = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self.bytes += len(data)
        if not self.open.done():
            self.open.set_result(None)
        if self._mark:
            if self._mark in self._tail + data:
                self._mark = b""
                self.found.set_result(time.perf_counter())
            self._tail = data[-len(self._mark) - 1 :]


class Crowd:
    """Watchers of one path."""

    def __init__(self, watchers: list[_Watcher]) -> None:
        self._watchers = watchers

    def expect(self, mark: str) -> None:
        """From now on wait for these bytes."""
        for watcher in self._watchers:
            watcher.expect(mark.encode())

    async def reached(self) -> float:
        """When (``time.perf_counter``) the last watcher had what it expected."""
        return max(await asyncio.gather(*(watcher.found for watcher in self._watchers)))

    @property
    def bytes(self) -> int:
        """What has come to all of them."""
        return sum(watcher.bytes for watcher in self._watchers)


@asynccontextmanager
async def crowd(kubeconfig: Kubeconfig, path: str, count: int) -> AsyncIterator[Crowd]:
    """``count`` open watches of a path with query, which end with the block."""
    place, loop = urlsplit(kubeconfig.server), asyncio.get_running_loop()
    context, host, port = kubeconfig.context(), place.hostname or "", place.port or 443
    watchers: list[_Watcher] = []
    request = f"GET {path} HTTP/1.1\r\nHost: {place.netloc}\r\n\r\n".encode()

    async def join() -> _Watcher:
        _, watcher = await loop.create_connection(
            lambda: _Watcher(request), host, port, ssl=context
        )
        await watcher.open
        return watcher

    try:
        while len(watchers) < count:
            size = min(_OPEN_AT_ONCE, count - len(watchers))
            watchers += await asyncio.gather(*(join() for _ in range(size)))
        yield Crowd(watchers)
    finally:
        for watcher in watchers:
            watcher.transport.abort()  # type: ignore[attr-defined]
