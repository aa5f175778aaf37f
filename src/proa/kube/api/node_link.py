"""The API server's way to the agents of its nodes: logs of containers, and streams to them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from proa.base.http import Socket


class NodeLink(Protocol):
    """Implemented over the agent's own API, which says at its head what its paths are."""

    def logs(
        self, node: str, pod_uid: str, container: str, options: dict[str, str]
    ) -> AsyncIterator[bytes]:
        """The container's output; options as the agent's API has them (follow, tail, since,
        timestamps, previous, limit). Raises CallerFault, TryAgain."""
        ...

    async def connect(self, node: str, path: str, query: Sequence[tuple[str, str]]) -> Socket:
        """A connection to one of the agent's streams (/exec, /attach, /portforward). Raises
        CallerFault where the agent refuses it, TryAgain where the agent is away. ``close`` ends
        all of it."""
        ...
