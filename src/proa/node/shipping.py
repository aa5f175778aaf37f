"""Ships the lines of containers with a ``LogSink`` (awslogs) to the control plane.

``Agent`` calls ``follow`` for each Sandbox and ``finish`` once its containers are gone. Lines
arrive at least once: how far they are stored is kept beside each log file, together with the
bounds of the batch under way, so that a batch sent twice is the same batch and the receiver
knows it by (source, first).
"""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

from proa.base.aio import Tasks
from proa.base.clock import Clock
from proa.base.errors import CallerFault, TryAgain
from proa.base.telemetry import get_logger
from proa.model.feed import LogBatch, LogLine
from proa.model.sandbox import LogSink, Sandbox
from proa.node.inotify import Inotify
from proa.node.logs import CHUNK, Entry, LineParser, LogFiles, attempts, instant
from proa.node.ports import ControlLink

log = get_logger(__name__)
_LINES = 1000  # in one batch
_RETRY_S = 0.5
_RETRY_MAX_S = 10.0


class Position:
    """How far one attempt's log is stored: ``acked``, and the end of the batch under way."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.acked = self.sending = 0
        if path.exists():
            numbers = path.read_text().split()
            if len(numbers) == 2:
                self.acked, self.sending = int(numbers[0]), int(numbers[1])

    def save(self, acked: int, sending: int) -> None:
        """Replace the file in one step."""
        self.acked, self.sending = acked, sending
        partial = self._path.with_suffix(".partial")
        partial.write_text(f"{acked} {sending}\n")
        partial.rename(self._path)


class _Source:
    """One container's log, over its attempts."""

    def __init__(self, uid: str, container: str, sink: LogSink, folder: Path) -> None:
        self.uid, self.container, self.sink, self.folder = uid, container, sink, folder
        self.wake = asyncio.Event()
        self.finished = False
        self.task: asyncio.Task[None] | None = None


class LogShipper:
    """All sources of one agent."""

    def __init__(self, link: ControlLink, clock: Clock, log_root: Path) -> None:
        self._link, self._clock, self._root = link, clock, log_root
        self._sources: dict[str, list[_Source]] = {}
        self._inotify = Inotify()
        self._tasks = Tasks()

    def follow(self, sandbox: Sandbox) -> None:
        """Ship what its containers write from now on, and what is not yet stored."""
        if sandbox.uid in self._sources:
            return
        sources = []
        for spec in sandbox.containers:
            if spec.log is None:
                continue
            folder = self._root / sandbox.uid / spec.name
            source = _Source(sandbox.uid, spec.name, spec.log, folder)
            source.task = self._tasks.spawn(self._ship(source), f"logs {sandbox.uid}/{spec.name}")
            sources.append(source)
        if sources:
            self._sources[sandbox.uid] = sources

    async def finish(self, uid: str) -> None:
        """Returns when the last line of a Sandbox whose containers are gone is stored."""
        for source in self._sources.pop(uid, []):
            source.finished = True
            source.wake.set()
            if source.task is not None:
                await source.task

    async def remove(self, uid: str) -> None:
        """Delete the log files of a Sandbox."""
        await asyncio.to_thread(shutil.rmtree, self._root / uid, True)

    def needed_from(self, uid: str, container: str, attempt: int) -> int:
        """Log bytes from this offset on must not be deleted; the largest number when the log
        is not shipped."""
        if any(source.container == container for source in self._sources.get(uid, [])):
            return Position(self._root / uid / container / f"{attempt}.shipped").acked
        return 1 << 62

    async def close(self) -> None:
        """Stop; a later start goes on where this one ended."""
        await self._tasks.close()
        self._inotify.close()

    async def _ship(self, source: _Source) -> None:
        handle = self._inotify.watch(source.folder, source.wake)
        try:
            attempt = 0
            while True:
                source.wake.clear()
                over = source.finished  # asked before reading, so that nothing is missed
                attempt = await self._drain(source, attempt)
                if over:
                    return
                await source.wake.wait()
        finally:
            self._inotify.unwatch(handle, source.wake)

    async def _drain(self, source: _Source, attempt: int) -> int:
        """Ship all there is; returns the attempt that is written now."""
        for number in attempts(source.folder):
            if number < attempt:
                continue
            attempt = number
            files = LogFiles(source.folder, number)
            position = Position(source.folder / f"{number}.shipped")
            while batch := self._next(source, files, number, position):
                position.save(position.acked, batch[-1].end)
                await self._send(source, number, batch)
                position.save(batch[-1].end, batch[-1].end)
        return attempt

    def _next(
        self, source: _Source, files: LogFiles, attempt: int, position: Position
    ) -> list[Entry]:
        """The next batch; after a restart exactly the one that was under way."""
        offset = position.acked
        parser = LineParser(offset)
        entries: list[Entry] = []
        while True:
            begin, data = files.read(offset, CHUNK)
            if not data:
                return entries
            if begin != offset:
                log.warning("log lines were rotated away", source=source.container)
                parser, offset = LineParser(begin), begin
            offset += len(data)
            for entry in parser.feed(data):
                entries.append(entry)
                if entry.end == position.sending or len(entries) >= _LINES:
                    return entries
            if entries and not position.acked < offset < position.sending:
                return entries

    async def _send(self, source: _Source, attempt: int, entries: list[Entry]) -> None:
        sink = source.sink
        batch = LogBatch(
            account=sink.account,
            region=sink.region,
            group=sink.group,
            stream=sink.stream,
            source=f"{source.uid}/{source.container}/{attempt}",
            first=entries[0].first,
            lines=tuple(
                LogLine(int(instant(entry.at) * 1000), entry.message.decode(errors="replace"))
                for entry in entries
            ),
        )
        delay_s = _RETRY_S
        while True:
            try:
                await self._link.ship(batch)
                return
            except TryAgain:
                await self._clock.sleep(delay_s)
                delay_s = min(delay_s * 2, _RETRY_MAX_S)
            except CallerFault as error:
                log.warning("log lines refused", stream=sink.stream, error=str(error))
                return
