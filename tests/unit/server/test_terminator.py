"""The TLS terminator as its clients meet it: a process of its own, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import ssl
import struct
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import uvloop

from proa.base.clock import SystemClock
from proa.base.http import Request, Response
from proa.bench.live.instance import children
from proa.kube.pki import Authority
from proa.server.doors import Door
from proa.server.http import Shell
from proa.server.http_doors import HttpDoors, listening
from proa.server.terminator import child, frames, service
from proa.server.terminator.child import Terminator
from proa.server.terminator.frames import Inbox, Keys, frame
from tests.unit.server.shells import (
    Handler,
    client_tls,
    dial,
    get,
    keys,
    running,
    serving,
    status_of,
    talk,
)

BIG = bytes(range(256)) * 40_000


def _terminators() -> list[int]:
    """Those that this process has started and that still run; others of its children are not ours
    to signal."""
    return [pid for name, pid in children(os.getpid()).items() if name == service.__name__]


def terminated(check: Callable[[Shell, Handler], Coroutine[Any, Any, None]]) -> None:
    running(check, "terminated")


def test_large_bodies_come_through_unchanged_both_ways() -> None:
    async def echo(request: Request) -> Response:
        return Response(200, request.body)

    async def run() -> None:
        async with serving(Shell(echo, max_body=len(BIG)), "terminated") as shell:
            head = get("/", f"Content-Length: {len(BIG)}", method="POST")
            for answer in await asyncio.gather(*(talk(shell, head, BIG) for _ in range(3))):
                assert answer.partition(b"\r\n\r\n")[2] == BIG

    uvloop.run(run())


def test_a_client_that_reads_slowly_holds_up_nobody_and_gets_all() -> None:
    async def answer(request: Request) -> Response:
        return Response(200, BIG if request.path == "/big" else b"small")

    async def run() -> None:
        async with serving(Shell(answer), "terminated") as shell:
            slow = []
            for _ in range(5):
                reader, writer = await dial(shell)
                writer.transport.pause_reading()  # type: ignore[attr-defined]
                writer.write(get("/big"))
                slow.append((reader, writer))
            for _ in range(20):
                assert (await talk(shell, get("/"))).endswith(b"small")
            for reader, writer in slow:
                writer.transport.resume_reading()  # type: ignore[attr-defined]
                assert (await reader.read()).partition(b"\r\n\r\n")[2] == BIG
                writer.close()

    uvloop.run(run())


def test_what_many_get_alike_comes_whole_and_in_order_also_to_slow_readers() -> None:
    pieces = [bytes([number]) * (5000 * number) for number in range(1, 15)]
    released = asyncio.Event()

    async def stream() -> AsyncIterator[bytes]:
        yield b"begin"
        await released.wait()
        for piece in pieces:
            yield piece

    async def answer(_request: Request) -> Response:
        return Response(200, headers={"content-length": str(size)}, stream=stream())

    size = len(b"begin") + sum(map(len, pieces))

    async def run() -> None:
        async with serving(Shell(answer), "terminated") as shell:
            lines = [await dial(shell) for _ in range(40)]
            for number, (reader, writer) in enumerate(lines):
                writer.write(get("/"))
                await reader.readuntil(b"begin")
                if number % 4 == 0:
                    writer.transport.pause_reading()  # type: ignore[attr-defined]
            released.set()
            quick = [line for number, line in enumerate(lines) if number % 4]
            slow = lines[::4]
            for reader, _ in quick:
                assert await reader.read() == b"".join(pieces)
            for reader, writer in slow:
                writer.transport.resume_reading()  # type: ignore[attr-defined]
                assert await reader.read() == b"".join(pieces)

    uvloop.run(run())


def test_many_clients_are_served_side_by_side() -> None:
    async def check(shell: Shell, handler: Handler) -> None:
        lines = [await dial(shell) for _ in range(100)]
        for turn in range(3):
            for number, (_, writer) in enumerate(lines):
                writer.write(get(f"/{number}/{turn}", close=False))
            for number, (reader, _) in enumerate(lines):
                assert await reader.readuntil(b" /%d/%d  0" % (number, turn))
        for _, writer in lines:
            writer.transport.abort()
        while shell._site.connections:
            await asyncio.sleep(0.01)
        assert len(handler.seen) == 300

    terminated(check)


def test_what_is_no_handshake_is_refused_and_others_are_served() -> None:
    async def check(shell: Shell, handler: Handler) -> None:
        async def said(*parts: bytes) -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", shell.port)
            writer.writelines(parts)
            with contextlib.closing(writer), contextlib.suppress(ConnectionError):
                return await reader.read()
            return b""

        plain = await said(get("/"))
        assert plain.startswith(b"HTTP/1.0 400") and b"HTTP request to an HTTPS server" in plain
        alert = await said(b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00")
        assert alert[:1] in (b"\x15", b"")
        assert b"HTTP" not in await said(b"\x00" * 500)
        reader, writer = await asyncio.open_connection("127.0.0.1", shell.port)
        writer.close()  # says nothing at all
        await reader.read()
        assert status_of(await talk(shell, get("/"))) == 200
        assert len(handler.seen) == 1

    terminated(check)


def test_a_client_whose_certificate_is_of_another_authority_is_refused(tmp_path: Path) -> None:
    async def check(shell: Shell, handler: Handler) -> None:
        from proa.kube import pki

        other = pki.ensure(tmp_path, names=("localhost",), addresses=["127.0.0.1"], now=1.8e9 - 5)
        (tmp_path / "a.pem").write_bytes(other.admin_pem)
        (tmp_path / "a.key").write_bytes(other.admin_key_pem)
        tls = ssl.create_default_context(cadata=keys().client_authority.decode())
        tls.load_cert_chain(tmp_path / "a.pem", tmp_path / "a.key")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            reader, writer = await asyncio.open_connection("127.0.0.1", shell.port, ssl=tls)
            writer.write(get("/"))
            assert await reader.read() == b""
            raise ConnectionError("closed without an answer")
        assert handler.seen == []

    terminated(check)


def test_a_certificate_as_large_as_openssl_takes_is_known_whole(tmp_path: Path) -> None:
    now = (datetime.now(UTC) - timedelta(hours=1)).timestamp()
    authority = Authority.create(now)
    certificate, key = authority.issue_server(["localhost"], ["127.0.0.1"], now)
    groups = [f"group-{number:060}" for number in range(1200)]
    (tmp_path / "a.pem").write_bytes(b"".join(authority.issue_client("many", groups, now)))
    tls = ssl.create_default_context(cadata=authority.pem.decode())
    tls.load_cert_chain(tmp_path / "a.pem")
    tls.maximum_version = ssl.TLSVersion.TLSv1_2
    tls.options |= ssl.OP_NO_TICKET  # which would hold the certificate, and 64 KiB at most

    async def run() -> None:
        handler, terminator = Handler(), Terminator(SystemClock())
        shell = Shell(handler)
        sockets = listening("127.0.0.1", 0)
        shell.start_terminated(terminator, sockets, Keys(certificate, key, authority.pem))
        async with asyncio.timeout(20):
            reader, writer = await asyncio.open_connection("127.0.0.1", shell.port, ssl=tls)
            writer.write(get("/"))
            assert status_of(await reader.read()) == 200
        writer.close()
        shown = handler.seen[0].peer.certificate_der
        assert shown is not None and 90_000 < len(shown) < 100_000
        await shell.close()
        await terminator.close()

    uvloop.run(run())


class Quiet:
    """A stream that never says anything."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        await asyncio.Event().wait()
        return b""

    async def aclose(self) -> None:
        self.closed.set()


