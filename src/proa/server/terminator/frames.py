"""What the TLS terminator and the control plane say to each other: frames over a socket pair.

Without I/O. A frame is the size of its payload, a kind, the number of a connection (or of a port
that is listened at) and the payload. The terminator numbers connections, and no number comes twice
in its life. Frames about connections that are gone are dropped by either side: they crossed.
What several clients get alike crosses once: all watchers get the same bytes of a change.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

HEAD = struct.Struct("<IBI")
PAYLOAD_MAX = 128 * 1024  # OpenSSL takes certificates of 100 KiB (SSL_CTX_set_max_cert_list(3))
SPACE = 256 * 1024 + HEAD.size + PAYLOAD_MAX  # read at once, beside a frame that is half there

# Both ways
DATA = 1
# From the terminator
OPENED = 2  # a client has shaken hands: see ``Opened``
END = 3  # the client will say no more
LOST = 4  # the connection is gone; nothing follows
FULL = 5  # the client reads slowly: no more for now
DRAINED = 6  # go on
STARVED = 7  # no client can be accepted at a port for now; why
# To the terminator
CLOSE = 8  # when all is said
ABORT = 9  # at once
HOLD = 10  # read no further
GO = 11  # read on
LISTEN = 12  # at the sockets that come with it: see ``Keys``
UNLISTEN = 13
AGAIN = 14  # what was kept under this number, for another client
KEEP = 128  # and what follows: like ``DATA``, to be kept under the number that is beyond
KEPT_MAX = 16

_OPENED = struct.Struct("<IHB")
_KEYS = struct.Struct("<III")


@dataclass(slots=True, frozen=True)
class Opened:
    """A client at a port of ours; ``certificate`` is its own, in DER and verified, or empty."""

    door: int
    address: str
    port: int
    certificate: bytes

    def packed(self) -> bytes:
        address = self.address.encode()
        return _OPENED.pack(self.door, self.port, len(address)) + address + self.certificate

    @staticmethod
    def read(payload: bytes) -> Opened:
        door, port, length = _OPENED.unpack_from(payload)
        end = _OPENED.size + length
        return Opened(door, payload[_OPENED.size : end].decode(), port, payload[end:])


@dataclass(slots=True, frozen=True)
class Keys:
    """What a port shows and whom it believes, in PEM: its certificate chain and key, and the
    authority of its clients' certificates."""

    certificate: bytes
    key: bytes
    client_authority: bytes

    def packed(self) -> bytes:
        parts = (self.certificate, self.key, self.client_authority)
        return _KEYS.pack(*map(len, parts)) + b"".join(parts)

    @staticmethod
    def read(payload: bytes) -> Keys:
        certificate, key, _ = _KEYS.unpack_from(payload)
        first = _KEYS.size + certificate
        second = first + key
        return Keys(payload[_KEYS.size : first], payload[first:second], payload[second:])


def frame(kind: int, number: int, payload: bytes = b"") -> bytes:
    """One frame. Raises ValueError for a payload that is too large."""
    if len(payload) > PAYLOAD_MAX:
        raise ValueError(f"a frame holds {PAYLOAD_MAX} bytes, not {len(payload)}")
    return HEAD.pack(len(payload), kind, number) + payload


class Inbox:
    """Bytes as they arrive, and the frames that are whole."""

    __slots__ = ("_at_once", "_filled", "_missing", "_space")

    def __init__(self, at_once: int = SPACE) -> None:
        """``at_once`` is how much is read in one go, beside the rest of a frame that has begun."""
        self._space = memoryview(bytearray(SPACE))
        self._at_once = at_once
        self._filled = self._missing = 0

    def space(self) -> memoryview:
        """Where what arrives next belongs."""
        return self._space[self._filled : self._filled + self._missing + self._at_once]

    def frames(self, arrived: int) -> Iterator[tuple[int, int, memoryview]]:
        """Kind, number and payload of each frame that is whole, now that so many bytes more are
        there. To be read to the end; payloads stand until then. Raises ValueError for what is no
        frame."""
        space, at = self._space, 0
        end = self._filled + arrived
        while end - at >= HEAD.size:
            size, kind, number = HEAD.unpack_from(space, at)
            if size > PAYLOAD_MAX:
                raise ValueError("the link is out of step")
            start = at + HEAD.size
            if start + size > end:
                break
            at = start + size
            yield kind, number, space[start:at]
        rest = end - at
        if at and rest:
            space[:rest] = space[at:end]
        self._filled, self._missing = rest, 0
        if rest >= HEAD.size:
            self._missing = HEAD.size + HEAD.unpack_from(space)[0] - rest
