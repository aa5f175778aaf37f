"""How things end: garbage, namespaces, silent nodes, evictions, old Events."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from proa.base.chance import Chance
from proa.base.clock import VirtualClock, iso8601, run_virtual
from proa.kube.api.call import Call
from proa.kube.controllers.cluster import ApiPlace
from proa.kube.controllers.contents import controllers
from proa.kube.controllers.deployment.controller import DeploymentController
from proa.kube.controllers.evictions import PodGarbageController, TaintEvictionController
from proa.kube.controllers.garbage import GarbageController
from proa.kube.controllers.namespaces import (
    NamespaceController,
    RootCaController,
    ServiceAccountController,
)
from proa.kube.controllers.node_lifecycle import UNREACHABLE, NodeLifecycleController
from proa.kube.controllers.replica_set import ReplicaSetController
from proa.kube.nodes import Heartbeats
from proa.model.host import Host, Instance
from proa.model.resources import Resources
from proa.reconcile.controller import Controller
from tests.unit.kube.world import CLUSTER, Json, World, deployment

INSTANCE = Instance(
    id="i-1",
    host="h",
    cluster=f"/kube/{CLUSTER}/",
    name="node-1",
    address="172.31.0.9",
    capacity=Resources(2 * 128_000, 4 * 2**30, 10 * 2**30, 110),
)


def play(scene: Callable[[World], Awaitable[None]], given: Sequence[Controller]) -> None:
    async def main() -> None:
        async with World(given) as world:
            world.namespace()
            await scene(world)

    run_virtual(main())


def workloads() -> list[Controller]:
    return [
        DeploymentController(),
        ReplicaSetController(Chance("r")),
        GarbageController(),
        NamespaceController(),
    ]


def pod(name: str = "p", node: str = "node-1", **spec: Any) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"nodeName": node, "containers": [{"name": "main", "image": "one"}], **spec},
    }


def test_deleting_a_deployment_takes_its_sets_and_pods_along() -> None:
    async def scene(world: World) -> None:
        world.spawn(world.kubelet())
        world.create("apps", "deployments", deployment())
        await world.sleep(5)
        world.delete("apps", "deployments", "default", "web", propagation="Background")
        await world.sleep(5)
        assert not world.list("apps", "replicasets")
        assert not world.list("", "pods")

    play(scene, workloads())


def test_foreground_deletion_keeps_the_owner_until_its_dependents_have_gone() -> None:
    async def scene(world: World) -> None:
        world.spawn(world.kubelet(stop_s=10))
        world.create("apps", "deployments", deployment())
        await world.sleep(5)
        world.delete("apps", "deployments", "default", "web", propagation="Foreground")
        await world.sleep(5)
        assert world.list("apps", "deployments"), "pods are still stopping"
        assert world.list("apps", "replicasets")
        await world.sleep(10)
        assert not world.list("", "pods")
        assert not world.list("apps", "replicasets")
        assert not world.list("apps", "deployments")

    play(scene, workloads())


def test_orphaning_leaves_the_pods_for_whoever_adopts_them() -> None:
    async def scene(world: World) -> None:
        world.spawn(world.kubelet())
        world.create("apps", "deployments", deployment())
        await world.sleep(5)
        (owner,) = world.list("apps", "replicasets")
        world.delete("apps", "deployments", "default", "web", propagation="Orphan")
        await world.sleep(1)
        (left,) = world.list("apps", "replicasets")
        assert left["metadata"]["uid"] == owner["metadata"]["uid"]
        assert "ownerReferences" not in left["metadata"]
        before = {item["metadata"]["uid"] for item in world.list("", "pods")}
        world.create("apps", "deployments", deployment())
        await world.sleep(5)
        assert {item["metadata"]["uid"] for item in world.list("", "pods")} == before
        (adopted,) = world.list("apps", "replicasets")
        assert adopted["metadata"]["ownerReferences"][0]["kind"] == "Deployment"

    play(scene, workloads())


def test_pod_that_no_longer_matches_is_released_and_replaced() -> None:
    async def scene(world: World) -> None:
        world.spawn(world.kubelet())
        world.create("apps", "deployments", deployment(replicas=2))
        await world.sleep(5)
        name = world.list("", "pods")[0]["metadata"]["name"]
        world.patch("", "pods", "default", name, {"metadata": {"labels": {"app": "debug"}}})
        await world.sleep(5)
        assert len(world.list("", "pods")) == 3
        assert not world.get("", "pods", "default", name)["metadata"]["ownerReferences"]

    play(scene, workloads())


def test_namespace_ends_with_all_that_is_in_it_pods_first() -> None:
    async def scene(world: World) -> None:
        world.spawn(world.kubelet(stop_s=5))
        world.create("apps", "deployments", deployment())
        config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}
        config["metadata"]["namespace"] = "default"  # type: ignore[index]
        world.create("", "configmaps", config)
        await world.sleep(5)
        world.delete("", "namespaces", "", "default")
        await world.sleep(3)
        (ending,) = world.list("", "namespaces")
        assert ending["status"]["phase"] == "Terminating"
        conditions = {item["type"]: item for item in ending["status"]["conditions"]}
        remaining = conditions["NamespaceContentRemaining"]
        assert remaining["status"] == "True"
        assert "pods. has 3 resource instances" in remaining["message"]
        assert world.list("", "configmaps"), "pods go before all else"
        await world.sleep(60)
        assert not world.list("", "namespaces")
        assert not [key for key in world.store.records if "/default/" in key]

    play(scene, workloads())


def test_every_namespace_gets_its_account_and_certificate_back() -> None:
    async def scene(world: World) -> None:
        await world.sleep(1)
        assert world.get("", "serviceaccounts", "default", "default")
        bundle = world.get("", "configmaps", "default", "kube-root-ca.crt")
        assert bundle["data"] == {"ca.crt": f"PEM of {CLUSTER}"}
        world.delete("", "serviceaccounts", "default", "default")
        change = {"data": {"ca.crt": "forged", "more": "x"}}
        world.patch("", "configmaps", "default", "kube-root-ca.crt", change)
        await world.sleep(1)
        assert world.get("", "serviceaccounts", "default", "default")
        bundle = world.get("", "configmaps", "default", "kube-root-ca.crt")
        assert bundle["data"] == {"ca.crt": f"PEM of {CLUSTER}"}

    play(scene, [ServiceAccountController(), RootCaController(lambda cluster: f"PEM of {cluster}")])


async def beat(world: World) -> None:
    while True:
        for call in world.heartbeats.beat(world.view, INSTANCE, Host("h"), "1.36.2"):
            world.api.apply(call)
        await world.sleep(10)


def nodes() -> list[Controller]:
    return [
        NodeLifecycleController(Heartbeats(VirtualClock())),
        TaintEvictionController(),
        PodGarbageController(),
    ]


def taints(world: World) -> set[tuple[str, str]]:
    spec = world.get("", "nodes", "", "node-1")["spec"]
    return {(item["key"], item["effect"]) for item in spec.get("taints") or ()}


def test_silent_node_is_tainted_and_its_pods_leave_after_their_tolerance() -> None:
    async def scene(world: World) -> None:
        world.spawn(beat(world))
        await world.sleep(100)
        assert not taints(world)
        tolerant = {
            "key": UNREACHABLE,
            "operator": "Exists",
            "effect": "NoExecute",
            "tolerationSeconds": 300,
        }
        world.make_ready(world.create("", "pods", pod("patient", tolerations=[tolerant])))
        world.make_ready(world.create("", "pods", pod("hasty")))
        world._tasks[-1].cancel()
        await world.sleep(61)
        node = world.get("", "nodes", "", "node-1")
        ready = next(c for c in node["status"]["conditions"] if c["type"] == "Ready")
        assert (ready["status"], ready["reason"]) == ("Unknown", "NodeStatusUnknown")
        assert ready["message"] == "Kubelet stopped posting node status."
        assert taints(world) == {(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")}
        patient = world.get("", "pods", "default", "patient")
        assert "deletionTimestamp" not in patient["metadata"]
        assert patient["status"]["conditions"][0]["status"] == "False", "nobody is sent to it"
        hasty = world.get("", "pods", "default", "hasty")
        assert hasty["metadata"]["deletionTimestamp"]
        target = next(c for c in hasty["status"]["conditions"] if c["type"] == "DisruptionTarget")
        assert target["reason"] == "DeletionByTaintManager"
        await world.sleep(310)
        assert world.get("", "pods", "default", "patient")["metadata"]["deletionTimestamp"]

    play(scene, nodes())


def test_node_that_returns_in_time_keeps_its_pods() -> None:
    async def scene(world: World) -> None:
        world.spawn(beat(world))
        await world.sleep(5)
        tolerant = {"operator": "Exists", "tolerationSeconds": 300}
        world.create("", "pods", pod(tolerations=[tolerant]))
        world._tasks[-1].cancel()
        await world.sleep(70)
        assert taints(world)
        world.spawn(beat(world))
        await world.sleep(400)
        assert not taints(world)
        assert "deletionTimestamp" not in world.get("", "pods", "default", "p")["metadata"]

    play(scene, nodes())


def test_pods_of_a_vanished_node_are_removed_after_a_quarantine() -> None:
    async def scene(world: World) -> None:
        world.create("", "pods", pod(node="never-was"))
        await world.sleep(39)
        assert world.list("", "pods")
        await world.sleep(2)
        assert not world.list("", "pods")

    play(scene, nodes())


@pytest.mark.parametrize("cordoned", [True, False])
def test_cordoned_node_carries_the_taint_that_stands_for_it(cordoned: bool) -> None:
    async def scene(world: World) -> None:
        world.spawn(beat(world))
        await world.sleep(1)
        world.patch("", "nodes", "", "node-1", {"spec": {"unschedulable": True}})
        await world.sleep(1)
        world.patch("", "nodes", "", "node-1", {"spec": {"unschedulable": cordoned}})
        await world.sleep(1)
        expected = {("node.kubernetes.io/unschedulable", "NoSchedule")} if cordoned else set()
        assert taints(world) == expected

    play(scene, nodes())


def test_whole_table_of_contents_keeps_a_new_cluster_and_comes_to_rest() -> None:
    every = [
        item
        for item in controllers(
            Chance("all"),
            lambda _cluster: "PEM",
            lambda _cluster: ApiPlace(),
            Heartbeats(VirtualClock()),
        )
        if item.name != "pod-address"  # the networks' tables are not in this world
    ]

    async def scene(world: World) -> None:
        world.spawn(beat(world))
        world.spawn(world.kubelet())
        world.create("apps", "deployments", deployment())
        await world.sleep(10)
        own = world.get("discovery.k8s.io", "endpointslices", "default", "kubernetes")
        assert own["endpoints"][0]["addresses"] == ["127.0.0.1"]
        assert world.get("", "services", "default", "kubernetes")["spec"]["clusterIP"] == (
            "10.100.0.1"
        )
        assert len(world.list("", "events")) > 3
        calls = len(world.api.calls)
        await world.sleep(3000)
        assert len(world.api.calls) == calls, "nothing is written while nothing happens"
        await world.sleep(700)
        assert not world.list("", "events"), "an hour later nobody speaks of it"

    play(scene, every)


def test_event_said_twice_is_counted() -> None:
    from proa.kube.events import Said, event_call
    from proa.kube.tables import NAMESPACES

    async def scene(world: World) -> None:
        (entry,) = world.view.rows(NAMESPACES).scan()
        for _ in range(3):
            for call in event_call(world.view, entry, Said("Odd", "text"), world.clock.now()):
                assert isinstance(call, Call)
                world.api.apply(call)
            await world.sleep(1)
        (event,) = world.list("", "events")
        assert event["count"] == 3
        assert event["lastTimestamp"] == iso8601(world.clock.now() - 1)

    async def settled(world: World) -> None:
        await world.sleep(1)
        await scene(world)

    play(settled, [])
