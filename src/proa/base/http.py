"""HTTP without a library: what every handler of ours takes and gives.

``server`` is the only package that knows aiohttp; it turns its requests into ``Request`` and
carries out the ``Response`` it gets. Simulation calls the same handlers directly.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import msgspec
from msgspec import Struct


@dataclass(slots=True, frozen=True)
class Peer:
    """Who is at the other end of the connection, as far as the transport knows."""

    address: str = ""
    certificate_der: bytes | None = None  # verified client certificate, if one was presented


class Request(Struct, frozen=True):
    """One request. ``path`` is percent-encoded as sent, without the query string;
    header names are lower case; ``query`` keeps order and repetitions, decoded."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    body: bytes = b""
    raw_query: str = ""
    peer: Peer = Peer()
    stream: AsyncIterator[bytes] | None = None  # set instead of body on routes that stream uploads

    def param(self, name: str, default: str = "") -> str:
        """The first value of a query parameter."""
        for key, value in self.query:
            if key == name:
                return value
        return default


class Socket(Protocol):
    """An upgraded connection: whole WebSocket messages, or raw bytes after a SPDY upgrade."""

    async def receive(self) -> bytes | None:
        """The next binary or text message as bytes; None once the peer has closed."""
        ...

    async def send(self, data: bytes) -> None: ...

    async def close(self, code: int = 1000, reason: str = "") -> None: ...


@dataclass(slots=True)
class Response:
    """A whole answer (``body``), a streamed one (``stream``), or an upgrade (``upgrade``).

    With ``upgrade`` the shell accepts the WebSocket with ``subprotocol`` (or answers 101 with
    ``headers`` for ``raw_upgrade``) and runs the coroutine over the socket until it returns."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    stream: AsyncIterator[bytes] | None = None
    upgrade: Callable[[Socket], Awaitable[None]] | None = None
    subprotocol: str = ""
    raw_upgrade: bool = False


Handler = Callable[[Request], Awaitable[Response]]
