"""One change to many watchers: matched once for each selection, encoded once for each form.

``watching`` opens a ``Reader`` for every watch. Readers that want the same see the same bytes
(an ``Audience``); audiences are found by the resource, namespace and name of what changed, so a
watch of another object costs a change nothing. What changed is handed out at the end of the turn
of the loop; where handing out takes long, changes wait and go together, so that many watchers
leave time for requests. Fed by the view, in version order; a reader that falls behind is dropped.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from proa.base.clock import Clock
from proa.kube.keys import ObjectKey, parse_key
from proa.kube.objects import Object
from proa.kube.tables import OBJECTS
from proa.reconcile.view import Change, Entry, Table, View
from proa.store.api import SlowReader

Match = Callable[[Entry[Object]], bool]
Line = Callable[[str, Entry[Object]], bytes]
BYTES_MAX = 64 * 1024 * 1024  # that wait for one reader
CHUNK = 64 * 1024  # bytes that are handed out as one piece, unless one line is longer
PENDING_MAX = 5_000  # lines of one audience that are handed out together at most
MANY = 64  # readers, from which on handing out rests
SHARE = 3.0  # this many times as long as it took
REST_MAX_S = 0.5


@dataclass(slots=True, frozen=True)
class Selection:
    """What an audience wants: ``place`` are group, resource, namespace and name ("" for any),
    ``by`` everything else that makes its lines differ from another's, ``form`` what makes the
    encoding differ."""

    place: tuple[str, str, str, str]
    by: Hashable
    form: Hashable
    matches: Match = field(compare=False)
    line: Line = field(compare=False)


class Reader:
    """One watcher's place in the stream: every change after ``since``."""

    def __init__(self, audience: Audience, since: int) -> None:
        self._audience, self.since = audience, since
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._waiting: asyncio.Future[None] | None = None
        self._error: Exception | None = None

    async def wait(self) -> None:
        """Return when there may be something to take, or after ``wake``. Raises SlowReader."""
        if self._error is None and not self._chunks:
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        if self._error is not None:
            raise self._error

    def take(self) -> list[bytes]:
        """All that has come, in pieces that every reader of the audience gets: nothing is copied
        for each of them."""
        taken = list(self._chunks)
        self._chunks.clear()
        self._size = 0
        return taken

    def take_all(self) -> list[bytes]:
        """All that has come and what is about to be handed out."""
        self._audience.hand_out()
        return self.take()

    def wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def give(self, chunk: bytes) -> None:
        if self._error is None:
            self._size += len(chunk)
            if self._size > BYTES_MAX:
                self.drop()
                return
            self._chunks.append(chunk)
            self.wake()

    def drop(self) -> None:
        """The reader has to list again."""
        self._chunks.clear()
        self._error = SlowReader("this watcher fell behind: list again")
        self.wake()

    def close(self) -> None:
        self._audience.leave(self)


class Audience:
    """All readers of one selection."""

    def __init__(self, selection: Selection, left: Callable[[Audience], None]) -> None:
        self.selection, self._left = selection, left
        self.readers: dict[Reader, None] = {}
        self._lines: list[bytes] = []

    def hear(self, change: Change[Object], encoded: dict[Hashable, bytes]) -> bool:
        """Take in a change; whether there is something to hand out. ``encoded`` holds the lines
        of this change that other audiences have made."""
        selection, old, new = self.selection, change.old, change.new
        matched = old is not None and selection.matches(old)
        if new is not None and selection.matches(new):
            kind, shown = "MODIFIED" if matched else "ADDED", new
        elif matched and old is not None:  # as it was last seen, at the version of its going
            kind, shown = "DELETED", replace(old, version=change.version)
        else:
            return False
        form = (kind, selection.form)
        line = encoded.get(form)
        if line is None:
            line = encoded[form] = selection.line(kind, shown)
        self._lines.append(line)
        if len(self._lines) >= PENDING_MAX:
            self.hand_out()
        return True

    def hand_out(self) -> None:
        if self._lines:
            lines, self._lines = self._lines, []
            for chunk in _joined(lines):
                for reader in self.readers:
                    reader.give(chunk)

    def leave(self, reader: Reader) -> None:
        self.readers.pop(reader, None)
        if not self.readers:
            self._left(self)


