"""Tells the control plane what is new, in batches: the latest status of each Sandbox, and events.

``Agent`` marks; the loop sends at once what somebody may be waiting for (a container runs, is
ready, has ended; a Sandbox is gone), and everything else a moment later together, because each
report costs the control plane a write. A status is never sent in two old forms. Bounded: a
Sandbox is in it once, and the oldest events are dropped first.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque

import msgspec

from proa.base.clock import Clock
from proa.base.errors import CallerFault, TryAgain
from proa.base.telemetry import get_logger
from proa.model.feed import Report
from proa.model.sandbox import NodeEvent, SandboxStatus
from proa.node.ports import ControlLink
from proa.node.state import SandboxRun

log = get_logger(__name__)
_BATCH = 200  # statuses, and events, in one report
_EVENTS = 2000
_GATHER_S = 0.3  # how long what is not urgent waits for more
_RETRY_S = 0.2
_RETRY_MAX_S = 5.0


class Reporter:
    """One agent's news."""

    def __init__(self, link: ControlLink, clock: Clock, host: str) -> None:
        self._link, self._clock, self._host = link, clock, host
        self._dirty: dict[str, SandboxStatus] = {}
        self._said: dict[str, SandboxStatus] = {}
        self._events: deque[NodeEvent] = deque(maxlen=_EVENTS)
        self._wake, self._urgent = asyncio.Event(), asyncio.Event()

    def changed(self, run: SandboxRun) -> None:
        """Send this Sandbox's status if it differs from what was last marked."""
        status = run.status()
        before = self._said.get(run.uid)
        if before is not None and msgspec.structs.replace(status, serial=before.serial) == before:
            return
        run.serial = max(run.serial + 1, int(self._clock.now() * 1000))
        self._mark(msgspec.structs.replace(status, serial=run.serial))
        if _outline(before or SandboxStatus(run.uid)) != _outline(status):
            self._urgent.set()

    def send(self, status: SandboxStatus) -> None:
        """Send this status, whatever was sent before."""
        self._mark(status)
        self._urgent.set()

    def _mark(self, status: SandboxStatus) -> None:
        self._said[status.uid] = self._dirty[status.uid] = status
        self._wake.set()

    def again(self) -> None:
        """The control plane may have forgotten: send everything once more."""
        self._dirty = dict(self._said)
        self._wake.set()
        self._urgent.set()

    def forget(self, uid: str) -> None:
        """The Sandbox is gone and the control plane knows."""
        self._said.pop(uid, None)

    def event(self, event: NodeEvent) -> None:
        self._events.append(event)
        self._wake.set()

    async def run(self) -> None:
        """Send for ever."""
        while True:
            await self._wake.wait()
            await self._gather()
            self._wake.clear()
            self._urgent.clear()
            while self._dirty or self._events:
                await self._send_some()

    async def _gather(self) -> None:
        """Wait for more, unless something is urgent."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GATHER_S):
                await self._urgent.wait()

    async def _send_some(self) -> None:
        delay_s = _RETRY_S
        while True:
            statuses = tuple(list(self._dirty.values())[:_BATCH])
            events = tuple(self._events[index] for index in range(min(_BATCH, len(self._events))))
            try:
                await self._link.report(Report(self._host, statuses, events))
                break
            except TryAgain as error:
                log.debug("report not delivered", error=str(error))
                await self._clock.sleep(delay_s)
                delay_s = min(delay_s * 2, _RETRY_MAX_S)
            except CallerFault as error:
                log.error("report refused", error=str(error))
                break
        for status in statuses:
            if self._dirty.get(status.uid) is status:
                del self._dirty[status.uid]
        for event in events:
            if self._events and self._events[0] is event:
                self._events.popleft()


def _outline(status: SandboxStatus) -> tuple[object, ...]:
    """What of a status others act on."""
    containers = tuple(
        (item.name, item.state, item.ready, item.started, item.healthy, item.attempt)
        for item in status.containers
        if item.state != "waiting" or item.last is not None
    )
    return status.phase, status.reason, status.stopping, status.gone, containers
