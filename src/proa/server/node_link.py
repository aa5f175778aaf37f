"""The control plane's way to agents, for logs and streams of pods (``kube.api.node_link``)."""

from __future__ import annotations

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

    async def connect(self, node: str, path: str, query: Sequence[tuple[str, str]]) -> Socket:
        return await self._agent.connect(path, list(query))
