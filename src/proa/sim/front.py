"""One life of the control plane in a world, and who has asked it something.

``World`` makes one at each start over the same store. Requests run in tasks that die with it, as
connections do with a process: who waits for an answer gets a TryAgain and does not know whether
the request was carried out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

from proa.base.aio import Tasks
from proa.base.errors import TryAgain
from proa.base.http import Handler, Request, Response
from proa.base.telemetry import get_logger
from proa.server.assemble import ControlPlane
from proa.sim.line import StoreLine

T = TypeVar("T")
log = get_logger(__name__)


class Front:
    """The control plane as its clients and agents reach it."""

    def __init__(self, plane: ControlPlane, line: StoreLine | None = None) -> None:
        self.plane, self._line = plane, line
        self._killed = False
        self._requests = Tasks()

    async def start(self) -> tuple[str, str]:
        """Start it; raises TryAgain where it dies before it is up."""
        keys = await self._outlived(self._start(), "start")
        if keys is None or self._killed:
            raise TryAgain("the control plane died as it came up")
        return keys

    async def _start(self) -> tuple[str, str] | None:
        """As the process has it: what fails at its start ends it."""
        try:
            return await self.plane.start()
        except TryAgain as error:
            log.warning("cannot start", error=str(error))
            return None

    async def ask(self, handler: Handler, request: Request) -> Response:
        """The handler's answer; raises TryAgain where the control plane dies before it."""
        return await self._outlived(_run(handler, request), f"{request.method} {request.path}")

    async def follow(self, stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """A streamed answer, which ends where the control plane dies."""
        chunks: asyncio.Queue[bytes | None] = asyncio.Queue()  # its reader waits for nothing else
        task = self._requests.spawn(_pump(stream, chunks), "stream")
        try:
            while (chunk := await chunks.get()) is not None:
                yield chunk
        finally:
            task.cancel()

    async def _outlived(self, work: Coroutine[Any, Any, T], name: str) -> T:
        task = self._requests.spawn(work, name)
        try:
            answer: T = await task
        except asyncio.CancelledError:
            mine = asyncio.current_task()
            if mine is not None and mine.cancelling():
                raise
            raise TryAgain("the control plane died before it answered") from None
        return answer

    def kill(self) -> None:
        """From this instant nothing that it does reaches anything; ``crash`` follows."""
        self._killed = True
        if self._line is not None:
            self._line.dead = True

    async def crash(self) -> None:
        """End everything at once; what was committed is in the store, the rest is lost."""
        self.kill()
        await self._requests.close()
        await self.plane.close()


async def _pump(stream: AsyncIterator[bytes], chunks: asyncio.Queue[bytes | None]) -> None:
    try:
        async for chunk in stream:
            chunks.put_nowait(chunk)
    finally:
        chunks.put_nowait(None)


async def _run(handler: Handler, request: Request) -> Response:
    """As the HTTP shell has it: a bug is logged and answered."""
    try:
        return await handler(request)
    except TryAgain as error:
        return Response(503, str(error).encode())
    except Exception as error:
        log.error("request failed", path=request.path, exc_info=error)
        return Response(500, b"internal error\n")
