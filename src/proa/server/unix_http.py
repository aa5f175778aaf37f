"""A small HTTP client for the sockets of Proa's own processes: asks, and streams of lines.

The agent reports through it for as long as it lives, so it is kept apart from a general client:
no TLS, no redirects, no cookies, one kind of address. Answers are whole (``ask``) or lines that
never end (``lines``). Whoever calls it is told of every failure as OSError.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import httptools

CONNECT_S = 5.0
LINE_LIMIT = 64 * 1024 * 1024
_WAITING = 1 << 20  # bytes that may wait for their reader before the socket is left alone


class Refused(Exception):
    """A stream was answered with another status than 200."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status} {text}")
        self.status = status


class _Connection(asyncio.Protocol):
    """One connection: one request at a time, its answer as it arrives."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._chunks: deque[bytes] = deque()
        self._waiting = 0
        self._news = asyncio.Event()
        self._paused = False
        self.status = 0
        self.begun = self.whole = self.lost = False

    @property
    def reusable(self) -> bool:
        """Whether another request may follow the last one's answer."""
        return self.whole and not self.lost and bool(self._parser.should_keep_alive())

    def send(self, method: str, path: str, body: bytes) -> None:
        assert self._transport is not None, "it was connected"
        self._parser = httptools.HttpResponseParser(self)
        self.begun = self.whole = False
        head = f"{method} {path} HTTP/1.1\r\nhost: proa\r\ncontent-length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)

    async def head(self) -> int:
        """The answer's status. Raises ConnectionError where there is no answer."""
        while not self.begun:
            await self._more()
        return self.status

    async def body(self) -> AsyncIterator[bytes]:
        """The answer's body as it arrives. Raises ConnectionError where it is cut off."""
        while True:
            while self._chunks:
                chunk = self._chunks.popleft()
                self._waiting -= len(chunk)
                yield chunk
            if self.whole:
                return
            self._resume()
            await self._more()

    async def _more(self) -> None:
        if self.lost:
            raise ConnectionResetError("the connection was closed")
        self._news.clear()
        await self._news.wait()

    def _resume(self) -> None:
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass of it

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.lost = True
            self.close()
        if self._waiting > _WAITING and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        self._news.set()

    def connection_lost(self, _error: Exception | None) -> None:
        self.lost = True
        self._news.set()

    # httptools' side

    def on_headers_complete(self) -> None:
        self.status, self.begun = self._parser.get_status_code(), True

    def on_body(self, body: bytes) -> None:
        self._chunks.append(body)
        self._waiting += len(body)

    def on_message_complete(self) -> None:
        self.whole = True


class UnixHttp:
    """Requests to one socket. Connections are kept for the next ``ask``."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._idle: list[_Connection] = []
        self._used: dict[_Connection, None] = {}

    async def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """Status and body of the answer. Raises OSError; a kept connection that the other side
        has closed meanwhile is no failure."""
        while self._idle:
            kept = self._idle.pop()
            try:
                return await self._exchange(kept, method, path, body)
            except ConnectionError:
                if kept.begun:
                    raise
        return await self._exchange(await self._connect(), method, path, body)

    async def _exchange(
        self, connection: _Connection, method: str, path: str, body: bytes
    ) -> tuple[int, bytes]:
        async with self._using(connection):
            connection.send(method, path, body)
            status = await connection.head()
            return status, b"".join([chunk async for chunk in connection.body()])

    @contextlib.asynccontextmanager
    async def _using(self, connection: _Connection) -> AsyncIterator[None]:
        """Hold it for one exchange; afterwards it is kept, or closed."""
        self._used[connection] = None
        try:
            yield
        finally:
            self._used.pop(connection, None)
            if connection.reusable:
                self._idle.append(connection)
            else:
                connection.close()

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_S):
                _, made = await loop.create_unix_connection(_Connection, str(self._socket))
        except TimeoutError as error:
            raise ConnectionRefusedError(f"{self._socket} does not answer") from error
        return made

    async def lines(self, method: str, path: str, body: bytes = b"") -> AsyncIterator[bytes]:
        """The lines of an answer as they come, without their ends. Raises Refused for another
        status than 200, OSError where the connection breaks."""
        connection = await self._connect()
        async with self._using(connection):
            connection.send(method, path, body)
            status = await connection.head()
            if status != 200:
                text = b"".join([chunk async for chunk in connection.body()])
                raise Refused(status, text.decode(errors="replace"))
            pending: list[bytes] = []
            async for chunk in connection.body():
                *whole, rest = chunk.split(b"\n")
                if whole:
                    pending.append(whole[0])
                    yield b"".join(pending)
                    for line in whole[1:]:
                        yield line
                    pending = []
                pending.append(rest)
                if sum(map(len, pending)) > LINE_LIMIT:
                    raise ConnectionAbortedError("a line is too long")

    async def close(self) -> None:
        """Close every connection; whoever waits for an answer gets ConnectionError."""
        for connection in (*self._idle, *self._used):
            connection.close()
        self._idle.clear()
