"""SPDY/3.1 frames as kubectl speaks them: bytes in, events out, no I/O.

``kube.api`` runs one ``SpdySession`` per connection, for ``port-forward`` (over a WebSocket or
after an upgrade) and for exec and attach of clients that know no WebSockets. Written after "SPDY
Protocol - Draft 3.1" as far as Kubernetes' library goes, which neither sends nor heeds window
updates: the connection below holds the fast side back. A frame, a header block and the number of
open streams are bounded; what breaks a bound or the format is a SpdyError, which ends the session.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

SYN_STREAM, SYN_REPLY, RST_STREAM, SETTINGS, PING, GOAWAY, HEADERS = 1, 2, 3, 4, 6, 7, 8
VERSION = 3
FIN = 1
PROTOCOL_ERROR, REFUSED_STREAM = 1, 3
MAX_FRAME = 1 << 20
MAX_HEADERS = 1 << 16
MAX_STREAMS = 1024
_CONTROL = 1 << 31
_HEAD = struct.Struct(">II")
_WORDS = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language "
    "accept-ranges age allow authorization cache-control connection content-base content-encoding "
    "content-language content-length content-location content-md5 content-range content-type date "
    "etag expect expires from host if-match if-modified-since if-none-match if-range "
    "if-unmodified-since last-modified location max-forwards pragma proxy-authenticate "
    "proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade "
    "user-agent vary via warning www-authenticate method get status 200~OK version HTTP/1.1 url "
    "public set-cookie keep-alive origin"
)
_PHRASES = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request"
    "401 Unauthorized403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented"
    "503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, "
    "Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,"
    "application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,"
    "sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)


def _dictionary() -> bytes:
    """The compression dictionary that both ends start with (section 2.6.10.1)."""
    words = [word.replace("~", " ").encode() for word in _WORDS.split()]
    return b"".join(struct.pack(">I", len(word)) + word for word in words) + _PHRASES.encode()


DICTIONARY = _dictionary()


class SpdyError(ValueError):
    """The peer's bytes are no SPDY, or more than is taken."""


@dataclass(slots=True, frozen=True)
class Opened:
    """The peer opened a stream; ``finished`` where it will send nothing on it."""

    stream: int
    headers: Mapping[str, str]
    finished: bool


@dataclass(slots=True, frozen=True)
class Data:
    """Bytes on a stream; ``finished`` where they are the last."""

    stream: int
    data: bytes
    finished: bool


@dataclass(slots=True, frozen=True)
class Reset:
    """The peer gave a stream up."""

    stream: int


@dataclass(slots=True, frozen=True)
class GoneAway:
    """The peer opens no more streams."""


Event = Opened | Data | Reset | GoneAway


