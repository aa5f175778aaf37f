"""The port between a crowd of simulated Hosts and the control plane.

``sim.crowd`` speaks through it; ``sim.remote`` carries it over the hull's socket, ``sim.near``
straight to the hull of a control plane in the same process. It is the agents' ``ControlLink``
for many Hosts at once: each call and each message names the Hosts it is about.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from proa.model.feed import Down, Hello, LogBatch, Report


class CrowdLink(Protocol):
    """How a crowd is heard and told. Every call raises ``TryAgain`` while the control plane is
    away (say it again later) and ``CallerFault`` where it refuses."""

    async def join(self, hellos: Sequence[Hello]) -> None:
        """Introduce these Hosts; they may be asked to run Sandboxes once this returns. Saying it
        again of a Host that has joined changes nothing."""
        ...

    def feed(self, hosts: Sequence[str]) -> AsyncIterator[Sequence[tuple[str, Down]]]:
        """(host, message) for many Hosts, some at a time: for each what an agent's feed says,
        ``Synced`` ending what was assigned before. Ends by raising ``TryAgain`` when the
        connection breaks."""
        ...

    async def report(self, reports: Sequence[Report]) -> None:
        """News of many Hosts, each of which is alive."""
        ...

    async def beat(self, hosts: Sequence[str]) -> None:
        """These Hosts are alive, and have no news."""
        ...

    async def leave(self, hosts: Sequence[str]) -> None:
        """These Hosts are switched off for good: their records, Nodes and Instances go, and what
        ran on them has ended."""
        ...

    async def ship(self, batch: LogBatch) -> None:
        """Lines for one CloudWatch stream."""
        ...
