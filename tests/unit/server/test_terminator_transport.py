"""A connection of the TLS terminator as the protocol above sees it; the test is the terminator."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import uvloop

from proa.base.http import Peer
from proa.server.terminator import frames
from proa.server.terminator.frames import KEPT_MAX, PAYLOAD_MAX, SPACE, Inbox, Keys, Opened, frame
from proa.server.terminator.link import SHARED_MIN, Link
from proa.server.terminator.transport import TerminatedTransport

DOOR = 7


class Said(asyncio.Protocol):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[object] = []
        self.paused = False
        self.stays = False  # after the client's end

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, TerminatedTransport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if data == b"bug":
            raise RuntimeError("a bug")
        if data == b"pause":
            self.transport.pause_reading()
        self.events.append(data)

    def eof_received(self) -> bool:
        self.events.append("end")
        return self.stays

    def connection_lost(self, exc: Exception | None) -> None:
        self.events.append(("lost", type(exc)) if exc else "lost")

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False


@dataclass
class Far:
    """The terminator's end of a link."""

    plug: socket.socket
    link: Link
    made: list[Said] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    inbox: Inbox = field(default_factory=Inbox)

    async def say(self, *said: bytes) -> None:
        """Send frames and let them be heard."""
        self.plug.sendall(b"".join(said))
        await _pass()

    async def opens(self, number: int) -> Said:
        """A connection that has been made."""
        opened = Opened(DOOR, "10.0.0.9", 4711, b"der").packed()
        await self.say(frame(frames.OPENED, number, opened))
        return self.made[-1]

    async def heard(self) -> list[tuple[int, int, bytes]]:
        """Frames that have come."""
        await _pass()
        found: list[tuple[int, int, bytes]] = []
        while True:
            try:
                size = self.plug.recv_into(self.inbox.space())
            except BlockingIOError:
                return found
            found += [(kind, number, bytes(data)) for kind, number, data in self.inbox.frames(size)]
            await _pass()


async def _pass() -> None:
    """A few turns of the loop, each of which looks at sockets."""
    for _ in range(4):
        await asyncio.sleep(0)


def linked(check: Callable[[Far], Awaitable[None]]) -> None:
    """Run ``check`` at the far end of a link that listens at one door, on either loop."""

    async def run() -> None:
        ours, theirs = socket.socketpair()
        ended: list[str] = []
        far = Far(theirs, Link(ours, lambda: ended.append("ended")), ended=ended)
        theirs.setblocking(False)

        def factory() -> Said:
            far.made.append(Said())
            return far.made[-1]

        with socket.socket() as listening:
            far.link.listen(DOOR, [listening], Keys(b"c", b"k", b"a"), factory)
            await _pass()
            message, descriptors, _, _ = socket.recv_fds(theirs, SPACE, 4)
            with socket.socket(fileno=descriptors[0]):
                assert message == frame(
                    frames.LISTEN, DOOR, b"\1" + Keys(b"c", b"k", b"a").packed()
                )
            await check(far)
        far.link.close()
        theirs.close()
        assert ended == ["ended"]

    uvloop.run(run())
    asyncio.run(run())


def test_a_connection_is_who_the_terminator_says_and_gives_back_what_it_writes() -> None:
    async def check(far: Far) -> None:
        one = await far.opens(1)
        two = await far.opens(2)
        assert one.transport.get_extra_info("peer") == Peer("10.0.0.9", b"der")
        assert one.transport.get_extra_info("peername") == ("10.0.0.9", 4711)
        await far.say(frame(frames.DATA, 2, b"b"), frame(frames.DATA, 1, b"a"))
        assert (one.events, two.events) == ([b"a"], [b"b"])
        one.transport.write(bytearray(b"first"))
        two.transport.writelines([b"", b"second", memoryview(b"third")])
        assert one.transport.get_write_buffer_size() == 5
        assert await far.heard() == [
            (frames.DATA, 1, b"first"), (frames.DATA, 2, b"second"), (frames.DATA, 2, b"third"),
        ]  # fmt: skip
        assert one.transport.get_write_buffer_size() == 0

    linked(check)


