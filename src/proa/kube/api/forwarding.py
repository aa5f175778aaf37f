"""port-forward: many connections to one pod's ports, over one SPDY session.

``streams`` runs a ``Forwarder`` over an upgraded connection (a WebSocket that carries SPDY, or
SPDY itself). The client opens two streams a connection, "error" and "data", with the port and one
request id in their headers; the bytes go to the agent, and what goes wrong is told on "error".
An empty message from or to the agent ends one direction of a connection.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from proa.base.errors import CallerFault, TryAgain
from proa.base.http import Socket
from proa.wire.kube.spdy import (
    PROTOCOL_ERROR,
    Data,
    Opened,
    Reset,
    SpdyError,
    SpdySession,
)

PROTOCOL = "portforward.k8s.io"
WEBSOCKET = f"SPDY/3.1+{PROTOCOL}"
QUEUE = 16  # messages of one connection that wait for the pod
Dial = Callable[[int], Awaitable[Socket]]
"""Connects to a port of the pod. Raises CallerFault, TryAgain."""


@dataclass(slots=True, eq=False)
class Pair:
    """One forwarded connection: its streams (0 while unknown), and what waits for the pod."""

    port: int
    error: int = 0
    data: int = 0
    waiting: asyncio.Queue[bytes | None] = field(default_factory=lambda: asyncio.Queue(QUEUE))
    task: asyncio.Task[None] | None = None


class Forwarder:
    """One client's session. ``pod`` is how error texts name it."""

    def __init__(self, socket: Socket, dial: Dial, pod: str) -> None:
        self._socket, self._dial, self._pod = socket, dial, pod
        self._session = SpdySession()
        self._pairs: dict[str, Pair] = {}  # by request id
        self._by_stream: dict[int, Pair] = {}
        self._sending = asyncio.Lock()

    async def run(self) -> None:
        """Until the client leaves or says what is no SPDY."""
        try:
            while (data := await self._socket.receive()) is not None:
                for event in self._session.feed(data):
                    if isinstance(event, Opened):
                        await self._opened(event)
                    elif isinstance(event, Data):
                        await self._arrived(event)
                    elif isinstance(event, Reset):
                        self._reset(event.stream)
                await self._send(self._session.drain())
        except SpdyError:
            await self._send(self._session.go_away())
        finally:
            tasks = [pair.task for pair in self._pairs.values() if pair.task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _send(self, data: bytes) -> None:
        if data:
            async with self._sending:
                await self._socket.send(data)

    async def _opened(self, event: Opened) -> None:
        kind, port = event.headers.get("streamtype"), event.headers.get("port", "")
        if kind not in ("error", "data") or not port.isdigit() or not 0 < int(port) < 65536:
            await self._send(self._session.reset(event.stream, PROTOCOL_ERROR))
            return
        id = event.headers.get("requestid")
        if id is None:  # clients before requests had ids open the data stream right after
            id = f"stream {event.stream if kind == 'error' else event.stream - 2}"
        pair = self._pairs.setdefault(id, Pair(int(port)))
        if getattr(pair, kind) or pair.port != int(port):
            await self._send(self._session.reset(event.stream, PROTOCOL_ERROR))
            return
        setattr(pair, kind, event.stream)
        self._by_stream[event.stream] = pair
        await self._send(self._session.reply(event.stream))
        if pair.error and pair.data:
            loop = asyncio.get_running_loop()
            pair.task = loop.create_task(self._forward(id, pair), name=f"forward {id}")

    async def _arrived(self, event: Data) -> None:
        pair = self._by_stream.get(event.stream)
        if pair is None or event.stream != pair.data:
            return  # the client has nothing to say on "error"
        if event.data:
            await pair.waiting.put(event.data)
        if event.finished:
            await pair.waiting.put(None)

    def _reset(self, stream: int) -> None:
        pair = self._by_stream.get(stream)
        if pair is not None and pair.task is not None:
            pair.task.cancel()

    async def _forward(self, id: str, pair: Pair) -> None:
        """One connection from its start to its end."""
        agent: Socket | None = None
        try:
            agent = await self._dial(pair.port)
            await self._both_ways(agent, pair)
        except (CallerFault, TryAgain, ConnectionError) as error:
            text = f"error forwarding port {pair.port} to pod {self._pod}: {error}"
            await self._send(self._session.data(pair.error, text.encode()))
        finally:
            self._pairs.pop(id, None)
            for stream in (pair.error, pair.data):
                self._by_stream.pop(stream, None)
            while not pair.waiting.empty():  # lets go of a reader that is about to put
                pair.waiting.get_nowait()
            if agent is not None:
                await agent.close()
            with contextlib.suppress(ConnectionError):
                for stream in (pair.data, pair.error):
                    await self._send(self._session.data(stream, b"", finished=True))

    async def _both_ways(self, agent: Socket, pair: Pair) -> None:
        async def up() -> None:
            while (data := await pair.waiting.get()) is not None:
                await agent.send(data)
            await agent.send(b"")

        upwards = asyncio.get_running_loop().create_task(up(), name="to the pod")
        try:
            while data := await agent.receive():
                await self._send(self._session.data(pair.data, data))
        finally:
            upwards.cancel()
            await asyncio.gather(upwards, return_exceptions=True)
