"""A connection of the TLS terminator as asyncio's transport: what an HTTP shell writes to.

``link`` makes one for each client and tells it what comes. After ``pause_reading`` nothing is
delivered: what is on its way is kept, which is no more than the kernel holds of the link. A
writer is paused while many of its own bytes wait for the link, or in the terminator for a client
that reads slowly. It is lost when the terminator says so, or with the terminator.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

from proa.base.http import Peer
from proa.server.terminator import frames
from proa.server.terminator.frames import Opened

if TYPE_CHECKING:
    from proa.server.terminator.link import Link

HIGH = 64 * 1024  # bytes that wait for the link, unless the protocol says otherwise


class TerminatedTransport(asyncio.Transport):
    """See the module's first lines. ``get_extra_info`` knows ``peername`` and ``peer``."""

    __slots__ = (
        "_closing", "_ended", "_full", "_held", "_high", "_kept", "_link", "_loop", "_lost", "_low",
        "_number", "_paused", "_protocol", "_unsent",
    )  # fmt: skip

    def __init__(
        self, link: Link, loop: asyncio.AbstractEventLoop, number: int, opened: Opened,
        protocol: asyncio.Protocol,
    ) -> None:  # fmt: skip
        peer = Peer(opened.address, opened.certificate or None)
        super().__init__({"peername": (opened.address, opened.port), "peer": peer})
        self._link, self._loop, self._number, self._protocol = link, loop, number, protocol
        self._closing = self._lost = False
        self._held = self._ended = False  # reading is paused; the client will say no more
        self._kept: deque[bytes] = deque()
        self._unsent = 0
        self._paused = self._full = False  # the writer is; the terminator's buffer is
        self._high, self._low = HIGH, HIGH // 4

    # The link's side

    def begin(self) -> None:
        """Tell the protocol that it has begun."""
        self._protocol.connection_made(self)

    def arrived(self, data: bytes) -> None:
        """The client said this."""
        if self._held or self._kept:
            if not self._closing:
                self._kept.append(data)
        elif not self._closing:
            self._protocol.data_received(data)

    def told(self, kind: int) -> None:
        """A frame that says all by its kind."""
        if kind == frames.END:
            self._ended = True
            if not self._held and not self._kept:
                self._end()
        elif kind == frames.LOST:
            self.lose(None)
        else:
            self._full = kind == frames.FULL
            self._adjust_writing()

    def sent(self, size: int) -> None:
        """So many bytes are no longer waiting for the link."""
        self._unsent -= size
        if self._paused:
            self._adjust_writing()

    def lose(self, error: Exception | None) -> None:
        """The connection is gone."""
        if not self._lost:
            self._closing = self._lost = True
            self._kept.clear()
            self._link.forget(self._number)
            self._loop.call_soon(self._protocol.connection_lost, error)  # its bugs are its own

    def _end(self) -> None:
        self._ended = False  # it is told once
        if not self._closing and not self._protocol.eof_received():
            self.close()

    def _adjust_writing(self) -> None:
        if self._lost:
            return
        limit = self._low if self._paused else self._high
        paused = self._full or self._unsent > limit
        if paused != self._paused:
            self._paused = paused
            (self._protocol.pause_writing if paused else self._protocol.resume_writing)()

    # The protocol's side

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = cast(asyncio.Protocol, protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def is_closing(self) -> bool:
        return self._closing

    def is_reading(self) -> bool:
        return not self._held and not self._closing

    def pause_reading(self) -> None:
        if not self._held and not self._closing:
            self._held = True
            self._link.send(frames.HOLD, self._number)

    def resume_reading(self) -> None:
        if self._held and not self._closing:
            self._held = False
            if self._kept or self._ended:
                self._loop.call_soon(self._deliver)
            else:
                self._link.send(frames.GO, self._number)

    def _deliver(self) -> None:
        """Hand out what was kept, as far as it is wanted."""
        kept = self._kept
        try:
            while kept and not self._held:
                self._protocol.data_received(kept.popleft())
        except Exception:  # a bug of who serves this connection, for the loop to log
            self.abort()
            raise
        if self._held or self._closing:
            return
        if self._ended:
            self._end()
        else:
            self._link.send(frames.GO, self._number)

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        if self._closing or not data:
            return
        self._link.write(self, self._number, data if isinstance(data, bytes) else bytes(data))
        self._unsent += len(data)
        if self._unsent > self._high and not self._paused:
            self._adjust_writing()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview[Any]]) -> None:
        for data in list_of_data:
            self.write(data)

    def can_write_eof(self) -> bool:
        return False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        if high is None:
            high = HIGH if low is None else 4 * low
        self._high, self._low = high, high // 4 if low is None else low
        self._adjust_writing()

    def get_write_buffer_size(self) -> int:
        return self._unsent

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low, self._high

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._kept.clear()
            self._link.send(frames.CLOSE, self._number)

    def abort(self) -> None:
        if not self._lost:
            self._link.send(frames.ABORT, self._number)
            self.lose(None)
