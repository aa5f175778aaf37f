"""The law of leads: who writes under the fence of a name leads it at that very commit.

Contenders are ``sim.contest``'s: each write of theirs says who believes to lead, and since which
version. The store's own record of the lead decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from proa.store.api import Event

LEADER_PREFIX = "/hull/leader/"
DEED_PREFIX = "/hull/contest/"


def deed(identity: str, version: int) -> bytes:
    """The body of what a contender writes while it believes to lead."""
    return f"{identity} {version}".encode()


class Leads:
    """Who leads each name, as of the newest commit."""

    def __init__(self) -> None:
        self._leaders: dict[str, bytes] = {}

    def committed(self, events: Sequence[Event]) -> Iterator[str]:
        """Every deed of somebody who does not lead."""
        for event in events:
            record = event.record
            if record.key.startswith(LEADER_PREFIX):
                name = record.key.removeprefix(LEADER_PREFIX)
                self._leaders.pop(name, None)
                if event.kind == "put":
                    self._leaders[name] = deed(record.body.decode(), record.version)
            elif record.key.startswith(DEED_PREFIX) and event.kind == "put":
                name = record.key.removeprefix(DEED_PREFIX)
                leader = self._leaders.get(name, b"nobody")
                if leader != record.body:
                    yield f"{record.body!r} wrote as leader of {name}, which is {leader!r}"
