"""A crowd's link to a running Proa, over the hull's socket.

``proa sim hosts`` gives one to its ``Crowd``. Many Hosts share each call and each connection; what
is said at once is bounded, so that the control plane answers others in between.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from proa.model.feed import Down, Hello, LogBatch, Report
from proa.server.agent_link import HullClient

T = TypeVar("T")
HOSTS, REPORTS = 250, 500  # of one call
_encode = msgspec.json.Encoder().encode
_pair = msgspec.json.Decoder(tuple[str, Down])


class RemoteLink:
    """The CrowdLink port."""

    def __init__(self, socket: Path) -> None:
        self._client = HullClient(socket)

    async def join(self, hellos: Sequence[Hello]) -> None:
        for some in _slices(hellos, HOSTS):
            await self._client.post("/v1/hellos", _encode(some))

    async def feed(self, hosts: Sequence[str]) -> AsyncIterator[Sequence[tuple[str, Down]]]:
        async for line in self._client.lines("/v1/feeds", _encode(hosts)):
            yield (_pair.decode(line),)

    async def report(self, reports: Sequence[Report]) -> None:
        for some in _slices(reports, REPORTS):
            await self._client.post("/v1/reports", _encode(some))

    async def beat(self, hosts: Sequence[str]) -> None:
        await self._client.post("/v1/beats", _encode(hosts))

    async def leave(self, hosts: Sequence[str]) -> None:
        for some in _slices(hosts, HOSTS):
            await self._client.post("/v1/leaves", _encode(some))

    async def ship(self, batch: LogBatch) -> None:
        await self._client.post("/v1/logs", _encode(batch))

    async def close(self) -> None:
        """End every connection."""
        await self._client.close()


def _slices(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for first in range(0, len(items), size):
        yield items[first : first + size]
