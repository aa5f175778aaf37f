"""Tells the control plane what is new, in batches: the latest status of each Sandbox, and events.

``Agent`` marks; the loop sends at once what somebody may be waiting for (a container runs, is
ready, has ended; a Sandbox is gone), with the events of the same Sandbox, and everything else a
while later together, because each report costs the control plane a write: while many Sandboxes
start, what is not urgent of one must not go out with the urgent news of each other. A status is
never sent in two old forms. Bounded: a Sandbox is in it once, and the oldest events are dropped
first.
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
_GATHER_S = 0.5  # what is not urgent waits as long at least, and then for the whole second
_RETRY_S = 0.2
_RETRY_MAX_S = 5.0


class Reporter:
    """One agent's news."""

    def __init__(self, link: ControlLink, clock: Clock, host: str) -> None:
        self._link, self._clock, self._host = link, clock, host
        self._dirty: dict[str, SandboxStatus] = {}
        self._said: dict[str, SandboxStatus] = {}
        self._events: deque[NodeEvent] = deque(maxlen=_EVENTS)
        self._due: dict[str, float] = {}  # uid → when what is new of it goes out (monotonic)
        self._wake = asyncio.Event()

    def changed(self, run: SandboxRun) -> None:
        """Send this Sandbox's status if it differs from what was last marked."""
        status = run.status()
        before = self._said.get(run.uid)
        if before is not None and msgspec.structs.replace(status, serial=before.serial) == before:
            return
        run.serial = max(run.serial + 1, int(self._clock.now() * 1000))
        urgent = _outline(before or SandboxStatus(run.uid)) != _outline(status)
        self._mark(msgspec.structs.replace(status, serial=run.serial), urgent)

    def send(self, status: SandboxStatus) -> None:
        """Send this status, whatever was sent before."""
        self._mark(status, urgent=True)

    def _mark(self, status: SandboxStatus, urgent: bool) -> None:
        self._said[status.uid] = self._dirty[status.uid] = status
        self._want(status.uid, urgent)

    def _want(self, uid: str, urgent: bool) -> None:
        now = self._clock.monotonic()
        at = now if urgent else float(int(now + _GATHER_S) + 1)  # together with others
        if at < self._due.get(uid, at + 1.0):
            self._due[uid] = at
            self._wake.set()

    def again(self) -> None:
        """The control plane may have forgotten: send everything once more."""
        self._dirty = dict(self._said)
        for uid in self._dirty:
            self._want(uid, urgent=True)

    def forget(self, uid: str) -> None:
        """The Sandbox is gone and the control plane knows."""
        self._said.pop(uid, None)

    def event(self, event: NodeEvent) -> None:
        self._events.append(event)
        self._want(event.uid, urgent=False)

    async def run(self) -> None:
        """Send for ever."""
        while True:
            await self._until_due()
            await self._send_due()

    async def _until_due(self) -> None:
        """Return once something is to go out."""
        while True:
            self._wake.clear()
            left_s = min(self._due.values(), default=0.0) - self._clock.monotonic()
            if self._due and left_s <= 0:
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left_s if self._due else None):
                    await self._wake.wait()

    async def _send_due(self) -> None:
        """One report of what is due now; what is marked meanwhile goes into the next."""
        delay_s = _RETRY_S
        while True:
            now = self._clock.monotonic()
            due = [uid for uid, at in self._due.items() if at <= now][:_BATCH]
            ours = set(due)
            statuses = tuple(self._dirty[uid] for uid in due if uid in self._dirty)
            events = tuple(event for event in self._events if event.uid in ours)[:_BATCH]
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
        self._settle(due, statuses, events)

    def _settle(
        self, due: list[str], statuses: tuple[SandboxStatus, ...], events: tuple[NodeEvent, ...]
    ) -> None:
        """Strike out what was sent; a Sandbox of which more is there by now stays due."""
        for status in statuses:
            if self._dirty.get(status.uid) is status:
                del self._dirty[status.uid]
        sent = {id(event) for event in events}
        self._events = deque((one for one in self._events if id(one) not in sent), maxlen=_EVENTS)
        left = {event.uid for event in self._events}
        for uid in due:
            if uid not in self._dirty and uid not in left:
                self._due.pop(uid, None)


def _outline(status: SandboxStatus) -> tuple[object, ...]:
    """What of a status others act on."""
    containers = tuple(
        (item.name, item.state, item.ready, item.started, item.healthy, item.attempt)
        for item in status.containers
        if item.state != "waiting" or item.last is not None
    )
    return status.phase, status.reason, status.stopping, status.gone, containers
