"""What can be wrong with a request before a handler sees it, and what an error is on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from proa.base.errors import CallerFault


class Malformed(CallerFault):
    """The bytes are not a value of the operation's input shape."""


class UnknownOperation(CallerFault):
    """The request names no operation of the service; ``name`` is what it named."""

    def __init__(self, name: str) -> None:
        super().__init__(f"unknown operation {name!r}")
        self.name = name


class UnmodelledMember(AssertionError):
    """Our bug: a handler returned a member that the service model does not have."""


@dataclass(slots=True, frozen=True)
class Violation:
    """One constraint of the model that an input breaks. ``kind`` is required, enum, or value;
    ``text`` is the whole clause as AWS words it."""

    kind: str
    path: str
    text: str


@dataclass(slots=True, frozen=True)
class Fault:
    """An error on its way out. ``status`` 0 means: as the model says for this code."""

    code: str
    message: str
    status: int = 0
    fields: Mapping[str, Any] = field(default_factory=dict)
