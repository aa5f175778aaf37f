"""What a client of the HTTP shell sees: answers in order, streams, uploads, upgrades, closes."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import aiohttp
import uvloop

from proa.base.http import Request, Response, Socket
from proa.server import http_connection
from proa.server.http import Shell
from tests.unit.server.shells import (
    Handler,
    both_ways,
    client_tls,
    dial,
    get,
    running,
    serving,
    status_of,
    talk,
    transport_of,
)


@both_ways
def test_requests_on_one_connection_are_answered_in_their_order(way: str) -> None:
    async def check(shell: Shell, handler: Handler) -> None:
        many = b"".join(get(f"/{number}", close=False) for number in range(300))
        answer = await talk(shell, many + get("/last?a=1&a=2"))
        bodies = [part.rsplit(b"\r\n\r\n", 1)[1] for part in answer.split(b"HTTP/1.1 200 OK")[1:]]
        assert bodies == [
            *(b"GET /%d  0" % number for number in range(300)),
            b"GET /last a=1&a=2 0",
        ]
        assert handler.seen[-1].query == (("a", "1"), ("a", "2"))

    running(check, way)


@both_ways
def test_requests_that_begin_alike_are_told_apart_by_what_follows(way: str) -> None:
    """A head that comes again is not read again; whatever then comes must be read as before."""
    head = get("/same?a=1", "Content-Length: 4", method="POST", close=False)
    other = get("/other", "Content-Length: 4", method="POST", close=False)

    async def check(shell: Shell, handler: Handler) -> None:
        reader, writer = await dial(shell)

        async def say(*parts: bytes, answers: int = 1) -> None:
            for part in parts:
                writer.write(part)
                await asyncio.sleep(0.01)  # each part by itself
            for _ in range(answers):
                await reader.readuntil(b" 4")

        await say(head + b"0001")
        await say(head + b"0002")
        await say(head, b"0003")
        await say(head + b"0004" + head[:9], head[9:] + b"0005", answers=2)
        await say(head + b"0006")
        await say(head + b"0007" + other + b"0008" + head + b"0009", answers=3)
        await say(other + b"0010")
        await say(other + b"00", b"11")
        await say(other + b"0012")
        writer.write(other + b"0013junk\r\n\r\n")
        assert b"HTTP/1.1 400" in await reader.read()
        writer.close()
        numbers = [int(request.body) for request in handler.seen]
        assert numbers == list(range(1, 14))
        assert {(r.method, r.raw_query) for r in handler.seen if r.path == "/same"} == {
            ("POST", "a=1")
        }
        assert [r.path for r in handler.seen].count("/other") == 5

    running(check, way)


@both_ways
def test_line_ends_after_a_request_are_no_part_of_a_head_that_comes_again(way: str) -> None:
    """Between messages they mean nothing: what follows the second body is another request."""
    head = get("/same", "Content-Length: 4", method="POST", close=False)
    ends = b"\r\n\r\n"

    async def check(shell: Shell, handler: Handler) -> None:
        reader, writer = await dial(shell)
        writer.write(head + ends + ends)
        await reader.readuntil(b"POST /same  4")
        writer.write(head + ends + b"GET ")
        await reader.readuntil(b"POST /same  4")
        writer.write(b"/other HTTP/1.1\r\nHost: one\r\n\r\n")
        await reader.readuntil(b"GET /other  0")
        writer.close()
        assert [request.body for request in handler.seen] == [ends, ends, b""]

    running(check, way)


@both_ways
def test_a_repeated_request_while_another_is_under_way_waits(way: str) -> None:
    async def check(shell: Shell, handler: Handler) -> None:
        reader, writer = await dial(shell)
        writer.write(get("/slow", close=False))
        await asyncio.sleep(0.05)
        writer.write(get("/slow", close=False))
        await asyncio.sleep(0.05)
        assert len(handler.seen) == 1
        handler.release.set()
        for _ in range(2):
            await reader.readuntil(b"GET /slow  0")
        writer.write(get("/slow", close=False))
        await reader.readuntil(b"GET /slow  0")
        writer.close()
        assert [request.path for request in handler.seen] == ["/slow"] * 3

    running(check, way)


@both_ways
def test_a_connection_that_asks_too_much_waits_for_its_answers(way: str) -> None:
    async def check(shell: Shell, handler: Handler) -> None:
        reader, writer = await dial(shell)
        writer.write(get("/slow", close=False))
        one = get("/later", "X: " + "y" * 4000, close=False)
        for _ in range(6000):
            writer.write(one)
        await asyncio.sleep(0.3)
        assert [request.path for request in handler.seen] == ["/slow"]
        assert not transport_of(shell).is_reading()
        handler.release.set()
        count = 0
        while count < 6001:
            count += (await reader.read(1 << 20)).count(b"HTTP/1.1 200")
        writer.close()

    running(check, way)


@both_ways
def test_old_and_closing_clients_are_told_that_the_connection_ends(way: str) -> None:
    async def check(shell: Shell, _handler: Handler) -> None:
        assert b"connection: close" in await talk(shell, get("/"))
        old = await talk(shell, b"GET /lines HTTP/1.0\r\n\r\n")
        assert b"chunked" not in old and old.endswith(b"\r\n\r\n0.\n1.\n2.\n")
        kept = b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
        answer = await talk(shell, kept + b"GET / HTTP/1.0\r\n\r\n")
        assert answer.count(b"HTTP/1.1 200") == 2 and b"connection: keep-alive" in answer

    running(check, way)


@both_ways
def test_head_has_the_length_of_the_body_it_does_not_have(way: str) -> None:
    async def check(shell: Shell, _handler: Handler) -> None:
        answer = await talk(shell, get("/abc", method="HEAD"))
        assert b"content-length: 12\r\n" in answer and answer.endswith(b"\r\n\r\n")
        answer = await talk(shell, get("/object", method="HEAD"))
        assert b"content-length: 4711\r\n" in answer and answer.endswith(b"\r\n\r\n")
        answer = await talk(shell, get("/lines", method="HEAD"))
        assert status_of(answer) == 200 and b"0.\n" not in answer
        answer = await talk(shell, get("/nothing"))
        assert status_of(answer) == 204 and b"content-length" not in answer

    running(check, way)


@both_ways
def test_bodies_come_whole_in_either_coding(way: str) -> None:
    async def check(shell: Shell, handler: Handler) -> None:
        body = bytes(range(256)) * 200
        said = get("/", f"Content-Length: {len(body)}", method="POST")
        assert status_of(await talk(shell, said, body[:1], body[1:])) == 200
        chunked = get("/", "Transfer-Encoding: chunked", method="POST")
        parts = [b"%x;ext=1\r\n%b\r\n" % (512, body[at : at + 512]) for at in range(0, 51200, 512)]
        assert status_of(await talk(shell, chunked, *parts, b"0\r\n\r\n")) == 200
        assert [request.body for request in handler.seen] == [body, body]

    running(check, way)


@both_ways
def test_who_expects_to_be_told_is_told_to_go_on(way: str) -> None:
    async def check(shell: Shell, handler: Handler) -> None:
        reader, writer = await dial(shell)
        for path, method in (("/", "POST"), ("/upload", "PUT")):
            writer.write(
                get(path, "Expect: 100-continue", "Content-Length: 5", method=method, close=False)
            )
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(b"hello")
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
        writer.close()
        refused = get("/refused-upload", "Expect: 100-continue", "Content-Length: 5", method="PUT")
        assert status_of(await talk(shell, refused)) == 401  # and not 100
        assert len(handler.seen) == 3

    running(check, way)


@both_ways
def test_uploads_are_read_as_far_as_they_are_consumed(way: str) -> None:
    sizes: list[int] = []
    going = asyncio.Event()

    async def handle(request: Request) -> Response:
        assert request.stream is not None
        await going.wait()
        async for part in request.stream:
            sizes.append(len(part))
        return Response(201)

    async def run() -> None:
        shell = Shell(handle, streams=lambda method, _path: method == "PUT")
        async with serving(shell, way):
            reader, writer = await dial(shell)
            writer.write(get("/", f"Content-Length: {1 << 26}", method="PUT"))
            writer.write(b"x" * (1 << 26))
            await asyncio.sleep(0.3)
            assert sizes == [] and not transport_of(shell).is_reading()
            going.set()
            assert status_of(await reader.read()) == 201
            assert sum(sizes) == 1 << 26
            writer.close()

    uvloop.run(run())


@both_ways
def test_a_refused_upload_is_answered_although_its_client_still_sends(way: str) -> None:
    async def check(shell: Shell, _handler: Handler) -> None:
        said = get("/refused-upload", f"Content-Length: {1 << 22}", method="PUT", close=False)
        answer = await talk(shell, said, b"x" * 1000)
        assert status_of(answer) == 401 and b"connection: close" in answer

    running(check, way)


def test_a_handler_learns_that_an_upload_broke_off() -> None:
    broken: list[str] = []

    async def handle(request: Request) -> Response:
        assert request.stream is not None
        try:
            async for _ in request.stream:
                pass
        except ConnectionError as error:
            broken.append(str(error))
            raise
        return Response(201)

    async def run() -> None:
        shell = Shell(handle, streams=lambda _method, _path: True)
        await shell.start("127.0.0.1", 0)
        said = get("/", "Content-Length: 10", method="PUT")
        assert await talk(shell, said + b"half", half_close=True) == b""
        chunked = get("/", "Transfer-Encoding: chunked", method="PUT")
        answer = await talk(shell, chunked + b"4\r\nhalf\r\nzz\r\n")
        assert status_of(answer) == 400
        assert len(broken) == 2
        await shell.close()

    uvloop.run(run())


@both_ways
def test_streams_come_in_chunks_or_in_the_length_they_said(way: str) -> None:
    async def check(shell: Shell, _handler: Handler) -> None:
        answer = await talk(shell, get("/lines", close=False) + get("/sized"))
        first, second = answer.split(b"HTTP/1.1 200 OK")[1:]
        assert first.endswith(b"\r\n\r\n3\r\n0.\n\r\n3\r\n1.\n\r\n3\r\n2.\n\r\n0\r\n\r\n")
        assert second.endswith(b"\r\n\r\n0.\n1.\n2.\n") and b"chunked" not in second
        short = await talk(shell, get("/short", close=False))
        assert short.endswith(b"2.\n")  # and the connection ended

    running(check, way)


@both_ways
def test_a_stream_waits_for_its_reader_and_ends_when_that_leaves(way: str) -> None:
    async def check(shell: Shell, handler: Handler) -> None:
        reader, writer = await dial(shell)
        writer.write(get("/endless"))
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        before = -1
        while before != handler.produced:
            before = handler.produced
            await asyncio.sleep(0.1)
        assert handler.produced < 2000
        writer.transport.abort()
        await handler.ended.wait()

    running(check, way)


def test_a_client_that_has_said_all_is_still_answered() -> None:
    async def check(shell: Shell, handler: Handler) -> None:
        asking = asyncio.create_task(
            talk(shell, get("/slow", close=False) + get("/two", close=False), half_close=True)
        )
        while not handler.seen:
            await asyncio.sleep(0.01)
        handler.release.set()
        assert (await asking).count(b"HTTP/1.1 200") == 2

    running(check)


@both_ways
def test_a_bug_in_a_handler_is_a_500_and_the_connection_goes_on(way: str) -> None:
    async def check(shell: Shell, _handler: Handler) -> None:
        answer = await talk(shell, get("/broken", close=False) + get("/"))
        assert answer.count(b"HTTP/1.1 500") == answer.count(b"HTTP/1.1 200") == 1

    running(check, way)


@both_ways
def test_absolute_urls_and_odd_bytes_are_understood(way: str) -> None:
    async def check(shell: Shell, handler: Handler) -> None:
        await talk(shell, get("http://one:80/a%2Fb?x=%20"))
        await talk(shell, get("http://one?x=1"))
        await talk(shell, get("/", "X-Name: caf\u00e9", "X-Twice: 1", "X-Twice: 2"))
        first, second, third = handler.seen
        assert (first.path, first.raw_query, first.query) == ("/a%2Fb", "x=%20", (("x", " "),))
        assert (second.path, second.raw_query) == ("/", "x=1")
        assert third.headers["x-name"] == "caf\u00e9" and third.headers["x-twice"] == "1, 2"

    running(check, way)


@both_ways
def test_closing_lets_answers_end_and_cuts_streams(way: str) -> None:
    async def check(shell: Shell, handler: Handler) -> None:
        slow = asyncio.create_task(talk(shell, get("/slow", close=False)))
        idle = asyncio.create_task(talk(shell, b""))
        endless = asyncio.create_task(talk(shell, get("/endless")))
        while len(handler.seen) < 2:
            await asyncio.sleep(0.01)
        asyncio.get_running_loop().call_later(0.1, handler.release.set)
        await shell.close()
        answer = await slow
        assert status_of(answer) == 200 and b"connection: close" in answer
        assert await idle == b""
        await endless
        assert handler.ended.is_set()

    running(check, way)


def test_the_peer_is_known_by_its_certificate_over_tls() -> None:
    async def run() -> None:
        handler = Handler()
        async with serving(Shell(handler), "terminated") as shell:
            url = f"https://127.0.0.1:{shell.port}"
            connector = aiohttp.TCPConnector(ssl=client_tls())
            async with aiohttp.ClientSession(connector=connector) as session:
                for _ in range(2):
                    async with session.post(url, data=b"x" * 300_000) as answer:
                        assert await answer.text() == "POST /  300000"
            peers = {request.peer for request in handler.seen}
            assert len(peers) == 1
            peer = peers.pop()
            assert peer.address == "127.0.0.1" and peer.certificate_der
            connector = aiohttp.TCPConnector(ssl=client_tls(certified=False))
            async with (
                aiohttp.ClientSession(connector=connector) as session,
                session.get(url) as answer,
            ):
                assert answer.status == 200
            assert handler.seen[-1].peer.certificate_der is None

    uvloop.run(run())


async def _upgrades(request: Request) -> Response:
    async def echo(socket: Socket) -> None:
        while (data := await socket.receive()) is not None:
            await socket.send(data + b"!")

    if request.path == "/plain":
        return Response(200, b"plain")
    if request.headers.get("upgrade", "").lower() == "websocket":
        return Response(upgrade=echo, subprotocol="v5.channel.k8s.io")
    return Response(upgrade=echo, raw_upgrade=True, headers={"upgrade": "SPDY/3.1"})


def test_connections_become_websockets_also_late_and_over_tls() -> None:
    async def run() -> None:
        async with serving(Shell(_upgrades), "terminated") as shell:
            url = f"https://127.0.0.1:{shell.port}"
            connector = aiohttp.TCPConnector(ssl=client_tls(), limit=1)
            async with aiohttp.ClientSession(connector=connector) as session:
                async with session.get(f"{url}/plain") as answer:
                    assert await answer.text() == "plain"
                offer = ("v5.channel.k8s.io",)
                async with session.ws_connect(f"{url}/exec", protocols=offer) as socket:
                    assert socket.protocol == "v5.channel.k8s.io"
                    await socket.send_bytes(b"a" * 100_000)
                    assert await socket.receive_bytes() == b"a" * 100_000 + b"!"

    uvloop.run(run())


@both_ways
def test_connections_become_plain_bytes_after_other_requests(way: str) -> None:
    async def run() -> None:
        async with serving(Shell(_upgrades), way) as shell:
            reader, writer = await dial(shell)
            writer.write(get("/plain", close=False))
            writer.write(
                get("/exec?command=a", "Connection: Upgrade", "Upgrade: SPDY/3.1",
                    "Content-Length: 0", method="POST", close=False)
            )  # fmt: skip
            assert b"\r\n\r\nplain" in await reader.readuntil(b"plain")
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 101") and b"SPDY/3.1" in head
            for said in (b"first", b"second"):
                writer.write(said)
                assert await reader.readexactly(len(said) + 1) == said + b"!"
            writer.close()

    uvloop.run(run())


@both_ways
def test_a_client_that_offers_another_http_is_answered_in_this_one(way: str) -> None:
    async def check(shell: Shell, handler: Handler) -> None:
        offer = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")
        answer = await talk(shell, get("/a", *offer, close=False) + get("/b"))
        assert answer.count(b"HTTP/1.1 200") == 2
        posted = get("/c", *offer, "Content-Length: 2", method="POST", close=False)
        answer = await talk(shell, posted + b"xy" + get("/d"))
        assert answer.count(b"HTTP/1.1 200") == 2
        assert [request.path for request in handler.seen] == ["/a", "/b", "/c", "/d"]
        assert handler.seen[2].body == b"xy"

    running(check, way)


def test_an_upgrade_that_was_not_asked_for_is_refused() -> None:
    async def run() -> None:
        shell = Shell(_upgrades)
        await shell.start("127.0.0.1", 0)
        assert status_of(await talk(shell, get("/exec"))) == 400
        await shell.close()

    uvloop.run(run())


def test_a_unix_socket_is_its_owners_alone() -> None:
    async def run() -> None:
        handler = Handler()
        shell = Shell(handler)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "s"
            await shell.start_unix(path)
            assert path.stat().st_mode & 0o777 == 0o600
            async with (
                aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session,
                session.get("http://proa/x") as answer,
            ):
                assert await answer.text() == "GET /x  0"
            assert handler.seen[0].peer.address == ""
            await shell.close()

    uvloop.run(run())


def test_the_loop_of_the_standard_library_serves_as_well() -> None:
    async def run() -> None:
        shell = Shell(Handler())
        await shell.start("127.0.0.1", 0)
        answer = await talk(shell, get("/lines", close=False) + get("/"))
        assert answer.count(b"HTTP/1.1 200") == 2
        await shell.close()

    asyncio.run(run())


def test_pieces_of_streams_are_framed_by_what_they_are_and_few_are_kept() -> None:
    site = Shell(Handler())._site
    pieces = [b"%d." % number for number in range(100)]
    for _ in range(2):
        assert [site.frame(piece) for piece in pieces] == [
            b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces
        ]
    assert len(site._frames) <= http_connection.FRAMES_KEPT
    large = b"x" * (http_connection.WRITE_AHEAD + 1)
    assert site.frame(large).endswith(large + b"\r\n")
    assert large not in [piece for piece, _ in site._frames.values()]
