"""Doors: the ports at which clusters' APIs are reached, opened and closed as clusters come and go.

``Doors`` is the port; ``NoDoors`` is the simulation's, whose clients call handlers directly. The
real ones are ``http_doors``'.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from proa.base.http import Handler


@dataclass(slots=True, frozen=True)
class Door:
    """What listens for one cluster. ``certificate_pem`` and ``key_pem`` are the server's,
    ``ca_pem`` the authority of its clients' certificates."""

    cluster: str  # uid
    port: int
    handler: Handler
    certificate_pem: bytes
    key_pem: bytes
    ca_pem: bytes


class Doors(Protocol):
    """Each cluster has at most one door."""

    async def open(self, door: Door) -> None:
        """Listen; nothing to do where the cluster's door is open. Raises OSError where the port
        is taken."""
        ...

    async def reach(self, cluster: str, addresses: Collection[str]) -> None:
        """Listen at these addresses too, and at no others that an earlier call named: pods reach
        the API at the address of an Instance, which may not be there yet."""
        ...

    async def close(self, cluster: str) -> None:
        """Stop listening and end every connection; nothing to do where no door is open."""
        ...


class NoDoors:
    """Nothing listens."""

    async def open(self, door: Door) -> None:
        del door

    async def reach(self, cluster: str, addresses: Collection[str]) -> None:
        del cluster, addresses

    async def close(self, cluster: str) -> None:
        del cluster
