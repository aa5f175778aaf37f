"""The ends of streams: a client's socket, an agent that echoes, and SPDY as a client speaks it."""

from __future__ import annotations

import asyncio
import struct
import zlib
from collections.abc import AsyncIterator, Sequence

from proa.base.errors import CallerFault
from proa.base.http import Socket
from proa.wire.kube.spdy import DICTIONARY


class Wire:
    """A socket whose other end is the test: it puts messages in and takes messages out."""

    def __init__(self) -> None:
        self.inwards: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.outwards: asyncio.Queue[bytes | None] = asyncio.Queue()

    def says(self, *messages: bytes | None) -> None:
        for message in messages:
            self.inwards.put_nowait(message)

    def heard(self) -> list[bytes]:
        """Everything sent so far."""
        found = []
        while not self.outwards.empty():
            message = self.outwards.get_nowait()
            if message is not None:
                found.append(message)
        return found

    async def receive(self) -> bytes | None:
        return await self.inwards.get()

    async def send(self, data: bytes) -> None:
        self.outwards.put_nowait(data)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        self.outwards.put_nowait(None)
        self.inwards.put_nowait(None)


class ScriptedLink:
    """Agents that note what is asked of them and hand out prepared sockets by path."""

    def __init__(self) -> None:
        self.sockets: dict[str, Wire] = {}
        self.asked: list[tuple[str, list[tuple[str, str]]]] = []

    async def logs(
        self, node: str, pod_uid: str, container: str, options: dict[str, str]
    ) -> AsyncIterator[bytes]:
        self.asked.append((f"/logs/{pod_uid}/{container}", sorted(options.items())))
        yield b"first\n"
        yield b"second\n"

    async def connect(self, node: str, path: str, query: Sequence[tuple[str, str]]) -> Socket:
        self.asked.append((path, list(query)))
        found = self.sockets.get(path)
        if found is None:
            raise CallerFault("connection refused")
        return found


class SpdyPeer:
    """Frames of a client, and what comes back as (stream, bytes) once its end is known."""

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(9, zdict=DICTIONARY)

    def open(self, stream: int, **headers: str) -> bytes:
        plain = struct.pack(">I", len(headers))
        for name, value in headers.items():
            for text in (name, value):
                plain += struct.pack(">I", len(text)) + text.encode()
        block = self._deflate.compress(plain) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        body = struct.pack(">IIH", stream, 0, 0) + block
        return struct.pack(">HHI", 0x8003, 1, len(body)) + body

    def data(self, stream: int, data: bytes, *, last: bool = False) -> bytes:
        return struct.pack(">II", stream, int(last) << 24 | len(data)) + data

    @staticmethod
    def streams(sent: bytes) -> dict[int, tuple[bytes, bool]]:
        """What each stream carried, and whether it ended."""
        found: dict[int, tuple[bytes, bool]] = {}
        at = 0
        while at < len(sent):
            first, second = struct.unpack_from(">II", sent, at)
            size = second & 0xFFFFFF
            body = sent[at + 8 : at + 8 + size]
            at += 8 + size
            if first >> 31 == 0:
                before, ended = found.get(first, (b"", False))
                found[first] = (before + body, ended or bool(second >> 24 & 1))
        return found
