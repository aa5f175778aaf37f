"""The HTTP shell: runs any ``base.http`` handler on a TCP or unix socket, with or without TLS.

The only place that knows aiohttp's server. Bodies are read whole up to ``max_body`` unless the
route streams; answers are sent whole, streamed, or upgraded to a WebSocket or to plain bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qsl

from aiohttp import WSMsgType, web

from proa.base.http import Handler, Peer, Request, Response
from proa.base.telemetry import get_logger

log = get_logger(__name__)
BACKLOG = 4096
MAX_BODY = 16 * 1024 * 1024
CHUNK = 64 * 1024
HEADER_LIMIT = 64 * 1024
MESSAGE_LIMIT = 4 * 1024 * 1024
_IP_FREEBIND = 15  # linux/in.h; Python does not name it
RAW_LIMIT = 256 * 1024  # bytes of an upgraded connection that wait for their reader


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


def _peer(request: web.BaseRequest) -> Peer:
    transport = request.transport
    if transport is None:
        return Peer()
    name = transport.get_extra_info("peername")
    tls = transport.get_extra_info("ssl_object")
    certificate = tls.getpeercert(binary_form=True) if tls is not None else None
    return Peer(name[0] if isinstance(name, tuple) else "", certificate)


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
        peer=_peer(request),
        stream=stream,
    )


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
        self._handler, self._max_body, self._streams = handler, max_body, streams
        self._oversized = oversized
        self._runner: web.ServerRunner | None = None
        self._site: web.BaseSite | None = None
        self.port = 0

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> None:
        """Listen on TCP; raises OSError where the port is taken."""
        runner = await self._setup()
        site = web.TCPSite(runner, host, port, ssl_context=tls, backlog=BACKLOG)
        await site.start()
        server = site._server
        assert isinstance(server, asyncio.Server) or server is not None
        self.port = port or server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]

    async def start_unbound(self, address: str, port: int, tls: ssl.SSLContext | None) -> None:
        """Listen on TCP at an address that the machine may not have yet (ip(7), IP_FREEBIND);
        raises OSError where the port is taken."""
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
            listening.setblocking(False)
            listening.bind((address, port))
            runner = await self._setup()
            site = web.SockSite(runner, listening, ssl_context=tls, backlog=BACKLOG)
            await site.start()
        except BaseException:
            listening.close()
            raise
        self.port = port

    async def start_unix(self, path: Path, mode: int = 0o600) -> None:
        """Listen on a unix socket that only its owner may use."""
        path.unlink(missing_ok=True)
        runner = await self._setup()
        await web.UnixSite(runner, str(path), backlog=BACKLOG).start()
        path.chmod(mode)

    async def _setup(self) -> web.ServerRunner:
        server = web.Server(
            self._serve,
            access_log=None,
            max_line_size=HEADER_LIMIT,
            max_field_size=HEADER_LIMIT,
            keepalive_timeout=120,
            auto_decompress=False,  # what was signed are the bytes that were sent
        )
        self._runner = web.ServerRunner(server, shutdown_timeout=1.0)
        await self._runner.setup()
        return self._runner

    async def close(self) -> None:
        """Stop listening and end every connection."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            answer = await self._handler(await self._translate(request))
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
        if self._oversized is None:
            return web.Response(status=413, text="request body too large")
        answer = self._oversized(_translated(request))
        return web.Response(status=answer.status, body=answer.body, headers=answer.headers)

    async def _translate(self, request: web.BaseRequest) -> Request:
        streams = self._streams(request.method, request.path)
        if streams:
            return _translated(request, stream=_chunks(request))
        return _translated(request, await _read(request, self._max_body))

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


def tls_of_pem(certificate: bytes, key: bytes, client_authority: bytes) -> ssl.SSLContext:
    """Like ``server_tls`` of keys that lie in no file."""
    with _memory_file(certificate) as certificate_path, _memory_file(key) as key_path:
        context = server_tls(certificate_path, key_path, None)
    context.load_verify_locations(cadata=client_authority.decode())
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


@contextlib.contextmanager
def _memory_file(content: bytes) -> Iterator[Path]:
    """A file that only this process sees, gone afterwards (``ssl`` reads keys from files only)."""
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
