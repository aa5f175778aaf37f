"""The writer's process as the store sees it: a group goes out, and what became of it comes back.

``SqliteStore`` keeps one, and hands over one group at a time. Who writes a file has its lock, from
before it is read until the last process that may write it has gone: a writer whose store was
killed finishes what it was given before another store begins.
"""

from __future__ import annotations

import asyncio
import fcntl
import marshal
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw

from proa.base.clock import Clock
from proa.base.errors import TryAgain
from proa.store import writer
from proa.store.writer import Order, message, taken

LOCK_S, LOCK_AGAIN_S = 10.0, 0.01
END_S = 10.0  # to finish what it was given
_READ = 64 * 1024


async def locked(path: Path, clock: Clock) -> int:
    """The descriptor of a file's lock, which is held until all copies of it are closed. Raises
    TryAgain where another store has the file."""
    descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    last = clock.monotonic() + LOCK_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if clock.monotonic() >= last:
                os.close(descriptor)
                raise TryAgain(f"{path} is another process's store") from None
            await clock.sleep(LOCK_AGAIN_S)
        except BaseException:
            os.close(descriptor)
            raise
        else:
            return descriptor


class WriterProcess:
    """One process, from its start to its end."""

    def __init__(self, path: Path, lock: int, ended: Callable[[], None]) -> None:
        """``ended`` is called once, when it has gone without having been told to."""
        self._loop = asyncio.get_running_loop()
        self._ended = ended
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = _start(path, theirs, lock)
        ours.setblocking(False)
        self._plug = ours
        self._inbox = bytearray()
        self._unsent = memoryview(b"")
        self._answered: Callable[[str], None] | None = None
        self._loop.add_reader(ours.fileno(), self._arrived)

    def write(self, order: Order, answered: Callable[[str], None]) -> None:
        """Have a group made durable; ``answered`` is told what was in the way, "" for nothing.
        Raises ValueError for values that cannot be sent, when it is told nothing."""
        assert self._answered is None, "one group at a time"
        content: Any = order
        self._unsent = memoryview(message(marshal.dumps(content, 2)))  # 2: without references
        self._answered = answered
        if not self._send():
            self._loop.add_writer(self._plug.fileno(), self._send_on)

    def _send(self) -> bool:
        """Whether all is on its way; who has hung up is told by reading."""
        try:
            self._unsent = self._unsent[self._plug.send(self._unsent) :]
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            self._unsent = self._unsent[:0]
        return not self._unsent

    def _send_on(self) -> None:
        if self._send():
            self._loop.remove_writer(self._plug.fileno())

    def _arrived(self) -> None:
        try:
            arrived = self._plug.recv(_READ)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            arrived = b""
        if not arrived:
            self._hang_up()
            self._ended()
            return
        self._inbox += arrived
        while (answer := taken(self._inbox)) is not None:
            answered, self._answered = self._answered, None
            assert answered is not None, "it answers what it was given"
            answered(answer.decode())

    def _hang_up(self) -> None:
        self._loop.remove_reader(self._plug.fileno())
        self._loop.remove_writer(self._plug.fileno())
        self._plug.close()

    async def close(self) -> int:
        """Wait until it has ended, which it does when nobody is at its link: its exit code."""
        if self._plug.fileno() >= 0:
            self._hang_up()
        return await asyncio.to_thread(self._wait)

    def _wait(self) -> int:
        try:
            return self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


def _start(path: Path, link: socket.socket, lock: int) -> subprocess.Popen[bytes]:
    """It is run as a file of its own (-P: whose neighbours are no modules), and finds SQLite by
    its place: without packages it is a third smaller."""
    return subprocess.Popen(
        [sys.executable, "-S", "-P", writer.__file__, str(path)],
        stdin=link.fileno(),
        pass_fds=(lock,),
        env={**os.environ, "PYTHONPATH": str(Path(apsw.__file__).parents[1])},
    )