def test_much_comes_in_frames_of_some_and_pauses_who_writes_until_it_is_gone() -> None:
    much = bytes(range(256)) * 20_000

    async def check(far: Far) -> None:
        one, two = await far.opens(1), await far.opens(2)
        one.transport.set_write_buffer_limits(high=100_000)
        one.transport.write(much)
        two.transport.write(b"little")
        assert one.paused and not two.paused
        got = await far.heard()
        assert b"".join(data for _, number, data in got if number == 1) == much
        assert got[-1] == (frames.DATA, 2, b"little")
        assert not one.paused
        await far.say(frame(frames.FULL, 1))
        assert one.paused and not two.paused
        one.transport.write(b"more")
        assert await far.heard() == [(frames.DATA, 1, b"more")]
        assert one.paused
        await far.say(frame(frames.DRAINED, 1))
        assert not one.paused

    linked(check)


def test_what_several_write_alike_crosses_once_and_in_order() -> None:
    first, second = b"a" * SHARED_MIN, b"b" * SHARED_MIN
    little = b"c" * (SHARED_MIN - 1)
    large = b"x" * (PAYLOAD_MAX + 5)

    async def check(far: Far) -> None:
        many = [await far.opens(number) for number in (1, 2, 3)]
        for _ in range(2):  # what is kept is kept for one write
            for one in many:
                one.transport.writelines([first, second, little, large])
            many[0].transport.write(b"own")
            heard, kept = await far.heard(), {}
            got: dict[int, bytes] = {1: b"", 2: b"", 3: b""}
            for kind, number, payload in heard:
                if kind >= frames.KEEP:
                    kept[kind - frames.KEEP] = payload
                got[number] += kept[payload[0]] if kind == frames.AGAIN else payload
            alike = first + second + little + large
            assert got == {1: alike + b"own", 2: alike, 3: alike}
            assert sorted(kept.values()) == [first, second]
            assert sum(kind == frames.AGAIN for kind, _, _ in heard) == 4
        assert all(one.transport.get_write_buffer_size() == 0 for one in many)

    linked(check)


def test_only_so_many_pieces_are_kept_at_once() -> None:
    pieces = [b"%100d" % number for number in range(KEPT_MAX + 2)]

    async def check(far: Far) -> None:
        one, two = await far.opens(1), await far.opens(2)
        one.transport.writelines(pieces)
        two.transport.writelines(pieces)
        kinds = [kind for kind, _, _ in await far.heard()]
        assert [kind for kind in kinds if kind >= frames.KEEP] == [
            frames.KEEP + number for number in range(KEPT_MAX)
        ]
        assert kinds.count(frames.AGAIN) == KEPT_MAX and kinds.count(frames.DATA) == 4

    linked(check)


def test_after_a_pause_nothing_comes_and_then_all_in_its_order() -> None:
    async def check(far: Far) -> None:
        one = await far.opens(1)
        said = [b"a", b"pause", b"b", b"pause", b"c"]
        await far.say(*(frame(frames.DATA, 1, part) for part in said), frame(frames.END, 1))
        assert one.events == [b"a", b"pause"] and not one.transport.is_reading()
        one.transport.resume_reading()
        await far.say(frame(frames.DATA, 1, b"d"))
        assert one.events == [b"a", b"pause", b"b", b"pause"]
        one.transport.resume_reading()
        one.transport.resume_reading()
        await _pass()
        assert one.events == [*said, b"d", "end"]
        heard = [kind for kind, _, _ in await far.heard()]
        assert heard.count(frames.HOLD) == 2 and heard[-1] == frames.CLOSE
        await far.say(frame(frames.LOST, 1))
        assert one.events[-1] == "lost"

    linked(check)


def test_reading_goes_on_where_nothing_was_kept() -> None:
    async def check(far: Far) -> None:
        one = await far.opens(1)
        one.transport.pause_reading()
        one.transport.resume_reading()
        assert await far.heard() == [(frames.HOLD, 1, b""), (frames.GO, 1, b"")]

    linked(check)


def test_a_protocol_may_stay_after_the_clients_end_and_is_told_once() -> None:
    async def check(far: Far) -> None:
        one = await far.opens(1)
        one.stays = True
        await far.say(frame(frames.END, 1))
        one.transport.pause_reading()
        one.transport.resume_reading()
        one.transport.write(b"answer")
        one.transport.close()
        one.transport.close()
        one.transport.write(b"too late")
        heard = await far.heard()
        assert heard[-2:] == [(frames.DATA, 1, b"answer"), (frames.CLOSE, 1, b"")]
        assert one.events == ["end"] and one.transport.is_closing()

    linked(check)


