"""rtnetlink messages as bytes: the few that a routed veth needs, and how answers read.

``channel`` sends what is built here. No I/O. Layouts and numbers are the kernel's
(include/uapi/linux/rtnetlink.h, if_link.h, neighbour.h). Several messages travel in one
datagram and the kernel carries them out in order, which is what makes an attachment quick.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

NEWLINK, DELLINK, GETLINK, SETLINK = 16, 17, 18, 19
NEWADDR, DELADDR, GETADDR = 20, 21, 22
NEWROUTE, DELROUTE, GETROUTE = 24, 25, 26
NEWNEIGH = 28
ERROR, DONE = 2, 3

REQUEST, ACK, DUMP = 0x1, 0x4, 0x300
REPLACE, EXCLUSIVE, CREATE = 0x100, 0x200, 0x400
INET = 2
UP = 0x1
ONLINK = 0x4
PERMANENT = 0x80
SCOPE_GLOBAL, SCOPE_LINK = 0, 253
UNICAST, UNREACHABLE = 1, 7
TABLE_MAIN, PROTOCOL_STATIC = 254, 4
NESTED = 0x8000

_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINKINFO = 1, 3, 4, 18
_IFLA_IFALIAS, _IFLA_GROUP, _IFLA_NET_NS_FD = 20, 27, 28
_INFO_KIND, _INFO_DATA, _VETH_PEER = 1, 2, 1
_HEADER = struct.Struct("=IHHII")
_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBI")
_ROUTE = struct.Struct("=BBBBBBBBI")
_NEIGHBOUR = struct.Struct("=BxHiHBB")


@dataclass(slots=True, frozen=True)
class Message:
    """A request without its sequence number."""

    type: int
    flags: int
    body: bytes

    def encode(self, sequence: int) -> bytes:
        """The message with its header, padded."""
        size = _HEADER.size + len(self.body)
        header = _HEADER.pack(size, self.type, self.flags | REQUEST, sequence, 0)
        return header + self.body + bytes(-size % 4)


@dataclass(slots=True, frozen=True)
class Answer:
    """One message from the kernel; ``error`` is a positive errno where ``type`` is ERROR."""

    type: int
    sequence: int
    body: bytes
    error: int = 0


@dataclass(slots=True, frozen=True)
class Link:
    """A network device as the kernel tells it."""

    index: int
    name: str
    alias: str = ""
    group: int = 0
    mtu: int = 0


@dataclass(slots=True, frozen=True)
class Routed:
    """An IPv4 route of the main table: destination, device index, gateway ("" for none)."""

    destination: str
    device: int
    gateway: str = ""


@dataclass(slots=True, frozen=True)
class VethEnd:
    """One end of a pair that is to be made; ``namespace`` is an open file of the end's network
    namespace, -1 for the one the message is sent in."""

    name: str
    mac: str
    namespace: int = -1


def attribute(kind: int, payload: bytes) -> bytes:
    """One padded attribute."""
    size = 4 + len(payload)
    return struct.pack("=HH", size, kind) + payload + bytes(-size % 4)


def _text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


def _number(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=I", value))


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def _end(end: VethEnd, mtu: int, flags: int) -> bytes:
    namespace = _number(_IFLA_NET_NS_FD, end.namespace) if end.namespace >= 0 else b""
    named = _text(_IFLA_IFNAME, end.name) + attribute(_IFLA_ADDRESS, _mac(end.mac))
    return _LINK.pack(0, 0, 0, flags, flags) + named + _number(_IFLA_MTU, mtu) + namespace


def add_veth(here: VethEnd, there: VethEnd, mtu: int) -> Message:
    """Make a pair, each end in its namespace; EEXIST where a name is taken. ``here`` comes up;
    ``there`` cannot before the pair is whole and needs a ``set_link``."""
    peer = attribute(NESTED | _INFO_DATA, attribute(NESTED | _VETH_PEER, _end(there, mtu, 0)))
    info = attribute(NESTED | _IFLA_LINKINFO, _text(_INFO_KIND, "veth") + peer)
    return Message(NEWLINK, ACK | CREATE | EXCLUSIVE, _end(here, mtu, UP) + info)


def set_link(index: int, alias: str | None = None, group: int | None = None) -> Message:
    """Bring a device up and change what is given."""
    body = _LINK.pack(0, 0, index, UP, UP)
    if alias is not None:
        body += attribute(_IFLA_IFALIAS, alias.encode())
    if group is not None:
        body += _number(_IFLA_GROUP, group)
    return Message(SETLINK, ACK, body)


def delete_link(index: int) -> Message:
    """Delete a device, and with it its pair."""
    return Message(DELLINK, ACK, _LINK.pack(0, 0, index, 0, 0))


def delete_group(group: int) -> Message:
    """Delete every device of a group, waiting for the kernel's grace period only once."""
    return Message(DELLINK, ACK, _LINK.pack(0, 0, 0, 0, 0) + _number(_IFLA_GROUP, group))


def get_link(name: str) -> Message:
    """Ask for one device; ENODEV when there is none."""
    return Message(GETLINK, 0, _LINK.pack(0, 0, 0, 0, 0) + _text(_IFLA_IFNAME, name))


def get_links() -> Message:
    """Ask for every device."""
    return Message(GETLINK, DUMP, _LINK.pack(0, 0, 0, 0, 0))


