"""A crowd's own API, on a socket: what an agent's has (``node.api``), for all its Hosts at once.

The control plane finds it by ``Host.agent``, so that ``kubectl logs`` and ``exec`` reach simulated
containers; ``proa sim hosts`` asks it for the rest:

- ``GET /logs/<uid>/<container>``, ``/exec/<uid>/<container>``, ``/attach/<uid>/<container>``,
  ``GET /sandboxes``, ``GET /stats``, ``GET /healthz``: as the agent has them.
- ``GET /machines``: how many there are, and what runs on them; ``POST /lose``, ``/restore``,
  ``/cut``, ``/heal`` with ``host``.

Logs are modelled: what a container has written follows from its command and the behaviour file.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from urllib.parse import quote, unquote

import msgspec

from proa.base.clock import iso8601_micro
from proa.base.errors import CallerFault, TryAgain
from proa.base.http import Request, Response
from proa.node.ports import ExecSession, NotFound, NotRunning
from proa.node.state import ContainerRun
from proa.node.streams import conversation
from proa.sim.crowd import Crowd
from proa.sim.crowd_box import Box
from proa.sim.local_manners import environment_of, played
from proa.sim.programs import outcome_of

_TRUE = ("1", "true")
FOLLOW_EVERY_S = 0.5
NOT_FOUND_CODE = 127  # a shell's for a command that is not there


class CrowdApi:
    """Request in, response out."""

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd

    async def handle(self, request: Request) -> Response:
        """Any request to the crowd's socket."""
        parts = [unquote(part) for part in request.path.strip("/").split("/")]
        routes: dict[str, Callable[[Request, list[str]], Awaitable[Response]]] = {
            "healthz": self._healthz,
            "sandboxes": self._sandboxes,
            "stats": self._stats,
            "logs": self._logs,
            "exec": self._exec,
            "attach": self._attach,
            "portforward": self._port_forward,
            "machines": self._machines,
            "lose": self._machine,
            "restore": self._machine,
            "cut": self._machine,
            "heal": self._machine,
        }
        handler = routes.get(parts[0])
        if handler is None:
            return Response(404, b"no such path\n")
        try:
            return await handler(request, parts)
        except NotFound as error:
            return _refused(404, error)
        except NotRunning as error:
            return _refused(409, error)
        except (CallerFault, ValueError) as error:
            return _refused(400, error)
        except TryAgain as error:
            return _refused(503, error)

    # What an agent answers

    def _box(self, uid: str) -> Box:
        found = (machine.boxes.get(uid) for machine in self._crowd.machines.values())
        box = next((box for box in found if box is not None), None)
        if box is None:
            raise NotFound("the sandbox is not on this host")
        return box

    def _container(self, parts: list[str]) -> tuple[Box, ContainerRun]:
        if len(parts) != 3:
            raise CallerFault("the path is /<what>/<uid>/<container>")
        box = self._box(parts[1])
        container = box.run.containers.get(parts[2])
        if container is None:
            raise NotFound(f'container not found ("{parts[2]}")')
        return box, container

    async def _healthz(self, _request: Request, _parts: list[str]) -> Response:
        return Response(200, b"ok sim://1")

    async def _sandboxes(self, _request: Request, _parts: list[str]) -> Response:
        return _json([box.run.status() for _, box in self._crowd.boxes()])

    async def _stats(self, _request: Request, _parts: list[str]) -> Response:
        return _json([])

    async def _logs(self, request: Request, parts: list[str]) -> Response:
        box, container = self._container(parts)
        previous = request.param("previous") in _TRUE
        if container.state == "waiting" and container.last is None:
            reason = container.reason or "ContainerCreating"
            raise CallerFault(f'container "{parts[2]}" is waiting to start: {reason}')
        if previous and container.last is None:
            raise NotFound(f"the log of {parts[2]} is gone")
        options = {name: request.param(name) or "" for name in ("tail", "limit", "since", "stream")}
        if options["stream"] == "stderr":
            return _text(_once(b""))
        stamped = request.param("timestamps") in _TRUE
        follow = request.param("follow") in _TRUE and not previous
        since, limit = float(options["since"] or 0), int(options["limit"] or 0)
        lines = self._written(box, container, previous)
        lines = [line for line in lines if line[0] >= since]
        if options["tail"]:
            lines = lines[max(0, len(lines) - int(options["tail"])) :]
        text = b"".join(_line(at, said, stamped) for at, said in lines)
        if limit:
            return _text(_once(text[:limit]))
        return _text(self._followed(box, container, text, stamped) if follow else _once(text))

    def _written(
        self, box: Box, container: ContainerRun, previous: bool = False
    ) -> list[tuple[float, str]]:
        """(when, line) of what the present or last attempt has written by now."""
        attempt: object = container
        if previous or (container.state == "waiting" and container.last is not None):
            attempt = container.last
        started = float(getattr(attempt, "started_at", 0.0))
        ended = float(getattr(attempt, "finished_at", 0.0)) or self._crowd.clock.now()
        lines = lines_of(self._crowd, box, container)
        return [(started + at, line) for at, line in lines if started and started + at <= ended]

    async def _followed(
        self, box: Box, container: ContainerRun, text: bytes, stamped: bool
    ) -> AsyncIterator[bytes]:
        attempt, told = container.attempt, self._crowd.clock.now()
        if text:
            yield text
        while container.attempt == attempt and container.state == "running" and not box.run.gone:
            await self._crowd.clock.sleep(FOLLOW_EVERY_S)
            now = self._crowd.clock.now()
            fresh = [item for item in self._written(box, container) if told < item[0] <= now]
            told = now
            for at, line in fresh:
                yield _line(at, line, stamped)

    async def _exec(self, request: Request, parts: list[str]) -> Response:
        box, container = self._running(parts)
        words = tuple(value for key, value in request.query if key == "command")
        if not words:
            raise CallerFault("you must specify at least 1 command for the container")
        session = Answer(*self._answer(box, container, words))
        return conversation(session.begin)

    def _running(self, parts: list[str]) -> tuple[Box, ContainerRun]:
        box, container = self._container(parts)
        if container.state != "running":
            raise NotRunning(f'container not found ("{parts[2]}")')
        return box, container

    def _answer(
        self, box: Box, container: ContainerRun, words: tuple[str, ...]
    ) -> tuple[str, str, int]:
        """(standard output, standard error, exit code) of a command."""
        manner = self._crowd.manners.of(box.run.sandbox, container.spec)
        said = manner.answers.get(" ".join(words))
        if said is not None:
            return said if said.endswith("\n") else said + "\n", "", 0
        outcome = outcome_of(words, environment_of(box.run.sandbox, container.spec))
        if outcome is not None and not math.isinf(outcome.runs_s):
            return "".join(line + "\n" for _, line in outcome.lines), "", outcome.exit_code
        text = (
            f"{words[0]}: this container is simulated and does not know the command: "
            "say what it prints under answers in the behaviour file\n"
        )
        return "", text, NOT_FOUND_CODE

    async def _attach(self, _request: Request, parts: list[str]) -> Response:
        self._running(parts)
        return conversation(Answer("", "", 0).begin)

    async def _port_forward(self, _request: Request, parts: list[str]) -> Response:
        self._box(parts[1])
        raise NotRunning("this sandbox is simulated: nothing listens on its ports")

    # What the CLI asks

    async def _machines(self, _request: Request, _parts: list[str]) -> Response:
        machines = self._crowd.machines
        runs = [box.run for _, box in self._crowd.boxes()]
        running = sum(run.ready() for run in runs)
        down = [id for id, machine in machines.items() if machine.down or machine.cut]
        synced = sum(machine.seen is None for machine in machines.values())
        return _json(
            {"hosts": len(machines), "joined": synced, "away": down, "sandboxes": len(runs),
             "ready": running}
        )  # fmt: skip

    async def _machine(self, request: Request, parts: list[str]) -> Response:
        if request.method != "POST":
            return Response(405, b"POST it\n")
        host = request.param("host") or ""
        if host not in self._crowd.machines:
            raise NotFound(f"there is no simulated host {host!r} here")
        act = {"lose": self._crowd.lose, "restore": self._crowd.restore}
        act |= {"cut": self._crowd.cut, "heal": self._crowd.heal}
        act[parts[0]](host)
        return Response(204)


