"""The two ends of the agent's connection, over unix sockets: HTTP clients of our own handlers.

``HullLink`` is the agent's way to the control plane (its ``ControlLink`` port). ``AgentClient``
is the control plane's way to the agent, for logs and exec.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote, unquote

import aiohttp
import msgspec

from proa.base.clock import Clock
from proa.base.errors import CallerFault, TryAgain
from proa.base.http import Socket
from proa.model.feed import Down, Hello, LogBatch, Report

_down = msgspec.json.Decoder(Down)
_encode = msgspec.json.Encoder().encode
LINE_LIMIT = 64 * 1024 * 1024
HEARTBEAT_S = 10.0
MESSAGE_LIMIT = 4 * 1024 * 1024


class HullClient:
    """Calls of the hull's API; every failure to reach it is a TryAgain."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._session: aiohttp.ClientSession | None = None

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession(
                base_url="http://hull",
                connector=aiohttp.UnixConnector(str(self._socket)),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=5),
                read_bufsize=LINE_LIMIT,
            )
        return self._session

    async def post(self, path: str, body: bytes) -> None:
        """Say something; returns once it has been taken in."""
        try:
            async with self._http().post(path, data=body) as answer:
                if answer.status == 503:
                    raise TryAgain(await answer.text())
                if answer.status >= 400:
                    raise CallerFault(f"{path}: {answer.status} {await answer.text()}")
        except (aiohttp.ClientError, OSError) as error:
            raise TryAgain(f"the control plane does not answer: {error}") from error

    async def lines(self, path: str, body: bytes | None = None) -> AsyncIterator[bytes]:
        """What comes over one connection; asked by POST where there is a body."""
        try:
            ask = self._http().get(path) if body is None else self._http().post(path, data=body)
            async with ask as answer:
                if answer.status != 200:
                    raise TryAgain(f"{path}: {answer.status} {await answer.text()}")
                async for line in answer.content:
                    yield line
        except (aiohttp.ClientError, OSError) as error:
            raise TryAgain(f"the feed broke: {error}") from error

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


class HullLink:
    """One agent's line to the hull's API (the ControlLink port)."""

    def __init__(self, socket: Path, hello: Hello, clock: Clock) -> None:
        self._client, self._hello, self._clock = HullClient(socket), hello, clock

    async def feed(self) -> AsyncIterator[Down]:
        """Introduce the Host, then every message of one connection."""
        await self._client.post("/v1/hello", _encode(self._hello))
        async for line in self._client.lines(f"/v1/feed?host={quote(self._hello.host.id)}"):
            yield _down.decode(line)

    async def report(self, report: Report) -> None:
        await self._client.post("/v1/report", _encode(report))

    async def ship(self, batch: LogBatch) -> None:
        await self._client.post("/v1/logs", _encode(batch))

    async def heartbeat(self) -> None:
        """Tell the control plane, for as long as this runs, that the Host lives."""
        while True:
            with contextlib.suppress(TryAgain, CallerFault):  # the feed's loop tells of outages
                await self.report(Report(self._hello.host.id))
            await self._clock.sleep(HEARTBEAT_S)

    async def close(self) -> None:
        await self._client.close()


class ClientSocket:
    """A client's WebSocket as ``base.http.Socket``, with the session that it alone uses."""

    def __init__(
        self, socket: aiohttp.ClientWebSocketResponse, session: aiohttp.ClientSession
    ) -> None:
        self._socket, self._session = socket, session

    async def receive(self) -> bytes | None:
        message = await self._socket.receive()
        if message.type is aiohttp.WSMsgType.BINARY:
            return bytes(message.data)
        if message.type is aiohttp.WSMsgType.TEXT:
            return str(message.data).encode()
        return None

    async def send(self, data: bytes) -> None:
        if not self._socket.closed:
            await self._socket.send_bytes(data)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        await self._socket.close(code=code, message=reason.encode())
        await self._session.close()


class AgentClient:
    """GETs and WebSockets on the agent's socket."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    def _session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            base_url="http://agent",
            connector=aiohttp.UnixConnector(str(self._socket)),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=5),
        )

    async def get(self, path: str, params: dict[str, str]) -> AsyncIterator[bytes]:
        """The body's chunks. Raises CallerFault for 4xx, TryAgain when the agent is away."""
        try:
            async with self._session() as session, session.get(path, params=params) as answer:
                if answer.status >= 400:
                    text = await answer.text()
                    raise (CallerFault if answer.status < 500 else TryAgain)(text)
                async for chunk in answer.content.iter_any():
                    yield chunk
        except (aiohttp.ClientError, OSError) as error:
            raise TryAgain(f"the agent does not answer: {error}") from error

    async def connect(self, path: str, params: list[tuple[str, str]]) -> Socket:
        """Open a WebSocket. Raises CallerFault with the agent's words where it refuses, TryAgain
        when it is away."""
        session = self._session()
        try:
            socket = await session.ws_connect(path, params=params, max_msg_size=MESSAGE_LIMIT)
        except aiohttp.WSServerHandshakeError as error:
            await session.close()
            refusal = error.headers.get("x-refusal", "") if error.headers else ""
            text = unquote(refusal) or f"status {error.status}"
            if error.status < 500:
                raise CallerFault(text) from error
            raise TryAgain(f"the agent cannot now: {text}") from error
        except (aiohttp.ClientError, OSError) as error:
            await session.close()
            raise TryAgain(f"the agent does not answer: {error}") from error
        return ClientSocket(socket, session)
