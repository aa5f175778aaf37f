"""One HTTP/1.1 connection: bytes in, requests to the handler one after the other, answers out.

``http.Shell`` makes one for each that is accepted. llhttp parses, strictly. A connection answers
in the order of the requests, reads no further than it may (bodies up to ``max_body``, an upload as
far as it is consumed, nothing beyond a request that waits), writes no further than the client
reads, and gives connections that want another protocol to ``http_upgrades``.
"""

from __future__ import annotations

import asyncio
import socket
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any, cast

import httptools

from proa.base.clock import Clock, SystemClock
from proa.base.http import Handler, Peer, Request, Response
from proa.base.telemetry import get_logger
from proa.server.http_message import (
    Head,
    declared_length,
    head_of,
    length_of,
    plain_answer,
)

log = get_logger(__name__)
HEADER_LIMIT = 64 * 1024  # of the URL, and of all fields together
HEADERS_MAX = 256
REMEMBERED = 4096  # bytes of a head that may come again
UPLOAD_AHEAD = 256 * 1024  # bytes of an upload that wait for their reader
OVERHEAD = 1024 * 1024  # of a body in chunks, beyond a share of what it carries
FRAMES_KEPT = 16  # pieces of streamed answers, most often of 64 KiB
WRITE_AHEAD = 128 * 1024  # bytes that wait for the client
IDLE_S, HEAD_S, BODY_S = 120.0, 30.0, 120.0  # without a request; for a head; between parts of one
IGNORED = frozenset({"h2c", "tls/1.2"})  # protocols that are offered and not needed
UPGRADING = frozenset({b"connection", b"upgrade", b"http2-settings"})
LINGER_S = 2.0  # a refused client is listened to so long, or it would lose the refusal


class Refused(Exception):
    """Thrown through the parser, which then stops."""


@dataclass(slots=True)
class Site:
    """What all connections of one shell share."""

    handler: Handler
    max_body: int
    streams: Callable[[str, str], bool]
    oversized: Callable[[Request], Response] | None
    hand_over: Callable[[asyncio.Transport, bytes, bytes], None]
    clock: Clock = field(default_factory=SystemClock)
    connections: set[Connection] = field(default_factory=set)
    _second: int = 0
    _date: bytes = b""
    _frames: OrderedDict[int, tuple[bytes, bytes]] = field(default_factory=OrderedDict)

    def date(self) -> bytes:
        """The Date of an answer."""
        now = int(self.clock.now())
        if now != self._second:
            self._second, self._date = now, formatdate(now, usegmt=True).encode()
        return self._date

    def frame(self, chunk: bytes) -> bytes:
        """A piece of a streamed answer in chunked coding. What a change makes is the same piece
        for a thousand watchers, so the newest are kept."""
        kept = self._frames.get(id(chunk))
        if kept is not None:  # what is kept keeps its identity
            return kept[1]
        framed = b"%x\r\n%b\r\n" % (len(chunk), chunk)
        if len(framed) <= WRITE_AHEAD and isinstance(chunk, bytes):
            self._frames[id(chunk)] = (chunk, framed)
            if len(self._frames) > FRAMES_KEPT:
                self._frames.popitem(last=False)
        return framed

    def refusal(self, request: Request) -> Response:
        """The answer to a body that is too large."""
        if self.oversized is not None:
            return self.oversized(request)
        return Response(413, b"request body too large", {"content-type": "text/plain"})


def peer_of(transport: asyncio.BaseTransport) -> Peer:
    """Who is at the other end: the TLS terminator says so of its connections, and of a socket's
    its address is known, if it has one."""
    peer = transport.get_extra_info("peer")
    if isinstance(peer, Peer):
        return peer
    name = transport.get_extra_info("peername")
    return Peer(name[0] if isinstance(name, tuple) else "")


