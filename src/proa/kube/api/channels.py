"""exec and attach as every client speaks them, over the one way that agents speak.

``streams`` wraps an upgraded connection in a ``Socket`` of channel messages (the first byte is 0
stdin, 1 stdout, 2 stderr, 3 the final Status, 4 resize, 255 the end of a channel), whatever the
client agreed to: WebSocket channels (versions 1, 4 and 5, also as base64 texts) or SPDY streams
(versions 1 to 4). ``join`` then connects it to the agent's.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import Collection
from typing import Any

from proa.base.errors import CallerFault
from proa.base.http import Request, Socket
from proa.wire.kube.spdy import Data, GoneAway, Opened, Reset, SpdySession

STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
WEBSOCKET = (
    "v5.channel.k8s.io",
    "v4.channel.k8s.io",
    "v4.base64.channel.k8s.io",
    "channel.k8s.io",
    "base64.channel.k8s.io",
    "",
)
SPDY = ("v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io")
SPDY_UPGRADE = "spdy/3.1"
PROTOCOL_HEADER = "x-stream-protocol-version"
OPENING_S = 30.0  # how long a SPDY client may take to open its streams
RESIZE_LIMIT = 4096
_NAMES = {"stdin": STDIN, "stdout": STDOUT, "stderr": STDERR, "error": ERROR, "resize": RESIZE}


def offered_websockets(request: Request) -> list[str] | None:
    """The subprotocols that a WebSocket upgrade offers ([""] for none); None for no upgrade."""
    if request.headers.get("upgrade", "").lower() != "websocket":
        return None
    named = request.headers.get("sec-websocket-protocol", "").split(",")
    return [name.strip() for name in named]


def offered_spdy(request: Request) -> list[str] | None:
    """The stream protocols that a SPDY upgrade offers; None for no such upgrade."""
    if SPDY_UPGRADE not in request.headers.get("upgrade", "").lower():
        return None
    named = request.headers.get(PROTOCOL_HEADER, "").split(",")
    return [name.strip() for name in named if name.strip()] or [SPDY[-1]]


def status_text(status: bytes) -> bytes:
    """What clients before version 4 are told of a Status: its message, nothing for success."""
    try:
        said: dict[str, Any] = json.loads(status)
    except ValueError:
        return status
    if said.get("status") == "Success":
        return b""
    return str(said.get("message", "unknown error")).encode()


def failure_status(message: str) -> bytes:
    """The message on the error channel for a stream that never came to be."""
    status = {"metadata": {}, "status": "Failure", "message": message}
    return bytes([ERROR]) + json.dumps({**status, "reason": "InternalError", "code": 500}).encode()


class WebSocketChannels:
    """A client's WebSocket. Channels that it did not ask for are not sent to it."""

    def __init__(self, socket: Socket, protocol: str, wanted: Collection[int]) -> None:
        self._socket, self._wanted = socket, frozenset((*wanted, ERROR))
        self._base64 = "base64" in protocol
        self._closes = protocol.startswith("v5.")
        self._texts = not protocol.startswith(("v4.", "v5."))

    async def open(self) -> None:
        """An empty message says that the connection stands, as kubelet's first one does."""
        outgoing = [channel for channel in (STDOUT, STDERR, ERROR) if channel in self._wanted]
        await self._send(outgoing[0], b"")

    async def receive(self) -> bytes | None:
        while (message := await self._socket.receive()) is not None:
            if not message:
                continue
            if self._base64:
                message = self._decoded(message)
            if message and (message[0] != CLOSE or self._closes):
                return message
        return None

    def _decoded(self, message: bytes) -> bytes:
        try:
            return bytes([message[0] - ord("0")]) + base64.b64decode(message[1:], validate=True)
        except (binascii.Error, ValueError):
            return b""

    async def send(self, data: bytes) -> None:
        channel, rest = data[0], data[1:]
        if channel not in self._wanted:
            return
        if channel == ERROR and self._texts:
            rest = status_text(rest)
            if not rest:
                return
        await self._send(channel, rest)

    async def _send(self, channel: int, rest: bytes) -> None:
        if self._base64:
            await self._socket.send(b"%d" % channel + base64.b64encode(rest))
        else:
            await self._socket.send(bytes([channel]) + rest)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        await self._socket.close(code, reason)


