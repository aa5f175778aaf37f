"""A shell on a port of this machine, asked by bytes: in the clear, or behind the TLS terminator.

Tests that are marked by ``both_ways`` run either way, and see no difference.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import uvloop

from proa.base.clock import SystemClock
from proa.base.http import Request, Response
from proa.kube import pki
from proa.server.http import Shell
from proa.server.http_doors import listening
from proa.server.terminator.child import Terminator
from proa.server.terminator.frames import Keys

LIMIT = 100_000  # of bodies
_dialled: dict[Shell, list[asyncio.StreamWriter]] = {}  # of those behind TLS


class Handler:
    """Answers with what it was asked; keeps every request. ``/slow`` waits for ``release``,
    ``/endless`` streams until its client leaves, ``/lines`` streams three lines."""

    def __init__(self) -> None:
        self.seen: list[Request] = []
        self.release = asyncio.Event()
        self.ended = asyncio.Event()
        self.produced = 0

    async def __call__(self, request: Request) -> Response:
        self.seen.append(request)
        if request.path == "/slow":
            await self.release.wait()
        if request.path == "/broken":
            raise RuntimeError("a bug")
        if request.path == "/split":
            return Response(200, b"", {"x-said": "one\r\nset-cookie: two"})
        if request.path == "/lines":
            return Response(200, headers={"content-type": "text/plain"}, stream=_lines())
        if request.path == "/sized":
            return Response(200, headers={"content-length": "9"}, stream=_lines())
        if request.path == "/short":
            return Response(200, headers={"content-length": "90"}, stream=_lines())
        if request.path == "/endless":
            return Response(200, stream=self._endless())
        if request.path == "/refused-upload":
            return Response(401, b"no")
        if request.stream is not None:
            size = 0
            async for part in request.stream:
                size += len(part)
            return Response(201, b"%d" % size)
        if request.path == "/nothing":
            return Response(204)
        if request.method == "HEAD" and request.path == "/object":
            return Response(200, b"", {"content-length": "4711"})
        text = f"{request.method} {request.path} {request.raw_query} {len(request.body)}"
        return Response(200, text.encode(), {"content-type": "text/plain"})

    async def _endless(self) -> AsyncIterator[bytes]:
        try:
            while True:
                self.produced += 1
                yield b"x" * 65536
                await asyncio.sleep(0)
        finally:
            self.ended.set()


async def _lines() -> AsyncIterator[bytes]:
    for number in range(3):
        yield b"%d.\n" % number


both_ways = pytest.mark.parametrize("way", ["plain", "terminated"])


@contextlib.asynccontextmanager
async def serving(shell: Shell, way: str) -> AsyncIterator[Shell]:
    """A shell that has started; closed in the end, with the terminator that it may stand behind."""
    if way == "plain":
        await shell.start("127.0.0.1", 0)
        try:
            yield shell
        finally:
            await shell.close()
        return
    terminator = Terminator(SystemClock())
    shell.start_terminated(terminator, listening("127.0.0.1", 0), keys())
    _dialled[shell] = []
    try:
        yield shell
    finally:
        for writer in _dialled.pop(shell):
            writer.transport.abort()
        await asyncio.sleep(0)
        await shell.close()
        await terminator.close()


def running(
    check: Callable[[Shell, Handler], Coroutine[Any, Any, None]],
    way: str = "plain",
    **options: Any,
) -> None:
    """Run ``check`` beside a shell."""

    async def run() -> None:
        handler = Handler()
        shell = Shell(handler, max_body=LIMIT, streams=_uploads, **options)
        async with serving(shell, way):
            try:
                async with asyncio.timeout(20):
                    await check(shell, handler)
            finally:
                handler.release.set()

    uvloop.run(run())


def _uploads(method: str, path: str) -> bool:
    return method == "PUT" and "upload" in path


async def dial(
    shell: Shell, limit: int = 1 << 16
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to it."""
    tls = client_tls() if shell in _dialled else None
    reader, writer = await asyncio.open_connection("127.0.0.1", shell.port, ssl=tls, limit=limit)
    if tls is not None:
        _dialled[shell].append(writer)
    return reader, writer


def transport_of(shell: Shell) -> asyncio.Transport:
    """The server's side of its only connection."""
    [connection] = shell._site.connections
    return connection._transport


async def talk(shell: Shell, *parts: bytes, half_close: bool = False) -> bytes:
    """Everything that a shell says to these bytes until it closes."""
    reader, writer = await dial(shell)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        if half_close:
            writer.write_eof()
        with contextlib.suppress(ConnectionError):
            return await reader.read()
        return b""
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def get(path: str = "/", *headers: str, method: str = "GET", close: bool = True) -> bytes:
    """The head of a request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: one", *headers]
    if close:
        lines.append("Connection: close")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def status_of(answer: bytes) -> int:
    """The status of the first answer in these bytes, 0 for none."""
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0


@cache
def _made() -> tuple[pki.Files, Keys]:
    now = (datetime.now(UTC) - timedelta(hours=1)).timestamp()
    with tempfile.TemporaryDirectory() as folder:
        made = pki.ensure(Path(folder), names=("localhost",), addresses=["127.0.0.1"], now=now)
        certificate, key = made.server_certificate.read_bytes(), made.server_key.read_bytes()
    return made, Keys(certificate, key, made.ca_pem)


def keys() -> Keys:
    """A server's, which knows the authority of clients."""
    return _made()[1]


@cache
def client_tls(certified: bool = True) -> ssl.SSLContext:
    """The client's side, with a certificate unless it shall have none."""
    made = _made()[0]
    context = ssl.create_default_context(cadata=made.ca_pem.decode())
    if certified:
        with tempfile.TemporaryDirectory() as folder:
            certificate, key = Path(folder, "certificate"), Path(folder, "key")
            certificate.write_bytes(made.admin_pem)
            key.write_bytes(made.admin_key_pem)
            context.load_cert_chain(certificate, key)
    return context
