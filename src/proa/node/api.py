"""The agent's own API for the control plane: logs, exec, port-forward, state.

Handlers only; ``server`` hosts them on the agent's socket. Exec speaks Kubernetes' channel
framing (``v5.channel.k8s.io``) over whole messages, so the API server passes them through: the
first byte is 0 stdin, 1 stdout, 2 stderr, 3 the final Status, 4 resize, 255 close of a channel.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from urllib.parse import unquote

import msgspec

from proa.base.errors import CallerFault, TryAgain
from proa.base.http import Request, Response, Socket
from proa.node.agent import Agent
from proa.node.inotify import Inotify
from proa.node.logs import LogFiles, LogOptions, attempts, read_log
from proa.node.netprobe import SandboxSockets
from proa.node.ports import ExecRequest, ExecSession, NotFound, Runtime
from proa.node.state import ContainerRun

STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
_FORWARD_CHUNK = 65536
_TRUE = ("1", "true")


class AgentApi:
    """Request in, response out."""

    def __init__(
        self, agent: Agent, runtime: Runtime, log_root: Path, sockets: SandboxSockets
    ) -> None:
        self._agent, self._runtime = agent, runtime
        self._log_root, self._sockets = log_root, sockets
        self._inotify = Inotify()

    def close(self) -> None:
        """Stop watching files."""
        self._inotify.close()

    async def handle(self, request: Request) -> Response:
        """Any request to the agent's socket."""
        parts = [unquote(part) for part in request.path.strip("/").split("/")]
        routes: dict[str, Callable[[Request, list[str]], Awaitable[Response]]] = {
            "healthz": self._healthz,
            "sandboxes": self._sandboxes,
            "stats": self._stats,
            "logs": self._logs,
            "exec": self._exec,
            "portforward": self._port_forward,
        }
        handler = routes.get(parts[0])
        if handler is None:
            return _text(404, f"no such path: {request.path}")
        try:
            return await handler(request, parts[1:])
        except NotFound as error:
            return _text(404, str(error))
        except CallerFault as error:
            return _text(400, str(error))
        except TryAgain as error:
            return _text(503, str(error))

    async def _healthz(self, request: Request, rest: list[str]) -> Response:
        return _text(200, f"ok {await self._runtime.version()}")

    async def _sandboxes(self, request: Request, rest: list[str]) -> Response:
        statuses = [worker.run.status() for worker in self._agent.workers.values()]
        return _json(msgspec.json.encode(statuses))

    async def _stats(self, request: Request, rest: list[str]) -> Response:
        usage = await self._runtime.usage()
        return _json(msgspec.json.encode(usage))

    def _container(self, rest: list[str]) -> ContainerRun:
        if len(rest) != 2:
            raise CallerFault("the path is /<what>/<uid>/<container>")
        worker = self._agent.workers.get(rest[0])
        container = worker.run.containers.get(rest[1]) if worker is not None else None
        if container is None:
            raise NotFound(f"container {rest[1]} of {rest[0]} is not on this host")
        return container

    # Logs

    async def _logs(self, request: Request, rest: list[str]) -> Response:
        """GET /logs/<uid>/<container>?follow&tail&since&timestamps&previous&limit&stream."""
        container = self._container(rest)
        folder = self._log_root / rest[0] / rest[1]
        attempt = _attempt(container, attempts(folder), request.param("previous") in _TRUE)
        if attempt is None:
            if container.state == "waiting":
                text = container.reason or "ContainerCreating"
                raise CallerFault(f'container "{rest[1]}" is waiting to start: {text}')
            raise NotFound(f"the log of {rest[1]} is gone")
        options = _log_options(request)

        def ended() -> bool:
            return container.attempt != attempt or container.state == "exited"

        def changed() -> AsyncIterator[None]:
            return self._changes(folder, ended)

        lines = read_log(LogFiles(folder, attempt), options, changed, ended)
        return Response(200, headers={"content-type": "text/plain"}, stream=lines)

    async def _changes(self, folder: Path, ended: Callable[[], bool]) -> AsyncIterator[None]:
        """File changes; also looks up now and then, because an end need not write a line."""
        event = asyncio.Event()
        clock = self._agent.context.clock
        handle = self._inotify.watch(folder, event)

        async def remind() -> None:
            while not ended():
                await clock.sleep(1.0)
            event.set()

        reminder = asyncio.get_running_loop().create_task(remind(), name="end of a log")
        try:
            while True:
                await event.wait()
                event.clear()
                yield None
        finally:
            reminder.cancel()
            self._inotify.unwatch(handle, event)

    # Exec

    async def _exec(self, request: Request, rest: list[str]) -> Response:
        """Upgrade /exec/<uid>/<container>?command=…&command=…&tty&stdin."""
        container = self._container(rest)
        command = tuple(value for key, value in request.query if key == "command")
        if not command:
            raise CallerFault("you must specify at least 1 command for the container")
        if container.state != "running":
            raise CallerFault(f'container "{rest[1]}" is not running')
        wanted = ExecRequest(
            command,
            tty=request.param("tty") in _TRUE,
            stdin=request.param("stdin") in _TRUE,
        )

        async def converse(socket: Socket) -> None:
            await self._converse(socket, container.id, wanted)

        return Response(101, upgrade=converse, subprotocol="v5.channel.k8s.io")

    async def _converse(self, socket: Socket, id: str, wanted: ExecRequest) -> None:
        try:
            session = await self._runtime.exec(id, wanted)
        except (CallerFault, TryAgain) as error:
            await socket.send(bytes([ERROR]) + _status(1, str(error)))
            await socket.close()
            return
        loop = asyncio.get_running_loop()
        listener = loop.create_task(_listen(socket, session), name="exec input")
        try:
            async for channel, data in session.output():
                await socket.send(bytes([channel]) + data)
            code = await session.wait()
            await socket.send(bytes([ERROR]) + _status(code))
            await socket.close()
        except (OSError, ConnectionError):
            pass  # the user has gone
        finally:
            listener.cancel()
            await session.close()

    # Port-forward

    async def _port_forward(self, request: Request, rest: list[str]) -> Response:
        """Upgrade /portforward/<uid>/<port>: bytes both ways, as whole messages."""
        worker = self._agent.workers.get(rest[0]) if len(rest) == 2 else None
        if worker is None or worker.run.runtime is None or not rest[1].isdigit():
            raise NotFound("no such sandbox or port")
        netns, port = worker.run.runtime.netns, int(rest[1])
        try:
            connected = await self._sockets.connect(netns, "127.0.0.1", port)
        except OSError as error:
            raise CallerFault(f"cannot connect to port {port} of the sandbox: {error}") from error
        reader, writer = await asyncio.open_connection(sock=connected)

        async def forward(socket: Socket) -> None:
            loop = asyncio.get_running_loop()
            listener = loop.create_task(_pour(socket, writer), name="port-forward")
            try:
                while data := await reader.read(_FORWARD_CHUNK):
                    await socket.send(data)
                await socket.close()
            finally:
                listener.cancel()
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

        return Response(101, upgrade=forward)


