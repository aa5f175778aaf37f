"""What a control plane does every hour outlives a store that fails just then."""

from __future__ import annotations

from proa.base.clock import run_virtual
from proa.cloud.identity import KEY_USES
from proa.node.sim import Behaviour
from proa.sim.clients import Clients
from proa.sim.world import World

HOUR_S = 3600.0


def test_the_sweep_outlives_a_store_that_fails() -> None:
    async def main() -> None:
        world = World("sweep", lambda _container: Behaviour())
        await world.open()
        try:
            await Clients(world).ecs("ListClusters", {})  # the use of a key, to be written down
            await world.clock.sleep(HOUR_S - 30)
            world.weather.refused = 1.0
            await world.clock.sleep(60)
            world.weather.refused = 0.0
            await world.clock.sleep(HOUR_S)
            uses = [entry.key for entry in world.view.rows(KEY_USES).scan()]
            assert uses
            assert not [text for text in world.violations if "log retention" in text]
        finally:
            await world.close()

    run_virtual(main())
