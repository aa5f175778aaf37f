"""What every part of the control plane is built over, gathered once by ``assemble``."""

from __future__ import annotations

from dataclasses import dataclass

from proa.base.chance import Chance
from proa.base.clock import Clock
from proa.base.config import Config
from proa.reconcile.view import View
from proa.store.api import Store


def local_name(listen: str) -> str:
    """The name by which clients on this machine reach what listens at ``listen``."""
    return "127.0.0.1" if listen in ("0.0.0.0", "::") else listen


@dataclass(slots=True, frozen=True)
class Core:
    """``view`` shows ``store``; both bows and the hull share them."""

    config: Config
    store: Store
    view: View
    clock: Clock
    chance: Chance
