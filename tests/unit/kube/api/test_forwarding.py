"""port-forward over one SPDY session: connections side by side, errors on their own stream."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from proa.base.clock import run_virtual
from proa.base.errors import CallerFault
from proa.base.http import Socket
from proa.kube.api.forwarding import Forwarder
from tests.unit.kube.api.streaming import SpdyPeer, Wire


class Ports:
    """A pod that listens on 80; each connection is a Wire."""

    def __init__(self) -> None:
        self.connections: list[Wire] = []

    async def dial(self, port: int) -> Socket:
        if port != 80:
            raise CallerFault(f"failed to connect to localhost:{port} inside the pod")
        self.connections.append(Wire())
        return self.connections[-1]


def forwarding(check: Callable[[Wire, SpdyPeer, Ports], Awaitable[None]]) -> None:
    async def run() -> None:
        wire, peer, ports = Wire(), SpdyPeer(), Ports()
        task = asyncio.ensure_future(Forwarder(wire, ports.dial, "web, uid u").run())
        await check(wire, peer, ports)
        wire.says(None)
        await asyncio.wait_for(task, 5)

    run_virtual(run())


def pair(peer: SpdyPeer, first: int, port: str = "80", id: str = "0") -> bytes:
    named = {"port": port, "requestid": id}
    return peer.open(first, streamtype="error", **named) + peer.open(
        first + 2, streamtype="data", **named
    )


def streams(wire: Wire) -> dict[int, tuple[bytes, bool]]:
    return SpdyPeer.streams(b"".join(wire.heard()))


def test_bytes_go_both_ways_and_each_direction_ends_by_itself() -> None:
    async def check(wire: Wire, peer: SpdyPeer, ports: Ports) -> None:
        wire.says(pair(peer, 1) + peer.data(3, b"ask") + peer.data(3, b"", last=True))
        await asyncio.sleep(0.1)
        (pod,) = ports.connections
        assert pod.heard() == [b"ask", b""]  # an empty message: nothing more from the client
        pod.says(b"answer", None)
        await asyncio.sleep(0.1)
        assert streams(wire) == {1: (b"", True), 3: (b"answer", True)}

    forwarding(check)


def test_connections_run_side_by_side() -> None:
    async def check(wire: Wire, peer: SpdyPeer, ports: Ports) -> None:
        wire.says(pair(peer, 1, id="a") + pair(peer, 5, id="b"))
        wire.says(peer.data(7, b"second") + peer.data(3, b"first"))
        await asyncio.sleep(0.1)
        assert [pod.heard() for pod in ports.connections] == [[b"first"], [b"second"]]
        ports.connections[1].says(b"2", None)
        await asyncio.sleep(0.1)
        assert streams(wire) == {5: (b"", True), 7: (b"2", True)}

    forwarding(check)


def test_what_cannot_be_reached_is_told_on_the_error_stream() -> None:
    async def check(wire: Wire, peer: SpdyPeer, ports: Ports) -> None:
        wire.says(pair(peer, 1, port="99"))
        await asyncio.sleep(0.1)
        said = streams(wire)
        assert said[1] == (
            b"error forwarding port 99 to pod web, uid u: failed to connect to localhost:99 "
            b"inside the pod", True,
        )  # fmt: skip
        assert said[3] == (b"", True)

    forwarding(check)


def test_streams_that_make_no_sense_are_reset_and_the_session_goes_on() -> None:
    async def check(wire: Wire, peer: SpdyPeer, ports: Ports) -> None:
        for at, port in enumerate(("x", "0", "65536")):
            wire.says(peer.open(2 * at + 1, streamtype="data", port=port))
        wire.says(peer.open(7, streamtype="odd", port="80"))
        wire.says(pair(peer, 9) + peer.data(11, b"ask"))
        await asyncio.sleep(0.1)
        assert [pod.heard() for pod in ports.connections] == [[b"ask"]]
        assert b"".join(wire.heard()).count(b"\x80\x03\x00\x03") == 4

    forwarding(check)


def test_a_slow_pod_holds_its_client_back_until_it_goes() -> None:
    async def check(wire: Wire, peer: SpdyPeer, ports: Ports) -> None:
        wire.says(pair(peer, 1))
        for _ in range(100):
            wire.says(peer.data(3, b"x"))
        await asyncio.sleep(0.1)
        ports.connections[0].says(None)
        await asyncio.sleep(0.1)
        wire.says(pair(peer, 5, id="1") + peer.data(7, b"next"))
        await asyncio.sleep(0.1)
        assert ports.connections[1].heard() == [b"next"]

    forwarding(check)


def test_nonsense_ends_the_session_and_its_connections() -> None:
    async def run() -> None:
        wire, peer, ports = Wire(), SpdyPeer(), Ports()
        wire.says(pair(peer, 1), b"GET / HTTP/1.1\r\n\r\n")
        await asyncio.wait_for(Forwarder(wire, ports.dial, "web").run(), 5)
        assert all(pod.outwards.get_nowait() is None for pod in ports.connections)

    run_virtual(run())
