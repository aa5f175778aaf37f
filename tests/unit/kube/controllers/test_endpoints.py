"""Endpoints and EndpointSlices follow Services and the pods they select."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from proa.base.chance import Chance
from proa.base.clock import run_virtual
from proa.kube.compile import services
from proa.kube.controllers.endpoint_slices import EndpointSliceController
from proa.kube.controllers.endpoints import EndpointsController
from proa.model.feed import ZoneRecord
from tests.unit.kube.world import CLUSTER, Json, World

Scene = Callable[[World], Awaitable[None]]


def play(scene: Scene) -> None:
    async def main() -> None:
        async with World([EndpointSliceController(Chance("s")), EndpointsController()]) as world:
            world.namespace()
            await scene(world)

    run_virtual(main())


def service(world: World, name: str = "web", **spec: Any) -> Json:
    body = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default", "labels": {"team": "a"}},
        "spec": {
            "selector": {"app": "web"},
            "clusterIP": "10.100.0.7",
            "ports": [{"name": "http", "port": 80, "targetPort": "web", "protocol": "TCP"}],
            **spec,
        },
    }
    return world.create("", "services", body)


def pod(world: World, name: str, ready: bool = True, port: int = 8080, **spec: Any) -> Json:
    container = {"name": "main", "ports": [{"name": "web", "containerPort": port}]}
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": "web"}},
        "spec": {"nodeName": "node-1", "containers": [container], **spec},
    }
    made = world.create("", "pods", body)
    number = sum(name.encode()) % 250
    status = {"type": "Ready", "status": "True" if ready else "False", "lastTransitionTime": ""}
    world.pod_status(made, phase="Running", podIP=f"10.0.1.{number}", conditions=[status])
    return made


def slices(world: World) -> list[Json]:
    return world.list("discovery.k8s.io", "endpointslices")


def test_slice_holds_ready_and_unready_pods_with_what_they_are() -> None:
    async def scene(world: World) -> None:
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"}}
        node["metadata"]["labels"] = {"topology.kubernetes.io/zone": "us-east-1a"}  # type: ignore[index]
        world.create("", "nodes", node)
        made = service(world)
        good = pod(world, "good")
        pod(world, "bad", ready=False)
        await world.sleep(1)
        (slice,) = slices(world)
        meta = slice["metadata"]
        assert meta["labels"]["kubernetes.io/service-name"] == "web"
        assert meta["labels"]["endpointslice.kubernetes.io/managed-by"] == (
            "endpointslice-controller.k8s.io"
        )
        assert meta["labels"]["team"] == "a"
        assert meta["ownerReferences"][0]["uid"] == made["metadata"]["uid"]
        assert slice["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]
        by_name = {item["targetRef"]["name"]: item for item in slice["endpoints"]}
        assert by_name["good"]["conditions"] == {
            "ready": True,
            "serving": True,
            "terminating": False,
        }
        assert by_name["good"]["zone"] == "us-east-1a"
        assert by_name["good"]["targetRef"]["uid"] == good["metadata"]["uid"]
        assert by_name["bad"]["conditions"]["ready"] is False
        endpoints = world.get("", "endpoints", "default", "web")
        assert [a["targetRef"]["name"] for a in endpoints["subsets"][0]["addresses"]] == ["good"]
        unready = endpoints["subsets"][0]["notReadyAddresses"]
        assert [a["targetRef"]["name"] for a in unready] == ["bad"]

    play(scene)


def test_ending_pod_still_serves_but_is_not_ready() -> None:
    async def scene(world: World) -> None:
        service(world)
        pod(world, "one")
        await world.sleep(1)
        world.delete("", "pods", "default", "one")
        await world.sleep(1)
        (slice,) = slices(world)
        assert slice["endpoints"][0]["conditions"] == {
            "ready": False,
            "serving": True,
            "terminating": True,
        }
        assert "subsets" not in world.get("", "endpoints", "default", "web")
        (vip,) = services.vips(world.view, CLUSTER, "vpc-1")
        assert len(vip.endpoints) == 1, "the last endpoints serve while they end"

    play(scene)


def test_slices_hold_a_hundred_endpoints_each_and_stay_put() -> None:
    async def scene(world: World) -> None:
        service(world)
        for number in range(150):
            pod(world, f"p{number:03}")
        await world.sleep(2)
        before = {item["metadata"]["name"]: item for item in slices(world)}
        assert sorted(len(item["endpoints"]) for item in before.values()) == [50, 100]
        world.delete("", "pods", "default", "p000", grace_s=0)
        await world.sleep(2)
        after = {item["metadata"]["name"]: item for item in slices(world)}
        assert after.keys() == before.keys()
        changed = [name for name in after if after[name] != before[name]]
        assert len(changed) == 1

    play(scene)


def test_pods_with_different_ports_have_slices_of_their_own() -> None:
    async def scene(world: World) -> None:
        service(world)
        pod(world, "a", port=8080)
        pod(world, "b", port=9090)
        await world.sleep(1)
        assert sorted(item["ports"][0]["port"] for item in slices(world)) == [8080, 9090]
        (vip,) = services.vips(world.view, CLUSTER, "vpc-1")
        assert sorted(item.port for item in vip.endpoints) == [8080, 9090]

    play(scene)


def test_service_without_endpoints_keeps_one_empty_slice_and_refuses() -> None:
    async def scene(world: World) -> None:
        service(world, sessionAffinity="ClientIP")
        await world.sleep(1)
        (slice,) = slices(world)
        assert slice["endpoints"] == []
        (vip,) = services.vips(world.view, CLUSTER, "vpc-1")
        assert (vip.address, vip.port, vip.endpoints) == ("10.100.0.7", 80, ())
        assert vip.affinity_s == 10_800

    play(scene)


def test_names_follow_the_dns_specification() -> None:
    async def scene(world: World) -> None:
        service(world)
        service(world, "db", clusterIP="None")
        service(world, "away", type="ExternalName", externalName="example.com", selector={})
        pod(world, "n0", hostname="n0", subdomain="db")
        await world.sleep(1)
        found = {(item.name, item.type): item.values for item in zones_of(world)}
        address = world.get("", "pods", "default", "n0")["status"]["podIP"]
        assert found["web.default.svc.cluster.local", "A"] == ("10.100.0.7",)
        srv = found["_http._tcp.web.default.svc.cluster.local", "SRV"]
        assert srv == ("0 100 80 web.default.svc.cluster.local",)
        assert found["7.0.100.10.in-addr.arpa", "PTR"] == ("web.default.svc.cluster.local",)
        assert found["db.default.svc.cluster.local", "A"] == (address,)
        assert found["n0.db.default.svc.cluster.local", "A"] == (address,)
        assert found["_http._tcp.db.default.svc.cluster.local", "SRV"] == (
            "0 100 8080 n0.db.default.svc.cluster.local",
        )
        assert found["away.default.svc.cluster.local", "CNAME"] == ("example.com",)

    play(scene)


def zones_of(world: World) -> tuple[ZoneRecord, ...]:
    return services.zones(world.view, CLUSTER)
