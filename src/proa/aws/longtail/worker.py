"""The moto worker's process: ``python -m proa.aws.longtail.worker SOCKET_FD DATA_DIR``.

One thread reads calls from the control plane's socket, carries them out in order, makes what
they changed durable, and only then answers: calls that wait together share one write. It ends
when the socket does, so that it never outlives the control plane.
"""

from __future__ import annotations

import os
import resource
import select
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

# Read by moto when it is imported, so before it is.
os.environ.update(
    AWS_ACCESS_KEY_ID="longtail",
    AWS_SECRET_ACCESS_KEY="longtail",
    AWS_EC2_METADATA_DISABLED="true",
    MOTO_ALLOW_NONEXISTENT_REGION="true",
    S3_IGNORE_SUBDOMAIN_BUCKETNAME="true",
)

from proa.aws.longtail.frames import PREFIX, Answer, Call, frame, read_call, sizes
from proa.aws.longtail.moto_calls import Done, Moto
from proa.aws.longtail.vault import Place, Vault
from proa.base import telemetry
from proa.base.chance import Chance
from proa.base.clock import Clock, SystemClock
from proa.cloud.secrets import Sealer

MAX_MEMORY = 3 * 1024**3  # bytes of private data; a call that needs more ends the worker
MAX_BATCH = 64
LOOK_S = 0.5  # how often messages that become visible again are looked for
HTTP_TIMEOUT_S = 3.0  # for subscribers that moto calls: they hold up everybody


class Line:
    """The socket, as frames."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def read(self) -> tuple[Call, bytes] | None:
        """The next call; None once the other end has closed."""
        prefix = self._exactly(PREFIX.size)
        if prefix is None:
            return None
        head_size, body_size = sizes(prefix)
        head, body = self._exactly(head_size), self._exactly(body_size)
        return None if head is None or body is None else (read_call(head), body)

    def waiting(self, timeout_s: float | None) -> bool:
        """Whether a call can be read within a time (None: whenever one comes)."""
        return bool(select.select([self._connection], [], [], timeout_s)[0])

    def write(self, answer: Answer, body: bytes) -> None:
        self._connection.sendall(frame(answer, body))

    def _exactly(self, size: int) -> bytes | None:
        parts, left = [], size
        while left:
            part = self._connection.recv(min(left, 1 << 20))
            if not part:
                return None
            parts.append(part)
            left -= len(part)
        return b"".join(parts)


@dataclass(slots=True, frozen=True)
class Parked:
    """A call that waits for a message, until ``deadline`` (monotonic seconds)."""

    call: Call
    body: bytes
    deadline: float


class Server:
    """Calls in, answers out."""

    def __init__(self, line: Line, moto: Moto, clock: Clock) -> None:
        self._line, self._moto, self._clock = line, moto, clock
        self._parked: list[Parked] = []
        self._answered: list[tuple[Done, bool]] = []  # and whether it changed something
        self._places: set[Place] = set()

    def run(self) -> None:
        """Answer calls until the control plane has gone."""
        while True:
            calls = self._read()
            if calls is None:
                return
            for call, body in calls:
                self._carry_out(Parked(call, body, 0.0))
            if not calls or any(place[0] == "sqs" for place in self._places):
                waiting, self._parked = self._parked, []
                for parked in waiting:
                    self._carry_out(parked)
            self._finish()

    def _read(self) -> list[tuple[Call, bytes]] | None:
        """The calls that are there, none after a while if some are parked; None at the end."""
        calls: list[tuple[Call, bytes]] = []
        timeout_s = LOOK_S if self._parked else None
        while len(calls) < MAX_BATCH and self._line.waiting(0 if calls else timeout_s):
            read = self._line.read()
            if read is None:
                return None
            calls.append(read)
        return calls

    def _carry_out(self, asked: Parked) -> None:
        done = self._moto.call(asked.call, asked.body)
        now = self._clock.monotonic()
        deadline = asked.deadline or now + done.wait_s
        if now < deadline and done.wait_s:
            self._parked.append(Parked(asked.call, asked.body, deadline))
            return
        changed = asked.call.mutates and 0 < done.answer.status < 400
        self._answered.append((done, changed))
        if changed:
            self._places |= done.touched

    def _finish(self) -> None:
        """Make the changes durable, then say that they are."""
        lost = self._moto.keep(frozenset(self._places)) if self._places else {}
        for done, changed in self._answered:
            broken = sorted(place for place in done.touched if place in lost)
            if changed and broken:
                text = f"the state of {broken[0][0]} cannot be kept: {lost[broken[0]]}"
                self._line.write(Answer(done.answer.id, failure="failed", text=text), b"")
            else:
                self._line.write(done.answer, done.body)
        self._places.clear()
        self._answered.clear()


def _bound_http() -> None:
    """Give every HTTP request of moto's a timeout: it sets none."""
    plain = requests.Session.send

    def send(session: requests.Session, request: Any, **options: Any) -> requests.Response:
        options["timeout"] = options.get("timeout") or HTTP_TIMEOUT_S
        return plain(session, request, **options)

    requests.Session.send = send  # type: ignore[assignment, method-assign]


def main(descriptor: int, data_dir: Path) -> None:
    """Take the state, say that the worker is ready, and serve."""
    resource.setrlimit(resource.RLIMIT_DATA, (MAX_MEMORY, MAX_MEMORY))
    os.umask(0o077)
    telemetry.configure()
    sealer = Sealer.from_file(data_dir / "sealing.key", Chance())
    from moto import __version__

    stamp = f"moto {__version__}, Python {sys.version.split()[0]}"
    vault = Vault(data_dir / "longtail", sealer, stamp)
    _bound_http()
    moto = Moto(vault)
    moto.restore()
    line = Line(socket.socket(fileno=descriptor))
    line.write(Answer(0), b"")
    Server(line, moto, SystemClock()).run()
    vault.close()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
