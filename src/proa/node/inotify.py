"""Waiting for files to change without looking again and again: inotify(7) on the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import struct
from collections.abc import AsyncIterator
from pathlib import Path

_MODIFY, _MOVED_TO, _CREATE = 0x2, 0x80, 0x100
_libc = ctypes.CDLL(None, use_errno=True)
_HEAD = struct.Struct("iIII")


class Inotify:
    """One inotify descriptor; any number of waiters a directory."""

    def __init__(self) -> None:
        self._descriptor = -1
        self._waiters: dict[int, dict[asyncio.Event, None]] = {}

    def _open(self) -> None:
        self._descriptor = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._descriptor < 0:
            number = ctypes.get_errno()
            raise OSError(number, f"inotify: {os.strerror(number)}")
        asyncio.get_running_loop().add_reader(self._descriptor, self._read)

    def watch(self, folder: Path, event: asyncio.Event) -> int:
        """Set ``event`` whenever a file in ``folder`` grows or appears; returns a handle."""
        if self._descriptor < 0:
            self._open()
        folder.mkdir(parents=True, exist_ok=True)
        mask = _MODIFY | _MOVED_TO | _CREATE
        handle = _libc.inotify_add_watch(self._descriptor, os.fsencode(folder), mask)
        if handle < 0:
            number = ctypes.get_errno()
            raise OSError(number, f"inotify {folder}: {os.strerror(number)}")
        self._waiters.setdefault(handle, {})[event] = None
        return int(handle)

    def unwatch(self, handle: int, event: asyncio.Event) -> None:
        """Forget one waiter; the last one takes the watch with it."""
        waiters = self._waiters.get(handle, {})
        waiters.pop(event, None)
        if not waiters and self._waiters.pop(handle, None) is not None and self._descriptor >= 0:
            _libc.inotify_rm_watch(self._descriptor, handle)

    async def changes(self, folder: Path, poke: asyncio.Event | None = None) -> AsyncIterator[None]:
        """Yields after each change (several may come as one), or when ``poke`` is set."""
        event = poke or asyncio.Event()
        handle = self.watch(folder, event)
        try:
            while True:
                await event.wait()
                event.clear()
                yield None
        finally:
            self.unwatch(handle, event)

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            data = os.read(self._descriptor, 65536)
            position = 0
            while position < len(data):
                handle, _, _, length = _HEAD.unpack_from(data, position)
                position += _HEAD.size + length
                for event in self._waiters.get(handle, {}):
                    event.set()

    def close(self) -> None:
        """Stop watching."""
        if self._descriptor >= 0:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1
