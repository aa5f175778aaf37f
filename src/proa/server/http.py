"""The HTTP shell: runs any ``base.http`` handler on a TCP or unix socket, with or without TLS.

``http_connection`` serves each connection, ``http_upgrades`` those that leave HTTP. Bodies are
read whole up to ``max_body`` unless the route streams; answers are sent whole, streamed, or
upgraded to a WebSocket or to plain bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from proa.base.http import Handler, Request, Response
from proa.server.http_connection import Connection, Site

if TYPE_CHECKING:
    from proa.server.http_upgrades import Upgrades

BACKLOG = 4096
MAX_BODY = 16 * 1024 * 1024
SWEEP_S = 1.0  # how often overdue clients are looked for
GRACE_S = 1.0  # for answers under way when the shell closes
_IP_FREEBIND = 15  # linux/in.h; Python does not name it


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
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self.port = 0

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> None:
        """Listen on TCP; raises OSError where the port is taken."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            self._connection, host, port, ssl=tls, backlog=BACKLOG, reuse_address=True
        )
        self._begin(server)
        self.port = port or server.sockets[0].getsockname()[1]

    async def start_unbound(self, address: str, port: int, tls: ssl.SSLContext | None) -> None:
        """Listen on TCP at an address that the machine may not have yet (ip(7), IP_FREEBIND);
        raises OSError where the port is taken."""
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
            listening.setblocking(False)
            listening.bind((address, port))
            loop = asyncio.get_running_loop()
            self._begin(
                await loop.create_server(self._connection, sock=listening, ssl=tls, backlog=BACKLOG)
            )
        except BaseException:
            listening.close()
            raise
        self.port = port

    async def start_unix(self, path: Path, mode: int = 0o600) -> None:
        """Listen on a unix socket that only its owner may use."""
        path.unlink(missing_ok=True)
        loop = asyncio.get_running_loop()
        self._begin(await loop.create_unix_server(self._connection, str(path), backlog=BACKLOG))
        path.chmod(mode)

    def _connection(self) -> Connection:
        return Connection(self._site)

    def _begin(self, server: asyncio.Server) -> None:
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


def tls_of_pem(certificate: bytes, key: bytes, client_authority: bytes) -> ssl.SSLContext:
    """Like ``server_tls`` of keys that lie in no file."""
    with _memory_file(certificate) as certificate_path, _memory_file(key) as key_path:
        context = server_tls(certificate_path, key_path, None)
    context.load_verify_locations(cadata=client_authority.decode())
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


@contextlib.contextmanager
def _memory_file(content: bytes) -> Iterator[Path]:
    """A file that is gone afterwards, for ``ssl`` reads keys from files only: in memory where the
    system has such files (Linux), else readable by its owner alone."""
    if not hasattr(os, "memfd_create"):
        with tempfile.NamedTemporaryFile(prefix="proa-") as named:
            named.write(content)
            named.flush()
            yield Path(named.name)
        return
    descriptor = os.memfd_create("proa")
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        yield Path(f"/proc/self/fd/{descriptor}")


def server_tls(certificate: Path, key: Path, client_authority: Path | None) -> ssl.SSLContext:
    """TLS for a server; with ``client_authority`` a client certificate is asked for, and one
    that is presented must be signed by it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if client_authority is not None:
        context.load_verify_locations(client_authority)
        context.verify_mode = ssl.CERT_OPTIONAL
    return context