async def _listen(socket: Socket, session: ExecSession) -> None:
    """The user's side of an exec; its end closes standard input."""
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
        except (NotFound, ValueError, KeyError):
            continue  # it has ended, or the message makes no sense: the output decides
    await session.close()


async def _pour(socket: Socket, writer: asyncio.StreamWriter) -> None:
    while (message := await socket.receive()) is not None:
        writer.write(message)
        await writer.drain()
    writer.close()


def _status(code: int, message: str = "") -> bytes:
    """The Status that ends an exec (Kubernetes remotecommand, v4 and later)."""
    if code == 0:
        return json.dumps({"metadata": {}, "status": "Success"}).encode()
    text = message or f"command terminated with non-zero exit code: exit status {code}"
    status = {"metadata": {}, "status": "Failure", "message": text}
    if message:
        return json.dumps({**status, "reason": "InternalError", "code": 500}).encode()
    causes = [{"reason": "ExitCode", "message": str(code)}]
    status |= {"reason": "NonZeroExitCode", "details": {"causes": causes}}
    return json.dumps(status).encode()


def _attempt(container: ContainerRun, present: list[int], previous: bool) -> int | None:
    """Which attempt's log is meant: the present one, or, while it has none, the last."""
    if previous:
        before = [number for number in present if number < container.attempt]
        if container.state == "exited" and container.restarts():
            before = [number for number in present if number <= container.attempt]
        return before[-1] if before else None
    return present[-1] if present else None


def _log_options(request: Request) -> LogOptions:
    """Raises CallerFault for numbers that are none."""
    try:
        tail, limit = request.param("tail"), request.param("limit")
        return LogOptions(
            follow=request.param("follow") in _TRUE,
            tail=int(tail) if tail else None,
            since=float(request.param("since") or 0),
            timestamps=request.param("timestamps") in _TRUE,
            limit_bytes=int(limit) if limit else None,
            stream=request.param("stream"),
        )
    except ValueError as error:
        raise CallerFault(f"bad log option: {error}") from error


def _text(status: int, text: str) -> Response:
    return Response(status, text.encode(), {"content-type": "text/plain"})


def _json(body: bytes) -> Response:
    return Response(200, body, {"content-type": "application/json"})
