"""The laws that worlds are held to can be broken, and are then told of."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from proa.base.clock import run_virtual
from proa.cloud import compute
from proa.model.host import Host
from proa.model.resources import Resources
from proa.model.sandbox import Container, Network
from proa.node.sim import Behaviour
from proa.sim.clients import Clients, Promise, Refused
from proa.sim.scenario import Scenario, run
from proa.sim.world import World
from proa.store.api import Transaction

POOL = Resources(4 * 128_000, 8 << 30, 100 << 30)
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "one"},
    "spec": {
        "containers": [{"name": "c", "image": "web:1", "resources": {"requests": {"cpu": "500m"}}}]
    },
}
PODS = "/api/v1/namespaces/default/pods"


def behave(_container: Container) -> Behaviour:
    return Behaviour()


def play(story: Callable[[World, Clients], Awaitable[None]]) -> None:
    async def main() -> None:
        world = World("laws", behave)
        await world.open()
        world.add_host(Host("h-1", "h-1", POOL, POOL))
        try:
            await world.clock.sleep(1)
            await story(world, Clients(world))
        finally:
            await world.close()

    run_virtual(main())


def test_a_pod_that_runs_breaks_no_law() -> None:
    async def story(world: World, clients: Clients) -> None:
        await clients.kube("POST", PODS, POD)
        await world.clock.sleep(30)
        found = await clients.kube("GET", f"{PODS}/one")
        assert found["status"]["phase"] == "Running"
        assert not world.violations
        assert not await clients.broken_promises()

    play(story)


def test_an_address_that_nobody_booked_is_told_of() -> None:
    async def story(world: World, clients: Clients) -> None:
        network = world.hosts["h-1"].network
        await network.attach("", Network(address="172.31.0.99"), "stray")
        await clients.kube("POST", PODS, POD)
        await world.clock.sleep(5)
        assert "172.31.0.99 of stray on h-1 is not booked" in world.violations

    play(story)


def test_an_address_on_two_interfaces_is_told_of() -> None:
    async def story(world: World, clients: Clients) -> None:
        network = world.hosts["h-1"].network
        for uid in ("first", "second"):
            await network.attach("", Network(address="172.31.0.99"), uid)
        await clients.kube("POST", PODS, POD)
        await world.clock.sleep(5)
        assert "172.31.0.99 is held by first and second" in world.violations

    play(story)


def test_a_pool_that_holds_too_much_is_told_of() -> None:
    async def story(world: World, clients: Clients) -> None:
        await clients.kube("POST", PODS, POD)
        await world.clock.sleep(5)
        small = Host("h-1", "h-1", POOL, replace_cpu(1))
        await world.store.commit(Transaction(writes=(compute.put_host(small),)))
        await world.clock.sleep(1)
        assert any(text.startswith("h-1 holds") for text in world.violations)

    play(story)


def replace_cpu(cpu: int) -> Resources:
    return Resources(cpu, POOL.memory, POOL.disk)


def test_an_acknowledged_write_that_is_gone_is_told_of() -> None:
    async def story(world: World, clients: Clients) -> None:
        await clients.kube("POST", PODS, POD)
        [(where, promise)] = clients.promises.items()
        clients.promises[where] = replace(promise, shown="another uid")
        assert len(await clients.broken_promises()) == 1
        clients.promises["absent"] = Promise(
            "absent", lambda: clients.kube("GET", f"{PODS}/absent"), ""
        )
        assert len(await clients.broken_promises()) == 2

    play(story)


def test_a_request_without_an_answer_is_asked_again_and_carried_out_once() -> None:
    async def story(world: World, clients: Clients) -> None:
        await world.crash_plane()
        asked = asyncio.create_task(clients.kube("POST", PODS, POD), name="asked")
        await world.clock.sleep(3)
        await world.start_plane()
        made = await asked
        with pytest.raises(Refused):
            await clients.kube("POST", PODS, POD)
        assert (await clients.kube("GET", f"{PODS}/one"))["metadata"]["uid"] == (
            made["metadata"]["uid"]
        )

    play(story)


def test_a_wanted_state_that_does_not_come_is_told_of() -> None:
    host = {"id": "h-1", "vcpu": 4, "memory_mib": 8192}
    wanted = {"running": "containers", "shows": {"web:1": 1}}
    scenario = Scenario("nothing", (host,), (), (wanted,), within_s=10)
    assert run(scenario, "any").problems == ("containers: web:1 is None, not 1",)
