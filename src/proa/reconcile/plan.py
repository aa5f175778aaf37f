"""Plans: what a reconcile decided, as a value that the runner carries out.

A step is a ``Commit`` (one store transaction) or any other object for which the assembly
registered a performer (the Kubernetes bow's API ``Call``). Steps run in order, each safe alone;
the first that meets a ``Conflict`` ends the plan and the key is reconciled again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from proa.store.api import Transaction


@dataclass(slots=True, frozen=True)
class Commit:
    """One transaction."""

    transaction: Transaction


@dataclass(slots=True, frozen=True)
class Plan:
    """``again_at`` is the wall time of the next look, 0 for none before something changes."""

    steps: tuple[Any, ...] = ()
    again_at: float = 0.0


NOTHING = Plan()
