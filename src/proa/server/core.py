"""What every part of the control plane is built over, gathered once by ``assemble``."""

from __future__ import annotations

from dataclasses import dataclass

from proa.base.chance import Chance
from proa.base.clock import Clock
from proa.base.config import Config
from proa.reconcile.view import View
from proa.store.api import Store


@dataclass(slots=True, frozen=True)
class Core:
    """``view`` shows ``store``; both bows and the hull share them."""

    config: Config
    store: Store
    view: View
    clock: Clock
    chance: Chance
