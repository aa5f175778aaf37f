"""The agent's way to the control plane (its ``ControlLink`` port), over the hull's unix socket.

The other way, for logs and exec, is ``agent_client``.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import msgspec

from proa.base.clock import Clock
from proa.base.errors import CallerFault, TryAgain
from proa.model.feed import Down, Hello, LogBatch, Report
from proa.server.unix_http import Refused, UnixHttp

_down = msgspec.json.Decoder(Down)
_encode = msgspec.json.Encoder().encode
HEARTBEAT_S = 10.0
STARTING_S, POLL_S = 10.0, 0.05


class HullClient:
    """Calls of the hull's API; every failure to reach it is a TryAgain."""

    def __init__(self, socket: Path) -> None:
        self._http = UnixHttp(socket)

    async def post(self, path: str, body: bytes) -> None:
        """Say something; returns once it has been taken in."""
        try:
            status, said = await self._http.ask("POST", path, body)
        except OSError as error:
            raise TryAgain(f"the control plane does not answer: {error}") from error
        if status >= 400:
            text = said.decode(errors="replace")
            raise TryAgain(text) if status == 503 else CallerFault(f"{path}: {status} {text}")

    async def lines(self, path: str, body: bytes | None = None) -> AsyncIterator[bytes]:
        """What comes over one connection; asked by POST where there is a body."""
        method = "GET" if body is None else "POST"
        try:
            async for line in self._http.lines(method, path, body or b""):
                yield line
        except Refused as error:
            raise TryAgain(f"{path}: {error}") from error
        except OSError as error:
            raise TryAgain(f"the feed broke: {error}") from error

    async def close(self) -> None:
        await self._http.close()


class HullLink:
    """One agent's line to the hull's API (the ControlLink port)."""

    def __init__(self, socket: Path, hello: Hello, clock: Clock) -> None:
        self._client, self._hello, self._clock = HullClient(socket), hello, clock

    async def feed(self) -> AsyncIterator[Down]:
        """Introduce the Host, then every message of one connection."""
        await self._introduce()
        async for line in self._client.lines(f"/v1/feed?host={quote(self._hello.host.id)}"):
            yield _down.decode(line)

    async def _introduce(self) -> None:
        """A control plane that starts at the same moment, or anew, is waited for closely."""
        began = self._clock.monotonic()
        while True:
            try:
                await self._client.post("/v1/hello", _encode(self._hello))
                return
            except TryAgain:
                if self._clock.monotonic() > began + STARTING_S:
                    raise
                await self._clock.sleep(POLL_S)

    async def report(self, report: Report) -> None:
        await self._client.post("/v1/report", _encode(report))

    async def ship(self, batch: LogBatch) -> None:
        await self._client.post("/v1/logs", _encode(batch))

    async def heartbeat(self) -> None:
        """Tell the control plane, for as long as this runs, that the Host lives."""
        while True:
            with contextlib.suppress(TryAgain, CallerFault):  # the feed's loop tells of outages
                await self.report(Report(self._hello.host.id))
            await self._clock.sleep(HEARTBEAT_S)

    async def close(self) -> None:
        await self._client.close()