class Upload:
    """The body of a request on a route that streams."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._parts: deque[bytes] = deque()
        self._waiting: asyncio.Future[None] | None = None
        self.size = 0
        self.ended = False
        self.lost = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        while not self._parts:
            if self.lost:
                raise ConnectionResetError("the client left")
            if self.ended:
                raise StopAsyncIteration
            self._connection.proceed()
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        part = self._parts.popleft()
        self.size -= len(part)
        self._connection.adjust_reading()
        return part

    def feed(self, part: bytes) -> None:
        self._parts.append(part)
        self.size += len(part)
        self._wake()

    def end(self, lost: bool = False) -> None:
        """Nothing more comes."""
        if not self.ended:
            self.ended, self.lost = True, lost
            self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


class Turn:
    """One request on its way, or what is to be said instead of asking the handler."""

    __slots__ = ("answer", "head", "last", "request", "rest", "upload")

    def __init__(self, head: Head, request: Request | None, answer: Response | None = None) -> None:
        self.head, self.request, self.answer = head, request, answer
        self.last = head.close  # no request comes after it
        self.upload: Upload | None = None
        self.rest: bytearray | None = None  # of a connection that wants another protocol


class Connection(asyncio.Protocol):
    """See the module's first lines."""

    __slots__ = (
        "_again", "_begun", "_body", "_closing", "_drained", "_eof", "_expects", "_fed", "_head",
        "_loop", "_parser", "_paused", "_peer", "_phase", "_queue", "_reading", "_since", "_site",
        "_size", "_streaming", "_task", "_transport", "_turn", "_upgrade", "_upload",
    )  # fmt: skip

    def __init__(self, site: Site) -> None:
        self._site, self._loop = site, asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport = cast(Any, None)
        self._peer = Peer()
        self._head = Head()
        self._again = b""  # that head as it was sent, where the next request may have the same
        self._phase = "idle"  # "head", "body"; "deaf": what comes is dropped
        self._body: list[bytes] = []
        self._size = self._fed = 0  # of the body so far; of the message as it was sent
        self._upload: Upload | None = None
        self._upgrade: Turn | None = None
        self._queue: deque[Turn] = deque()
        self._turn: Turn | None = None
        self._task: asyncio.Task[None] | None = None
        self._streaming = self._expects = self._eof = self._closing = self._paused = False
        self._reading = True
        self._drained: asyncio.Future[None] | None = None
        self._begun = self._since = site.clock.monotonic()

    # The transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=WRITE_AHEAD)
        self._peer = peer_of(transport)
        plug = transport.get_extra_info("socket")
        if plug is not None and plug.family != socket.AF_UNIX:
            plug.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            plug.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._site.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._site.connections.discard(self)
        self._closing, self._phase = True, "deaf"
        self._queue.clear()
        if self._upload is not None:
            self._upload.end(lost=True)
        self.resume_writing()
        if self._task is not None and self._streaming:
            self._task.cancel()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def eof_received(self) -> bool:
        """A client that has said all may still be answered, but not without end."""
        self._eof = True
        if self._upload is not None:
            self._upload.end(lost=True)
        return self._turn is not None and not self._streaming

    def data_received(self, data: bytes) -> None:
        if self._phase == "deaf":
            return
        self._since = self._site.clock.monotonic()
        if self._upgrade is not None:
            assert self._upgrade.rest is not None, "who upgrades has a rest"
            self._upgrade.rest += data
            return
        fresh = self._phase == "idle" and self._turn is None and not self._queue
        if fresh and self._again and data.startswith(self._again) and self._repeated(data):
            return
        self._again = b""
        self._fed += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as mark:
            self._after_upgrade(data[mark.args[0] :])
        except httptools.HttpParserError:
            if self._phase != "deaf":
                self._refuse(self._head.fault or 400)
        if self._phase == "head" and self._fed > 2 * HEADER_LIMIT:
            self._refuse(431)
        elif self._phase == "body" and self._fed > OVERHEAD + 16 * self._size:
            self._refuse(400)
        if fresh and self._phase == "idle" and len(self._queue) == 1:
            self._remember(data, self._queue[0])
        if self._queue and self._turn is None:
            self._next()
        self.adjust_reading()

    def _remember(self, data: bytes, turn: Turn) -> None:
        """``data`` was one whole request. Clients that keep a connection mostly ask again in the
        same words: then what this head was found to say need not be found again."""
        head, request = turn.head, turn.request
        if request is None or request.stream is not None or head.close or head.old:
            return
        body = request.body
        end = len(data) - len(body)
        whole = head.length == len(body) and data.endswith(b"\r\n\r\n", 0, end)
        # The parser skips line ends after a message. A body of nothing else cannot be told from
        # those, nor where it began; any other is what ``data`` ends with, or something follows it.
        known = not body or (body.strip(b"\r\n") and data.endswith(body))
        if whole and known and end <= REMEMBERED and "expect" not in head.headers:
            self._again = data[:end]

    def _repeated(self, data: bytes) -> bool:
        """Take a request that begins with the same head as the one before; whether it is whole,
        and nothing comes after it. The parser is between two messages, and stays there."""
        head, start = self._head, len(self._again)
        if len(data) - start != head.length:
            return False
        self._queue.append(Turn(head, head.request(self._peer, data[start:])))
        self._next()
        return True

    # The parser's side

    def on_message_begin(self) -> None:
        self._head, self._phase, self._fed, self._begun = Head(), "head", 0, self._since

    def on_url(self, url: bytes) -> None:
        self._head.url += url
        if len(self._head.url) > HEADER_LIMIT:
            self._fail(414)

    def on_header(self, name: bytes, value: bytes) -> None:
        head = self._head
        head.size += len(name) + len(value)
        if head.size > HEADER_LIMIT or len(head.pairs) >= HEADERS_MAX:
            self._fail(431)
        if self._phase == "head":  # trailers are counted and dropped
            head.pairs.append((name, value))

    def on_headers_complete(self) -> None:
        head, parser = self._head, self._parser
        keep_alive = parser.should_keep_alive()
        head.complete(parser.get_method(), parser.get_http_version(), keep_alive)
        if head.fault:
            self._fail(head.fault)
        self._phase = "body"
        self._size = 0
        self._upload = None
        if parser.should_upgrade():
            self._upgrade = turn = Turn(head, None)
            turn.rest, turn.last = bytearray(), True
            return
        self._expects = "expect" in head.headers and not head.old
        if head.length and self._site.streams(head.method, head.path):
            self._upload = upload = Upload(self)
            turn = Turn(head, head.request(self._peer, stream=upload))
            turn.upload = upload
            self._queue.append(turn)
        elif head.length > self._site.max_body:
            self._refuse_body()
        elif self._turn is None and not self._queue:
            self.proceed()

    def on_body(self, body: bytes) -> None:
        if self._phase != "body":
            return
        self._size += len(body)
        if self._upload is not None:
            self._upload.feed(body)
        elif self._size > self._site.max_body:
            self._refuse_body()
        else:
            self._body.append(body)

    def on_message_complete(self) -> None:
        if self._phase != "body" or self._upgrade is not None:
            return
        self._phase, self._expects = "idle", False
        if self._upload is not None:
            self._upload.end()
            self._upload = None
            return
        head, body = self._head, b""
        if self._body:
            body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
            self._body = []
        if not head.length and self._site.streams(head.method, head.path):
            upload = Upload(self)
            upload.end()
            self._queue.append(Turn(head, head.request(self._peer, stream=upload)))
        else:
            self._queue.append(Turn(head, head.request(self._peer, body)))

    def _after_upgrade(self, rest: bytes) -> None:
        """llhttp stops where another protocol may begin, also where a body would."""
        turn, self._phase = self._upgrade, "idle"
        assert turn is not None and turn.rest is not None, "the parser stopped at this"
        head = turn.head
        if head.length or head.headers["upgrade"].lower() in IGNORED:
            self._upgrade, self._parser = None, httptools.HttpRequestParser(self)
            self.data_received(head.again(without=UPGRADING) + rest)
        else:
            turn.rest += rest
            self._queue.append(turn)

    def _fail(self, status: int) -> None:
        """Make the parser stop; ``data_received`` refuses."""
        self._head.fault = status
        raise Refused(status)

    def _refuse(self, status: int) -> None:
        """What came is no request that can be answered by the handler; nothing after it is read."""
        head = self._head
        head.close, head.old = True, False
        self._deafen()
        self._queue.append(Turn(head, None, plain_answer(status)))

    def _refuse_body(self) -> None:
        head = self._head
        head.close = True
        self._deafen()
        self._queue.append(Turn(head, None, self._site.refusal(head.request(self._peer))))
        raise Refused(413)

    def _deafen(self) -> None:
        self._phase, self._body, self._expects = "deaf", [], False
        if self._upload is not None:
            self._upload.end(lost=True)
            self._upload = None

    # One request after the other

    def _next(self) -> None:
        if not self._queue:
            if self._expects:
                self.proceed()
            return
        turn = self._turn = self._queue.popleft()
        if turn.answer is not None:
            self._say(turn, turn.answer)
            self._done(turn)
        elif turn.rest is not None:
            self._task = self._loop.create_task(self._hand_over(turn))
        else:
            self._task = self._loop.create_task(self._serve(turn))

    def proceed(self) -> None:
        """Tell a client that waits for it to send its body."""
        if self._expects:
            self._expects = False
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    async def _serve(self, turn: Turn) -> None:
        request = turn.request
        assert request is not None, "the handler is asked"
        try:
            answer = await self._site.handler(request)
            if answer.upgrade is not None:
                answer = plain_answer(400)
            if answer.stream is None:
                self._say(turn, answer)
            else:
                await self._stream(turn, answer, answer.stream)
            while self._paused and not self._closing:
                await self._drain()
        except ConnectionError:
            log.debug("client left", method=request.method, path=request.path)
            turn.last = not self._queue  # a fault in its body may wait to be told
        except Exception as error:
            log.error("handler failed", method=request.method, path=request.path, exc_info=error)
            if self._streaming:
                self._transport.abort()  # or the client would take half an answer for a whole one
            else:
                failure = Response(500, b"internal error", {"content-type": "text/plain"})
                self._say(turn, failure)
        finally:
            self._streaming, self._task = False, None
        self._done(turn)

    def _say(self, turn: Turn, answer: Response) -> None:
        """Write a whole answer."""
        head_only = turn.head.method == "HEAD"
        length = length_of(answer, head_only)
        self._settle(turn)
        content = b"" if head_only or length is None else answer.body
        head = self._head_of(turn, answer, length, chunked=False)
        self._write(head + content if len(content) < WRITE_AHEAD else head, content)

    def _write(self, head: bytes, content: bytes) -> None:
        if self._transport.is_closing():
            return
        if len(content) < WRITE_AHEAD:
            self._transport.write(head)
        else:
            self._transport.writelines([head, content])

    def _head_of(self, turn: Turn, answer: Response, length: int | None, *, chunked: bool) -> bytes:
        close, old, date = turn.last, turn.head.old, self._site.date()
        return head_of(answer, length, date, close=close, old=old, chunked=chunked)

    def _settle(self, turn: Turn) -> None:
        """Whether the connection goes on after this answer."""
        upload = turn.upload
        unread = upload is not None and (upload.lost or not upload.ended)
        if unread or self._closing or (self._eof and not self._queue):
            turn.last = True

    async def _stream(self, turn: Turn, answer: Response, chunks: AsyncIterator[bytes]) -> None:
        """Write an answer as it comes, no faster than the client reads."""
        length = declared_length(answer)
        chunked = length is None and not turn.head.old
        self._settle(turn)
        turn.last = turn.last or (length is None and not chunked)
        try:
            if self._left():  # none but the next piece would tell, which may be long in coming
                raise ConnectionResetError("the client left")
            self._transport.write(self._head_of(turn, answer, length, chunked=chunked))
            self._streaming = True
            sent = 0
            if turn.head.method != "HEAD":
                async for chunk in chunks:
                    if self._transport.is_closing():
                        raise ConnectionResetError("the client left")
                    if chunk:
                        sent += len(chunk)
                        self._transport.write(self._site.frame(chunk) if chunked else chunk)
                        while self._paused:
                            await self._drain()
                if chunked:
                    self._transport.write(b"0\r\n\r\n")
                elif sent != length:
                    turn.last = True
        finally:
            close = getattr(chunks, "aclose", None)
            if close is not None:
                await close()
        self._streaming = False

    def _left(self) -> bool:
        """Whether there is nobody to stream to. Of TLS clients, hardly one that has said all goes
        on reading."""
        return self._transport.is_closing() or (self._eof and not self._transport.can_write_eof())

    async def _drain(self) -> None:
        if self._transport.is_closing():
            raise ConnectionResetError("the client left")
        self._drained = self._loop.create_future()
        await self._drained

    def _done(self, turn: Turn) -> None:
        """The answer is written: on to the next request, or to the end."""
        self._turn = None
        if self._transport.is_closing():
            return
        if turn.last or self._closing or (self._eof and not self._queue):
            self._end()
        else:
            self._since = self._site.clock.monotonic()
            if self._queue or self._expects:
                self._next()
            self.adjust_reading()

    def _end(self) -> None:
        """Close; a client that is still sending must first come to read the answer. The TLS
        terminator sees to that by itself."""
        self._queue.clear()
        if self._phase in ("deaf", "body") and self._transport.can_write_eof():
            self._deafen()
            self._closing = True
            self._since = self._site.clock.monotonic()
            self.adjust_reading()
            self._transport.write_eof()
        else:
            self._transport.close()

    async def _hand_over(self, turn: Turn) -> None:
        """Give the connection to who speaks other protocols."""
        self._task = None
        while self._paused:
            await self._drain()
        self._site.connections.discard(self)
        if not self._transport.is_closing():
            assert turn.rest is not None, "who upgrades has a rest"
            self._transport.resume_reading()
            self._site.hand_over(self._transport, turn.head.again(), bytes(turn.rest))

    def adjust_reading(self) -> None:
        """Read while nothing waits to be consumed."""
        ahead = bool(self._queue) or (self._upload is not None and self._upload.size > UPLOAD_AHEAD)
        ahead = (ahead or self._upgrade is not None) and self._phase != "deaf"
        if ahead == self._reading and not self._transport.is_closing():
            self._reading = not ahead
            (self._transport.pause_reading if ahead else self._transport.resume_reading)()

    # The shell's side

    def overdue(self, now: float) -> bool:
        """Whether the client has had its time."""
        waited = now - self._since
        if self._phase == "deaf":
            return self._turn is None and waited > LINGER_S
        if self._phase == "head":
            return self._turn is None and now - self._begun > HEAD_S
        if self._phase == "body":
            return self._reading and waited > BODY_S
        return self._turn is None and waited > IDLE_S

    def abort(self) -> None:
        """End at once."""
        if self._task is not None:
            self._task.cancel()
        self._transport.abort()

    def close(self) -> None:
        """End after the answer under way; streams end now."""
        self._closing = True
        if self._turn is None:
            self._transport.close()
        elif self._streaming:
            self.abort()
