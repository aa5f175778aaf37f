"""The control plane's way to agents, for logs and exec of pods (``kube.api.node_link``)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from proa.base.http import Socket
from proa.server.agent_link import AgentClient


class LocalNodeLink:
    """Every node's agent is this machine's: one socket."""

    def __init__(self, agent: AgentClient) -> None:
        self._agent = agent

    def logs(
        self, node: str, pod_uid: str, container: str, options: dict[str, str]
    ) -> AsyncIterator[bytes]:
        return self._agent.get(f"/logs/{pod_uid}/{container}", options)

    async def stream(
        self, node: str, path: str, query: Sequence[tuple[str, str]], client: Socket
    ) -> None:
        """Messages go both ways until either side closes."""
        agent, session = await self._agent.connect(path, list(query))
        up = asyncio.ensure_future(_up(client, agent))
        try:
            await _pour(agent, client)
        finally:
            up.cancel()
            await asyncio.gather(up, return_exceptions=True)
            await agent.close()
            await session.close()


async def _up(client: Socket, agent: Socket) -> None:
    """What the client says; when it leaves, the agent is told."""
    await _pour(client, agent)
    await agent.close()


async def _pour(source: Socket, sink: Socket) -> None:
    while (message := await source.receive()) is not None:
        await sink.send(message)
