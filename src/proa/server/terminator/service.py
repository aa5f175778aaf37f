"""The TLS terminator's process: ``python -m proa.server.terminator.service``, its link as stdin.

One thread over one selector: it accepts connections at the sockets that the control plane hands
it, and carries frames between those and the link. What is ready at once is said in one write. The
link blocks: while the control plane is busy, clients wait in the kernel's buffers. It ends when the
link does, and by nothing else, so that an end of all processes lets answers under way go out.
"""

from __future__ import annotations

import array
import contextlib
import errno
import os
import selectors
import signal
import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import islice
from selectors import EVENT_READ
from ssl import SSLContext

from proa.server.terminator import frames
from proa.server.terminator.client import READ, Client
from proa.server.terminator.contexts import context_of
from proa.server.terminator.frames import HEAD, Inbox, Keys
from proa.server.terminator.yielding import Yielding

SHAKE_S = 60.0  # for a handshake
CLOSE_S = 30.0  # for a client to read what is left for it
LINGER_S = 2.0  # for a client's last words
PAUSE_S = 1.0  # when no more connections can be had
ACCEPTED_AT_ONCE = 64
CAUGHT_UP_AT_ONCE = 8
SAID_AT_ONCE = 256 * 1024
SOCKETS_MAX = 16  # of one port
_DESCRIPTORS = socket.CMSG_SPACE(SOCKETS_MAX * array.array("i").itemsize)


class Waits:
    """Whose time runs out: all have the same, so the first to come is the first to go."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until: dict[object, tuple[float, Callable[[], None]]] = {}

    def add(self, who: object, then: Callable[[], None]) -> None:
        """``then`` is called unless ``drop`` comes first."""
        self._until[who] = (_now() + self._seconds, then)

    def drop(self, who: object) -> None:
        """Nothing is due any more."""
        self._until.pop(who, None)

    def next(self) -> float | None:
        """When to come again."""
        return next(iter(self._until.values()))[0] if self._until else None

    def pass_to(self, now: float) -> None:
        """Call those whose time is over."""
        while self._until:
            who, (until, then) = next(iter(self._until.items()))
            if until > now:
                return
            del self._until[who]
            then()


@dataclass(slots=True, eq=False)
class Port:
    """The sockets at which one cluster's clients are expected."""

    number: int
    context: SSLContext
    sockets: list[socket.socket]
    accepting: bool = False


