"""One life of the control plane in a world, and who has asked it something.

``World`` makes one at each start over the same store. Requests run in tasks that die with it, as
connections do with a process: who waits for an answer gets a TryAgain and does not know whether
the request was carried out.
"""

from __future__ import annotations

import asyncio

from proa.base.aio import Tasks
from proa.base.errors import TryAgain
from proa.base.http import Handler, Request, Response
from proa.dispatch.skin import Skin
from proa.server.assemble import ControlPlane


class Front:
    """The control plane as its clients and agents reach it."""

    def __init__(self, plane: ControlPlane) -> None:
        self.plane = plane
        self.skins: tuple[Skin, ...] = (plane.aws.skin, plane.kube.skin)
        self._requests = Tasks()

    async def ask(self, handler: Handler, request: Request) -> Response:
        """The handler's answer; raises TryAgain where the control plane dies before it."""
        task = self._requests.spawn(_run(handler, request), f"{request.method} {request.path}")
        try:
            answer: Response = await task
        except asyncio.CancelledError:
            mine = asyncio.current_task()
            if mine is not None and mine.cancelling():
                raise
            raise TryAgain("the control plane died before it answered") from None
        return answer

    async def crash(self) -> None:
        """End everything at once; what was committed is in the store, the rest is lost."""
        await self._requests.close()
        await self.plane.close()


async def _run(handler: Handler, request: Request) -> Response:
    return await handler(request)
