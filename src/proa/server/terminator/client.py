"""One client's connection: ciphered bytes on its socket, plain ones in frames.

``service`` makes one for each that it accepts, and calls ``ready`` when its socket is. It shakes
hands, is *open* while both sides may speak, *closing* until all that was said is on its way, and
*lingers* a moment: a socket that is closed before the client's last words were read takes the
answer back. A client that reads slowly is told of (``FULL``) and holds up nobody else. Answers are
written at once; what many get alike waits for a free moment, with what comes until then.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from selectors import EVENT_READ, EVENT_WRITE
from typing import Protocol

from proa.server.terminator import frames
from proa.server.terminator.frames import Opened

READ = 64 * 1024  # at once from one client, before the next has its turn
FULL_AT, DRAINED_AT = 256 * 1024, 64 * 1024  # bytes that wait for a client
CAUGHT_UP = 32 * 1024  # bytes, or somewhat more, of one client before the next has its turn
NOT_TLS = (
    b"HTTP/1.0 400 Bad Request\r\nconnection: close\r\n\r\n"
    b"Client sent an HTTP request to an HTTPS server.\n"
)  # as Go's servers word it


class Host(Protocol):
    """What a client needs of the process that it is in."""

    space: memoryview  # to read into, for as long as one call lasts

    def say(self, kind: int, number: int, payload: bytes = b"") -> None:
        """Send a frame to the control plane."""
        ...

    def watch(self, client: Client, events: int) -> None:
        """Call its ``ready`` at these events from now on."""
        ...

    def shaken(self, client: Client) -> None:
        """It is no longer to be cut off for not shaking hands."""
        ...

    def later(self, client: Client) -> None:
        """Call its ``catch_up`` when nothing else is to be done."""
        ...

    def closes(self, client: Client) -> None:
        """It is to be dropped unless it soon has read what is left for it."""
        ...

    def lingers(self, client: Client) -> None:
        """It is to be dropped in a moment."""
        ...

    def gone(self, client: Client) -> None:
        """Forget it."""
        ...


class Client:
    """See the module's first lines."""

    __slots__ = (
        "_address", "_door", "_ended", "_full", "_held", "_host", "_incoming", "_left", "_outgoing",
        "_phase", "_queue", "_queued", "_tls", "events", "number", "plug",
    )  # fmt: skip

    def __init__(
        self,
        host: Host,
        number: int,
        door: int,
        context: ssl.SSLContext,
        plug: socket.socket,
        address: tuple[str, int],
    ) -> None:
        self._host, self.number, self._door = host, number, door
        self.plug, self._address = plug, address
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._left: bytes | memoryview = b""  # ciphered, not yet taken by the kernel
        self._queue: list[bytes] = []  # not yet ciphered
        self._queued = 0  # bytes of it
        self._phase = "shaking"  # "open", "closing", "lingering", "gone"
        self._held = self._ended = self._full = False
        self.events = 0  # that are watched
        self._watch()

    # The socket's side

    def ready(self, events: int) -> None:
        """Its socket may be written to or read from."""
        if events & EVENT_WRITE:
            self.flush()
        if events & EVENT_READ and self.events & EVENT_READ:
            self._receive()

    def _receive(self) -> None:
        space = self._host.space
        try:
            size = self.plug.recv_into(space)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.drop()
            return
        if self._phase in ("closing", "lingering"):  # nobody hears it any more
            if not size:
                self._heard_out()
            return
        if size:
            self._incoming.write(space[:size])
        else:
            self._incoming.write_eof()
        if self._phase == "open" or self._shake():
            self._read()

    def _heard_out(self) -> None:
        self._ended = True
        if self._phase == "lingering":
            self.drop()
        else:
            self._watch()

    def _shake(self) -> bool:
        """Go on shaking hands; whether that is done."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self.flush()
            return False
        except (ssl.SSLError, ValueError) as error:
            plain = getattr(error, "reason", "") == "HTTP_REQUEST"
            self._last_words(NOT_TLS if plain else self._outgoing.read())
            self.drop()
            return False
        self._phase = "open"
        self._host.shaken(self)
        certificate = self._tls.getpeercert(binary_form=True) or b""
        opened = Opened(self._door, *self._address, certificate)
        self._host.say(frames.OPENED, self.number, opened.packed())
        self.flush()
        return self._phase == "open"

    def _read(self) -> None:
        """Pass on what came."""
        tls, incoming = self._tls, self._incoming
        while True:
            try:
                data = tls.read(READ)
            except ssl.SSLWantReadError:
                break
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                data = b""
            except ssl.SSLError:
                self._last_words(self._outgoing.read())
                self.drop()
                return
            if not data:
                self._ended = True
                self._host.say(frames.END, self.number)
                self._watch()
                break
            self._host.say(frames.DATA, self.number, data)
            if not incoming.pending and not tls.pending():
                break
        if self._outgoing.pending and not self._left:  # the protocol's own words
            self.flush()

    def _last_words(self, words: bytes) -> None:
        try:
            self.plug.send(words)
        except OSError:
            return

    def flush(self) -> None:
        """Write as much as the kernel takes."""
        if self._phase == "gone":
            return
        left = self._left or self._outgoing.read()
        while left:
            try:
                sent = self.plug.send(left)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                self.drop()
                return
            left = self._outgoing.read() if sent == len(left) else memoryview(left)[sent:]
        self._left = left
        if self._queue and not left:
            self._host.later(self)
        elif left or self._full or self._phase == "closing":
            self._reckon()
        elif self.events & EVENT_WRITE:
            self._watch()

    def _reckon(self) -> None:
        """What follows from how much is waiting for the client."""
        waiting = len(self._left) + self._outgoing.pending + self._queued
        if self._phase == "closing":
            if not waiting:
                self._finish()
                return
        elif self._full:
            if waiting <= DRAINED_AT:
                self._full = False
                self._host.say(frames.DRAINED, self.number)
        elif waiting > FULL_AT:
            self._full = True
            self._host.say(frames.FULL, self.number)
        self._watch()

    def _finish(self) -> None:
        """All is said: say so, and listen for a moment. The client ends the connection: some take
        an end of ours for a reason to drop what they have not read."""
        with contextlib.suppress(ssl.SSLError):  # the client has not said so yet
            self._tls.unwrap()
        self._last_words(self._outgoing.read())
        self._phase = "lingering"
        self._host.say(frames.LOST, self.number)
        if self._ended:
            self.drop()
        else:
            self._host.lingers(self)
            self._watch()

    def _watch(self) -> None:
        events = EVENT_WRITE if self._left else 0
        held = self._held and self._phase == "open"
        if not held and not self._ended:
            events |= EVENT_READ
        if events != self.events:
            self._host.watch(self, events)

    # The control plane's side

    def write(self, data: memoryview) -> bool:
        """Cipher this for the client, or keep it until what comes before is gone; whether there is
        something to ``flush``."""
        if self._phase != "open":
            return False
        if self._left or self._queue:
            self.keep(bytes(data))
            return False
        self._cipher(data)
        return True

    def keep(self, piece: bytes) -> None:
        """Have this written when there is time for it, with what comes until then."""
        if self._phase != "open":
            return
        if not self._left and not self._queue:
            self._host.later(self)
        self._queue.append(piece)
        self._queued += len(piece)
        if self._queued > FULL_AT and not self._full:
            self._reckon()

    def catch_up(self) -> None:
        """There is time: write what is kept, if the client takes it."""
        if self._left or not self._queue or self._phase == "gone":
            return
        count = size = 0
        while count < len(self._queue) and size < CAUGHT_UP:
            size += len(self._queue[count])
            count += 1
        pieces, self._queue = self._queue[:count], self._queue[count:]
        self._queued -= size
        self._cipher(memoryview(pieces[0] if count == 1 else b"".join(pieces)))
        self.flush()

    def _cipher(self, data: memoryview) -> None:
        try:
            done = self._tls.write(data)
            while done < len(data):
                done += self._tls.write(data[done:])
        except ssl.SSLError:
            self.drop()

    def hold(self, held: bool) -> None:
        """Whether to read no further for now."""
        if held != self._held:
            self._held = held
            self._watch()

    def close(self) -> None:
        """End when all is said."""
        if self._phase == "open":
            self._phase = "closing"
            self._host.closes(self)
            self.flush()

    def drop(self) -> None:
        """End at once."""
        phase, self._phase = self._phase, "gone"
        if phase == "gone":
            return
        if self.events:
            self._host.watch(self, 0)
        self.plug.close()
        self._host.gone(self)
        if phase in ("open", "closing"):
            self._host.say(frames.LOST, self.number)
