"""What every NetworkPort promises, on the Linux one and the simulated one."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from proa.base.clock import SystemClock
from proa.model.feed import Endpoint, Instances, Rules, Vip, Zones
from proa.model.host import Host, Instance
from proa.model.sandbox import Network
from proa.node.linux.network import LinuxNetwork, default_range
from proa.node.linux.teardown import teardown_all
from proa.node.ports import NetworkPort
from proa.node.simhost import SimNetwork
from tests.conformance.network.machine import config_in, places

REAL = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("nft") is None, reason="needs root and nft"
)
Scene = Callable[[NetworkPort, str, str], Awaitable[None]]
Play = Callable[[Scene], None]
STATE = Instances(
    Host(id="h"), (Instance(id="i-1", host="h", cluster="/kube/c/", address="10.213.0.10"),)
)


@pytest.fixture(params=["sim", pytest.param("linux", marks=[pytest.mark.root, REAL])])
def play(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Play]:
    """Runs a scene with a port, the path of a namespace and the id of the VPC."""
    config = config_in(tmp_path)
    vpc = default_range(config).id

    def run(scene: Scene) -> None:
        async def main(path: str) -> None:
            real = request.param == "linux"
            port = LinuxNetwork(config, SystemClock()) if real else SimNetwork()
            try:
                await scene(port, path, vpc)
            finally:
                await port.close()

        if request.param == "sim":
            asyncio.run(main("sim:1"))
            return
        with places(tmp_path, 1) as (place,):
            asyncio.run(main(place.path))

    yield run
    if request.param == "linux":
        teardown_all(config)


def test_attaching_returns_the_planned_address_however_often(play: Play) -> None:
    async def scene(port: NetworkPort, path: str, vpc: str) -> None:
        await port.ensure(STATE)
        for _ in range(2):
            wanted = Network(vpc=vpc, address="10.213.1.7")
            assert await port.attach(path, wanted, "uid") == "10.213.1.7"

    play(scene)


def test_every_call_may_be_repeated_and_unknown_uids_are_no_error(play: Play) -> None:
    async def scene(port: NetworkPort, path: str, vpc: str) -> None:
        rules = Rules((Vip(vpc, "10.214.0.9", 80, "tcp", (Endpoint("10.213.1.7", 80),)),))
        for _ in range(2):
            await port.ensure(STATE)
            await port.apply_rules(rules)
            await port.apply_zones(Zones())
            await port.detach("unknown")
            await port.keep([])
        await port.attach(path, Network(vpc=vpc, address="10.213.1.7"), "uid")
        for _ in range(2):
            await port.detach("uid")

    play(scene)


def test_rules_may_come_before_the_network_is_ready(play: Play) -> None:
    async def scene(port: NetworkPort, _path: str, vpc: str) -> None:
        await port.apply_rules(Rules((Vip(vpc, "10.214.0.9", 80),)))
        await port.keep(["uid"])
        await port.ensure(STATE)

    play(scene)


def test_shared_instances_use_the_machines_own_namespace(play: Play) -> None:
    async def scene(port: NetworkPort, _path: str, _vpc: str) -> None:
        await port.ensure(STATE)
        assert port.instance_namespace("i-1") == ""
        assert port.instance_namespace("unknown") == ""

    play(scene)


def test_a_container_has_a_namespace_of_its_own_until_its_sandbox_is_released(play: Play) -> None:
    async def scene(port: NetworkPort, path: str, vpc: str) -> None:
        await port.ensure(STATE)
        await port.attach(path, Network(vpc=vpc, address="10.213.1.7"), "uid")
        wanted = Network(vpc=vpc, address="10.213.1.8")
        first = await port.isolate("uid", "side", wanted)
        assert await port.isolate("uid", "side", wanted) == first
        lonely = await port.isolate("uid", "lonely", Network(mode="none"))
        assert len({path, first, lonely}) == 3
        await port.keep(["uid"])
        assert await port.isolate("uid", "side", wanted) == first
        for _ in range(2):
            await port.detach("uid")

    play(scene)
