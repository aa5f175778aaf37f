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
from pathlib import Path

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
from proa.cloud.secrets import Sealer

MAX_MEMORY = 3 * 1024**3  # bytes of private data; a call that needs more ends the worker
MAX_BATCH = 64
HTTP_TIMEOUT_S = 3.0  # for subscriptions that moto calls


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

    def waiting(self) -> bool:
        """Whether another call can be read now."""
        return bool(select.select([self._connection], [], [], 0)[0])

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


def _keeps(call: Call, done: Done) -> frozenset[Place]:
    answered = done.answer.status and done.answer.status < 400
    return done.touched if call.mutates and answered else frozenset()


def serve(line: Line, moto: Moto) -> None:
    """Answer calls until the control plane has gone."""
    while True:
        batch: list[Done] = []
        places: frozenset[Place] = frozenset()
        while not batch or (len(batch) < MAX_BATCH and line.waiting()):
            read = line.read()
            if read is None:
                return
            done = moto.call(*read)
            batch.append(done)
            places |= _keeps(read[0], done)
        if places:
            moto.keep(places)
        for done in batch:
            line.write(done.answer, done.body)


def main(descriptor: int, data_dir: Path) -> None:
    """Take the state, say that the worker is ready, and serve."""
    resource.setrlimit(resource.RLIMIT_DATA, (MAX_MEMORY, MAX_MEMORY))
    os.umask(0o077)
    telemetry.configure()
    sealer = Sealer.from_file(data_dir / "sealing.key", Chance())
    from moto import __version__

    stamp = f"moto {__version__}, Python {sys.version.split()[0]}"
    vault = Vault(data_dir / "longtail", sealer, stamp)
    moto = Moto(vault)
    moto.restore()
    line = Line(socket.socket(fileno=descriptor))
    line.write(Answer(0), b"")
    serve(line, moto)
    vault.close()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
