"""The HTTP shell: runs any ``base.http`` handler on a TCP or unix socket, with or without TLS.

TLS is the ``terminator``'s, whose connections are like any other here. ``http_connection`` serves
each connection, ``http_upgrades`` those that leave HTTP. Bodies are read whole up to ``max_body``
unless the route streams; answers are sent whole, streamed, or upgraded to a WebSocket or to plain
bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from proa.base.http import Handler, Request, Response
from proa.server.http_connection import Connection, Site
from proa.server.terminator.child import Listening, Terminator
from proa.server.terminator.frames import Keys

if TYPE_CHECKING:
    from proa.server.http_upgrades import Upgrades

BACKLOG = 4096
MAX_BODY = 16 * 1024 * 1024
SWEEP_S = 1.0  # how often overdue clients are looked for
GRACE_S = 1.0  # for answers under way when the shell closes


class Shell:
    """One listening socket in front of one handler."""

    def __init__(
        self,
        handler: Handler,
        *,
        max_body: int = MAX_BODY,
        streams: Callable[[str, str], bool] = lambda _method, _path: False,
        oversized: Callable[[Request], Response] | None = None,
    ) -> None:
        """``oversized`` words the refusal (413) of a body beyond ``max_body``, which it is not
        given."""
        self._site = Site(handler, max_body, streams, oversized, self._hand_over)
        self._upgrades: Upgrades | None = None
        self._server: asyncio.Server | Listening | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self.port = 0

    async def start(self, host: str, port: int) -> None:
        """Listen on TCP; raises OSError where the port is taken."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            self._connection, host, port, backlog=BACKLOG, reuse_address=True
        )
        self._begin(server)
        self.port = port or server.sockets[0].getsockname()[1]

    def start_terminated(
        self, terminator: Terminator, sockets: Sequence[socket.socket], keys: Keys
    ) -> None:
        """Serve TLS at sockets that listen, which are closed with this."""
        self.port = sockets[0].getsockname()[1]
        self._begin(terminator.listen(sockets, keys, self._connection))

    async def start_unix(self, path: Path, mode: int = 0o600) -> None:
        """Listen on a unix socket that only its owner may use."""
        path.unlink(missing_ok=True)
        loop = asyncio.get_running_loop()
        self._begin(await loop.create_unix_server(self._connection, str(path), backlog=BACKLOG))
        path.chmod(mode)

    def _connection(self) -> Connection:
        return Connection(self._site)

    def _begin(self, server: asyncio.Server | Listening) -> None:
        self._server = server
        self._sweeper = asyncio.get_running_loop().create_task(self._sweep(), name="http sweeper")

    def _hand_over(self, transport: asyncio.Transport, head: bytes, rest: bytes) -> None:
        if self._upgrades is None:  # on first use: aiohttp is as large as the other shells
            from proa.server.http_upgrades import Upgrades

            self._upgrades = Upgrades(self._site)
        self._upgrades.take(transport, head, rest)

    async def _sweep(self) -> None:
        """Clients that take too long are cut off."""
        clock = self._site.clock
        while True:
            await clock.sleep(SWEEP_S)
            now = clock.monotonic()
            for connection in [one for one in self._site.connections if one.overdue(now)]:
                connection.abort()

    async def close(self) -> None:
        """Stop listening and end every connection."""
        site = self._site
        if self._sweeper is not None:
            self._sweeper.cancel()
        if self._server is not None:
            self._server.close()
        for connection in list(site.connections):
            connection.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE_S):
                while site.connections:
                    await site.clock.sleep(0.01)
        for connection in list(site.connections):
            connection.abort()
        if self._upgrades is not None:
            await self._upgrades.close()
