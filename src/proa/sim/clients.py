"""Clients of a world's two APIs, and what they were promised.

Scenarios speak through them. Requests are those of the real tools: signed with Signature Version
4, or sent with a client certificate. Who gets no answer asks again, as the SDKs and kubectl do;
what was acknowledged is remembered by its identity, to be looked for at the end.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from proa.base.errors import TryAgain
from proa.base.http import Peer, Request, Response
from proa.sim.world import World, admin_certificate
from proa.wire.sigv4 import Signer, sign

Json = dict[str, Any]
RETRY_S = 1.0
ATTEMPTS = 120
_ECS = "AmazonEC2ContainerServiceV20141113"


class Refused(AssertionError):
    """An API refused what a scenario asked for."""

    def __init__(self, status: int, answer: Json) -> None:
        super().__init__(f"{status} {answer}")
        self.status, self.answer = status, answer


class Clients:
    """One user of both APIs."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def ecs(self, operation: str, **given: Any) -> Json:
        """An operation of ECS with its input; the output. Raises Refused."""
        world = self._world

        async def attempt() -> Response:
            config = world.config
            headers = {
                "host": f"{config.listen}:{config.aws_port}",
                "content-type": "application/x-amz-json-1.1",
                "x-amz-target": f"{_ECS}.{operation}",
            }
            request = Request("POST", "/", headers=headers, body=orjson.dumps(given))
            signer = Signer(*world.keys, config.region, "ecs")
            return await world.aws(sign(request, signer, world.clock.now()))

        return await self._until_answered(attempt)

    async def kube(
        self, method: str, path: str, body: Json | None = None, content_type: str = ""
    ) -> Json:
        """A request to the Kubernetes API as a cluster administrator. Raises Refused."""
        headers = {"content-type": content_type or "application/json"}
        peer = Peer("127.0.0.1", admin_certificate())
        request = Request(
            method, path, headers=headers, body=orjson.dumps(body) if body else b"", peer=peer
        )

        async def attempt() -> Response:
            return await self._world.kube(request)

        return await self._until_answered(attempt)

    async def _until_answered(self, attempt: Callable[[], Awaitable[Response]]) -> Json:
        answer: Response | None = None
        for _ in range(ATTEMPTS):
            try:
                answer = await attempt()
            except TryAgain:
                answer = None
            if answer is not None and answer.status < 500:
                break
            await self._world.clock.sleep(RETRY_S)
        assert answer is not None, "the control plane never came back"
        found: Json = orjson.loads(answer.body)
        if answer.status >= 300:
            raise Refused(answer.status, found)
        return found
