"""The name server on real sockets of the loopback: our names, forwarding, both transports."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable

import dns.message
import dns.rcode
import dns.rrset

from proa.base.chance import Chance
from proa.model.feed import ZoneRecord, Zones
from proa.serve.dns import DnsServer, host_resolvers

ZONES = Zones(
    (
        ZoneRecord("web.a.svc.cluster.local", "A", ("10.100.0.9",)),
        ZoneRecord("out.a.svc.cluster.local", "CNAME", ("www.example.com",)),
        ZoneRecord("big.a.svc.cluster.local", "A", tuple(f"10.0.0.{n}" for n in range(1, 80))),
    )
)


def sockets() -> list[socket.socket]:
    stream = socket.socket()
    stream.bind(("127.0.0.1", 0))
    datagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagram.bind(stream.getsockname())
    stream.listen()
    for one in (stream, datagram):
        one.setblocking(False)
    return [datagram, stream]


class Elsewhere(asyncio.DatagramProtocol):
    """A resolver that knows www.example.com and stays silent about silent.example."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        question = dns.message.from_wire(data)
        if "silent" in str(question.question[0].name):
            return
        answer = dns.message.make_response(question)
        name = question.question[0].name
        answer.answer = [dns.rrset.from_text(name, 60, "IN", "A", "192.0.2.7")]
        self.transport.sendto(answer.to_wire(), addr)  # type: ignore[attr-defined]


async def ask(port: int, name: str, kind: str = "A") -> dns.message.Message:
    query = dns.message.make_query(name, kind)
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.setblocking(False)
        one.connect(("127.0.0.1", port))
        await loop.sock_sendall(one, query.to_wire())
        answer = dns.message.from_wire(await loop.sock_recv(one, 4096))
    assert query.is_response(answer)
    return answer


async def ask_stream(port: int, *names: str) -> list[dns.message.Message]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answers = []
    for name in names:
        message = dns.message.make_query(name, "A").to_wire()
        writer.write(struct.pack(">H", len(message)) + message)
        size = struct.unpack(">H", await reader.readexactly(2))[0]
        answers.append(dns.message.from_wire(await reader.readexactly(size)))
    writer.close()
    await writer.wait_closed()
    return answers


def with_server(scene: Callable[[int], Awaitable[None]], *, elsewhere: bool = True) -> None:
    async def main() -> None:
        other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        other.bind(("127.0.0.1", 0))
        upstream = other.getsockname()[1]
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(Elsewhere, sock=other)
        resolvers = ("127.0.0.1",) if elsewhere else ()
        server = DnsServer(Chance("dns"), lambda: resolvers, upstream)
        server.update(ZONES)
        bound = sockets()
        await server.listen(bound)
        try:
            await scene(bound[0].getsockname()[1])
        finally:
            await server.close()
            transport.close()
            await asyncio.sleep(0)

    asyncio.run(main())


def addresses(answer: dns.message.Message) -> list[str]:
    return sorted(str(item) for rrset in answer.answer for item in rrset)


def test_own_names_are_answered_and_unknown_ones_denied() -> None:
    async def scene(port: int) -> None:
        assert addresses(await ask(port, "web.a.svc.cluster.local")) == ["10.100.0.9"]
        denied = await ask(port, "web.a.svc.cluster.local.a.svc.cluster.local")
        assert denied.rcode() == dns.rcode.NXDOMAIN
        empty = await ask(port, "web.a.svc.cluster.local", "AAAA")
        assert (empty.rcode(), empty.answer) == (dns.rcode.NOERROR, [])

    with_server(scene)


def test_other_names_are_asked_of_the_hosts_resolvers() -> None:
    async def scene(port: int) -> None:
        assert addresses(await ask(port, "www.example.com")) == ["192.0.2.7"]

    with_server(scene)


def test_an_alias_to_another_zone_comes_with_its_address() -> None:
    async def scene(port: int) -> None:
        found = addresses(await ask(port, "out.a.svc.cluster.local"))
        assert found == ["192.0.2.7", "www.example.com."]

    with_server(scene)


def test_without_resolvers_other_names_fail_and_own_ones_do_not() -> None:
    async def scene(port: int) -> None:
        assert (await ask(port, "www.example.com")).rcode() == dns.rcode.SERVFAIL
        assert (await ask(port, "out.a.svc.cluster.local")).rcode() == dns.rcode.SERVFAIL
        assert addresses(await ask(port, "web.a.svc.cluster.local")) == ["10.100.0.9"]

    with_server(scene, elsewhere=False)


def test_a_silent_resolver_delays_nobody_else() -> None:
    async def scene(port: int) -> None:
        waiting = asyncio.ensure_future(ask(port, "silent.example"))
        assert addresses(await ask(port, "web.a.svc.cluster.local")) == ["10.100.0.9"]
        assert not waiting.done()
        assert (await waiting).rcode() == dns.rcode.SERVFAIL

    with_server(scene)


def test_long_answers_are_truncated_over_udp_and_whole_over_tcp() -> None:
    async def scene(port: int) -> None:
        short = await ask(port, "big.a.svc.cluster.local")
        assert dns.flags.TC & short.flags
        whole, small = await ask_stream(port, "big.a.svc.cluster.local", "web.a.svc.cluster.local")
        assert len(addresses(whole)) == 79
        assert addresses(small) == ["10.100.0.9"]

    with_server(scene)


def test_garbage_gets_a_format_error_or_nothing() -> None:
    async def scene(port: int) -> None:
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.setblocking(False)
            one.connect(("127.0.0.1", port))
            await loop.sock_sendall(one, b"\1\2")
            await loop.sock_sendall(one, b"\0\7" + bytes(10))
            answer = dns.message.from_wire(await loop.sock_recv(one, 512))
            assert (answer.id, answer.rcode()) == (7, dns.rcode.FORMERR)

    with_server(scene)


def test_the_hosts_resolvers_are_read_from_its_configuration(tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "resolv.conf"
    assert host_resolvers(path) == ()
    path.write_text("search a.b\n# nameserver 9.9.9.9\nnameserver 10.0.0.2\nnameserver nonsense\n")
    assert host_resolvers(path) == ("10.0.0.2",)