def _address_body(index: int, address: str) -> bytes:
    packed = IPv4Address(address).packed
    return _ADDRESS.pack(INET, 32, 0, SCOPE_GLOBAL, index) + b"".join(
        attribute(kind, packed) for kind in (2, 1)
    )


def add_address(index: int, address: str) -> Message:
    """Give a device an address of its own, /32."""
    return Message(NEWADDR, ACK | CREATE | REPLACE, _address_body(index, address))


def delete_address(index: int, address: str) -> Message:
    """Take a /32 away; EADDRNOTAVAIL when it was not there."""
    return Message(DELADDR, ACK, _address_body(index, address))


def get_addresses() -> Message:
    """Ask for every IPv4 address."""
    return Message(GETADDR, DUMP, _ADDRESS.pack(INET, 0, 0, 0, 0))


def get_routes() -> Message:
    """Ask for every IPv4 route."""
    return Message(GETROUTE, DUMP, _ROUTE.pack(INET, 0, 0, 0, 0, 0, 0, 0, 0))


def _route_body(to: str, device: int, via: str, source: str, kind: int, metric: int) -> bytes:
    network = IPv4Network(to)
    scope = SCOPE_GLOBAL if via or kind != UNICAST else SCOPE_LINK
    flags = ONLINK if via else 0
    body = _ROUTE.pack(
        INET, network.prefixlen, 0, 0, TABLE_MAIN, PROTOCOL_STATIC, scope, kind, flags
    )
    if network.prefixlen:
        body += attribute(1, network.network_address.packed)
    if device:
        body += _number(4, device)
    if via:
        body += attribute(5, IPv4Address(via).packed)
    if metric:
        body += _number(6, metric)
    if source:
        body += attribute(7, IPv4Address(source).packed)
    return body


def add_route(
    to: str, device: int = 0, *, via: str = "", source: str = "", kind: int = UNICAST,
    metric: int = 0,
) -> Message:  # fmt: skip
    """Lead a network over a device, replacing the route of the same network and metric.
    ``via`` is taken to be on the link; ``source`` is the address preferred for own traffic."""
    body = _route_body(to, device, via, source, kind, metric)
    return Message(NEWROUTE, ACK | CREATE | REPLACE, body)


def delete_route(
    to: str, device: int = 0, *, via: str = "", kind: int = UNICAST, metric: int = 0
) -> Message:
    """Remove the route of a network over this device only; ESRCH when there is none."""
    body = _route_body(to, device, via, "", kind, metric)
    return Message(DELROUTE, ACK, body)


def add_neighbour(index: int, address: str, mac: str) -> Message:
    """Say once and for all which MAC an address has: nobody needs to ask by ARP."""
    body = _NEIGHBOUR.pack(INET, 0, index, PERMANENT, 0, 0)
    body += attribute(1, IPv4Address(address).packed) + attribute(2, _mac(mac))
    return Message(NEWNEIGH, ACK | CREATE | REPLACE, body)


def answers(datagram: bytes) -> Iterator[Answer]:
    """The messages of one datagram from the kernel."""
    offset = 0
    while offset + _HEADER.size <= len(datagram):
        size, kind, _flags, sequence, _port = _HEADER.unpack_from(datagram, offset)
        body = datagram[offset + _HEADER.size : offset + size]
        error = -struct.unpack_from("=i", body)[0] if kind == ERROR else 0
        yield Answer(kind, sequence, body, error)
        offset += size + (-size % 4)


def attributes(body: bytes, offset: int) -> dict[int, bytes]:
    """The attributes from ``offset`` on, by kind without its flag bits."""
    found: dict[int, bytes] = {}
    while offset + 4 <= len(body):
        size, kind = struct.unpack_from("=HH", body, offset)
        if size < 4:
            break
        found[kind & 0x3FFF] = body[offset + 4 : offset + size]
        offset += size + (-size % 4)
    return found


def read_link(body: bytes) -> Link:
    """A NEWLINK answer."""
    _family, _type, index, _flags, _change = _LINK.unpack_from(body)
    found = attributes(body, _LINK.size)
    return Link(
        index,
        found.get(_IFLA_IFNAME, b"").rstrip(b"\0").decode(),
        found.get(_IFLA_IFALIAS, b"").rstrip(b"\0").decode(),
        struct.unpack("=I", found.get(_IFLA_GROUP, bytes(4)))[0],
        struct.unpack("=I", found.get(_IFLA_MTU, bytes(4)))[0],
    )


def read_address(body: bytes) -> tuple[int, str]:
    """A NEWADDR answer: device index, address."""
    index = _ADDRESS.unpack_from(body)[4]
    found = attributes(body, _ADDRESS.size)
    return index, str(IPv4Address(found.get(2) or found[1]))


def read_route(body: bytes) -> Routed | None:
    """A NEWROUTE answer; None for routes outside the main table."""
    fields = _ROUTE.unpack_from(body)
    if fields[4] != TABLE_MAIN:
        return None
    found = attributes(body, _ROUTE.size)
    network = IPv4Address(found.get(1, bytes(4)))
    device = struct.unpack("=I", found.get(4, bytes(4)))[0]
    gateway = str(IPv4Address(found[5])) if 5 in found else ""
    return Routed(f"{network}/{fields[1]}", device, gateway)
