"""The DNS server of one Host: Proa's own names, everything else by the Host's resolvers.

It runs in the agent's process on sockets that ``node.linux`` made inside the VPCs' routers;
forwarding leaves by the Host's own namespace. Every queue is bounded: too many forwarded
questions at once are answered with SERVFAIL, too many TCP clients are turned away.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Collection, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import cast

from proa.base.aio import Tasks
from proa.base.chance import Chance
from proa.base.telemetry import get_logger
from proa.model.feed import Zones
from proa.traffic.names import NameTable, Resolution
from proa.wire import dns
from proa.wire.dns import Query, Reply

log = get_logger(__name__)
FORWARD_TIMEOUT_S = 2.0
FORWARD_LIMIT = 256
MAX_RESOLVERS = 3  # as resolv.conf(5)
TCP_IDLE_S = 10.0
TCP_LIMIT = 64
PORT = 53
_FAILED = Reply(dns.SERVER_FAILURE, authoritative=False)


def host_resolvers(path: Path = Path("/etc/resolv.conf")) -> tuple[str, ...]:
    """The name servers that this machine uses; none where the file is missing."""
    found: list[str] = []
    with contextlib.suppress(OSError):
        for line in path.read_text().splitlines():
            words = line.split()
            if len(words) >= 2 and words[0] == "nameserver":
                with contextlib.suppress(ValueError):
                    ip_address(words[1].partition("%")[0])
                    found.append(words[1])
    return tuple(found[:MAX_RESOLVERS])


class DnsServer:
    """Answers on the sockets given to ``listen`` by the newest zones. ``resolvers`` are asked
    anew for each forwarded question; ``port`` is theirs."""

    def __init__(
        self,
        chance: Chance,
        resolvers: Callable[[], Sequence[str]] = host_resolvers,
        port: int = PORT,
    ) -> None:
        self._chance, self._resolvers, self._port = chance, resolvers, port
        self._zones, self._serial = Zones(), 1
        self._tables: dict[str, NameTable] = {}  # by the address that was asked
        self._tasks = Tasks()
        self._transports: list[asyncio.DatagramTransport] = []
        self._servers: list[asyncio.Server] = []
        self._forwarding = 0
        self._clients = 0

    def update(self, zones: Zones) -> None:
        """Answer by these names from now on."""
        self._zones, self._serial = zones, self._serial + 1
        self._tables.clear()

    def _table(self, server: str) -> NameTable:
        found = self._tables.get(server)
        if found is None:
            found = self._tables[server] = NameTable(self._zones, self._serial, server)
        return found

    async def listen(self, sockets: Sequence[socket.socket]) -> None:
        """Serve on bound sockets, datagram and listening stream ones; they are closed with the
        server."""
        loop = asyncio.get_running_loop()
        for one in sockets:
            if one.type == socket.SOCK_DGRAM:
                transport, _ = await loop.create_datagram_endpoint(
                    lambda: _Datagrams(self), sock=one
                )
                self._transports.append(transport)
            else:
                self._servers.append(await asyncio.start_server(self._stream, sock=one))

    def leave(self, addresses: Collection[str]) -> None:
        """Stop answering at these addresses: their sockets are closed."""
        leaving = [one for one in self._transports if _address(one) in addresses]
        for transport in leaving:
            self._transports.remove(transport)
            transport.close()
        ended = [one for one in self._servers if one.sockets[0].getsockname()[0] in addresses]
        for server in ended:
            self._servers.remove(server)
            server.close()

    async def close(self) -> None:
        """Stop answering and forget unanswered questions."""
        for transport in self._transports:
            transport.close()
        for server in self._servers:
            server.close()
        await self._tasks.close()

    def datagram(
        self, message: bytes, peer: tuple[str, int], transport: asyncio.DatagramTransport
    ) -> None:
        """Answer at once, or later where another server has to be asked."""
        answer = self._local(message, _address(transport), stream=False)
        if isinstance(answer, bytes):
            if answer:
                transport.sendto(answer, peer)
            return

        async def later() -> None:
            reply = await self._ask_elsewhere(message, answer[0], answer[1], stream=False)
            if not transport.is_closing():
                transport.sendto(reply, peer)

        self._tasks.spawn(later(), "dns query")

    async def answer(self, message: bytes, *, stream: bool, server: str = "") -> bytes:
        """The response to one message that came to address ``server``; empty where it deserves
        none."""
        local = self._local(message, server, stream=stream)
        if isinstance(local, bytes):
            return local
        return await self._ask_elsewhere(message, local[0], local[1], stream=stream)

    def _local(
        self, message: bytes, server: str, *, stream: bool
    ) -> bytes | tuple[Query, Resolution | None]:
        try:
            query = dns.parse_query(message)
        except ValueError:
            return dns.format_error(message)
        if query.opcode or query.dns_class != dns.INTERNET:
            return _encode(query, Reply(dns.NOT_IMPLEMENTED, authoritative=False), stream)
        found = self._table(server).resolve(query.name, query.type, query.id)
        if found is None or found.elsewhere:
            return query, found
        return _encode(query, found.reply, stream)

    async def _ask_elsewhere(
        self, message: bytes, query: Query, found: Resolution | None, *, stream: bool
    ) -> bytes:
        if self._forwarding >= FORWARD_LIMIT:
            return _encode(query, _FAILED, stream)
        self._forwarding += 1
        try:
            if found is None:
                answer = await self._forward(message, stream)
                if answer is None:
                    return _encode(query, _FAILED, stream)
                return self._fitting(query, answer, stream)
            return _encode(query, await self._follow(query, found, stream), stream)
        finally:
            self._forwarding -= 1

    async def _follow(self, query: Query, found: Resolution, stream: bool) -> Reply:
        """Complete an alias that leads out of our zones."""
        try:
            question = dns.encode_query(0, found.elsewhere, query.type)
            answer = await self._forward(question, stream)
            if answer is None:
                return _FAILED
            code, more = dns.parse_answers(answer)
        except ValueError:
            return _FAILED
        return Reply(code, found.reply.answers + more)

    def _fitting(self, query: Query, answer: bytes, stream: bool) -> bytes:
        if stream or len(answer) <= query.udp_bytes:
            return dns.with_id(answer, query.id)
        truncated = dns.encode_reply(query, Reply(authoritative=False), dns.TCP_BYTES)
        return truncated[:2] + bytes([truncated[2] | 0x02]) + truncated[3:]

    async def _forward(self, message: bytes, stream: bool) -> bytes | None:
        """The first answer of the Host's resolvers, asked in turn under an id of our own."""
        sent = dns.with_id(message, self._chance.integer(0, 0xFFFF))
        for address in self._resolvers():
            with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                async with asyncio.timeout(FORWARD_TIMEOUT_S):
                    if stream:
                        return await self._ask_stream(sent, address)
                    return await self._ask_datagram(sent, address)
        return None

    async def _ask_datagram(self, message: bytes, address: str) -> bytes:
        loop = asyncio.get_running_loop()
        transport, question = await loop.create_datagram_endpoint(
            lambda: _Question(message), remote_addr=(address, self._port)
        )
        try:
            return await question.answer
        finally:
            transport.close()

    async def _ask_stream(self, message: bytes, address: str) -> bytes:
        reader, writer = await asyncio.open_connection(address, self._port)
        try:
            writer.write(len(message).to_bytes(2, "big") + message)
            return await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
        finally:
            writer.close()

    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One TCP client: questions in turn until it is silent for a while."""
        self._clients += 1
        try:
            while self._clients <= TCP_LIMIT:
                async with asyncio.timeout(TCP_IDLE_S):
                    size = int.from_bytes(await reader.readexactly(2), "big")
                    message = await reader.readexactly(size)
                asked = writer.get_extra_info("sockname")
                answer = await self.answer(message, stream=True, server=asked[0] if asked else "")
                if not answer:
                    return
                writer.write(len(answer).to_bytes(2, "big") + answer)
                async with asyncio.timeout(TCP_IDLE_S):
                    await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            return
        finally:
            self._clients -= 1
            writer.close()


def _address(transport: asyncio.BaseTransport) -> str:
    """The address that a socket is bound to."""
    name: tuple[str, int] | None = transport.get_extra_info("sockname")
    return name[0] if name else ""


def _encode(query: Query, reply: Reply, stream: bool) -> bytes:
    limit = dns.TCP_BYTES if stream else query.udp_bytes
    try:
        return dns.encode_reply(query, reply, limit)
    except ValueError as error:  # a record that cannot be put on the wire
        log.error("unusable DNS record", name=query.name, error=str(error))
        return dns.encode_reply(query, _FAILED, limit)


class _Datagrams(asyncio.DatagramProtocol):
    """Hands datagrams to the server together with the transport they came by."""

    def __init__(self, server: DnsServer) -> None:
        self._server = server
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        assert self._transport is not None
        self._server.datagram(data, addr, self._transport)


class _Question(asyncio.DatagramProtocol):
    """One question to another server; ``answer`` is its response, by the id that was sent."""

    def __init__(self, message: bytes) -> None:
        self._message = message
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.DatagramTransport, transport).sendto(self._message)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if data[:2] == self._message[:2] and len(data) >= 12 and not self.answer.done():
            self.answer.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(exc)