def _joined(lines: list[bytes]) -> list[bytes]:
    """Lines as few pieces of at most CHUNK bytes, or of one line."""
    chunks: list[bytes] = []
    piece: list[bytes] = []
    size = 0
    for line in lines:
        if piece and size + len(line) > CHUNK:
            chunks.append(b"".join(piece))
            piece, size = [], 0
        piece.append(line)
        size += len(line)
    chunks.append(b"".join(piece))
    return chunks


class Broadcast:
    """The watchers of one cluster."""

    def __init__(self, view: View, clock: Clock, cluster: str) -> None:
        self._view, self._clock = view, clock
        self._prefix = f"/kube/{cluster}/"
        self._places: dict[tuple[str, str, str, str], dict[Selection, Audience]] = {}
        self._resources: dict[tuple[str, str], int] = {}  # how many audiences each has
        self._dirty: dict[Audience, None] = {}
        self._due: asyncio.TimerHandle | asyncio.Handle | None = None
        self._not_before = 0.0
        self._version = 0

    def open(self, selection: Selection) -> Reader:
        """Read along from the version that the view shows now."""
        if not self._resources:
            self._view.subscribe(self._changed, (OBJECTS,))
            self._version = self._view.version
        audiences = self._places.setdefault(selection.place, {})
        audience = audiences.get(selection)
        if audience is None:
            audience = audiences[selection] = Audience(selection, self._left)
            resource = selection.place[:2]
            self._resources[resource] = self._resources.get(resource, 0) + 1
        audience.hand_out()  # what came before is not the new one's
        reader = Reader(audience, self._view.version)
        audience.readers[reader] = None
        return reader

    def _left(self, audience: Audience) -> None:
        place = audience.selection.place
        audiences = self._places.get(place, {})
        if audiences.pop(audience.selection, None) is None:
            return
        self._dirty.pop(audience, None)
        if not audiences:
            del self._places[place]
        resource = place[:2]
        self._resources[resource] -= 1
        if not self._resources[resource]:
            del self._resources[resource]
        if not self._resources:
            self._view.unsubscribe(self._changed)

    def _changed(self, _table: Table[Any], change: Change[Any]) -> None:
        if not change.key.startswith(self._prefix):
            return
        key = parse_key(change.key)
        if (key.group, key.resource) not in self._resources:
            return
        if change.version <= self._version:  # the view has listed again: versions are missing
            self._drop_all(key)
            return
        self._version = change.version
        encoded: dict[Hashable, bytes] = {}
        for audience in self._concerned(key):
            if audience.hear(change, encoded):
                self._dirty[audience] = None
        if self._dirty and self._due is None:
            self._plan()

    def _concerned(self, key: ObjectKey) -> list[Audience]:
        group, resource = key.group, key.resource
        found: list[Audience] = []
        for namespace in dict.fromkeys((key.namespace, "")):
            for name in ("", key.name):
                found += self._places.get((group, resource, namespace, name), {}).values()
        return found

    def _drop_all(self, key: ObjectKey) -> None:
        for place, audiences in self._places.items():
            if place[:2] == (key.group, key.resource):
                for audience in audiences.values():
                    for reader in audience.readers:
                        reader.drop()

    def _plan(self) -> None:
        loop = asyncio.get_running_loop()
        rest = self._not_before - self._clock.monotonic()
        if rest > 0:
            self._due = loop.call_later(rest, self._hand_out)
        else:
            self._due = loop.call_soon(self._hand_out)

    def _hand_out(self) -> None:
        self._due = None
        began = self._clock.monotonic()
        dirty, self._dirty = self._dirty, {}
        for audience in dirty:
            audience.hand_out()
        if sum(len(audience.readers) for audience in dirty) < MANY:
            return
        # Readers wake in the loop's next turn, and write in that or the one after.
        loop = asyncio.get_running_loop()
        loop.call_soon(loop.call_soon, loop.call_soon, self._handed_out, began)

    def _handed_out(self, began: float) -> None:
        now = self._clock.monotonic()
        self._not_before = now + min(REST_MAX_S, SHARE * (now - began))
