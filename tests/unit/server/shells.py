"""A shell on a port of this machine, asked by bytes."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import uvloop

from proa.base.http import Request, Response
from proa.kube import pki
from proa.server.http import Shell, server_tls

LIMIT = 100_000  # of bodies


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


def running(check: Callable[[Shell, Handler], Coroutine[Any, Any, None]], **options: Any) -> None:
    """Run ``check`` beside a plain shell."""

    async def run() -> None:
        handler = Handler()
        shell = Shell(handler, max_body=LIMIT, streams=_uploads, **options)
        await shell.start("127.0.0.1", 0)
        try:
            async with asyncio.timeout(20):
                await check(shell, handler)
        finally:
            handler.release.set()
            await shell.close()

    uvloop.run(run())


def _uploads(method: str, path: str) -> bool:
    return method == "PUT" and "upload" in path


async def talk(shell: Shell, *parts: bytes, half_close: bool = False) -> bytes:
    """Everything that a shell says to these bytes until it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", shell.port)
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
def _keys(folder: Path) -> pki.Files:
    now = (datetime.now(UTC) - timedelta(hours=1)).timestamp()
    return pki.ensure(folder, names=("localhost",), addresses=["127.0.0.1"], now=now)


def tls(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's side, which knows the authority of clients, and a client's, with a certificate."""
    keys = _keys(folder)
    (folder / "ca.pem").write_bytes(keys.ca_pem)
    (folder / "admin.pem").write_bytes(keys.admin_pem)
    (folder / "admin.key").write_bytes(keys.admin_key_pem)
    server = server_tls(keys.server_certificate, keys.server_key, folder / "ca.pem")
    client = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    client.load_cert_chain(folder / "admin.pem", folder / "admin.key")
    return server, client
