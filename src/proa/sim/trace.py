"""The history of a world as text: every committed event, and what the world itself notes.

``World`` and ``Stage`` feed it from a watch on the store. Two runs are the same when their hashes
are: the hash takes in every event with its whole body as it comes. The lines, which tell a reader
of each event by the hash of its body, are kept only where somebody wants to read them. A long
history is hashed by a thread beside the world, block by block and in order: nothing that happens
in the world depends on it.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from proa.base.clock import Clock
from proa.store.api import Event

BLOCK_BYTES = 1_000_000  # about, that are hashed at a time
BLOCKS = 16  # that may wait


class Trace:
    """Lines in the order of what they tell of; instants in virtual seconds."""

    def __init__(self, clock: Clock, keep: bool = True) -> None:
        self._clock, self._keep = clock, keep
        self._hash = hashlib.sha256()
        self._pieces: list[bytes] = []  # of the block that is being gathered
        self._size = 0
        self._thread: ThreadPoolExecutor | None = None
        self._waiting: deque[Future[None]] = deque()
        self.lines: list[str] = []
        self.events = 0

    def note(self, text: str) -> None:
        """Something that the world did."""
        line = f"{self._clock.monotonic():.6f} {text}"
        self._gather([line.encode() + b"\n"], len(line))
        if self._keep:
            self.lines.append(line)

    def event(self, event: Event) -> None:
        """A change of the store."""
        self.commit((event,))

    def commit(self, events: Sequence[Event]) -> None:
        """Changes of one instant."""
        at = f"{self._clock.monotonic():.6f}"
        pieces: list[bytes] = []
        size = 0
        for event in events:
            record = event.record
            head = f"{at} {event.kind} {record.key} {record.version} "
            pieces += (head.encode(), record.body, b"\n")
            size += len(record.body)
            if self._keep:
                self.lines.append(head + hashlib.sha256(record.body).hexdigest())
        self._gather(pieces, size)
        self.events += len(events)

    def _gather(self, pieces: list[bytes], size: int) -> None:
        self._pieces += pieces
        self._size += size
        if self._size >= BLOCK_BYTES:
            self._send()

    def _send(self) -> None:
        """Have what was gathered hashed."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "trace")
        block = b"".join(self._pieces)
        self._pieces, self._size = [], 0
        if len(self._waiting) >= BLOCKS:
            self._waiting.popleft().result()
        self._waiting.append(self._thread.submit(self._hash.update, block))

    def sha256(self) -> str:
        """The hash of the whole history."""
        if self._thread is not None:
            self._thread.shutdown()
            self._thread = None
        while self._waiting:
            self._waiting.popleft().result()
        self._hash.update(b"".join(self._pieces))
        self._pieces, self._size = [], 0
        return self._hash.hexdigest()