class Service:
    """See the module's first lines."""

    def __init__(self, link: socket.socket) -> None:
        self.space = memoryview(bytearray(READ))
        self._link, self._inbox = link, Inbox()
        self._selector = selectors.DefaultSelector()
        self._selector.register(link, EVENT_READ, self._hear)
        self._said: list[bytes] = []
        self._said_size = 0
        self._handed: deque[int] = deque()  # descriptors that their frames have not come for
        self._ports: dict[int, Port] = {}
        self._clients: dict[int, Client] = {}
        self._kept = [b""] * frames.KEPT_MAX  # what comes again for other clients
        self._behind: dict[Client, None] = {}  # with something that can wait
        self._last_number = 0
        self._shaking, self._closing = Waits(SHAKE_S), Waits(CLOSE_S)
        self._lingering, self._pausing = Waits(LINGER_S), Waits(PAUSE_S)
        self._waits = (self._shaking, self._closing, self._lingering, self._pausing)
        self._yielding = Yielding(os.getpriority(os.PRIO_PROCESS, 0))
        self._linked = True

    def run(self) -> None:
        """Serve until the link ends."""
        while self._linked:
            times = [at for waits in self._waits if (at := waits.next()) is not None]
            timeout = max(0.0, min(times) - _now()) if times else None
            if self._behind:
                timeout = 0
            self._yielding.look(len(self._behind))
            for key, events in self._selector.select(timeout):
                key.data(events)
            if times:
                now = _now()
                for waits in self._waits:
                    waits.pass_to(now)
            for client in list(islice(self._behind, CAUGHT_UP_AT_ONCE)) if self._behind else ():
                del self._behind[client]
                client.catch_up()
            if self._said:
                self._utter()
        for client in list(self._clients.values()):
            client.drop()
        for number in list(self._ports):
            self._unlisten(number)
        self._selector.close()

    # What clients ask of it

    def say(self, kind: int, number: int, payload: bytes = b"") -> None:
        """See ``Host``."""
        self._said.append(HEAD.pack(len(payload), kind, number))
        self._said.append(payload)
        self._said_size += len(payload)
        if self._said_size > SAID_AT_ONCE:
            self._utter()

    def watch(self, client: Client, events: int) -> None:
        """See ``Host``."""
        if not events:
            self._selector.unregister(client.plug)
        elif client.events:
            self._selector.modify(client.plug, events, client.ready)
        else:
            self._selector.register(client.plug, events, client.ready)
        client.events = events

    def shaken(self, client: Client) -> None:
        """See ``Host``."""
        self._shaking.drop(client)

    def later(self, client: Client) -> None:
        """See ``Host``."""
        self._behind[client] = None

    def closes(self, client: Client) -> None:
        """See ``Host``."""
        self._closing.add(client, client.drop)

    def lingers(self, client: Client) -> None:
        """See ``Host``."""
        self._closing.drop(client)
        self._lingering.add(client, client.drop)

    def gone(self, client: Client) -> None:
        """See ``Host``."""
        self._clients.pop(client.number, None)
        for waits in (self._shaking, self._closing, self._lingering):
            waits.drop(client)

    # The link

    def _utter(self) -> None:
        said, self._said, self._said_size = self._said, [], 0
        try:
            self._link.sendall(b"".join(said))
        except OSError:
            self._linked = False

    def _hear(self, _events: int) -> None:
        try:
            size, ancillary, _, _ = self._link.recvmsg_into([self._inbox.space()], _DESCRIPTORS)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            size, ancillary = 0, []
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                descriptors = array.array("i")
                descriptors.frombytes(content[: len(content) - len(content) % 4])
                self._handed.extend(descriptors)
        if not size:
            self._linked = False
            return
        written: dict[Client, None] = {}
        for kind, number, payload in self._inbox.frames(size):
            client = self._clients.get(number)
            if kind == frames.DATA:
                if client is not None and client.write(payload):
                    written[client] = None
            elif kind == frames.AGAIN:
                if client is not None:
                    client.keep(self._kept[payload[0]])
            elif kind >= frames.KEEP:
                piece = self._kept[kind - frames.KEEP] = bytes(payload)
                if client is not None:
                    client.keep(piece)
            elif kind == frames.LISTEN:
                self._listen(number, bytes(payload))
            elif kind == frames.UNLISTEN:
                self._unlisten(number)
            elif client is not None:
                self._obey(client, kind)
        for client in written:
            client.flush()

    def _obey(self, client: Client, kind: int) -> None:
        if kind == frames.CLOSE:
            client.close()
        elif kind == frames.ABORT:
            client.drop()
        else:
            client.hold(kind == frames.HOLD)

    # Ports

    def _listen(self, number: int, payload: bytes) -> None:
        count, keys = payload[0], Keys.read(payload[1:])
        sockets = [socket.socket(fileno=self._handed.popleft()) for _ in range(count)]
        port = self._ports[number] = Port(number, context_of(keys), sockets)
        for listening in sockets:
            listening.setblocking(False)
        self._resume(port)

    def _resume(self, port: Port) -> None:
        port.accepting = True
        for listening in port.sockets:
            accept = partial(self._accept, port, listening)
            self._selector.register(listening, EVENT_READ, accept)

    def _pause(self, port: Port) -> None:
        port.accepting = False
        for listening in port.sockets:
            self._selector.unregister(listening)

    def _unlisten(self, number: int) -> None:
        port = self._ports.pop(number, None)
        if port is None:
            return
        self._pausing.drop(port)
        if port.accepting:
            self._pause(port)
        for listening in port.sockets:
            listening.close()

    def _accept(self, port: Port, listening: socket.socket, _events: int) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            if not port.accepting:
                return
            try:
                plug, address = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionError):
                return
            except OSError as error:
                if error.errno == errno.EINVAL:  # it listens no more: ``UNLISTEN`` is on its way
                    self._pause(port)
                    return
                # No descriptors, or no memory: some may come back.
                self.say(frames.STARVED, port.number, str(error).encode())
                self._pause(port)
                self._pausing.add(port, partial(self._resume, port))
                return
            plug.setblocking(False)
            with contextlib.suppress(OSError):  # of a client that has left
                plug.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                plug.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._last_number += 1
            client = Client(self, self._last_number, port.number, port.context, plug, address[:2])
            self._clients[client.number] = client
            self._shaking.add(client, client.drop)


def _now() -> float:
    """Seconds; ``base.clock`` would bring asyncio into this small process."""
    return time.monotonic()  # noqa: TID251


def main() -> None:
    """Serve the link at standard input."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    Service(socket.socket(fileno=os.dup(0))).run()


if __name__ == "__main__":
    main()
