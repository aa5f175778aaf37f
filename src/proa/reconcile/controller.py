"""What a controller is to the runner.

Each bow keeps one list of its controllers, its table of contents. A controller never awaits,
reads no clock and draws only from the Chance its constructor was given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from proa.reconcile.plan import Plan
from proa.reconcile.view import Change, Table, View


@dataclass(slots=True, frozen=True)
class Trigger:
    """A change of ``table`` enqueues the keys that ``keys`` names for it. The same function is
    called for every row when the controller starts (``old`` None). ``view`` lets a trigger
    look up the owner of what changed. ``parts`` are the attributes of a value (dotted) that it
    looks at, where it says so: it is not asked about a change that leaves them as they were. The
    keys are handed out at the wall time that ``due`` gives, or earlier if they are due anyway;
    where there is none, or its time has come, at once."""

    table: Table[Any]
    keys: Callable[[View, Change[Any]], Iterable[str]]
    parts: tuple[str, ...] = ()
    due: Callable[[Change[Any]], float] | None = None


class Controller(Protocol):
    """``reconcile`` reads the view, exits early where there is nothing to do, and returns one
    Plan (STYLE rule 5). ``key`` is the controller's own notion, usually a store key."""

    name: str
    triggers: Sequence[Trigger]

    def reconcile(self, view: View, key: str, now: float) -> Plan: ...
