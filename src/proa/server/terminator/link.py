"""The control plane's end of the link: frames to and from the connections of the TLS terminator.

``child`` makes one ``Link`` for each life of the terminator. What is written within one turn of the
loop goes out in one write, and what several connections write alike goes out once; what arrives
together is handed out in one call. The link never stops being read, for the terminator stands still
while it cannot write.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from proa.base.telemetry import get_logger
from proa.server.terminator import frames
from proa.server.terminator.frames import HEAD, KEPT_MAX, PAYLOAD_MAX, Inbox, Keys, Opened
from proa.server.terminator.transport import TerminatedTransport

log = get_logger(__name__)
# Bytes that are read in one turn of the loop, some twenty requests: where many clients ask at once,
# writes of the first go to the disk, and their answers out, before the next are looked at.
AT_ONCE = 8 * 1024
SHARED_MIN = 64  # bytes; less is cheaper to repeat
Factory = Callable[[], asyncio.Protocol]


@dataclass(slots=True)
class _Block:
    """What goes out in one write, with the descriptors that go with its first byte."""

    data: bytes | memoryview
    senders: Sequence[tuple[TerminatedTransport, int]] = ()
    descriptors: Sequence[int] = ()


class Link:
    """One socket pair's end."""

    def __init__(self, plug: socket.socket, ended: Callable[[], None]) -> None:
        """``ended`` is called once, when the other end has gone."""
        self._plug, self._ended = plug, ended
        plug.setblocking(False)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(plug.fileno(), self._arrived)
        self._inbox = Inbox(AT_ONCE)
        self._factories: dict[int, Factory] = {}
        self._open: dict[int, TerminatedTransport] = {}
        self._gathered: list[bytes | memoryview] = []
        # By identity of data: where it is gathered, or ~ what it is kept as
        self._seen: dict[int, int] = {}
        self._kept = 0
        self._senders: list[tuple[TerminatedTransport, int]] = []
        self._blocks: deque[_Block] = deque()
        self._waiting = self._closed = False

    # Out

    def listen(
        self, door: int, sockets: Sequence[socket.socket], keys: Keys, factory: Factory
    ) -> None:
        """Have clients accepted at these sockets; ``factory`` makes who serves each."""
        if self._closed:
            return
        self._factories[door] = factory
        self._gather()
        payload = bytes([len(sockets)]) + keys.packed()
        descriptors = [one.fileno() for one in sockets]
        self._blocks.append(_Block(frames.frame(frames.LISTEN, door, payload), (), descriptors))
        self._flush()

    def unlisten(self, door: int) -> None:
        """Have no more clients accepted there; connections stay."""
        self._factories.pop(door, None)
        self.send(frames.UNLISTEN, door)

    def send(self, kind: int, number: int) -> None:
        """A frame that says all by its kind."""
        if not self._closed:
            self._plan()
            self._gathered.append(HEAD.pack(0, kind, number))

    def write(self, transport: TerminatedTransport, number: int, data: bytes) -> None:
        """Bytes for a client."""
        self._plan()
        size, gathered = len(data), self._gathered
        self._senders.append((transport, size))
        if size > PAYLOAD_MAX:
            whole = memoryview(data)
            for start in range(0, size, PAYLOAD_MAX):
                part = whole[start : start + PAYLOAD_MAX]
                gathered.append(HEAD.pack(len(part), frames.DATA, number))
                gathered.append(part)
        elif size < SHARED_MIN or not self._shared(number, data):
            gathered.append(HEAD.pack(size, frames.DATA, number))
            gathered.append(data)

    def _shared(self, number: int, data: bytes) -> bool:
        """Whether these very bytes go out already, and need not again."""
        seen = self._seen.get(id(data))  # what is gathered keeps its identity
        if seen is None:
            self._seen[id(data)] = len(self._gathered)
            return False
        if seen >= 0:
            kept = self._kept
            if kept == KEPT_MAX:
                return False
            self._kept += 1
            _, _, first = HEAD.unpack(self._gathered[seen])
            self._gathered[seen] = HEAD.pack(len(data), frames.KEEP + kept, first)
            self._seen[id(data)] = seen = ~kept
        self._gathered.append(HEAD.pack(1, frames.AGAIN, number) + bytes((~seen,)))
        return True

    def _plan(self) -> None:
        if not self._gathered and not self._waiting:
            self._loop.call_soon(self._flush)

    def _gather(self) -> None:
        if self._gathered:
            self._blocks.append(_Block(b"".join(self._gathered), self._senders))
            self._gathered, self._senders = [], []
            self._seen.clear()
            self._kept = 0

    def _flush(self) -> None:
        """Write as much as the kernel takes."""
        self._gather()
        blocks = self._blocks
        while blocks and not self._closed:
            block = blocks[0]
            try:
                if block.descriptors:
                    sent = socket.send_fds(self._plug, [block.data], block.descriptors)
                else:
                    sent = self._plug.send(block.data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError:
                self.close()
                return
            if sent < len(block.data):
                if sent:
                    block.data, block.descriptors = memoryview(block.data)[sent:], ()
                if not self._waiting:
                    self._waiting = True
                    self._loop.add_writer(self._plug.fileno(), self._flush)
                return
            blocks.popleft()
            for transport, size in block.senders:
                transport.sent(size)
        if self._waiting and not self._closed:
            self._waiting = False
            self._loop.remove_writer(self._plug.fileno())
            if self._gathered:
                self._loop.call_soon(self._flush)

    # In

    def _arrived(self) -> None:
        try:
            size = self._plug.recv_into(self._inbox.space())
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            size = 0
        if not size:
            self.close()
            return
        try:
            for kind, number, payload in self._inbox.frames(size):
                self._take(kind, number, payload)
        except ValueError as error:
            log.error("the TLS terminator talks nonsense", exc_info=error)
            self.close()

    def _take(self, kind: int, number: int, payload: memoryview) -> None:
        transport = self._open.get(number)
        try:
            if kind == frames.DATA:
                if transport is not None:
                    transport.arrived(bytes(payload))
            elif kind == frames.OPENED:
                self._opened(number, Opened.read(bytes(payload)))
            elif kind == frames.STARVED:
                log.warning("no connection can be accepted", why=str(payload, "utf-8"))
            elif transport is not None:
                transport.told(kind)
        except Exception as error:  # a bug of who serves this connection: the others go on
            log.error("a connection failed", exc_info=error)
            if (transport := self._open.get(number)) is not None:
                transport.abort()
            elif kind == frames.OPENED:  # nobody serves it
                self.send(frames.ABORT, number)

    def _opened(self, number: int, opened: Opened) -> None:
        factory = self._factories.get(opened.door)
        if factory is None:  # the port was closed meanwhile
            self.send(frames.ABORT, number)
            return
        transport = TerminatedTransport(self, self._loop, number, opened, factory())
        self._open[number] = transport
        transport.begin()

    def forget(self, number: int) -> None:
        """Nothing more is heard of this connection."""
        self._open.pop(number, None)

    def close(self) -> None:
        """Hang up: every connection is lost."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._plug.fileno())
        if self._waiting:
            self._loop.remove_writer(self._plug.fileno())
        self._plug.close()
        for transport in list(self._open.values()):
            transport.lose(ConnectionResetError("the TLS terminator has gone"))
        self._ended()