@pytest.mark.parametrize(("way", "reset"), [("plain", 1), ("terminated", 1), ("terminated", 0)])
def test_a_stream_is_closed_whose_client_left_before_it_began(way: str, reset: int) -> None:
    asked, left, stream = asyncio.Event(), asyncio.Event(), Quiet()

    async def answer(_request: Request) -> Response:
        asked.set()
        await left.wait()
        return Response(200, stream=stream)

    async def run() -> None:
        async with serving(Shell(answer), way) as shell, asyncio.timeout(5):
            _, writer = await dial(shell)
            writer.write(get("/", close=False))
            await asked.wait()
            [connection] = shell._site.connections
            linger = struct.pack("ii", reset, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
            while shell._site.connections and not connection._eof:
                await asyncio.sleep(0.01)
            left.set()
            await stream.closed.wait()
            while shell._site.connections:
                await asyncio.sleep(0.01)

    uvloop.run(run())


def test_a_client_that_says_goodbye_after_its_request_is_answered() -> None:
    def ask(port: int) -> bytes:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = client_tls().wrap_bio(incoming, outgoing, server_hostname="localhost")
        with socket.create_connection(("127.0.0.1", port), timeout=10) as plug:

            def until_done(step: Callable[[], Any]) -> Any:
                while True:
                    try:
                        return step()
                    except ssl.SSLWantReadError:
                        if outgoing.pending:
                            plug.sendall(outgoing.read())
                        incoming.write(plug.recv(65536)) or incoming.write_eof()

            until_done(tls.do_handshake)
            tls.write(get("/said-all", close=False))
            with pytest.raises(ssl.SSLWantReadError):
                tls.unwrap()  # close_notify
            plug.sendall(outgoing.read())
            plug.shutdown(socket.SHUT_WR)
            answer = b""
            with contextlib.suppress(ssl.SSLZeroReturnError):
                while part := until_done(lambda: tls.read(65536)):
                    answer += part
            return answer

    async def check(shell: Shell, _handler: Handler) -> None:
        assert (await asyncio.to_thread(ask, shell.port)).endswith(b"GET /said-all  0")

    terminated(check)


def test_a_terminator_that_is_killed_is_replaced_and_its_connections_are_lost() -> None:
    async def check(shell: Shell, handler: Handler) -> None:
        assert status_of(await talk(shell, get("/"))) == 200
        before = set(_terminators())
        reader, writer = await dial(shell)
        writer.write(get("/endless", close=False))
        await reader.readuntil(b"\r\n\r\n")
        [pid] = before
        os.kill(pid, signal.SIGKILL)
        await handler.ended.wait()
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()
        assert not shell._site.connections
        assert status_of(await talk(shell, get("/"))) == 200  # waited in the socket's queue
        assert before.isdisjoint(_terminators())

    terminated(check)


def test_a_terminator_whose_start_met_a_bug_is_started_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start, bugs = child._start, [RuntimeError("a bug")]

    async def buggy(link: socket.socket) -> asyncio.subprocess.Process:
        if bugs:
            raise bugs.pop()
        return await start(link)

    async def check(shell: Shell, _handler: Handler) -> None:
        assert status_of(await talk(shell, get("/"))) == 200

    monkeypatch.setattr(child, "_start", buggy)
    terminated(check)
    assert not bugs


def test_a_terminator_outlives_signals_to_all_and_ends_with_its_link() -> None:
    async def check(shell: Shell, _handler: Handler) -> None:
        assert status_of(await talk(shell, get("/"))) == 200
        for pid in _terminators():
            os.kill(pid, signal.SIGTERM)
            os.kill(pid, signal.SIGINT)
        assert status_of(await talk(shell, get("/"))) == 200

    terminated(check)
    assert _terminators() == []


def test_no_one_is_accepted_any_more_once_the_shell_is_closed() -> None:
    async def check(shell: Shell, _handler: Handler) -> None:
        assert status_of(await talk(shell, get("/"))) == 200
        await shell.close()
        for _ in range(100):  # the terminator is told, and closes its own
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", shell.port)
            except ConnectionRefusedError:
                return
            writer.close()
            await asyncio.sleep(0.05)
        raise AssertionError("it still accepts")

    terminated(check)


def test_a_port_is_free_at_once_when_its_door_is_closed() -> None:
    async def run() -> None:
        [found] = listening("127.0.0.1", 0)
        port = found.getsockname()[1]
        found.close()
        mine = keys()
        door = Door("one", port, Handler(), mine.certificate, mine.key, mine.client_authority)
        doors = HttpDoors("127.0.0.1")
        for _ in range(3):
            await doors.open(door)
            _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client_tls())
            writer.close()
            await doors.close("one")
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        await doors.close_all()

    uvloop.run(run())


