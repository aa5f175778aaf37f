"""Frames between the TLS terminator and the control plane."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proa.server.terminator import frames
from proa.server.terminator.frames import HEAD, PAYLOAD_MAX, Inbox, Keys, Opened, frame

FRAMES = st.lists(
    st.tuples(st.integers(1, 13), st.integers(0, 2**32 - 1), st.binary(max_size=3000)), max_size=60
)


def _heard(inbox: Inbox, said: bytes, pieces: list[int]) -> list[tuple[int, int, bytes]]:
    """What an inbox understands of bytes that come in pieces of these sizes, again and again."""
    found: list[tuple[int, int, bytes]] = []
    at = turn = 0
    while at < len(said):
        space = inbox.space()
        part = said[at : at + min(pieces[turn % len(pieces)], len(space))]
        assert part, "there is always space for more"
        space[: len(part)] = part
        found += [
            (kind, number, bytes(content)) for kind, number, content in inbox.frames(len(part))
        ]
        at += len(part)
        turn += 1
    return found


@given(FRAMES, st.lists(st.integers(1, 5000), min_size=1, max_size=5), st.integers(1, 10_000))
def test_frames_come_whole_however_they_are_cut(
    said: list[tuple[int, int, bytes]], pieces: list[int], at_once: int
) -> None:
    assert _heard(Inbox(at_once), b"".join(frame(*one) for one in said), pieces) == said


def test_the_largest_frames_fit_one_after_the_other() -> None:
    said = [(frames.DATA, number, bytes([number]) * PAYLOAD_MAX) for number in range(20)]
    assert _heard(Inbox(), b"".join(frame(*one) for one in said), [1 << 20]) == said


def test_a_payload_that_is_too_large_is_neither_sent_nor_taken() -> None:
    with pytest.raises(ValueError, match="holds"):
        frame(frames.DATA, 1, b"x" * (PAYLOAD_MAX + 1))
    inbox = Inbox()
    head = HEAD.pack(PAYLOAD_MAX + 1, frames.DATA, 1)
    inbox.space()[: len(head)] = head
    with pytest.raises(ValueError, match="out of step"):
        list(inbox.frames(len(head)))


@given(
    st.integers(0, 2**32 - 1), st.sampled_from(["", "127.0.0.1", "fe80::1"]),
    st.integers(0, 65535), st.binary(max_size=2000),
)  # fmt: skip
def test_who_connected_is_understood(door: int, address: str, port: int, der: bytes) -> None:
    opened = Opened(door, address, port, der)
    assert Opened.read(opened.packed()) == opened


@given(st.binary(max_size=500), st.binary(max_size=500), st.binary(max_size=500))
def test_keys_are_understood(certificate: bytes, key: bytes, authority: bytes) -> None:
    keys = Keys(certificate, key, authority)
    assert Keys.read(keys.packed()) == keys
