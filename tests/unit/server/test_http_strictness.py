"""What is no well-formed request is refused, and never read in two ways."""

from __future__ import annotations

import asyncio

import pytest

from proa.server import http_connection
from proa.server.http import Shell
from tests.unit.server.shells import (
    LIMIT,
    Handler,
    both_ways,
    dial,
    get,
    running,
    status_of,
    talk,
)

HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: one\r\n\r\n"
MALFORMED = {
    "two lengths of a body": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "the other order": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
    b"Content-Length: 5\r\n\r\n0\r\n\r\n" + HIDDEN,
    "two content lengths": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n"
    b"Content-Length: 40\r\n\r\n" + HIDDEN,
    "a list of content lengths": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0, 40\r\n\r\n"
    + HIDDEN,
    "a signed content length": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello",
    "a negative content length": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n",
    "a hexadecimal content length": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\n",
    "chunks twice": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n"
    b"0\r\n\r\n" + HIDDEN,
    "an unknown coding": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n"
    b"0\r\n\r\n" + HIDDEN,
    "a compressed body": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"
    b"0\r\n\r\n",
    "chunks in HTTP/1.0": b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a bad chunk size": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5z\r\nhello\r\n0\r\n\r\n",
    "a huge chunk size": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    "a chunk that does not end": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\nhelloGET /hidden HTTP/1.1\r\n\r\n",
    "a folded header": b"GET / HTTP/1.1\r\nHost: a\r\nX: one\r\n two\r\n\r\n",
    "a space before the colon": b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
    "a header without a name": b"GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n",
    "a bare CR in a value": b"GET / HTTP/1.1\r\nHost: a\r\nX: one\rY: two\r\n\r\n",
    "bare LFs": b"GET / HTTP/1.1\nHost: a\n\n",
    "a NUL": b"GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "no protocol": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "an unknown version": b"GET / HTTP/3.0\r\nHost: a\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a tunnel": b"CONNECT other:443 HTTP/1.1\r\nHost: a\r\n\r\n",
    "another expectation": b"POST / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n"
    b"Content-Length: 1\r\n\r\nx",
}


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_malformed_is_refused_and_nothing_after_it_is_read(name: str) -> None:
    async def check(shell: Shell, handler: Handler) -> None:
        answer = await talk(shell, MALFORMED[name])
        assert status_of(answer) in (400, 405, 417, 501, 505), answer
        assert answer.count(b"HTTP/1.1 ") == 1
        assert b"connection: close" in answer
        assert handler.seen == []

    running(check)


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_malformed_is_refused_byte_by_byte_too(name: str) -> None:
    async def check(shell: Shell, handler: Handler) -> None:
        reader, writer = await dial(shell)
        try:
            for at in range(len(MALFORMED[name])):
                writer.write(MALFORMED[name][at : at + 1])
                if at % 8 == 0:
                    await writer.drain()
            answer = await reader.read()
        except ConnectionError:
            return
        finally:
            writer.close()
        assert status_of(answer) in (0, 400, 405, 417, 501, 505)
        assert handler.seen == []

    running(check)


@both_ways
def test_an_answer_before_a_malformed_request_is_given(way: str) -> None:
    async def check(shell: Shell, handler: Handler) -> None:
        answer = await talk(shell, get("/first", close=False) + MALFORMED["bare LFs"])
        assert answer.count(b"HTTP/1.1 ") == 2
        assert answer.startswith(b"HTTP/1.1 200")
        assert b"HTTP/1.1 400 Bad Request" in answer
        assert [request.path for request in handler.seen] == ["/first"]

    running(check, way)


def test_too_many_too_long_headers_and_urls_are_refused() -> None:
    async def check(shell: Shell, handler: Handler) -> None:
        many = [f"X-{number}: 1" for number in range(http_connection.HEADERS_MAX + 1)]
        assert status_of(await talk(shell, get("/", *many))) == 431
        long = "x" * (http_connection.HEADER_LIMIT + 1)
        assert status_of(await talk(shell, get("/", f"X: {long}"))) == 431
        assert status_of(await talk(shell, get(f"/{long}"))) == 414
        assert handler.seen == []

    running(check)


@both_ways
def test_a_head_that_never_ends_is_refused(way: str) -> None:
    async def check(shell: Shell, handler: Handler) -> None:
        parts = [b"GET / HTTP/1.1\r\nHost: one\r\nX: "] + [b"x" * 8192] * 40
        assert status_of(await talk(shell, *parts)) in (0, 431)
        trailers = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
        parts = [trailers] + [b"T%d: %b\r\n" % (number, b"x" * 8000) for number in range(20)]
        assert status_of(await talk(shell, *parts)) in (0, 431)
        assert handler.seen == []

    running(check, way)


def test_trailers_are_no_headers() -> None:
    async def check(shell: Shell, handler: Handler) -> None:
        head = (
            b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        assert (
            status_of(await talk(shell, head + b"1\r\nx\r\n0\r\nAuthorization: me\r\n\r\n")) == 200
        )
        assert "authorization" not in handler.seen[0].headers
        assert handler.seen[0].body == b"x"

    running(check)


@both_ways
def test_large_bodies_are_refused_in_either_coding_before_they_are_read(way: str) -> None:
    async def check(shell: Shell, handler: Handler) -> None:
        said = get("/", f"Content-Length: {LIMIT + 1}", method="POST")
        assert status_of(await talk(shell, said)) == 413
        chunked = get("/", "Transfer-Encoding: chunked", method="POST")
        parts = [b"4e20\r\n%b\r\n" % (b"x" * 20_000)] * 6
        assert status_of(await talk(shell, chunked, *parts)) == 413
        assert handler.seen == []

    running(check, way)


def test_the_handler_words_the_refusal_of_a_large_body() -> None:
    from proa.base.http import Response

    async def check(shell: Shell, _handler: Handler) -> None:
        said = get("/bucket", f"Content-Length: {LIMIT + 1}", method="POST")
        answer = await talk(shell, said)
        assert answer.startswith(b"HTTP/1.1 413") and answer.endswith(b"/bucket is too much")

    running(check, oversized=lambda asked: Response(413, f"{asked.path} is too much".encode()))


def test_line_breaks_in_an_answer_split_nothing() -> None:
    async def check(shell: Shell, _handler: Handler) -> None:
        answer = await talk(shell, get("/split"))
        assert status_of(answer) == 500
        assert b"set-cookie" not in answer

    running(check)


@both_ways
def test_a_slow_head_is_cut_off(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_connection, "HEAD_S", 0.3)
    monkeypatch.setattr("proa.server.http.SWEEP_S", 0.05)

    async def check(shell: Shell, handler: Handler) -> None:
        reader, writer = await dial(shell)
        writer.write(b"GET / HTTP/1.1\r\n")
        dripping = asyncio.create_task(_drip(writer))
        assert await _rest(reader) == b""  # cut off although it keeps sending
        dripping.cancel()
        writer.close()
        assert handler.seen == []

    running(check, way)


@both_ways
def test_a_body_that_stalls_is_cut_off(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_connection, "BODY_S", 0.2)
    monkeypatch.setattr("proa.server.http.SWEEP_S", 0.05)

    async def check(shell: Shell, handler: Handler) -> None:
        assert await talk(shell, get("/", "Content-Length: 10", method="POST") + b"half") == b""
        assert handler.seen == []

    running(check, way)


async def _drip(writer: asyncio.StreamWriter) -> None:
    number = 0
    while True:
        number += 1
        writer.write(b"X-%d: 1\r\n" % number)
        await asyncio.sleep(0.02)


async def _rest(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionError:
        return b""
