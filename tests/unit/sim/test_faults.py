"""Faults that overlap: each ends what it began, and no other."""

from __future__ import annotations

from typing import Any, cast

from proa.base.aio import gather
from proa.base.chance import Chance
from proa.base.clock import VirtualClock, run_virtual
from proa.node.sim import Behaviour
from proa.sim.faults import Faults
from proa.sim.world import World


class Empty:
    """A world with nothing in it but time."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.hosts: dict[str, Any] = {}


def test_a_slow_registry_does_not_outlive_its_errors_with_them() -> None:
    async def main() -> None:
        world = Empty()
        behaviours: dict[str, Behaviour] = {}
        faults = Faults(cast(World, world), behaviours, Chance("faults"))

        async def slow() -> None:
            await world.clock.sleep(5)
            await faults.slow_pull("web", pull_s=9.0, for_s=10)
            assert behaviours["web"].pull_error == ""

        await gather([faults.failing_pull("web", for_s=10), slow()])
        assert behaviours["web"] == Behaviour()

    run_virtual(main())
