"""Many simulated hosts on the real control plane, in virtual time: they join, live, leave."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest

from proa.base.chance import Chance
from proa.base.clock import run_virtual
from proa.base.errors import CallerFault, TryAgain
from proa.base.http import Peer, Request
from proa.cloud import compute
from proa.cloud.network import ADDRESSES, VPCS
from proa.cloud.network.bootstrap import SIMULATED_RANGE
from proa.model.feed import Hello, Report
from proa.node.sim import Behaviour
from proa.sim.crowd import Crowd
from proa.sim.crowd_api import CrowdApi
from proa.sim.crowd_process import CrowdPlan, hosts_of
from proa.sim.local_manners import LocalManners
from proa.sim.near import NearLink
from proa.sim.world import World, admin_certificate

COUNT = 60
PLAN = CrowdPlan(
    "sim",
    COUNT,
    labels=(("disk", "ssd"),),
    taints=(("sim", "yes", "NoSchedule"),),
    type="m5.xlarge",
)


def play(scene: Callable[[World], Awaitable[None]], seed: str = "hosts") -> None:
    async def main() -> None:
        world = World(seed, lambda _container: Behaviour())
        await world.open()
        await scene(world)
        await world.close()

    run_virtual(main())


async def kube(world: World, path: str, method: str = "GET", body: Any = None) -> Any:
    assert world.front is not None
    data = b"" if body is None else json.dumps(body).encode()
    request = Request(method, path, body=data, peer=Peer("127.0.0.1", admin_certificate()))
    answer = await world.front.plane.kube.handle(request)
    assert answer.status < 300, answer.body
    return json.loads(answer.body)


def hellos(plan: CrowdPlan = PLAN) -> list[Hello]:
    return [Hello(host) for host in hosts_of(plan, "us-east-1", "/run/crowd.sock")]


def test_crowd_joins_both_apis_with_labels_taints_zones_and_addresses_of_its_own() -> None:
    async def scene(world: World) -> None:
        assert world.front is not None
        plane = world.front.plane
        await plane.hosts.join(hellos())
        nodes = (await kube(world, "/api/v1/nodes"))["items"]
        assert len(nodes) == COUNT
        labels = [node["metadata"]["labels"] for node in nodes]
        zones = [label["topology.kubernetes.io/zone"][-1] for label in labels]
        assert sorted(zones) == sorted("abc" * (COUNT // 3))
        assert {label["node.kubernetes.io/instance-type"] for label in labels} == {"m5.xlarge"}
        assert {label["disk"] for label in labels} == {"ssd"}
        assert all(node["spec"]["taints"][0]["key"] == "sim" for node in nodes)
        assert all(node["status"]["capacity"]["cpu"] == "4" for node in nodes)
        assert all(
            item["status"] == ("True" if item["type"] == "Ready" else "False")
            for node in nodes
            for item in node["status"]["conditions"]
        )
        instances = [entry.value for entry in plane.view.rows(compute.INSTANCES).scan()]
        assert len(instances) == 2 * COUNT, "one for ECS, one for Kubernetes"
        addresses = {IPv4Address(one.address) for one in instances}
        assert len(addresses) == 2 * COUNT
        assert all(address in IPv4Network(SIMULATED_RANGE) for address in addresses)
        assert plane.kube.agent_of(nodes[0]["metadata"]["name"]) == "/run/crowd.sock"
        assert plane.kube.addresses("default") == [], "no pod reaches the API at a simulated host"
        ranges = plane.hull.feeds.broadcast.ranges()
        simulated = [row.value.id for row in plane.view.rows(VPCS).scan() if row.value.simulated]
        assert simulated and not set(simulated) & {item.id for item in ranges}

    play(scene)


def test_joining_again_changes_nothing() -> None:
    async def scene(world: World) -> None:
        assert world.front is not None
        hosts = world.front.plane.hosts
        await hosts.join(hellos())
        before = await world.store.version()
        await hosts.join(hellos())
        assert await world.store.version() == before

    play(scene)


def test_living_costs_no_writes_and_leases_are_renewed() -> None:
    async def scene(world: World) -> None:
        assert world.front is not None
        plane = world.front.plane
        await plane.hosts.join(hellos())
        await world.clock.sleep(5)
        path = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
        first = (await kube(world, path))["items"]
        before = await world.store.version()
        alive = [Report(hello.host.id) for hello in hellos()]
        for _ in range(12):
            await world.clock.sleep(10)
            await plane.hull.report(alive)
        assert await world.store.version() == before, "nobody wrote anything"
        later = (await kube(world, path))["items"]
        renewed = [item["spec"]["renewTime"] for item in later]
        assert len(renewed) == COUNT
        assert min(renewed) > max(item["spec"]["renewTime"] for item in first)
        name = later[0]["metadata"]["name"]
        one = await kube(world, f"{path}/{name}")
        assert one["spec"]["renewTime"] == renewed[0]

    play(scene)


def test_silent_hosts_become_not_ready_and_come_back() -> None:
    async def statuses(world: World) -> list[str]:
        nodes = (await kube(world, "/api/v1/nodes"))["items"]
        return [
            next(item["status"] for item in node["status"]["conditions"] if item["type"] == "Ready")
            for node in nodes
        ]

    async def scene(world: World) -> None:
        assert world.front is not None
        plane = world.front.plane
        await plane.hosts.join(hellos())
        await world.clock.sleep(70)
        assert await statuses(world) == ["Unknown"] * COUNT
        await plane.hull.report([Report(hello.host.id) for hello in hellos()])
        await world.clock.sleep(1)
        assert await statuses(world) == ["True"] * COUNT
        await world.clock.sleep(70)
        assert await statuses(world) == ["Unknown"] * COUNT
        assert await _beats(world, [hello.host.id for hello in hellos()]) == 204
        await world.clock.sleep(1)
        assert await statuses(world) == ["True"] * COUNT
        assert await _beats(world, ["nobody"]) == 503

    play(scene)


async def _beats(world: World, hosts: list[str]) -> int:
    """Signs of life over the hull's API; its answer."""
    assert world.front is not None
    request = Request("POST", "/v1/beats", body=json.dumps(hosts).encode())
    return (await world.front.plane.hull.handle(request)).status