# Within this process, to reach what takes long or hardly ever happens


@contextlib.contextmanager
def _in_a_thread() -> Iterator[tuple[socket.socket, int]]:
    """A terminator's link, and the port at which it accepts."""
    ours, theirs = socket.socketpair()
    [door] = listening("127.0.0.1", 0)
    running = service.Service(theirs)
    thread = threading.Thread(target=running.run)
    with ours, theirs, door:
        thread.start()
        payload = b"\1" + keys().packed()
        socket.send_fds(ours, [frame(frames.LISTEN, 3, payload)], [door.fileno()])
        try:
            yield ours, door.getsockname()[1]
        finally:
            ours.shutdown(socket.SHUT_RDWR)
            thread.join(10)
    assert not thread.is_alive()


def _dialled(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def _next_frame(link: socket.socket) -> tuple[int, int, bytes]:
    inbox = Inbox()
    link.settimeout(10)
    size = link.recv_into(inbox.space())
    [(kind, number, payload)] = inbox.frames(size)
    return kind, number, bytes(payload)


def _heard_while_sending(link: socket.socket, part: bytes) -> tuple[int, int, bytes] | None:
    """Send a part; what was said by then, if anything."""
    link.sendall(part)
    link.setblocking(False)
    try:
        link.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return None
    finally:
        link.settimeout(10)
    return _next_frame(link)


def test_who_does_not_shake_hands_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "SHAKE_S", 0.05)
    with _in_a_thread() as (_, port), _dialled(port) as silent:
        assert silent.recv(1) == b""


