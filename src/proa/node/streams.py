"""Streams into containers: exec, attach and port-forward, as upgrades of the agent's API.

``AgentApi`` calls a method of ``Streams`` per path. Exec and attach speak Kubernetes' channel
framing (``v5.channel.k8s.io``) over whole messages, so the API server passes them through: the
first byte is 0 stdin, 1 stdout, 2 stderr, 3 the final Status, 4 resize, 255 the end of a channel.
Port-forward carries one TCP connection: binary messages both ways, an empty one from the user
ends that direction alone. A user who leaves ends an exec'd process, but not one attached to.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Awaitable, Callable

from proa.base.errors import CallerFault, TryAgain
from proa.base.http import Request, Response, Socket
from proa.node.agent import Agent
from proa.node.netprobe import SandboxSockets
from proa.node.ports import (
    AttachRequest,
    ExecRequest,
    ExecSession,
    NotFound,
    NotRunning,
    Runtime,
)
from proa.node.state import ContainerRun

STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
_PROTOCOL = "v5.channel.k8s.io"
_FORWARD_CHUNK = 65536
_LOOPBACKS = ("127.0.0.1", "::1")
_TRUE = ("1", "true")
_MAX_PORT = 65535


class Streams:
    """Those of one agent."""

    def __init__(self, agent: Agent, runtime: Runtime, sockets: SandboxSockets) -> None:
        self._agent, self._runtime, self._sockets = agent, runtime, sockets

    def container(self, rest: list[str]) -> ContainerRun:
        """The one that a path names; raises CallerFault, NotFound."""
        if len(rest) != 2:
            raise CallerFault("the path is /<what>/<uid>/<container>")
        worker = self._agent.workers.get(rest[0])
        container = worker.run.containers.get(rest[1]) if worker is not None else None
        if container is None:
            raise NotFound(f'container not found ("{rest[1]}")')
        return container

    def _running(self, rest: list[str]) -> ContainerRun:
        container = self.container(rest)
        if container.state == "running":
            return container
        if container.state == "waiting" and container.last is None:
            reason = container.reason or "ContainerCreating"
            raise NotRunning(f'container "{container.name}" is waiting to start: {reason}')
        raise NotRunning(f'container not found ("{container.name}")')  # the kubelet's words

    async def exec(self, request: Request, rest: list[str]) -> Response:
        """A process beside the container's own."""
        container = self._running(rest)
        command = tuple(value for key, value in request.query if key == "command")
        if not command:
            raise CallerFault("you must specify at least 1 command for the container")
        wanted = ExecRequest(
            command,
            tty=request.param("tty") in _TRUE,
            stdin=request.param("stdin") in _TRUE,
        )
        id = container.id
        return conversation(lambda: self._runtime.exec(id, wanted))

    async def attach(self, request: Request, rest: list[str]) -> Response:
        """The container's own process: its output from now on and, where it reads any, its
        input, which ends with the first who sends an end when the container asks for that."""
        container = self._running(rest)
        spec = container.spec
        wanted = AttachRequest(tty=spec.tty, stdin=spec.stdin and request.param("stdin") in _TRUE)
        id = container.id
        return conversation(lambda: self._runtime.attach(id, wanted))

    async def port_forward(self, request: Request, rest: list[str]) -> Response:
        """A connection to a port on the loopback of the Sandbox."""
        worker = self._agent.workers.get(rest[0]) if len(rest) == 2 else None
        if worker is None:
            raise NotFound("the sandbox is not on this host")
        port = int(rest[1]) if rest[1].isascii() and rest[1].isdigit() else 0
        if not 0 < port <= _MAX_PORT:
            raise CallerFault(f"{rest[1]!r} is not a port")
        if worker.run.runtime is None or not worker.run.runtime.ready:
            raise NotRunning("the sandbox is not running")
        reader, writer = await self._connect(worker.namespace(), port)

        async def forward(socket: Socket) -> None:
            loop = asyncio.get_running_loop()
            listener = loop.create_task(_pour(socket, writer), name="port-forward")
            try:
                while data := await reader.read(_FORWARD_CHUNK):
                    await socket.send(data)
                await socket.close()
            except OSError:
                await socket.close(1011, "the connection was reset")
            finally:
                listener.cancel()
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

        return Response(101, upgrade=forward)

    async def _connect(
        self, netns: str, port: int
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """By IPv4 or, where that is refused, by IPv6."""
        problem: OSError | None = None
        for address in _LOOPBACKS:
            try:
                connected = await self._sockets.connect(netns, address, port)
            except OSError as error:
                problem = problem or error
                continue
            return await asyncio.open_connection(sock=connected)
        text = os.strerror(problem.errno).lower() if problem and problem.errno else str(problem)
        raise NotRunning(f"dial tcp 127.0.0.1:{port}: connect: {text}")


def conversation(begin: Callable[[], Awaitable[ExecSession]]) -> Response:
    """The upgrade that speaks for a session; a ``begin`` that fails is told to the user."""

    async def converse(socket: Socket) -> None:
        await _converse(socket, begin)

    return Response(101, upgrade=converse, subprotocol=_PROTOCOL)


async def _converse(socket: Socket, begin: Callable[[], Awaitable[ExecSession]]) -> None:
    try:
        session = await begin()
    except (CallerFault, TryAgain) as error:
        await socket.send(bytes([ERROR]) + _status(1, str(error)))
        await socket.close()
        return
    loop = asyncio.get_running_loop()
    listener = loop.create_task(_listen(socket, session), name="input of a stream")
    try:
        status = await _say(socket, session)
        await socket.send(bytes([ERROR]) + status)
        await socket.close()
    except OSError:
        pass  # the user has gone
    finally:
        listener.cancel()
        await session.close()


async def _say(socket: Socket, session: ExecSession) -> bytes:
    """Pass the output on; returns the Status that ends it."""
    try:
        async for channel, data in session.output():
            await socket.send(bytes([channel]) + data)
        return _status(await session.wait())
    except (CallerFault, TryAgain) as error:
        return _status(1, str(error))


async def _listen(socket: Socket, session: ExecSession) -> None:
    """The user's side; its end closes the session."""
    while (message := await socket.receive()) is not None:
        if not message:
            continue
        channel, data = message[0], message[1:]
        try:
            if channel == STDIN:
                await session.write(data)
            elif channel == RESIZE:
                size = json.loads(data)
                await session.resize(int(size["Width"]), int(size["Height"]))
            elif channel == CLOSE and data[:1] == bytes([STDIN]):
                await session.close_stdin()
        except (NotFound, ValueError, KeyError, TypeError):
            continue  # it has ended, or the message makes no sense: the output decides
    await session.close()


async def _pour(socket: Socket, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while (message := await socket.receive()) is not None:
            if not message:
                writer.write_eof()
                continue
            writer.write(message)
            await writer.drain()
    writer.close()


def _status(code: int, message: str = "") -> bytes:
    """The Status that ends a stream (Kubernetes remotecommand, v4 and later)."""
    if code == 0:
        return json.dumps({"metadata": {}, "status": "Success"}).encode()
    text = message or f"command terminated with non-zero exit code: exit status {code}"
    status = {"metadata": {}, "status": "Failure", "message": text}
    if message:
        return json.dumps({**status, "reason": "InternalError", "code": 500}).encode()
    causes = [{"reason": "ExitCode", "message": str(code)}]
    status |= {"reason": "NonZeroExitCode", "details": {"causes": causes}}
    return json.dumps(status).encode()
