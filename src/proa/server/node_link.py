"""The control plane's way to agents, for logs and streams of pods (``kube.api.node_link``)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from proa.base.http import Socket

if TYPE_CHECKING:
    from proa.server.agent_client import AgentClient


class LocalNodeLink:
    """Agents answer at sockets of this machine: its own agent's, or that of a crowd of simulated
    Hosts. ``where``, once the control plane is there, gives a node's socket; "": the agent's."""

    def __init__(self, agent: Path) -> None:
        self._agent = agent
        self.where: Callable[[str], str] = lambda _node: ""

    def _client(self, node: str) -> AgentClient:
        from proa.server.agent_client import AgentClient  # on first use: see there

        found = self.where(node)
        return AgentClient(Path(found) if found else self._agent)

    def logs(
        self, node: str, pod_uid: str, container: str, options: dict[str, str]
    ) -> AsyncIterator[bytes]:
        return self._client(node).get(f"/logs/{pod_uid}/{container}", options)

    async def connect(self, node: str, path: str, query: Sequence[tuple[str, str]]) -> Socket:
        return await self._client(node).connect(path, list(query))