@dataclass(slots=True)
class SpdySession:
    """One connection's state, on the serving side unless ``open`` is used.

    ``feed`` takes what arrived and gives events; the methods named after frames give the bytes to
    send. ``pending`` holds what must be sent without being asked for (answers to pings); the
    caller takes it by ``drain`` after each ``feed``."""

    pending: bytearray = field(default_factory=bytearray)
    _buffer: bytearray = field(default_factory=bytearray)
    _last: int = 0
    _opened_here: int = 0
    _remote: set[int] = field(default_factory=set)
    """Streams on which the peer may still send."""
    _local: set[int] = field(default_factory=set)
    """Streams on which we may still send."""
    _inflate: zlib._Decompress = field(default_factory=lambda: zlib.decompressobj(zdict=DICTIONARY))
    _deflate: zlib._Compress = field(default_factory=lambda: zlib.compressobj(9, zdict=DICTIONARY))

    def feed(self, data: bytes) -> list[Event]:
        """The events in what arrived so far. Raises SpdyError."""
        self._buffer += data
        events: list[Event] = []
        while len(self._buffer) >= _HEAD.size:
            first, second = _HEAD.unpack_from(self._buffer)
            flags, length = second >> 24, second & 0xFFFFFF
            if length > MAX_FRAME:
                raise SpdyError(f"a frame of {length} bytes is more than {MAX_FRAME}")
            if len(self._buffer) < _HEAD.size + length:
                break
            body = bytes(self._buffer[_HEAD.size : _HEAD.size + length])
            del self._buffer[: _HEAD.size + length]
            events += self._frame(first, flags, body)
        return events

    def drain(self) -> bytes:
        """What must be sent now."""
        waiting = bytes(self.pending)
        self.pending.clear()
        return waiting

    def _frame(self, first: int, flags: int, body: bytes) -> list[Event]:
        if not first & _CONTROL:
            return self._data(first, flags, body)
        version, kind = first >> 16 & 0x7FFF, first & 0xFFFF
        if version != VERSION:
            raise SpdyError(f"version {version} of SPDY is not spoken")
        if kind == SYN_STREAM:
            return self._opened(flags, body)
        if kind == RST_STREAM:
            stream = self._stream_of(body)
            self._forget(stream)
            return [Reset(stream)]
        if kind == PING:
            self.pending += _control(PING, 0, body)
        elif kind == GOAWAY:
            return [GoneAway()]
        elif kind in (HEADERS, SYN_REPLY):
            stream = self._stream_of(body)
            self._headers(body[4:])  # the compression's state is shared by all blocks
            if flags & FIN and stream in self._remote:
                return self._data(stream, flags, b"")
        return []  # SETTINGS, WINDOW_UPDATE and what later drafts may add

    def _opened(self, flags: int, body: bytes) -> list[Event]:
        stream = self._stream_of(body)
        headers = self._headers(body[10:])
        if stream % 2 == 0 or stream <= self._last:
            self.pending += self.reset(stream, PROTOCOL_ERROR)
            return []
        self._last = stream
        if len(self._remote | self._local) >= MAX_STREAMS:
            self.pending += self.reset(stream, REFUSED_STREAM)
            return []
        finished = bool(flags & FIN)
        self._local.add(stream)
        if not finished:
            self._remote.add(stream)
        return [Opened(stream, headers, finished)]

    def _data(self, stream: int, flags: int, body: bytes) -> list[Event]:
        if stream not in self._remote:
            return []  # of a stream that was given up while this was on its way
        finished = bool(flags & FIN)
        if finished:
            self._remote.discard(stream)
        return [Data(stream, body, finished)]

    def _stream_of(self, body: bytes) -> int:
        if len(body) < 4:
            raise SpdyError("a frame is too short")
        return int.from_bytes(body[:4], "big") & 0x7FFFFFFF

    def _headers(self, block: bytes) -> dict[str, str]:
        """A header block: a count, then names and values with their lengths."""
        try:
            plain = self._inflate.decompress(block, MAX_HEADERS)
        except zlib.error as error:
            raise SpdyError(f"a header block cannot be read: {error}") from None
        if self._inflate.unconsumed_tail:
            raise SpdyError(f"a header block has more than {MAX_HEADERS} bytes")
        at = 0

        def number() -> int:
            nonlocal at
            at += 4
            return int.from_bytes(plain[at - 4 : at], "big")

        def text() -> str:
            nonlocal at
            size = number()
            at += size
            return plain[at - size : at].decode("utf-8", "replace")

        found = {text(): text() for _ in range(min(number(), MAX_HEADERS))}
        if at != len(plain):
            raise SpdyError("a header block is cut off")
        return {name.lower(): value for name, value in found.items()}

    def open(self, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """SYN_STREAM of the client's side: the stream's number and the bytes to send."""
        stream = 2 * self._opened_here + 1
        self._opened_here += 1
        self._local.add(stream)
        self._remote.add(stream)
        head = struct.pack(">IIH", stream, 0, 0)
        return stream, _control(SYN_STREAM, 0, head + self._block(headers))

    def reply(self, stream: int, headers: Mapping[str, str] | None = None) -> bytes:
        """SYN_REPLY: the stream is taken."""
        return _control(SYN_REPLY, 0, stream.to_bytes(4, "big") + self._block(headers or {}))

    def data(self, stream: int, data: bytes, *, finished: bool = False) -> bytes:
        """Bytes on a stream, in as many frames as they need; nothing on one that is closed."""
        if stream not in self._local:
            return b""
        if finished:
            self._local.discard(stream)
        parts = [data[at : at + MAX_FRAME] for at in range(0, len(data), MAX_FRAME)] or [b""]
        frames = [_HEAD.pack(stream, len(part)) + part for part in parts[:-1]]
        last = int(finished) << 24 | len(parts[-1])
        return b"".join([*frames, _HEAD.pack(stream, last), parts[-1]])

    def reset(self, stream: int, status: int) -> bytes:
        """RST_STREAM: the stream is given up."""
        self._forget(stream)
        return _control(RST_STREAM, 0, struct.pack(">II", stream, status))

    def go_away(self) -> bytes:
        """GOAWAY without an error."""
        return _control(GOAWAY, 0, struct.pack(">II", self._last, 0))

    def _forget(self, stream: int) -> None:
        self._remote.discard(stream)
        self._local.discard(stream)

    def _block(self, headers: Mapping[str, str]) -> bytes:
        plain = struct.pack(">I", len(headers)) + b"".join(
            struct.pack(">I", len(raw)) + raw
            for name, value in headers.items()
            for raw in (name.lower().encode(), value.encode())
        )
        return self._deflate.compress(plain) + self._deflate.flush(zlib.Z_SYNC_FLUSH)


def _control(kind: int, flags: int, body: bytes) -> bytes:
    return _HEAD.pack(_CONTROL | VERSION << 16 | kind, flags << 24 | len(body)) + body
