"""Connections that want another protocol: WebSocket, or plain bytes after an upgrade (SPDY).

``http_connection`` hands over what begins with such a request, and whatever the client sends from
then on is aiohttp's: it accepts the WebSocket or answers 101, and serves requests that come after
a refusal as well. The only place that knows aiohttp's server.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import parse_qsl

from aiohttp import WSMsgType, web

from proa.base.http import Peer, Request, Response
from proa.base.telemetry import get_logger
from proa.server.http_connection import HEADER_LIMIT, Site, peer_of

log = get_logger(__name__)
CHUNK = 64 * 1024
MESSAGE_LIMIT = 4 * 1024 * 1024
RAW_LIMIT = 256 * 1024  # bytes of an upgraded connection that wait for their reader
GRACE_S = 1.0


class TooLarge(Exception):
    """The body passed the limit."""


class WebSocketShell:
    """An accepted WebSocket as ``base.http.Socket``; ``text`` where its messages are texts."""

    def __init__(self, socket: web.WebSocketResponse, text: bool = False) -> None:
        self._socket, self._text = socket, text

    async def receive(self) -> bytes | None:
        while True:
            message = await self._socket.receive()
            if message.type is WSMsgType.BINARY:
                return bytes(message.data)
            if message.type is WSMsgType.TEXT:
                return str(message.data).encode()
            if message.type in (
                WSMsgType.CLOSE,
                WSMsgType.CLOSING,
                WSMsgType.CLOSED,
                WSMsgType.ERROR,
            ):
                return None

    async def send(self, data: bytes) -> None:
        if self._socket.closed:
            return
        if self._text:
            await self._socket.send_str(data.decode())
        else:
            await self._socket.send_bytes(data)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        await self._socket.close(code=code, message=reason.encode())


class RawShell:
    """A connection after an upgrade to another protocol than WebSocket, as ``base.http.Socket``:
    messages are whatever bytes have arrived. aiohttp feeds it as it would its own parsers."""

    def __init__(self, request: web.BaseRequest) -> None:
        self._writer, self._transport = request.writer, request.transport
        self._arrived = bytearray()
        self._ended = False
        self._changed = asyncio.Event()
        request.protocol.set_parser(self)  # type: ignore[arg-type]

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self._arrived += data
        if len(self._arrived) > RAW_LIMIT and self._transport is not None:
            self._transport.pause_reading()
        self._changed.set()
        return False, b""

    def feed_eof(self) -> None:
        self._ended = True
        self._changed.set()

    async def receive(self) -> bytes | None:
        while not self._arrived:
            if self._ended:
                return None
            self._changed.clear()
            await self._changed.wait()
        data = bytes(self._arrived)
        self._arrived.clear()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()
        return data

    async def send(self, data: bytes) -> None:
        if not self._ended:
            await self._writer.write(data)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        self.feed_eof()
        if self._transport is not None:
            self._transport.close()


async def _chunks(request: web.BaseRequest) -> AsyncIterator[bytes]:
    while True:
        chunk = await request.content.read(CHUNK)
        if not chunk:
            return
        yield chunk


async def _read(request: web.BaseRequest, limit: int) -> bytes:
    if request.content_length is not None and request.content_length > limit:
        raise TooLarge
    if not request.body_exists:
        return b""
    parts: list[bytes] = []
    size = 0
    async for chunk in _chunks(request):
        size += len(chunk)
        if size > limit:
            raise TooLarge
        parts.append(chunk)
    return b"".join(parts)


def _headers(request: web.BaseRequest) -> dict[str, str]:
    """One value a name; repeated ones are a list, as RFC 9110 has it."""
    found: dict[str, str] = {}
    for name, value in request.headers.items():
        name = name.lower()
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def _translated(
    request: web.BaseRequest, body: bytes = b"", stream: AsyncIterator[bytes] | None = None
) -> Request:
    raw_path, _, raw_query = request.raw_path.partition("?")
    return Request(
        method=request.method,
        path=raw_path,
        query=tuple(parse_qsl(raw_query, keep_blank_values=True)) if raw_query else (),
        headers=_headers(request),
        body=body,
        raw_query=raw_query,
        peer=Peer() if request.transport is None else peer_of(request.transport),
        stream=stream,
    )


class Upgrades:
    """aiohttp's side of one shell."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._server: web.Server | None = None

    def take(self, transport: asyncio.Transport, head: bytes, rest: bytes) -> None:
        """Go on with a connection whose newest bytes are the head of a request and a rest."""
        if self._server is None:
            self._server = web.Server(
                self._serve,
                access_log=None,
                max_line_size=HEADER_LIMIT,
                max_field_size=HEADER_LIMIT,
                keepalive_timeout=120,
                auto_decompress=False,  # what was signed are the bytes that were sent
            )
        protocol = self._server()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        protocol.data_received(head + rest)

    async def close(self) -> None:
        """End every connection."""
        if self._server is not None:
            self._server.pre_shutdown()
            await self._server.shutdown(GRACE_S)

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            answer = await self._site.handler(await self._translate(request))
        except TooLarge:
            return self._refused(request)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            log.error("handler failed", method=request.method, path=request.path, exc_info=error)
            return web.Response(status=500, text="internal error")
        if answer.upgrade is not None:
            return await self._upgrade(request, answer)
        if answer.stream is not None:
            return await self._stream(request, answer, answer.stream)
        return web.Response(status=answer.status, body=answer.body, headers=answer.headers)

    def _refused(self, request: web.BaseRequest) -> web.Response:
        if self._site.oversized is None:
            return web.Response(status=413, text="request body too large")
        answer = self._site.oversized(_translated(request))
        return web.Response(status=answer.status, body=answer.body, headers=answer.headers)

    async def _translate(self, request: web.BaseRequest) -> Request:
        streams = self._site.streams(request.method, request.path)
        if streams:
            return _translated(request, stream=_chunks(request))
        return _translated(request, await _read(request, self._site.max_body))

    async def _stream(
        self, request: web.BaseRequest, answer: Response, chunks: AsyncIterator[bytes]
    ) -> web.StreamResponse:
        response = web.StreamResponse(status=answer.status, headers=answer.headers)
        await response.prepare(request)
        try:
            async for chunk in chunks:
                await response.write(chunk)
            await response.write_eof()
        except ConnectionError:
            log.debug("client left a stream", path=request.path)
        finally:
            close = getattr(chunks, "aclose", None)
            if close is not None:
                await close()
        return response

    async def _upgrade(self, request: web.BaseRequest, answer: Response) -> web.StreamResponse:
        assert answer.upgrade is not None
        if answer.raw_upgrade:
            return await self._raw(request, answer)
        protocols = (answer.subprotocol,) if answer.subprotocol else ()
        response = web.WebSocketResponse(protocols=protocols, max_msg_size=MESSAGE_LIMIT)
        await response.prepare(request)
        socket = WebSocketShell(response, "base64" in answer.subprotocol)
        try:
            await answer.upgrade(socket)
        finally:
            await socket.close()
        return response

    async def _raw(self, request: web.BaseRequest, answer: Response) -> web.StreamResponse:
        assert answer.upgrade is not None
        response = web.StreamResponse(status=101, headers={"connection": "Upgrade"})
        response.headers.update(answer.headers)
        response.force_close()
        await response.prepare(request)
        socket = RawShell(request)
        try:
            await answer.upgrade(socket)
        except ConnectionError:
            log.debug("client left an upgraded connection", path=request.path)
        finally:
            await socket.close()
        return response
