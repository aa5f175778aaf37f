"""Plans: what a reconcile decided, as a value that the runner carries out.

A step is a ``Commit`` (one store transaction) or any other object for which the assembly
registered a performer (the Kubernetes bow's API ``Call``). Steps run in order, each safe alone;
the first that meets a ``Conflict`` ends the plan and the key is reconciled again.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from proa.store.api import Transaction


class Commit(Struct, frozen=True):
    """One transaction."""

    transaction: Transaction


class Plan(Struct, frozen=True):
    """``again_at`` is the wall time of the next look, 0 for none before something changes."""

    steps: tuple[Any, ...] = ()
    again_at: float = 0.0


NOTHING = Plan()
