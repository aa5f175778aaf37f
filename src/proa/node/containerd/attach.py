"""``Attachment``: a user at the streams of a container's own process.

containerd holds the process's streams (it writes the log from them) and hands them out by CRI's
``Attach``: an address of its streaming server, where SPDY is spoken. Several may be attached at
once; ending one leaves the process alone. Made by ``ContainerdRuntime.attach``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from proa.base.errors import TryAgain
from proa.node.ports import AttachRequest, NotFound
from proa.wire.kube.spdy import Data, GoneAway, Reset, SpdyError, SpdySession

_PROTOCOL = "v4.channel.k8s.io"
_CHUNK = 65536
_HEAD_LIMIT = 16 * 1024
_DIAL_S = 10.0
_STDOUT, _STDERR = 1, 2


class Attachment:
    """One user's streams; see ``ports.ExecSession``."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._session = SpdySession()
        self._streams: dict[str, int] = {}
        self._failure = ""

    @classmethod
    async def dial(cls, url: str, request: AttachRequest) -> Attachment:
        """Connect to the address that CRI gave. Raises TryAgain."""
        parts = urlsplit(url)
        try:
            async with asyncio.timeout(_DIAL_S):
                reader, writer = await asyncio.open_connection(
                    parts.hostname, parts.port, limit=_HEAD_LIMIT
                )
                made = cls(reader, writer)
                try:
                    await made._begin(parts.path, parts.netloc, request)
                except BaseException:
                    writer.close()
                    raise
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            raise TryAgain(f"containerd does not attach: {error}") from error
        except asyncio.LimitOverrunError as error:
            raise TryAgain("containerd's answer is too long") from error
        return made

    async def _begin(self, path: str, host: str, request: AttachRequest) -> None:
        self._writer.write(
            f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n"
            "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
            f"X-Stream-Protocol-Version: {_PROTOCOL}\r\n\r\n".encode()
        )
        head = await self._reader.readuntil(b"\r\n\r\n")
        status = head.split(b"\r\n", 1)[0].decode(errors="replace")
        if " 101 " not in f"{status} ":
            raise TryAgain(f"containerd does not attach: {status}")
        names = ["error", *(["stdin"] if request.stdin else []), "stdout"]
        names.append("resize" if request.tty else "stderr")
        for name in names:
            stream, frame = self._session.open({"streamtype": name})
            self._streams[name] = stream
            self._writer.write(frame)
        await self._writer.drain()

    async def _send(self, name: str, data: bytes, *, finished: bool = False) -> None:
        stream = self._streams.get(name)
        if stream is None or self._writer.is_closing():
            raise NotFound("the process does not read its standard input")
        self._writer.write(self._session.data(stream, data, finished=finished))
        try:
            await self._writer.drain()
        except OSError as error:
            raise NotFound("the streams have ended") from error

    async def write(self, data: bytes) -> None:
        await self._send("stdin", data)

    async def close_stdin(self) -> None:
        with contextlib.suppress(NotFound):
            await self._send("stdin", b"", finished=True)

    async def resize(self, columns: int, rows: int) -> None:
        size = json.dumps({"Width": columns, "Height": rows}).encode()
        with contextlib.suppress(NotFound):
            await self._send("resize", size)

    async def output(self) -> AsyncIterator[tuple[int, bytes]]:
        """Until the process has ended. Raises TryAgain when containerd went away before."""
        channels = {self._streams["stdout"]: _STDOUT, self._streams.get("stderr", 0): _STDERR}
        open_streams = {self._streams[name] for name in self._streams if name.startswith("std")}
        open_streams.discard(self._streams.get("stdin", 0))
        open_streams.add(self._streams["error"])
        while open_streams:
            for event in await self._events():
                if isinstance(event, Data):
                    if event.stream in channels and event.data:
                        yield channels[event.stream], event.data
                    elif event.stream == self._streams["error"]:
                        self._failure += _failure(event.data)
                    if event.finished:
                        open_streams.discard(event.stream)
                elif isinstance(event, Reset):
                    open_streams.discard(event.stream)
                elif isinstance(event, GoneAway):
                    return

    async def _events(self) -> list[object]:
        try:
            data = await self._reader.read(_CHUNK)
            if not data:
                raise TryAgain("the container's streams were lost")
            events = self._session.feed(data)
            if pending := self._session.drain():
                self._writer.write(pending)
            return list(events)
        except (OSError, SpdyError) as error:
            raise TryAgain(f"the container's streams were lost: {error}") from error

    async def wait(self) -> int:
        """Attaching has no exit code of its own. Raises TryAgain with containerd's words where
        it failed."""
        if self._failure:
            raise TryAgain(self._failure)
        return 0

    async def close(self) -> None:
        """Leave; the process goes on."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


def _failure(data: bytes) -> str:
    """The message of a Status that tells of a failure."""
    if not data:
        return ""
    try:
        status = json.loads(data)
    except ValueError:
        return data.decode(errors="replace")
    failed = isinstance(status, dict) and status.get("status") == "Failure"
    return str(status.get("message") or "attach failed") if failed else ""
