"""The worlds in which the store's suite runs: one backend each, that can be closed and reopened.

etcd is Debian's, on loopback ports of its own and in a folder of the test's; where it is not
installed its cases fail.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from proa.base.clock import Clock, SystemClock, VirtualClock, run_virtual
from proa.store.api import Store
from proa.store.etcd import EtcdStore
from proa.store.memory import MemoryStore
from proa.store.sqlite import SqliteStore, memory_store

ETCD = shutil.which("etcd")
_VIRTUAL = ("memory", "plain")
NAMES = ["file", "memory", "plain", "etcd"]


class World:
    """A backend with its clock. ``name`` is one of NAMES."""

    def __init__(self, name: str, folder: Path, server: Etcd | None) -> None:
        self.name = name
        self._folder = folder
        self._server = server
        self.clock: Clock = VirtualClock() if name in _VIRTUAL else SystemClock()

    @property
    def reopens(self) -> bool:
        """Whether what was stored outlives the store object."""
        return self.name not in _VIRTUAL

    async def open(self) -> Store:
        """The store; a second call after a close finds what the first left."""
        if self.name == "file":
            return await SqliteStore.open(self._folder / "store.db", self.clock)
        if self.name == "memory":
            return await memory_store(self.clock)
        if self.name == "plain":
            return MemoryStore(self.clock)
        assert self._server is not None, "the etcd world has a server"
        return await EtcdStore.open(self._server.url, self.clock)

    def play(self, story: Callable[[Store], Awaitable[None]]) -> None:
        """Run a test's coroutine against an open store; the store is closed behind it."""

        async def whole() -> None:
            store = await self.open()
            try:
                await story(store)
            finally:
                await store.close()

        run_virtual(whole()) if self.name in _VIRTUAL else asyncio.run(whole())

    async def settle(self, holds: Callable[[], Awaitable[bool]], within_s: float = 15) -> None:
        """Wait until something holds; it must within the time."""
        end = self.clock.monotonic() + within_s
        while not await holds():
            assert self.clock.monotonic() < end, "what was waited for never came"
            await self.clock.sleep(0.02)


class Etcd:
    """An etcd process that can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with contextlib.ExitStack() as held:
            sockets = [held.enter_context(socket.socket()) for _ in range(2)]
            for each in sockets:
                each.bind(("127.0.0.1", 0))
            client, peer = (each.getsockname()[1] for each in sockets)
        self.url = f"etcd://127.0.0.1:{client}"
        self._client, self._peer = f"http://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"
        self._port = client
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start and wait until it accepts connections."""
        assert ETCD is not None, "etcd is missing: apt-get install etcd-server"
        with (self._folder / "etcd.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    ETCD,
                    f"--data-dir={self._folder / 'etcd'}",
                    f"--listen-client-urls={self._client}",
                    f"--advertise-client-urls={self._client}",
                    f"--listen-peer-urls={self._peer}",
                    f"--initial-advertise-peer-urls={self._peer}",
                    f"--initial-cluster=default={self._peer}",
                    "--logger=zap",
                ],
                stdout=log,
                stderr=log,
            )
        for _ in range(500):
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self._port), 1).close()
                return
            time.sleep(0.02)
        raise AssertionError((self._folder / "etcd.log").read_text())

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None


@contextlib.contextmanager
def world(name: str) -> Iterator[World]:
    """A backend that nobody has used yet."""
    folder = Path(tempfile.mkdtemp(prefix="proa-store-"))
    server = Etcd(folder) if name == "etcd" else None
    try:
        if server is not None:
            server.start()
        yield World(name, folder, server)
    finally:
        if server is not None:
            server.kill()
        shutil.rmtree(folder, ignore_errors=True)
