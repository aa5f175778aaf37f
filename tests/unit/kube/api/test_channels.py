"""exec and attach as each client speaks them: one agent's way behind every protocol."""

from __future__ import annotations

import asyncio
import base64
import json

import pytest

from proa.base.clock import run_virtual
from proa.base.errors import CallerFault
from proa.kube.api.channels import (
    CLOSE,
    ERROR,
    STDERR,
    STDIN,
    STDOUT,
    SpdyChannels,
    WebSocketChannels,
    join,
    status_text,
)
from tests.unit.kube.api.streaming import SpdyPeer, Wire

ALL = (STDIN, STDOUT, STDERR)
DONE = json.dumps({"status": "Success"}).encode()
FAILED = json.dumps({"status": "Failure", "message": "exit status 7"}).encode()


def message(channel: int, data: bytes = b"") -> bytes:
    return bytes([channel]) + data


async def conversation(client: WebSocketChannels | SpdyChannels, agent: Wire) -> None:
    """The agent says a line on both outputs, ends by a failure and closes."""
    await client.open()
    joined = asyncio.ensure_future(join(client, agent))
    await asyncio.sleep(0.1)
    agent.says(message(STDOUT, b"out"), message(STDERR, b"err"), message(ERROR, FAILED), None)
    await joined


@pytest.mark.parametrize(
    ("protocol", "said", "error"),
    [
        ("v5.channel.k8s.io", message(STDIN, b"in"), message(ERROR, FAILED)),
        ("v4.channel.k8s.io", message(STDIN, b"in"), message(ERROR, FAILED)),
        ("channel.k8s.io", message(STDIN, b"in"), message(ERROR, b"exit status 7")),
        ("", message(STDIN, b"in"), message(ERROR, b"exit status 7")),
        ("v4.base64.channel.k8s.io", b"0" + base64.b64encode(b"in"),
         b"3" + base64.b64encode(FAILED)),
        ("base64.channel.k8s.io", b"0" + base64.b64encode(b"in"),
         b"3" + base64.b64encode(b"exit status 7")),
    ],
)  # fmt: skip
def test_every_websocket_protocol_carries_the_same(
    protocol: str, said: bytes, error: bytes
) -> None:
    async def run() -> None:
        wire, agent = Wire(), Wire()
        wire.says(said)
        await conversation(WebSocketChannels(wire, protocol, ALL), agent)
        assert agent.heard() == [message(STDIN, b"in")]
        heard = wire.heard()
        assert len(heard) == 4  # the first is empty and says that the connection stands
        assert heard[-1] == error

    run_virtual(run())


def test_only_version_5_tells_that_standard_input_has_ended() -> None:
    async def run() -> None:
        for protocol, wanted in (
            ("v5.channel.k8s.io", [message(CLOSE, b"\0")]),
            ("v4.channel.k8s.io", []),
        ):
            wire, agent = Wire(), Wire()
            wire.says(message(CLOSE, b"\0"))
            await conversation(WebSocketChannels(wire, protocol, ALL), agent)
            assert agent.heard() == wanted

    run_virtual(run())


def test_channels_that_were_not_asked_for_are_not_sent() -> None:
    async def run() -> None:
        wire, agent = Wire(), Wire()
        await conversation(WebSocketChannels(wire, "v4.channel.k8s.io", (STDOUT,)), agent)
        assert {heard[0] for heard in wire.heard()} == {STDOUT, ERROR}

    run_virtual(run())


def test_a_client_that_leaves_ends_the_agents_side() -> None:
    async def run() -> None:
        wire, agent = Wire(), Wire()
        wire.says(None)
        await asyncio.wait_for(join(WebSocketChannels(wire, "v5.channel.k8s.io", ALL), agent), 5)
        assert agent.outwards.get_nowait() is None

    run_virtual(run())


def opening(peer: SpdyPeer) -> bytes:
    kinds = ("error", "stdin", "stdout", "stderr")
    return b"".join(peer.open(2 * at + 1, streamtype=kind) for at, kind in enumerate(kinds))


@pytest.mark.parametrize(
    ("protocol", "error"), [("v4.channel.k8s.io", FAILED), ("channel.k8s.io", b"exit status 7")]
)
def test_spdy_has_a_stream_for_each_channel(protocol: str, error: bytes) -> None:
    async def run() -> None:
        wire, agent, peer = Wire(), Wire(), SpdyPeer()
        wire.says(opening(peer) + peer.data(3, b"in") + peer.data(3, b"", last=True))
        await conversation(SpdyChannels(wire, protocol, ALL), agent)
        assert agent.heard() == [message(STDIN, b"in"), message(CLOSE, b"\0")]
        streams = peer.streams(b"".join(wire.heard()))
        assert streams == {
            1: (error, True), 3: (b"", True), 5: (b"out", True), 7: (b"err", True),
        }  # fmt: skip

    run_virtual(run())


def test_spdy_resizes_come_as_lines_however_they_are_cut() -> None:
    async def run() -> None:
        wire, peer = Wire(), SpdyPeer()
        channels = SpdyChannels(wire, "v4.channel.k8s.io", (STDOUT, 4))
        wire.says(
            peer.open(1, streamtype="error") + peer.open(3, streamtype="stdout")
            + peer.open(5, streamtype="resize"),
            peer.data(5, b'{"Width":80,'), peer.data(5, b'"Height":24}\n{"Wid'), None,
        )  # fmt: skip
        await channels.open()
        assert await channels.receive() == b'\4{"Width":80,"Height":24}'
        assert await channels.receive() is None

    run_virtual(run())


def test_a_spdy_client_that_does_not_open_its_streams_is_given_up() -> None:
    async def run() -> None:
        wire, peer = Wire(), SpdyPeer()
        wire.says(peer.open(1, streamtype="error"))
        with pytest.raises(CallerFault, match="timed out waiting for client to create streams"):
            await SpdyChannels(wire, "v4.channel.k8s.io", ALL).open()

    run_virtual(run())


def test_success_has_no_text() -> None:
    assert status_text(DONE) == b""
    assert status_text(b"no json") == b"no json"
