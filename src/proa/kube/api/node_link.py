"""The API server's way to the agents of its nodes: logs and exec of running containers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from proa.base.http import Socket


class NodeLink(Protocol):
    """Implemented over the agent's own API. ``host`` is told by the pod's node."""

    def logs(
        self, node: str, pod_uid: str, container: str, options: dict[str, str]
    ) -> AsyncIterator[bytes]:
        """The container's output; options as the agent's API has them (follow, tail, since,
        timestamps, previous, limit). Raises CallerFault, TryAgain."""
        ...

    async def stream(
        self, node: str, path: str, query: Sequence[tuple[str, str]], client: Socket
    ) -> None:
        """Join a client's WebSocket to the agent's (exec, portforward) until either ends."""
        ...
