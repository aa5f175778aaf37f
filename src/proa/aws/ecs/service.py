"""The ECS slice as the gateway sees it."""

from __future__ import annotations

from functools import partial

from proa.aws.ecs.operations import OPERATIONS
from proa.aws.ecs.operations.base import Ecs
from proa.aws.gateway.service import Service


def build(ecs: Ecs) -> Service:
    """Every operation, bound to what it works on."""
    return Service("ecs", {name: partial(handler, ecs) for name, handler in OPERATIONS.items()})
