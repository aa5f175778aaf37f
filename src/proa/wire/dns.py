"""DNS messages: queries in, responses out, no I/O.

``serve.dns`` answers with it and reads what other resolvers answered. What is implemented of RFC
1035: A, AAAA, CNAME, NS, PTR, SOA, TXT; of RFC 2782: SRV; of RFC 6891: the OPT record's size. A
malformed message raises ValueError and nothing else; decompression cannot loop.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

TYPES = {
    "A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "PTR": 12, "TXT": 16, "AAAA": 28, "SRV": 33,
    "OPT": 41, "ANY": 255,
}  # fmt: skip
NAMES = {number: name for name, number in TYPES.items()}
NO_ERROR, FORMAT_ERROR, SERVER_FAILURE, NAME_ERROR, NOT_IMPLEMENTED = 0, 1, 2, 3, 4
INTERNET = 1
PLAIN_UDP_BYTES = 512  # RFC 1035 4.2.1, for clients without EDNS
EDNS_BYTES = 1232  # what fits every path unfragmented (DNS flag day 2020)
TCP_BYTES = 65535

_HEADER = struct.Struct(">HHHHHH")
_RESPONSE, _AUTHORITATIVE, _TRUNCATED = 0x8000, 0x0400, 0x0200
_RECURSION_DESIRED, _RECURSION_AVAILABLE = 0x0100, 0x0080
_MAX_NAME = 255
_MAX_POINTERS = 64


@dataclass(slots=True, frozen=True)
class Query:
    """One question. ``name`` is lower case without the final dot; ``question`` are its bytes as
    sent, to be echoed; ``udp_bytes`` is how large an answer over UDP may be."""

    id: int
    name: str
    type: int
    question: bytes
    recursion_desired: bool = True
    edns: bool = False
    udp_bytes: int = PLAIN_UDP_BYTES
    opcode: int = 0
    dns_class: int = INTERNET


@dataclass(slots=True, frozen=True)
class Answer:
    """A resource record. ``data`` is text: an address, a name, "priority weight port target"
    (SRV), "mname rname serial refresh retry expire minimum" (SOA), or the text itself (TXT)."""

    name: str
    type: str
    data: str
    ttl_s: int = 5


@dataclass(slots=True, frozen=True)
class Reply:
    """What to say to a query."""

    code: int = NO_ERROR
    answers: tuple[Answer, ...] = ()
    authority: tuple[Answer, ...] = ()
    additional: tuple[Answer, ...] = ()
    authoritative: bool = True


def encode_name(name: str) -> bytes:
    """A name as labels; raises ValueError where a label or the name is too long."""
    if not name:
        return b"\0"
    encoded = bytearray()
    for label in name.split("."):
        raw = label.encode("ascii", "surrogateescape")
        if not 0 < len(raw) < 64:
            raise ValueError(f"label of {len(raw)} bytes in a name")
        encoded += bytes([len(raw)]) + raw
    if len(encoded) >= _MAX_NAME:
        raise ValueError("name of more than 255 bytes")
    return bytes(encoded) + b"\0"


def _read_name(message: bytes, offset: int) -> tuple[str, int]:
    """A name, and where it ends; pointers are followed a bounded number of times."""
    labels: list[str] = []
    end = -1
    size = 0
    for _ in range(_MAX_NAME + _MAX_POINTERS):
        length = _byte(message, offset)
        if length == 0:
            return ".".join(labels).lower(), end if end >= 0 else offset + 1
        if length >= 0xC0:
            end = offset + 2 if end < 0 else end
            offset = (length & 0x3F) << 8 | _byte(message, offset + 1)
            continue
        size += length + 1
        if length >= 0x40 or size >= _MAX_NAME or offset + 1 + length > len(message):
            raise ValueError("malformed name")
        label = message[offset + 1 : offset + 1 + length]
        labels.append(label.decode("ascii", "surrogateescape"))
        offset += 1 + length
    raise ValueError("name does not end")


def _byte(message: bytes, offset: int) -> int:
    if offset >= len(message):
        raise ValueError("message ends early")
    return message[offset]


def parse_query(message: bytes) -> Query:
    """Read a query with one question; raises ValueError for anything else."""
    if len(message) < _HEADER.size:
        raise ValueError("message ends early")
    id, flags, questions, answers, authority, additional = _HEADER.unpack_from(message)
    if flags & _RESPONSE or questions != 1:
        raise ValueError("not a query with one question")
    name, end = _read_name(message, _HEADER.size)
    if end + 4 > len(message):
        raise ValueError("message ends early")
    kind, dns_class = struct.unpack_from(">HH", message, end)
    udp_bytes, edns = PLAIN_UDP_BYTES, False
    if answers + authority + additional:
        for record in _records(message, end + 4, min(answers + authority + additional, 8)):
            if record.kind == TYPES["OPT"]:
                edns = True
                udp_bytes = min(max(record.dns_class, PLAIN_UDP_BYTES), EDNS_BYTES)
    return Query(
        id=id,
        name=name,
        type=kind,
        question=message[_HEADER.size : end + 4],
        recursion_desired=bool(flags & _RECURSION_DESIRED),
        edns=edns,
        udp_bytes=udp_bytes,
        opcode=flags >> 11 & 0xF,
        dns_class=dns_class,
    )


@dataclass(slots=True, frozen=True)
class _Raw:
    name: str
    kind: int
    dns_class: int
    ttl_s: int
    start: int
    end: int


def _records(message: bytes, offset: int, count: int) -> list[_Raw]:
    found = []
    for _ in range(count):
        name, offset = _read_name(message, offset)
        if offset + 10 > len(message):
            raise ValueError("message ends early")
        kind, dns_class, ttl_s, size = struct.unpack_from(">HHIH", message, offset)
        offset += 10
        if offset + size > len(message):
            raise ValueError("message ends early")
        found.append(_Raw(name, kind, dns_class, ttl_s, offset, offset + size))
        offset += size
    return found


def parse_answers(message: bytes) -> tuple[int, tuple[Answer, ...]]:
    """The response code and the answers of known types; raises ValueError."""
    if len(message) < _HEADER.size:
        raise ValueError("message ends early")
    _id, flags, questions, answers, _authority, _additional = _HEADER.unpack_from(message)
    if not flags & _RESPONSE:
        raise ValueError("not a response")
    offset = _HEADER.size
    for _ in range(min(questions, 8)):
        _, offset = _read_name(message, offset)
        offset += 4
    found = []
    for raw in _records(message, offset, answers):
        data = _read_data(message, raw)
        if data is not None:
            found.append(Answer(raw.name, NAMES[raw.kind], data, raw.ttl_s))
    return flags & 0xF, tuple(found)


def _read_data(message: bytes, raw: _Raw) -> str | None:
    body = message[raw.start : raw.end]
    kind = NAMES.get(raw.kind)
    if kind == "A":
        return str(IPv4Address(body))
    if kind == "AAAA":
        return str(IPv6Address(body))
    if kind in ("CNAME", "PTR", "NS"):
        return _read_name(message, raw.start)[0]
    if kind == "SRV" and len(body) > 6:
        numbers = struct.unpack_from(">HHH", body)
        return " ".join([*map(str, numbers), _read_name(message, raw.start + 6)[0]])
    if kind == "TXT":
        return _read_text(body)
    return None


def _read_text(body: bytes) -> str:
    parts, offset = [], 0
    while offset < len(body):
        size = body[offset]
        parts.append(body[offset + 1 : offset + 1 + size])
        offset += 1 + size
    return b"".join(parts).decode("utf-8", "replace")


def _data(answer: Answer) -> bytes:
    if answer.type == "A":
        return IPv4Address(answer.data).packed
    if answer.type == "AAAA":
        return IPv6Address(answer.data).packed
    if answer.type == "TXT":
        raw = answer.data.encode()
        parts = [raw[at : at + 255] for at in range(0, len(raw), 255)] or [b""]
        return b"".join(bytes([len(part)]) + part for part in parts)
    if answer.type == "SRV":
        priority, weight, port, target = answer.data.split()
        return struct.pack(">HHH", int(priority), int(weight), int(port)) + encode_name(target)
    if answer.type == "SOA":
        primary, mailbox, *numbers = answer.data.split()
        return encode_name(primary) + encode_name(mailbox) + struct.pack(">5I", *map(int, numbers))
    return encode_name(answer.data)


def _encode_record(answer: Answer, asked: str) -> bytes:
    name = b"\xc0\x0c" if answer.name == asked else encode_name(answer.name)
    data = _data(answer)
    return name + struct.pack(">HHIH", TYPES[answer.type], INTERNET, answer.ttl_s, len(data)) + data


def encode_reply(query: Query, reply: Reply, limit: int) -> bytes:
    """The response in at most ``limit`` bytes: first without additional records, then truncated
    to none, with the flag that sends the client to TCP."""
    options = b"\0" + struct.pack(">HHIH", TYPES["OPT"], EDNS_BYTES, reply.code >> 4 << 24, 0)
    extra = [options] if query.edns else []
    parts = [
        [_encode_record(answer, query.name) for answer in section]
        for section in (reply.answers, reply.authority, reply.additional)
    ]
    flags = _RESPONSE | query.opcode << 11 | _RECURSION_AVAILABLE | reply.code & 0xF
    flags |= _AUTHORITATIVE if reply.authoritative else 0
    flags |= _RECURSION_DESIRED if query.recursion_desired else 0
    for sections, mark in ((parts, 0), ([*parts[:2], []], 0), ([[], [], []], _TRUNCATED)):
        message = _assemble(query, flags | mark, sections, extra)
        if len(message) <= limit:
            return message
    return message


def _assemble(
    query: Query, flags: int, sections: Sequence[Sequence[bytes]], extra: Sequence[bytes]
) -> bytes:
    answers, authority, additional = sections
    counts = (len(answers), len(authority), len(additional) + len(extra))
    header = _HEADER.pack(query.id, flags, 1, *counts)
    body = b"".join([*answers, *authority, *additional, *extra])
    return header + query.question + body


def encode_query(id: int, name: str, kind: int) -> bytes:
    """A recursive query with EDNS; raises ValueError for an impossible name."""
    options = b"\0" + struct.pack(">HHIH", TYPES["OPT"], EDNS_BYTES, 0, 0)
    header = _HEADER.pack(id, _RECURSION_DESIRED, 1, 0, 0, 1)
    return header + encode_name(name) + struct.pack(">HH", kind, INTERNET) + options


def format_error(message: bytes) -> bytes:
    """The answer to what is no readable query; empty where not even an id can be read."""
    if len(message) < _HEADER.size or message[2] & 0x80:
        return b""
    return message[:2] + _HEADER.pack(0, _RESPONSE | FORMAT_ERROR, 0, 0, 0, 0)[2:]


def with_id(message: bytes, id: int) -> bytes:
    """The same message under another id."""
    return struct.pack(">H", id) + message[2:]


def id_of(message: bytes) -> int:
    """A message's id; raises ValueError."""
    if len(message) < 2:
        raise ValueError("message ends early")
    return int.from_bytes(message[:2], "big")


def is_truncated(message: bytes) -> bool:
    """Whether the sender asks to be asked again over TCP."""
    return len(message) > 2 and bool(message[2] & 0x02)
