"""Forgetting UDP connections whose endpoint is gone, through nfnetlink's conntrack subsystem.

Called in a router's namespace. TCP connections end by themselves; a UDP client that never stops
sending would reach a removed endpoint for as long as it sends (kube-proxy flushes alike).
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address

from proa.node.linux import netlink
from proa.node.linux.netlink import Answer, Message
from proa.traffic.vips import Flow

_NETLINK_NETFILTER = 12
_SUBSYSTEM, _GET, _DELETE = 1, 1, 2
_TUPLE_ORIGINAL, _TUPLE_REPLY, _ID = 1, 2, 12
_HEAD = struct.pack("=BBH", socket.AF_INET, 0, 0)
_LIMIT = 1 << 20  # more entries than a kernel keeps by default


def forget_flows(flows: Sequence[Flow]) -> int:
    """Delete the entries of these flows; returns how many there were."""
    if not flows:
        return 0
    wanted = {(flow.address, flow.port, flow.endpoint, flow.endpoint_port) for flow in flows}
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as channel:
        channel.bind((0, 0))
        doomed = [body for body in _entries(channel) if _flow_of(body) in wanted]
        for number, body in enumerate(doomed, start=2):
            original = netlink.attributes(body, len(_HEAD))
            text = _HEAD + b"".join(
                netlink.attribute(kind | (netlink.NESTED if kind == _TUPLE_ORIGINAL else 0), found)
                for kind, found in original.items()
                if kind in (_TUPLE_ORIGINAL, _ID)
            )
            kind = _SUBSYSTEM << 8 | _DELETE
            channel.send(Message(kind, netlink.ACK, text).encode(number))
            channel.recv(1 << 16)  # the acknowledgement: an entry that is gone is as good
        return len(doomed)


def _entries(channel: socket.socket) -> Iterator[bytes]:
    dump = Message(_SUBSYSTEM << 8 | _GET, netlink.DUMP, _HEAD)
    channel.send(dump.encode(1))
    for _ in range(_LIMIT):
        answers: list[Answer] = list(netlink.answers(channel.recv(1 << 17)))
        for answer in answers:
            if answer.type in (netlink.DONE, netlink.ERROR):
                return
            yield answer.body


def _flow_of(body: bytes) -> tuple[str, int, str, int] | None:
    """(address asked, port asked, answering address, answering port) of a UDP entry."""
    found = netlink.attributes(body, len(_HEAD))
    original = _tuple(found.get(_TUPLE_ORIGINAL, b""))
    reply = _tuple(found.get(_TUPLE_REPLY, b""))
    if original is None or reply is None:
        return None
    return (original[2], original[3], reply[0], reply[1])


def _tuple(nested: bytes) -> tuple[str, int, str, int] | None:
    """(source, source port, destination, destination port); None unless it is UDP over IPv4."""
    parts = netlink.attributes(nested, 0)
    addresses = netlink.attributes(parts.get(1, b""), 0)
    protocol = netlink.attributes(parts.get(2, b""), 0)
    if protocol.get(1) != bytes([socket.IPPROTO_UDP]) or 1 not in addresses:
        return None
    source_port, destination_port = (struct.unpack(">H", protocol[kind])[0] for kind in (2, 3))
    return (
        str(IPv4Address(addresses[1])),
        source_port,
        str(IPv4Address(addresses[2])),
        destination_port,
    )
