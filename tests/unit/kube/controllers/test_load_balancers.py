"""Services from outside: node ports, host ports, external addresses, the nodes as balancers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from proa.base.chance import Chance
from proa.base.clock import run_virtual
from proa.cloud import compute
from proa.kube.compile import services
from proa.kube.compile.services import NodePlace
from proa.kube.controllers.cluster import ApiPlace
from proa.kube.controllers.endpoint_slices import EndpointSliceController
from proa.kube.controllers.load_balancers import LoadBalancerController
from proa.model.feed import Vip
from proa.model.host import Instance
from proa.store.api import Transaction
from tests.unit.kube.world import CLUSTER, Json, World

Scene = Callable[[World], Awaitable[None]]
NODES = (NodePlace("node-1", "172.31.0.9"), NodePlace("node-2", "172.31.0.10"))
INSTANCE = Instance(
    id="i-1", host="h", cluster=f"/kube/{CLUSTER}/", name="node-1", address="172.31.0.9"
)


def play(scene: Scene) -> None:
    place = ApiPlace("10.100.0.1", "172.31.0.9", 6443, (4566,))

    async def main() -> None:
        given = [EndpointSliceController(Chance("s")), LoadBalancerController(lambda _c: place)]
        async with World(given) as world:
            await world.store.commit(Transaction((), (compute.put_instance(INSTANCE),)))
            world.namespace()
            await scene(world)

    run_virtual(main())


def service(world: World, name: str = "web", port: int = 80, **spec: Any) -> None:
    ports = [{"port": port, "targetPort": 8080, "protocol": "TCP", "nodePort": 30080}]
    body = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"selector": {"app": "web"}, "clusterIP": "10.100.0.7", "ports": ports, **spec},
    }
    world.create("", "services", body)


def pod(world: World, name: str, node: str, address: str, **container: Any) -> None:
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": "web"}},
        "spec": {"nodeName": node, "containers": [{"name": "main", **container}]},
    }
    made = world.create("", "pods", body)
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": ""}
    world.pod_status(made, phase="Running", podIP=address, conditions=[ready])


def ways(world: World) -> dict[tuple[str, int], list[str]]:
    found: tuple[Vip, ...] = services.vips(world.view, CLUSTER, "vpc-1", NODES)
    return {(vip.address, vip.port): [end.address for end in vip.endpoints] for vip in found}


def ingress(world: World, name: str = "web") -> list[str]:
    status: Json = world.get("", "services", "default", name).get("status", {})
    return [item["ip"] for item in status.get("loadBalancer", {}).get("ingress", ())]


def test_a_node_port_leads_to_every_pod_from_every_node() -> None:
    async def scene(world: World) -> None:
        service(world, type="NodePort")
        pod(world, "a", "node-1", "10.0.1.1")
        pod(world, "b", "node-2", "10.0.1.2")
        await world.sleep(1)
        every = ["10.0.1.1", "10.0.1.2"]
        assert ways(world) == {
            ("10.100.0.7", 80): every,
            ("172.31.0.9", 30080): every,
            ("172.31.0.10", 30080): every,
        }

    play(scene)


def test_local_traffic_stays_on_its_node_or_is_refused() -> None:
    async def scene(world: World) -> None:
        service(world, type="NodePort", externalTrafficPolicy="Local")
        pod(world, "a", "node-1", "10.0.1.1")
        await world.sleep(1)
        found = ways(world)
        assert found["172.31.0.9", 30080] == ["10.0.1.1"]
        assert found["172.31.0.10", 30080] == []
        assert found["10.100.0.7", 80] == ["10.0.1.1"]

    play(scene)


def test_external_addresses_lead_to_the_services_own_port() -> None:
    async def scene(world: World) -> None:
        service(world, externalIPs=["192.0.2.7"])
        pod(world, "a", "node-1", "10.0.1.1")
        await world.sleep(1)
        assert set(ways(world)) == {("10.100.0.7", 80), ("192.0.2.7", 80)}

    play(scene)


def test_a_host_port_leads_from_its_node_to_its_pod_while_that_lives() -> None:
    async def scene(world: World) -> None:
        ports = [{"containerPort": 8080, "hostPort": 9090, "protocol": "TCP"}]
        pod(world, "a", "node-1", "10.0.1.1", ports=ports)
        await world.sleep(1)
        (vip,) = services.vips(world.view, CLUSTER, "vpc-1", NODES)
        assert (vip.address, vip.port) == ("172.31.0.9", 9090)
        assert [(end.address, end.port) for end in vip.endpoints] == [("10.0.1.1", 8080)]
        world.pod_status(world.get("", "pods", "default", "a"), phase="Succeeded")
        await world.sleep(1)
        assert ways(world) == {}

    play(scene)


def test_the_nodes_take_a_balancers_part() -> None:
    async def scene(world: World) -> None:
        service(world, type="LoadBalancer")
        await world.sleep(1)
        assert ingress(world) == ["172.31.0.9"]
        assert ("172.31.0.9", 80) in ways(world)
        world.patch("", "services", "default", "web", {"spec": {"type": "ClusterIP"}})
        await world.sleep(1)
        assert ingress(world) == [] and ("172.31.0.9", 80) not in ways(world)

    play(scene)


def test_of_two_balancers_for_one_port_the_younger_waits_for_the_older() -> None:
    async def scene(world: World) -> None:
        service(world, type="LoadBalancer")
        await world.sleep(1)
        service(world, "other", type="LoadBalancer", clusterIP="10.100.0.8")
        await world.sleep(5)
        assert (ingress(world), ingress(world, "other")) == (["172.31.0.9"], [])
        assert world.events("SyncLoadBalancerFailed") == [
            "Error syncing load balancer: port 80 of the nodes belongs to Service default/web"
        ]
        world.delete("", "services", "default", "web")
        await world.sleep(1)
        assert ingress(world, "other") == ["172.31.0.9"]

    play(scene)


def test_proas_own_ports_and_other_classes_are_left_alone() -> None:
    async def scene(world: World) -> None:
        service(world, type="LoadBalancer", port=6443)
        service(world, "aws", type="LoadBalancer", port=4566, clusterIP="10.100.0.8")
        service(world, "own", type="LoadBalancer", port=81, clusterIP="10.100.0.9",
                loadBalancerClass="example.com/own")  # fmt: skip
        await world.sleep(1)
        assert [ingress(world, name) for name in ("web", "aws", "own")] == [[], [], []]
        assert len(world.events("SyncLoadBalancerFailed")) == 2

    play(scene)
