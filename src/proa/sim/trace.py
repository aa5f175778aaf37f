"""The history of a world as text: every committed event, and what the world itself notes.

``World`` and ``Stage`` feed it from a watch on the store. Two runs are the same when their hashes
are: the hash takes in every event with its whole body as it comes. The lines, which tell a reader
of each event by the hash of its body, are kept only where somebody wants to read them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from proa.base.clock import Clock
from proa.store.api import Event


class Trace:
    """Lines in the order of what they tell of; instants in virtual seconds."""

    def __init__(self, clock: Clock, keep: bool = True) -> None:
        self._clock, self._keep = clock, keep
        self._hash = hashlib.sha256()
        self.lines: list[str] = []
        self.events = 0

    def note(self, text: str) -> None:
        """Something that the world did."""
        line = f"{self._clock.monotonic():.6f} {text}"
        self._hash.update(line.encode() + b"\n")
        if self._keep:
            self.lines.append(line)

    def event(self, event: Event) -> None:
        """A change of the store."""
        self.commit((event,))

    def commit(self, events: Sequence[Event]) -> None:
        """Changes of one instant."""
        at = f"{self._clock.monotonic():.6f}"
        pieces: list[bytes] = []
        for event in events:
            record = event.record
            head = f"{at} {event.kind} {record.key} {record.version} "
            pieces += (head.encode(), record.body, b"\n")
            if self._keep:
                self.lines.append(head + hashlib.sha256(record.body).hexdigest())
        self._hash.update(b"".join(pieces))
        self.events += len(events)

    def sha256(self) -> str:
        """The hash of the whole history."""
        return self._hash.hexdigest()