def test_what_crosses_an_end_is_dropped() -> None:
    async def check(far: Far) -> None:
        one, two = await far.opens(1), await far.opens(2)
        one.transport.abort()
        one.transport.abort()
        two.transport.close()
        await far.say(*(frame(frames.DATA, number, b"x") for number in (1, 2, 3)))
        await far.say(frame(frames.LOST, 1), frame(frames.FULL, 3), frame(frames.END, 2))
        assert one.events == ["lost"] and two.events == []
        assert await far.heard() == [(frames.ABORT, 1, b""), (frames.CLOSE, 2, b"")]
        await far.say(frame(frames.LOST, 2))
        assert two.events == ["lost"]

    linked(check)


def test_the_client_of_a_port_that_was_closed_meanwhile_is_sent_away() -> None:
    async def check(far: Far) -> None:
        one = await far.opens(1)
        far.link.unlisten(DOOR)
        await far.say(frame(frames.OPENED, 2, Opened(DOOR, "::1", 1, b"").packed()))
        await far.say(frame(frames.DATA, 1, b"served on"))
        assert one.events == [b"served on"] and len(far.made) == 1
        assert await far.heard() == [(frames.UNLISTEN, DOOR, b""), (frames.ABORT, 2, b"")]

    linked(check)


def test_a_bug_of_one_connection_ends_that_alone() -> None:
    async def check(far: Far) -> None:
        one, two = await far.opens(1), await far.opens(2)
        await far.say(frame(frames.DATA, 1, b"bug"), frame(frames.DATA, 2, b"well"))
        assert one.events == ["lost"] and two.events == [b"well"]

    linked(check)


def test_a_bug_in_what_came_during_a_pause_ends_that_connection() -> None:
    async def check(far: Far) -> None:
        raised: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, said: raised.append(said))
        one = await far.opens(1)
        await far.say(*(frame(frames.DATA, 1, part) for part in (b"pause", b"bug", b"more")))
        one.transport.resume_reading()
        heard = [kind for kind, _, _ in await far.heard()]
        assert one.events == [b"pause", "lost"] and heard == [frames.HOLD, frames.ABORT]
        assert len(raised) == 1

    linked(check)


def test_a_client_whom_nobody_comes_to_serve_is_sent_away() -> None:
    async def check(far: Far) -> None:
        def broken() -> Said:
            raise RuntimeError("a bug")

        far.link._factories[DOOR] = broken
        opened = Opened(DOOR, "10.0.0.9", 4711, b"").packed()
        await far.say(frame(frames.OPENED, 1, opened), frame(frames.DATA, 1, b"hello"))
        assert await far.heard() == [(frames.ABORT, 1, b"")]

    linked(check)


def test_a_bug_of_one_connection_at_its_loss_keeps_the_link_from_nothing() -> None:
    async def check(far: Far) -> None:
        raised: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, said: raised.append(said))

        def broken(_error: Exception | None) -> None:
            raise RuntimeError("a bug")

        one, two = await far.opens(1), await far.opens(2)
        one.connection_lost = broken  # type: ignore[method-assign]
        far.plug.close()
        await _pass()
        assert two.events == [("lost", ConnectionResetError)] and far.ended == ["ended"]
        assert len(raised) == 1

    linked(check)


def test_all_connections_are_lost_with_the_link() -> None:
    async def check(far: Far) -> None:
        one, two = await far.opens(1), await far.opens(2)
        two.transport.close()
        far.plug.close()
        await _pass()
        one.transport.write(b"nobody hears it")
        assert one.events == two.events == [("lost", ConnectionResetError)]
        assert far.ended == ["ended"]

    linked(check)


def test_nonsense_ends_the_link() -> None:
    async def check(far: Far) -> None:
        one = await far.opens(1)
        await far.say(b"\xff" * 20)
        assert one.events == [("lost", ConnectionResetError)] and far.ended == ["ended"]

    linked(check)


def _limits(transport: Any) -> tuple[int, int]:
    return transport.get_write_buffer_limits()  # type: ignore[no-any-return]


def test_write_limits_are_those_of_any_transport() -> None:
    async def check(far: Far) -> None:
        transport = (await far.opens(1)).transport
        transport.set_write_buffer_limits(high=400)
        assert _limits(transport) == (100, 400)
        transport.set_write_buffer_limits(low=50)
        assert _limits(transport) == (50, 200)
        assert transport.can_write_eof() is False

    linked(check)
