"""SPDY as a client sees it: its frames are understood, what is no SPDY ends the session."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proa.wire.kube.spdy import (
    DICTIONARY,
    MAX_FRAME,
    MAX_STREAMS,
    Data,
    Opened,
    Reset,
    SpdyError,
    SpdySession,
)

SYN_STREAM, SYN_REPLY, RST_STREAM, PING = 1, 2, 3, 6


class Peer:
    """The client's end: makes frames, and reads those of the session."""

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(9, zdict=DICTIONARY)
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)

    def control(self, kind: int, body: bytes, flags: int = 0, version: int = 3) -> bytes:
        return struct.pack(">HHI", 0x8000 | version, kind, flags << 24 | len(body)) + body

    def block(self, **headers: str) -> bytes:
        plain = struct.pack(">I", len(headers))
        for name, value in headers.items():
            for text in (name, value):
                plain += struct.pack(">I", len(text)) + text.encode()
        return self._deflate.compress(plain) + self._deflate.flush(zlib.Z_SYNC_FLUSH)

    def open(self, stream: int, flags: int = 0, **headers: str) -> bytes:
        body = struct.pack(">IIH", stream, 0, 0) + self.block(**headers)
        return self.control(SYN_STREAM, body, flags)

    def data(self, stream: int, data: bytes, flags: int = 0) -> bytes:
        return struct.pack(">II", stream, flags << 24 | len(data)) + data

    def headers_of(self, reply: bytes) -> bytes:
        return self._inflate.decompress(reply[12:])


def test_the_dictionary_is_the_one_of_the_draft() -> None:
    assert len(DICTIONARY) == 1423
    assert zlib.adler32(DICTIONARY) == 0xE3C6A7C2


def test_streams_are_opened_with_their_headers_and_carry_bytes_to_their_end() -> None:
    peer, session = Peer(), SpdySession()
    said = peer.open(1, streamType="data", port="80") + peer.data(1, b"ab") + peer.data(1, b"", 1)
    assert session.feed(said) == [
        Opened(1, {"streamtype": "data", "port": "80"}, False),
        Data(1, b"ab", False),
        Data(1, b"", True),
    ]
    assert session.feed(peer.data(1, b"late")) == []


@given(st.lists(st.binary(max_size=40), max_size=6), st.integers(1, 9))
def test_it_does_not_matter_how_bytes_are_cut(parts: list[bytes], size: int) -> None:
    peer, session = Peer(), SpdySession()
    said = peer.open(1, streamtype="data") + b"".join(peer.data(1, part) for part in parts)
    events = [
        event for at in range(0, len(said), size) for event in session.feed(said[at : at + size])
    ]
    assert [event.data for event in events[1:] if isinstance(event, Data)] == parts


def test_answers_share_one_compression_and_go_out_whole() -> None:
    peer, session = Peer(), SpdySession()
    session.feed(peer.open(1) + peer.open(3))
    first, second = session.reply(1, {"a": "b"}), session.reply(3, {"a": "b"})
    assert peer.headers_of(first) == peer.headers_of(second)
    assert first[:4] == b"\x80\x03\x00\x02"
    assert session.data(1, b"xy", finished=True) == peer.data(1, b"xy", 1)
    assert session.data(1, b"more") == b""


def test_large_data_goes_out_in_frames_that_would_be_taken_in() -> None:
    peer, session = Peer(), SpdySession()
    session.feed(peer.open(1))
    sent = session.data(1, b"z" * (MAX_FRAME + 1), finished=True)
    assert sent == peer.data(1, b"z" * MAX_FRAME) + peer.data(1, b"z", 1)


def test_pings_are_answered() -> None:
    peer, session = Peer(), SpdySession()
    ping = peer.control(PING, b"\0\0\0\7")
    assert session.feed(ping) == []
    assert session.drain() == ping
    assert session.drain() == b""


def test_a_stream_that_was_reset_is_silent() -> None:
    peer, session = Peer(), SpdySession()
    session.feed(peer.open(1))
    assert session.feed(peer.control(RST_STREAM, struct.pack(">II", 1, 5))) == [Reset(1)]
    assert session.data(1, b"x") == b""
    assert session.feed(peer.data(1, b"x")) == []


def test_streams_of_the_wrong_side_or_too_many_are_reset() -> None:
    peer, session = Peer(), SpdySession()
    assert session.feed(peer.open(2)) == []
    assert session.drain() == peer.control(RST_STREAM, struct.pack(">II", 2, 1))
    for number in range(MAX_STREAMS):
        assert session.feed(peer.open(2 * number + 1))
    over = 2 * MAX_STREAMS + 1
    assert session.feed(peer.open(over)) == []
    assert session.drain() == peer.control(RST_STREAM, struct.pack(">II", over, 3))


BOMB = zlib.compressobj(9, zdict=DICTIONARY)


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x80\x02\x00\x01\x00\x00\x00\x00",
        b"\x80\x03\x00\x01\x00\x00\x00\x02\x00\x00",
        b"\x80\x03\x00\x01\x00\x00\x00\x0c" + b"\0\0\0\1" + b"garbage!",
        struct.pack(">II", 1, MAX_FRAME + 1),
        b"\x80\x03\x00\x01"
        + struct.pack(">I", len(bomb := b"\0\0\0\1" + b"\0" * 6 + BOMB.compress(b"\0" * 9_000_000)
                                + BOMB.flush(zlib.Z_SYNC_FLUSH)))
        + bomb,
    ],
    ids=["http", "version", "short", "garbage", "large", "bomb"],
)  # fmt: skip
def test_what_is_no_spdy_ends_the_session(said: bytes) -> None:
    with pytest.raises(SpdyError):
        SpdySession().feed(said)
