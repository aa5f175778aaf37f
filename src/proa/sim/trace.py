"""The history of a world as text: every committed event, and what the world itself notes.

``World`` feeds it from a watch on the store. Two runs are the same when their lines are; a hash
stands for them all.
"""

from __future__ import annotations

import hashlib

from proa.base.clock import Clock
from proa.store.api import Event


class Trace:
    """Lines in the order of what they tell of; instants in virtual seconds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        """Something that the world did."""
        self.lines.append(f"{self._clock.monotonic():.6f} {text}")

    def event(self, event: Event) -> None:
        """A change of the store; the body by its hash."""
        digest = hashlib.sha256(event.record.body).hexdigest()
        self.note(f"{event.kind} {event.record.key} {event.record.version} {digest}")

    def sha256(self) -> str:
        """The hash of the whole history."""
        return hashlib.sha256("\n".join(self.lines).encode()).hexdigest()
