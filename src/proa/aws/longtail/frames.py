"""What the control plane and the moto worker say to each other over their socket.

A frame is the lengths of its two parts, a head (JSON of one of the structs below), and a body
of raw bytes. Both ends read frames with ``read_head`` and the lengths of ``PREFIX``.
"""

from __future__ import annotations

import struct

import msgspec

PREFIX = struct.Struct("<II")  # bytes of the head, bytes of the body
MAX_HEAD = 1024 * 1024
MAX_BODY = 80 * 1024 * 1024


class Call(msgspec.Struct, frozen=True):
    """A request for moto. ``host`` is AWS's name of the endpoint, ``target`` path and query as
    sent; ``mutates`` says whether the state must be kept before the answer is given; ``origin``
    (``http://127.0.0.1:4566``) is where the caller reached the service, for answers that hold
    URLs."""

    id: int
    service: str
    host: str
    method: str
    target: str
    headers: dict[str, str]
    account: str
    mutates: bool
    origin: str = ""


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """An answer to the call of the same id. ``failure`` is set instead of a status where moto
    gave none: ``unserved`` (it has no such service or operation), ``unreadable`` (the state of
    the service could not be read back) or ``failed``; ``text`` then says more. The worker's
    first frame has id 0: it is ready."""

    id: int
    status: int = 0
    headers: dict[str, str] = {}
    failure: str = ""
    text: str = ""


_decode_call = msgspec.json.Decoder(Call).decode
_decode_answer = msgspec.json.Decoder(Answer).decode
_encode = msgspec.json.Encoder().encode


def frame(head: Call | Answer, body: bytes) -> bytes:
    """The bytes of one frame."""
    text = _encode(head)
    return PREFIX.pack(len(text), len(body)) + text + body


def sizes(prefix: bytes) -> tuple[int, int]:
    """Bytes of head and body that follow a prefix; asserts that they are within bounds."""
    head, body = PREFIX.unpack(prefix)
    assert head <= MAX_HEAD and body <= MAX_BODY, "no frame of ours"
    return head, body


def read_call(head: bytes) -> Call:
    """The head of a frame to the worker."""
    return _decode_call(head)


def read_answer(head: bytes) -> Answer:
    """The head of a frame from the worker."""
    return _decode_answer(head)