def test_leaving_leaves_nothing_behind() -> None:
    async def scene(world: World) -> None:
        assert world.front is not None
        plane = world.front.plane
        await plane.hosts.join(hellos())
        await plane.hosts.leave([hello.host.id for hello in hellos()])
        assert (await kube(world, "/api/v1/nodes"))["items"] == []
        for table in (compute.HOSTS, compute.INSTANCES, ADDRESSES):
            assert len(plane.view.rows(table)) == 0
        with pytest.raises(TryAgain, match="has not joined"):
            await plane.hull.report([Report("sim-00000")])

    play(scene)


def test_host_joins_the_clusters_it_names_only() -> None:
    async def scene(world: World) -> None:
        assert world.front is not None
        plane = world.front.plane
        plan = CrowdPlan("one", 3, clusters=("eks/default",))
        await plane.hosts.join(hellos(plan))
        assert len(plane.view.rows(compute.INSTANCES)) == 3
        with pytest.raises(CallerFault, match="no cluster eks/other"):
            await plane.hosts.join(hellos(CrowdPlan("two", 1, clusters=("eks/other",))))
        assert plane.view.rows(compute.HOSTS).get(compute.host_key("two-00000")) is None

    play(scene)


def test_crowd_runs_pods_and_says_what_they_wrote() -> None:
    async def scene(world: World) -> None:
        assert world.front is not None
        plane = world.front.plane
        link = NearLink(lambda: plane.hull)
        crowd = Crowd(link, world.clock, Chance("crowd"), LocalManners({}))
        crowd.add(hosts_of(CrowdPlan("sim", 3), "us-east-1", ""))
        while not crowd.synced:
            await world.clock.sleep(1)
        await world.clock.sleep(5)
        command = ["sh", "-c", "echo hello; sleep 20; exit 3"]
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "p"},
            "spec": {
                "restartPolicy": "Never",
                "containers": [{"name": "c", "image": "any/thing", "command": command}],
            },
        }
        await kube(world, "/api/v1/namespaces/default/pods", "POST", pod)
        await world.clock.sleep(10)
        path = "/api/v1/namespaces/default/pods/p"
        shown = await kube(world, path)
        assert shown["status"]["phase"] == "Running"
        uid, api = shown["metadata"]["uid"], CrowdApi(crowd)
        said = await api.handle(Request("GET", f"/logs/{uid}/c"))
        assert said.stream is not None
        assert b"".join([chunk async for chunk in said.stream]) == b"hello\n"
        assert (await api.handle(Request("GET", f"/logs/{uid}/other"))).status == 404
        assert (await api.handle(Request("GET", f"/exec/{uid}/c"))).status == 400
        assert (await api.handle(Request("GET", f"/portforward/{uid}/80"))).status == 409
        assert (await api.handle(Request("POST", "/lose", (("host", "nobody"),)))).status == 404
        await world.clock.sleep(30)
        ended = (await kube(world, path))["status"]
        assert ended["phase"] == "Failed"
        assert ended["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 3
        assert (
            await api.handle(Request("GET", f"/exec/{uid}/c", (("command", "ls"),)))
        ).status == 409
        await crowd.close()

    play(scene)


@pytest.mark.parametrize(
    ("plan", "why"),
    [
        (CrowdPlan("x", 0), "--count 0"),
        (CrowdPlan("x", 1_000_000), "--count 1000000"),
        (CrowdPlan("x", 1, zones=9), "--zones 9"),
        (CrowdPlan("x", 1, type="z9.huge"), "no instance type z9.huge"),
    ],
)
def test_crowd_that_cannot_be_is_refused(plan: CrowdPlan, why: str) -> None:
    with pytest.raises(CallerFault, match=why):
        hosts_of(plan, "us-east-1", "")
