"""The long tail as a worker process: started on first use, and anew after a crash.

``server.control`` makes one ``MotoProcess``. Calls share one socket to the worker and are told
apart by their ids. When the worker dies, the calls that wait for it are told to try again; the
next call starts it anew, after a pause that grows while it keeps dying. A call that takes too
long counts as a hang: the worker is killed, since nothing that was acknowledged can be lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from pathlib import Path

from proa.aws.longtail.frames import MAX_BODY, PREFIX, Answer, Call, frame, read_answer, sizes
from proa.aws.longtail.port import Forward, LongTail, NotServed
from proa.base.aio import Tasks
from proa.base.clock import Clock
from proa.base.errors import CallerFault, TryAgain
from proa.base.http import Response
from proa.base.telemetry import get_logger

log = get_logger(__name__)
MAX_PENDING = 256
START_S, CALL_S, CLOSE_S = 60.0, 60.0, 5.0
PAUSE_MIN_S, PAUSE_MAX_S = 0.5, 30.0
HEALTHY_S = 30.0  # a worker that lived this long has not crashed at start
_NOT_PASSED_ON = ("AWS_", "MOTO_", "PYTHONDEVMODE")

Given = tuple[Answer, bytes]


class Interrupted(TryAgain):
    """The worker died while it had the call."""


class MotoProcess(LongTail):
    """The worker of one data directory."""

    def __init__(self, data_dir: Path, clock: Clock) -> None:
        self._data_dir, self._clock = data_dir, clock
        self._starting = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._pending: dict[int, asyncio.Future[Given]] = {}
        self._last_id = 0
        self._started_at = 0.0
        self._pause_s = 0.0
        self._tasks = Tasks()
        self._closed = False

    async def forward(self, forward: Forward) -> Response:
        if len(forward.body) > MAX_BODY:
            raise CallerFault(f"a body may have {MAX_BODY} bytes")
        if len(self._pending) >= MAX_PENDING:
            raise TryAgain("too many calls wait for the long tail")
        try:
            answer, body = await self._ask(forward)
        except Interrupted:
            if forward.mutates:
                raise
            answer, body = await self._ask(forward)  # a read may be asked again
        if answer.failure == "unserved":
            raise NotServed(answer.text)
        if answer.failure == "unreadable":
            raise CallerFault(f"The state of {forward.service} could not be read: {answer.text}")
        if answer.failure:
            raise RuntimeError(f"moto failed at {forward.service}: {answer.text}")
        return Response(answer.status, body, answer.headers)

    async def _ask(self, forward: Forward) -> Given:
        writer = await self._running()
        self._last_id += 1
        id = self._last_id
        call = Call(
            id,
            forward.service,
            forward.host,
            forward.method,
            forward.target,
            forward.headers,
            forward.account,
            forward.mutates,
            forward.origin,
        )
        future: asyncio.Future[Given] = asyncio.get_running_loop().create_future()
        self._pending[id] = future
        try:
            async with asyncio.timeout(CALL_S):
                writer.write(frame(call, forward.body))
                await writer.drain()
                return await future
        except TimeoutError as error:
            log.error("the moto worker hangs and is killed", service=forward.service)
            self._kill()
            raise TryAgain("the long tail did not answer in time") from error
        except ConnectionError as error:
            self._died(writer)  # who listens may not know it yet: the next asks another worker
            raise Interrupted("the long tail went away") from error
        finally:
            self._pending.pop(id, None)

    async def _running(self) -> asyncio.StreamWriter:
        """The line to a worker that is ready."""
        async with self._starting:
            if self._closed:
                raise TryAgain("the control plane is ending")
            if self._writer is None:
                await self._start()
            assert self._writer is not None
            return self._writer

    async def _start(self) -> None:
        if self._pause_s:
            lived_s = self._clock.monotonic() - self._started_at
            await self._clock.sleep(max(0.0, self._pause_s - lived_s))
        self._started_at = self._clock.monotonic()
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "proa.aws.longtail.worker",
                str(theirs.fileno()),
                str(self._data_dir),
                pass_fds=(theirs.fileno(),),
                stdin=asyncio.subprocess.DEVNULL,
                env=_environment(),
            )
        reader, writer = await asyncio.open_connection(sock=ours)
        try:
            async with asyncio.timeout(START_S):
                ready, _ = await _read(reader)
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError) as error:
            writer.close()
            self._kill()
            self._died(None)
            raise TryAgain("the long tail did not start") from error
        assert ready.id == 0, "the first frame says that the worker is ready"
        log.info("moto worker ready", after_s=self._clock.monotonic() - self._started_at)
        self._writer = writer
        self._tasks.spawn(self._listen(reader, writer), "moto worker")

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Hand out answers until the worker has gone."""
        try:
            while True:
                given = await _read(reader)
                future = self._pending.get(given[0].id)
                if future is not None and not future.done():
                    future.set_result(given)
        except (ConnectionError, asyncio.IncompleteReadError):
            self._died(writer)

    def _died(self, writer: asyncio.StreamWriter | None) -> None:
        """The worker at the end of this line has gone; the first to notice says so."""
        if self._writer is not writer:
            return
        self._writer = None
        if writer is not None:
            writer.close()
        if self._closed:
            return
        lived_s = self._clock.monotonic() - self._started_at
        longer_s = min(PAUSE_MAX_S, max(PAUSE_MIN_S, self._pause_s * 2))
        self._pause_s = 0.0 if lived_s > HEALTHY_S else longer_s
        log.error("the moto worker has ended", lived_s=lived_s, waiting=len(self._pending))
        for future in self._pending.values():
            if not future.done():
                future.set_exception(Interrupted("the long tail was interrupted"))

    def _kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def close(self) -> None:
        """End the worker: it ends by itself once its socket is closed."""
        self._closed = True
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(ConnectionError):
                await self._writer.wait_closed()
        if self._process is not None:
            try:
                async with asyncio.timeout(CLOSE_S):
                    await self._process.wait()
            except TimeoutError:
                self._kill()
                await self._process.wait()
        await self._tasks.close()


def _environment() -> dict[str, str]:
    """Ours, without what would change how moto behaves."""
    return {
        name: value for name, value in os.environ.items() if not name.startswith(_NOT_PASSED_ON)
    }


async def _read(reader: asyncio.StreamReader) -> Given:
    head_size, body_size = sizes(await reader.readexactly(PREFIX.size))
    head = await reader.readexactly(head_size)
    return read_answer(head), await reader.readexactly(body_size)
