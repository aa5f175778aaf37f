"""CloudWatch's events in the store's append files: ``cloud.logs.EventLog`` over ``AppendFiles``."""

from __future__ import annotations

from collections.abc import Sequence

from proa.cloud.logs import FOREVER_MS, Extent, Stored
from proa.store.append import AppendFiles


class EventFiles:
    """See ``cloud.logs.EventLog``."""

    def __init__(self, files: AppendFiles) -> None:
        self._files = files

    async def append(self, stream: str, entries: Sequence[tuple[int, bytes]]) -> None:
        await self._files.append(stream, entries)

    async def read(
        self,
        stream: str,
        *,
        start_ms: int = 0,
        end_ms: int = FOREVER_MS,
        after: int = 0,
        before: int = 0,
        limit: int = 1000,
        backward: bool = False,
    ) -> list[Stored]:
        found = await self._files.read(
            stream,
            start_ms=start_ms,
            end_ms=end_ms,
            after=after,
            before=before,
            limit=limit,
            backward=backward,
        )
        return [Stored(entry.position, entry.at_ms, entry.body) for entry in found]

    async def extent(self, stream: str) -> Extent:
        return Extent(*await self._files.extent(stream))

    async def remove(self, stream: str) -> None:
        await self._files.remove(stream)

    async def expire(self, stream: str, before_ms: int) -> None:
        """A stream goes as a whole, once its newest entry is too old."""
        extent = await self._files.extent(stream)
        if extent[0] and extent[3] < before_ms:
            await self._files.remove(stream)
