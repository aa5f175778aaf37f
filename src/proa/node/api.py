"""The agent's own API for the control plane, on a unix socket: logs, streams, state.

Handlers only; ``server`` hosts them. What it serves (``uid`` is the Sandbox's, paths are
percent-encoded):

- ``GET /healthz``, ``GET /sandboxes`` (statuses), ``GET /stats`` (usage of containers).
- ``GET /logs/<uid>/<container>`` with ``follow``, ``previous``, ``timestamps`` ("1" or "true"),
  ``tail`` (lines), ``limit`` (bytes), ``since`` (seconds since the epoch), ``stream`` ("stdout",
  "stderr"): lines as a streamed body.
- Upgrades to a WebSocket, spoken as ``node.streams`` says: ``/exec/<uid>/<container>`` with
  ``command`` once a word, ``tty``, ``stdin``; ``/attach/<uid>/<container>`` with ``stdin``;
  ``/portforward/<uid>/<port>``.

What cannot be is refused before an upgrade, with a text for the user, which is also in the
header ``x-refusal`` (percent-encoded): 404 for what is not on this Host, 409 for a container
that is not running, 400 for bad options, 503 while the runtime is away.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from urllib.parse import quote, unquote

import msgspec

from proa.base.errors import CallerFault, TryAgain
from proa.base.http import Request, Response
from proa.node.agent import Agent
from proa.node.inotify import Inotify
from proa.node.logs import LogFiles, LogOptions, attempts, read_log
from proa.node.netprobe import SandboxSockets
from proa.node.ports import NotFound, NotRunning, Runtime
from proa.node.state import ContainerRun
from proa.node.streams import Streams

_LINGER_S = 0.2  # an exit is known before the runtime has written the last lines
_TRUE = ("1", "true")


class AgentApi:
    """Request in, response out."""

    def __init__(
        self, agent: Agent, runtime: Runtime, log_root: Path, sockets: SandboxSockets
    ) -> None:
        self._agent, self._runtime = agent, runtime
        self._log_root = log_root
        self._streams = Streams(agent, runtime, sockets)
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
            "exec": self._streams.exec,
            "attach": self._streams.attach,
            "portforward": self._streams.port_forward,
        }
        handler = routes.get(parts[0])
        if handler is None:
            return _text(404, f"no such path: {request.path}")
        try:
            return await handler(request, parts[1:])
        except NotFound as error:
            return _refused(404, error)
        except NotRunning as error:
            return _refused(409, error)
        except CallerFault as error:
            return _refused(400, error)
        except TryAgain as error:
            return _refused(503, error)

    async def _healthz(self, request: Request, rest: list[str]) -> Response:
        return _text(200, f"ok {await self._runtime.version()}")

    async def _sandboxes(self, request: Request, rest: list[str]) -> Response:
        statuses = [worker.run.status() for worker in self._agent.workers.values()]
        return _json(msgspec.json.encode(statuses))

    async def _stats(self, request: Request, rest: list[str]) -> Response:
        usage = await self._runtime.usage()
        return _json(msgspec.json.encode(usage))

    # Logs

    async def _logs(self, request: Request, rest: list[str]) -> Response:
        """A container's output."""
        container = self._streams.container(rest)
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
            while True:
                await clock.sleep(_LINGER_S if ended() else 1.0)
                if ended():
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
        stream = request.param("stream")
        if stream not in ("", "stdout", "stderr"):
            raise ValueError(f"{stream!r} is no stream")
        return LogOptions(
            follow=request.param("follow") in _TRUE,
            tail=_count(tail) if tail else None,
            since=float(request.param("since") or 0),
            timestamps=request.param("timestamps") in _TRUE,
            limit_bytes=_count(limit) if limit else None,
            stream=stream,
        )
    except ValueError as error:
        raise CallerFault(f"bad log option: {error}") from error


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError(f"{number} is negative")
    return number


def _refused(status: int, error: Exception) -> Response:
    answer = _text(status, str(error))
    answer.headers["x-refusal"] = quote(str(error))
    return answer


def _text(status: int, text: str) -> Response:
    return Response(status, text.encode(), {"content-type": "text/plain"})


def _json(body: bytes) -> Response:
    return Response(200, body, {"content-type": "application/json"})
