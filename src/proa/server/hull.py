"""The hull's own API, on a unix socket that only root may open: agents and the CLI use it.

Agents: ``POST /v1/hello``, ``GET /v1/feed?host=``, ``POST /v1/report``, ``POST /v1/logs``.
A crowd of simulated Hosts says the same for many: ``POST /v1/hellos``, ``/v1/feeds`` (ids; lines
of [host, message]), ``/v1/reports``, ``/v1/beats`` (ids of those that live), and ``/v1/leaves``
(ids) when it is switched off for good.
CLI: ``GET /v1/status``, ``GET /v1/ready``, ``GET /v1/why?subject=&namespace=``,
``GET /v1/overview?after=VERSION&timeout=S``, ``GET /v1/dump`` (the store, for a backup).
Handlers only; the shell is ``server.http``.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import msgspec

from proa.base.clock import Clock
from proa.base.config import Config
from proa.base.errors import CallerFault, TryAgain
from proa.base.http import Request, Response
from proa.base.telemetry import get_logger
from proa.dispatch.hub import FeedHub
from proa.dispatch.skin import Skin
from proa.model.feed import Down, Hello, LogBatch, Report, Rules, Zones
from proa.reconcile.view import View

log = get_logger(__name__)
MAX_POLL_S = 60.0
_encode = msgspec.json.Encoder().encode
_hello = msgspec.json.Decoder(Hello)
_hellos = msgspec.json.Decoder(tuple[Hello, ...])
_report = msgspec.json.Decoder(Report)
_reports = msgspec.json.Decoder(tuple[Report, ...])
_ids = msgspec.json.Decoder(tuple[str, ...])
_logs = msgspec.json.Decoder(LogBatch)


def encode_line(message: Down) -> bytes:
    """A message of the feed as one line."""
    return _encode(message) + b"\n"


class HullApi:
    """Request → response for agents and the CLI."""

    def __init__(
        self,
        view: View,
        clock: Clock,
        config: Config,
        skins: Sequence[Skin],
        *,
        join: Callable[[Sequence[Hello]], Awaitable[None]],
        heartbeat: Callable[[Sequence[str]], Awaitable[None]],
        leave: Callable[[Sequence[str]], Awaitable[None]],
        ship: Callable[[LogBatch], Awaitable[None]],
        status: Callable[[], dict[str, Any]],
        why: Callable[[str, str], Sequence[msgspec.Struct]],
        overview: Callable[[], dict[str, Any]],
        dump: Callable[[], AsyncIterator[bytes]],
    ) -> None:
        self._view = view
        self._skins = {skin.name: skin for skin in skins}
        self.feeds = FeedHub(view, clock, config, skins)
        self._alike: dict[type, tuple[Down, bytes]] = {}  # the newest of those all Hosts are told
        self.join, self.beat, self.leave = join, heartbeat, leave
        self.ship, self._status = ship, status
        self._why, self._overview, self._dump = why, overview, dump

    async def handle(self, request: Request) -> Response:
        """Route by path; faults answer 4xx, passing ones 503."""
        route = self._routes.get((request.method, request.path))
        if route is None:
            return Response(404, b"no such path\n")
        try:
            return await route(self, request)
        except (msgspec.ValidationError, ValueError) as error:
            return Response(400, str(error).encode())
        except TryAgain as error:
            return Response(503, str(error).encode())
        except CallerFault as error:
            return Response(422, str(error).encode())

    async def _hello_route(self, request: Request) -> Response:
        await self.join((_hello.decode(request.body),))
        return Response(204)

    async def _hellos_route(self, request: Request) -> Response:
        await self.join(_hellos.decode(request.body))
        return Response(204)

    async def _leaves_route(self, request: Request) -> Response:
        await self.leave(_ids.decode(request.body))
        return Response(204)

    async def _feed_route(self, request: Request) -> Response:
        host = request.param("host")
        if not host:
            return Response(400, b"the query must name a host\n")
        return Response(200, stream=self._lines(host))

    async def _lines(self, host: str) -> AsyncIterator[bytes]:
        feed = self.feeds.open(host)
        try:
            async for message in feed.stream():
                yield self._line(message)
        finally:
            feed.close()

    async def _feeds_route(self, request: Request) -> Response:
        return Response(200, stream=self._pairs(_ids.decode(request.body)))

    async def _pairs(self, hosts: Sequence[str]) -> AsyncIterator[bytes]:
        """Lines of [host, message]."""
        feed = self.feeds.open_many(hosts)
        try:
            async for pairs in feed.stream():
                for pair in pairs:
                    yield _encode(pair) + b"\n"
        finally:
            feed.close()

    def _line(self, message: Down) -> bytes:
        """Rules and Zones are the same object for every Host: encoded once."""
        if not isinstance(message, Rules | Zones):
            return encode_line(message)
        alike = self._alike.get(type(message))
        if alike is None or alike[0] is not message:
            alike = self._alike[type(message)] = message, encode_line(message)
        return alike[1]

    async def _beats_route(self, request: Request) -> Response:
        await self.beat(_ids.decode(request.body))
        return Response(204)

    async def _report_route(self, request: Request) -> Response:
        await self.report((_report.decode(request.body),))
        return Response(204)

    async def _reports_route(self, request: Request) -> Response:
        await self.report(_reports.decode(request.body))
        return Response(204)

    async def report(self, reports: Sequence[Report]) -> None:
        """Hand each bow what concerns its Sandboxes, in the order it was said. Raises TryAgain
        where a Host has not joined; what the others said is taken in."""
        try:
            await self.beat([report.host for report in reports])
        finally:
            news = [report for report in reports if report.statuses or report.events]
            if news:
                await self._take(news)

    async def _take(self, reports: Sequence[Report]) -> None:
        said = [status for report in reports for status in report.statuses]
        news = [event for report in reports for event in report.events]
        skin_of = {status.uid: status.skin for status in said}
        for name, skin in self._skins.items():
            statuses = [status for status in said if status.skin == name]
            events = [event for event in news if skin_of.get(event.uid, name) == name]
            if statuses or events:
                await skin.report(self._view, statuses, events)

    async def _logs_route(self, request: Request) -> Response:
        await self.ship(_logs.decode(request.body))
        return Response(204)

    async def _status_route(self, _request: Request) -> Response:
        return Response(200, _encode(self._status()), {"content-type": "application/json"})

    async def _why_route(self, request: Request) -> Response:
        subject = request.param("subject")
        if not subject:
            return Response(400, b"the query must name a subject\n")
        reports = self._why(subject, request.param("namespace") or "")
        return Response(200, _encode(reports), {"content-type": "application/json"})

    async def _overview_route(self, request: Request) -> Response:
        """The present picture; with ``after``, once the view has passed that version, or after
        ``timeout`` seconds."""
        after = int(request.param("after") or -1)
        timeout_s = min(float(request.param("timeout") or 0), MAX_POLL_S)
        if self._view.version <= after:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._view.reached(after + 1)
        return Response(200, _encode(self._overview()), {"content-type": "application/json"})

    async def _dump_route(self, _request: Request) -> Response:
        return Response(200, stream=self._dump())

    async def _ready_route(self, _request: Request) -> Response:
        return Response(200 if self._view.synced.is_set() else 503)

    _routes = {  # noqa: RUF012 - a constant table
        ("POST", "/v1/hello"): _hello_route,
        ("GET", "/v1/feed"): _feed_route,
        ("POST", "/v1/report"): _report_route,
        ("POST", "/v1/logs"): _logs_route,
        ("POST", "/v1/hellos"): _hellos_route,
        ("POST", "/v1/feeds"): _feeds_route,
        ("POST", "/v1/reports"): _reports_route,
        ("POST", "/v1/beats"): _beats_route,
        ("POST", "/v1/leaves"): _leaves_route,
        ("GET", "/v1/status"): _status_route,
        ("GET", "/v1/why"): _why_route,
        ("GET", "/v1/overview"): _overview_route,
        ("GET", "/v1/dump"): _dump_route,
        ("GET", "/v1/ready"): _ready_route,
    }