def test_who_does_not_read_what_is_left_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "CLOSE_S", 0.05)
    with (
        _in_a_thread() as (link, port),
        client_tls().wrap_socket(_dialled(port), server_hostname="localhost"),
    ):
        _, number, _ = _next_frame(link)
        part = frame(frames.DATA, number, bytes(frames.PAYLOAD_MAX))
        while (told := _heard_while_sending(link, part)) is None:
            pass
        assert told == (frames.FULL, number, b"")
        link.sendall(frame(frames.CLOSE, number))
        assert _next_frame(link) == (frames.LOST, number, b"")


def test_a_port_without_descriptors_rests_and_accepts_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service, "PAUSE_S", 0.05)
    failures = [OSError(24, "Too many open files")] * 2
    accept = socket.socket.accept

    def poor(self: socket.socket) -> tuple[socket.socket, Any]:
        if failures:
            raise failures.pop()
        return accept(self)

    monkeypatch.setattr(socket.socket, "accept", poor)
    with _in_a_thread() as (link, port), _dialled(port) as plug:
        for _ in range(2):
            kind, number, why = _next_frame(link)
            assert (kind, number) == (frames.STARVED, 3) and b"Too many open files" in why
        with client_tls().wrap_socket(plug, server_hostname="localhost"):
            assert _next_frame(link)[0] == frames.OPENED
    assert not failures


def test_a_connection_that_breaks_is_lost() -> None:
    with _in_a_thread() as (link, port):
        with client_tls().wrap_socket(_dialled(port), server_hostname="localhost") as tls:
            _, number, _ = _next_frame(link)
            tls.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        assert _next_frame(link)[:2] == (frames.LOST, number)
