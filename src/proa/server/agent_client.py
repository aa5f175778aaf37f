"""The control plane's way to an agent, for logs and exec: HTTP and WebSockets on its socket.

``node_link`` imports it when somebody first asks for either, because a general client is as large
as the rest of the shells.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import unquote

import aiohttp

from proa.base.errors import CallerFault, TryAgain
from proa.base.http import Socket

MESSAGE_LIMIT = 4 * 1024 * 1024


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
