"""HTTP/1.1 messages as bytes: what a connection parsed becomes a ``Request``, and a ``Response``
the bytes of its head.

Pure; ``http_connection`` calls it for every request. What was parsed is strict already (llhttp's
grammar); here stands what a grammar does not say: one Host, one way to tell a body's length
(RFC 9112, 3.2 and 6.3), no line breaks in what we answer.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Container
from functools import lru_cache
from http import HTTPStatus
from urllib.parse import parse_qsl

from proa.base.http import Peer, Request, Response

BODILESS = frozenset({204, 304})
_METHODS = {
    name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
}
_PLAIN = {"content-type": "text/plain; charset=utf-8"}
_FRAMING = frozenset({"content-length", "transfer-encoding", "connection"})


class Head:
    """What stands before a request's body. ``fault`` is the status with which the request has to
    be refused, 0 for none."""

    url = b""
    size = 0  # bytes of names and values
    method = ""
    path = ""  # as it was sent, without a query; the path of an absolute URL
    query = ""
    old = False  # HTTP/1.0
    close = False
    length = 0  # of the body; -1 where it comes in chunks
    fault = 0

    def __init__(self) -> None:
        self.pairs: list[tuple[bytes, bytes]] = []
        self.headers: dict[str, str] = {}

    def complete(self, method: bytes, version: str, keep_alive: bool) -> None:
        """All fields are there: read them."""
        self.method = _METHODS.get(method) or method.decode()
        self.path, self.query = _target(self.url)
        self.old, self.close = version == "1.0", not keep_alive
        headers = self.headers
        for raw, value in self.pairs:
            name, text = _name(raw), value.decode("utf-8", "surrogateescape")
            if name in headers:
                if name in ("host", "content-length", "transfer-encoding"):
                    self.fault = 400
                text = f"{headers[name]}, {text}"  # as RFC 9110 has it
            headers[name] = text
        coding, length = headers.get("transfer-encoding"), headers.get("content-length")
        if version not in ("1.1", "1.0"):
            self.fault = 505
        elif method == b"CONNECT":
            self.fault = 405
        elif not self.old and "host" not in headers:
            self.fault = 400
        elif coding is not None:
            self._read_coding(coding, length)
        elif length is not None:
            self.length = int(length) if length.isascii() and length.isdigit() else 0
        if "expect" in headers and headers["expect"].lower() != "100-continue":
            self.fault = self.fault or 417

    def _read_coding(self, coding: str, length: str | None) -> None:
        self.length = -1
        if length is not None or self.old:
            self.fault = 400  # who is between us may have read another length
        elif coding.strip().lower() != "chunked":
            self.fault = 501

    def request(
        self, peer: Peer, body: bytes = b"", stream: AsyncIterator[bytes] | None = None
    ) -> Request:
        """The request that begins with this."""
        query = self.query
        return Request(
            self.method,
            self.path,
            tuple(parse_qsl(query, keep_blank_values=True)) if query else (),
            self.headers,
            body,
            query,
            peer,
            stream,
        )

    def again(self, without: Container[bytes] = ()) -> bytes:
        """The same head as bytes, for another who parses; ``without`` some fields."""
        lines = [b"%b %b HTTP/1.%d" % (self.method.encode(), self.url, 0 if self.old else 1)]
        lines += [b"%b: %b" % pair for pair in self.pairs if pair[0].lower() not in without]
        if without and self.close:
            lines.append(b"connection: close")
        return b"\r\n".join(lines) + b"\r\n\r\n"


def _target(url: bytes) -> tuple[str, str]:
    """Path and query."""
    target = url.decode("utf-8", "surrogateescape")
    if target[:1] != "/" and "://" in target:
        beyond = target.partition("://")[2]
        cut = min((beyond.find(mark) for mark in "/?" if mark in beyond), default=len(beyond))
        target = beyond[cut:]
        target = target if target.startswith("/") else f"/{target}"
    path, _, query = target.partition("?")
    return path, query


@lru_cache(maxsize=512)
def _name(raw: bytes) -> str:
    return raw.decode("ascii", "replace").lower()


@lru_cache(maxsize=64)
def _status_line(status: int) -> str:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return f"HTTP/1.1 {status} {phrase}\r\n"


def plain_answer(status: int) -> Response:
    """The refusal of what is no request, as Go's servers word it."""
    return Response(status, _status_line(status)[9:-2].encode(), dict(_PLAIN))


def length_of(answer: Response, head_only: bool) -> int | None:
    """The Content-Length of a whole answer: of the body, or what a handler says of the body that
    it would have; None where there is none to be said."""
    if answer.status in BODILESS or answer.status < 200:
        return None
    said = answer.headers.get("content-length") if head_only else None
    if said is not None and said.isdecimal():
        return int(said)
    return len(answer.body)


def declared_length(answer: Response) -> int | None:
    """What a streamed answer says of its length."""
    said = answer.headers.get("content-length", "")
    return int(said) if said.isdecimal() else None


@lru_cache(maxsize=1024)
def _fields(status: int, headers: tuple[tuple[str, str], ...]) -> bytes:
    """The status line and what a handler says. Raises ValueError for line breaks in a header."""
    text = _status_line(status)
    lines = 1
    for name, value in headers:
        if name.lower() not in _FRAMING:
            text += f"{name}: {value}\r\n"
            lines += 1
    if text.count("\n") != lines or text.count("\r") != lines or "\0" in text:
        raise ValueError("a line break in a header")
    return text.encode("utf-8", "surrogateescape")


def head_of(
    answer: Response, length: int | None, date: bytes, *, close: bool, old: bool, chunked: bool
) -> bytes:
    """The head of an answer, up to the blank line; ``old`` for a client of HTTP/1.0. Raises
    ValueError for line breaks in a header."""
    fields = _fields(answer.status, tuple(answer.headers.items()))
    if length is not None:
        fields += b"content-length: %d\r\n" % length
    elif chunked:
        fields += b"transfer-encoding: chunked\r\n"
    if close:
        fields += b"connection: close\r\n"
    elif old:
        fields += b"connection: keep-alive\r\n"
    return b"%bdate: %b\r\n\r\n" % (fields, date)