def lines_of(crowd: Crowd, box: Box, container: ContainerRun) -> tuple[tuple[float, str], ...]:
    """(seconds after its start, line) of all that one attempt of a container writes."""
    manner = crowd.manners.of(box.run.sandbox, container.spec)
    if manner.says:
        return tuple((0.0, line) for line in manner.says)
    outcome = played(box.run.sandbox, container.spec)
    if outcome is not None:
        return outcome.lines
    return ((0.0, f"simulated container {container.name} of {container.spec.image}"),)


class Answer(ExecSession):
    """An exec session whose output is known."""

    def __init__(self, out: str, err: str, code: int) -> None:
        self._out, self._err, self._code = out, err, code

    async def begin(self) -> ExecSession:
        """The session itself."""
        return self

    async def write(self, data: bytes) -> None:
        """Input is ignored."""

    async def close_stdin(self) -> None:
        """Nothing reads it."""

    async def output(self) -> AsyncIterator[tuple[int, bytes]]:
        if self._out:
            yield 1, self._out.encode()
        if self._err:
            yield 2, self._err.encode()

    async def resize(self, columns: int, rows: int) -> None:
        """There is no terminal."""

    async def wait(self) -> int:
        return self._code

    async def close(self) -> None:
        """Nothing is held."""


def _line(at: float, text: str, stamped: bool) -> bytes:
    return f"{iso8601_micro(at)} {text}\n".encode() if stamped else f"{text}\n".encode()


async def _once(text: bytes) -> AsyncIterator[bytes]:
    if text:
        yield text


def _text(stream: AsyncIterator[bytes]) -> Response:
    return Response(200, headers={"content-type": "text/plain"}, stream=stream)


def _json(value: object) -> Response:
    return Response(200, msgspec.json.encode(value), {"content-type": "application/json"})


def _refused(status: int, error: Exception) -> Response:
    headers = {"content-type": "text/plain", "x-refusal": quote(str(error))}
    return Response(status, str(error).encode(), headers)