class SpdyChannels:
    """A client's SPDY connection: a stream for each channel, told apart by ``streamType``."""

    def __init__(self, socket: Socket, protocol: str, wanted: Collection[int]) -> None:
        self._socket, self._protocol = socket, protocol
        self._session = SpdySession()
        self._wanted = frozenset((*wanted, ERROR))
        if protocol in ("channel.k8s.io", "v2.channel.k8s.io"):
            self._wanted -= {RESIZE}
        self._streams: dict[int, int] = {}  # channel → stream
        self._channels: dict[int, int] = {}  # stream → channel
        self._messages: list[bytes] = []
        self._resize = b""
        self._ended = False

    async def open(self) -> None:
        """Wait for the client's streams. Raises CallerFault where it does not open them."""
        try:
            async with asyncio.timeout(OPENING_S):
                while not self._wanted <= self._streams.keys():
                    if not await self._read():
                        raise CallerFault("the client left before it had opened its streams")
        except TimeoutError:
            raise CallerFault("timed out waiting for client to create streams") from None

    async def _read(self) -> bool:
        """Take in what arrives; False once nothing more will."""
        data = await self._socket.receive()
        if data is None:
            self._ended = True
            return False
        for event in self._session.feed(data):
            if isinstance(event, Opened):
                await self._opened(event)
            elif isinstance(event, Data):
                self._arrived(event)
            elif isinstance(event, Reset):
                self._messages += self._closing(event.stream)
            elif isinstance(event, GoneAway):
                continue  # the streams that are open go on
        if waiting := self._session.drain():
            await self._socket.send(waiting)
        return True

    async def _opened(self, event: Opened) -> None:
        channel = _NAMES.get(event.headers.get("streamtype", ""))
        if channel is None or channel not in self._wanted or channel in self._streams:
            await self._socket.send(self._session.reset(event.stream, 1))
            return
        self._streams[channel], self._channels[event.stream] = event.stream, channel
        await self._socket.send(self._session.reply(event.stream))
        if event.finished:
            self._messages += self._closing(event.stream)

    def _arrived(self, event: Data) -> None:
        channel = self._channels.get(event.stream)
        if channel == STDIN and event.data:
            self._messages.append(bytes([STDIN]) + event.data)
        elif channel == RESIZE:
            *sizes, self._resize = (self._resize + event.data).split(b"\n")
            self._resize = self._resize[-RESIZE_LIMIT:]
            self._messages += [bytes([RESIZE]) + size for size in sizes if size]
        if event.finished:
            self._messages += self._closing(event.stream)

    def _closing(self, stream: int) -> list[bytes]:
        return [bytes([CLOSE, STDIN])] if self._channels.get(stream) == STDIN else []

    async def receive(self) -> bytes | None:
        while not self._messages:
            if self._ended or not await self._read():
                return None
        return self._messages.pop(0)

    async def send(self, data: bytes) -> None:
        channel, rest = data[0], data[1:]
        stream = self._streams.get(channel)
        if stream is None:
            return
        if channel == ERROR and self._protocol != "v4.channel.k8s.io":
            rest = status_text(rest)
        if rest:
            await self._socket.send(self._session.data(stream, rest))

    async def close(self, code: int = 1000, reason: str = "") -> None:
        ends = [self._session.data(stream, b"", finished=True) for stream in self._channels]
        if not self._ended:
            await self._socket.send(b"".join([*ends, self._session.go_away()]))
        self._ended = True
        await self._socket.close(code, reason)


async def join(client: Socket, agent: Socket) -> None:
    """Messages go both ways until the agent is done or the client leaves."""

    async def up() -> None:
        await _pour(client, agent)
        await agent.close()  # the client has left

    upwards = asyncio.get_running_loop().create_task(up(), name="to the agent")
    try:
        await _pour(agent, client)
    finally:
        upwards.cancel()
        await asyncio.gather(upwards, return_exceptions=True)
        await agent.close()
        await client.close()


async def _pour(source: Socket, sink: Socket) -> None:
    while (message := await source.receive()) is not None:
        await sink.send(message)
