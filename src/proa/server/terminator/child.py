"""The TLS terminator as the control plane sees it: a process that is there, or soon again.

``http_doors`` makes one ``Terminator`` and has it listen at sockets that the control plane has
bound. The process starts with the first, and gets all of them anew when another has to be started
in its place; its connections are lost, as when a server restarts, and clients who come meanwhile
wait in the sockets' queues. While it keeps dying, the pause before the next one grows.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from proa.base.aio import Tasks
from proa.base.clock import Clock
from proa.base.telemetry import get_logger
from proa.server.terminator.frames import Keys
from proa.server.terminator.link import Factory, Link

log = get_logger(__name__)
SOURCE = Path(__file__).parents[3]
PAUSE_MIN_S, PAUSE_MAX_S = 0.1, 10.0
HEALTHY_S = 30.0  # a process that lived this long has not died at its start
CLOSE_S = 5.0


@dataclass(slots=True, frozen=True)
class _Asked:
    sockets: Sequence[socket.socket]
    keys: Keys
    factory: Factory


@dataclass(slots=True, frozen=True)
class Listening:
    """Sockets at which the terminator accepts; ``close`` ends that, connections stay."""

    _terminator: Terminator
    _door: int

    def close(self) -> None:
        """Accept no more."""
        self._terminator.unlisten(self._door)


class Terminator:
    """The process and those before it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._asked: dict[int, _Asked] = {}
        self._last_door = 0
        self._link: Link | None = None
        self._tasks = Tasks()
        self._started = False

    def listen(self, sockets: Sequence[socket.socket], keys: Keys, factory: Factory) -> Listening:
        """Have clients accepted at these listening sockets, which are the terminator's from now
        on; ``factory`` makes who serves each connection."""
        self._last_door += 1
        asked = self._asked[self._last_door] = _Asked(sockets, keys, factory)
        if self._link is not None:
            self._link.listen(self._last_door, asked.sockets, asked.keys, asked.factory)
        elif not self._started:
            self._started = True
            self._tasks.spawn(self._run(), "TLS terminator")
        return Listening(self, self._last_door)

    def unlisten(self, door: int) -> None:
        """Accept no more there."""
        asked = self._asked.pop(door, None)
        if asked is None:
            return
        if self._link is not None:
            self._link.unlisten(door)
        for one in asked.sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)  # now, and not when the terminator comes to it
            one.close()

    async def close(self) -> None:
        """End the process, with the connections that are left."""
        for door in list(self._asked):
            self.unlisten(door)
        await self._tasks.close()

    async def _run(self) -> None:
        pause_s = 0.0
        while True:
            began = self._clock.monotonic()
            try:
                code: int | str = await self._one_life()
            except Exception as error:  # a bug of ours, too: without TLS there is no API
                code = repr(error)
            lived_s = self._clock.monotonic() - began
            log.error("the TLS terminator has ended", code=code, lived_s=lived_s)
            if lived_s > HEALTHY_S:
                pause_s = 0.0
            await self._clock.sleep(pause_s)
            pause_s = min(PAUSE_MAX_S, max(PAUSE_MIN_S, pause_s * 2))

    async def _one_life(self) -> int:
        """Start it and wait for its end: its exit code. Raises OSError where it cannot start."""
        ours, theirs = socket.socketpair()
        ended = asyncio.Event()
        self._link = link = Link(ours, ended.set)
        try:
            for door, asked in self._asked.items():
                link.listen(door, asked.sockets, asked.keys, asked.factory)
            with theirs:
                process = await _start(theirs)
            try:
                await ended.wait()
            finally:
                link.close()
                await _end(process)
        finally:
            self._link = None
            link.close()
        assert process.returncode is not None, "it has ended"
        return process.returncode


async def _start(link: socket.socket) -> asyncio.subprocess.Process:
    """It needs nothing that is installed, and finds this package by its place."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-S",
        "-m",
        "proa.server.terminator.service",
        stdin=link.fileno(),
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )


async def _end(process: asyncio.subprocess.Process) -> None:
    """It ends by itself when its link has ended."""
    try:
        async with asyncio.timeout(CLOSE_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
