"""The client of Proa's own sockets, against Proa's own shell and against one that breaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from proa.base.http import Request, Response
from proa.server.http import Shell
from proa.server.unix_http import Refused, UnixHttp


async def answer(request: Request) -> Response:
    if request.path == "/lines":
        return Response(200, stream=_lines())
    if request.path == "/broken":
        return Response(200, stream=_broken())
    if request.path == "/no":
        return Response(404, b"no such thing")
    if request.path == "/none":
        return Response(204)
    return Response(200, request.method.encode() + b" " + request.body)


async def _lines() -> AsyncIterator[bytes]:
    yield b"one\ntw"
    await asyncio.sleep(0)
    yield b"o\nthree\n"
    yield b"x" * 3_000_000 + b"\n"


async def _broken() -> AsyncIterator[bytes]:
    yield b"one\n"
    raise RuntimeError("broken on purpose")


def play(folder: Path, story: Callable[[UnixHttp, Path], Awaitable[None]]) -> None:
    async def main() -> None:
        socket = folder / "s"
        shell = Shell(answer)
        await shell.start_unix(socket)
        client = UnixHttp(socket)
        try:
            await story(client, socket)
        finally:
            await client.close()
            await shell.close()

    asyncio.run(main())


def test_answers_come_whole_over_a_connection_that_is_kept(tmp_path: Path) -> None:
    async def story(client: UnixHttp, _socket: Path) -> None:
        assert await client.ask("POST", "/", b"body") == (200, b"POST body")
        assert await client.ask("GET", "/none") == (204, b"")
        assert await client.ask("GET", "/no") == (404, b"no such thing")
        both = await asyncio.gather(*[client.ask("POST", "/", b"%d" % n) for n in range(3)])
        assert both == [(200, b"POST %d" % n) for n in range(3)]

    play(tmp_path, story)


def test_lines_come_one_by_one_however_the_body_was_cut(tmp_path: Path) -> None:
    async def story(client: UnixHttp, _socket: Path) -> None:
        found = [line async for line in client.lines("GET", "/lines")]
        assert [len(line) for line in found] == [3, 3, 5, 3_000_000]
        assert found[:3] == [b"one", b"two", b"three"]
        with pytest.raises(Refused, match="no such thing"):
            await anext(client.lines("GET", "/no"))

    play(tmp_path, story)


def test_a_stream_that_breaks_is_an_error_not_an_end(tmp_path: Path) -> None:
    async def story(client: UnixHttp, _socket: Path) -> None:
        lines = client.lines("GET", "/broken")
        assert await anext(lines) == b"one"
        with pytest.raises(OSError, match="closed"):
            await anext(lines)

    play(tmp_path, story)


def test_a_server_that_was_started_anew_is_asked_anew(tmp_path: Path) -> None:
    async def story(client: UnixHttp, socket: Path) -> None:
        other = tmp_path / "other"
        moved = UnixHttp(other)
        first = Shell(answer)
        await first.start_unix(other)
        assert (await moved.ask("GET", "/"))[0] == 200
        await first.close()
        second = Shell(answer)
        await second.start_unix(other)
        assert (await moved.ask("GET", "/"))[0] == 200
        await second.close()
        with pytest.raises(OSError, match=r"."):
            await moved.ask("GET", "/")
        await moved.close()
        assert (await client.ask("GET", "/"))[0] == 200

    play(tmp_path, story)


def test_what_is_no_http_is_an_error(tmp_path: Path) -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"SSH-2.0-nonsense\r\n\r\n")
        await writer.drain()
        writer.close()

    async def story(_client: UnixHttp, _socket: Path) -> None:
        server = await asyncio.start_unix_server(babble, tmp_path / "babble")
        client = UnixHttp(tmp_path / "babble")
        with pytest.raises(OSError, match="closed"):
            await client.ask("GET", "/")
        await client.close()
        server.close()
        await server.wait_closed()

    play(tmp_path, story)
