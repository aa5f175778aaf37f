"""EKS clusters in virtual time: raised, worked with, killed under, deleted without a trace."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import pytest

from proa.aws.eks.records import CLUSTERS, Cluster
from proa.base.clock import run_virtual
from proa.base.errors import CallerFault
from proa.base.http import Request
from proa.cloud import compute
from proa.cloud.network import ADDRESSES, NetworkPlanner
from proa.kube.api.call import Call
from proa.kube.tables import NODES, PODS
from proa.model.host import Host
from proa.model.resources import Resources
from proa.model.sandbox import Container
from proa.node.sim import Behaviour
from proa.sim.world import World
from proa.wire.sigv4 import Signer, sign

POOL = Resources(4 * 128_000, 8 << 30, 100 << 30)
TRUST = (
    '{"Statement":[{"Effect":"Allow","Principal":{"Service":"eks.amazonaws.com"},'
    '"Action":"sts:AssumeRole"}]}'
)
Json = dict[str, Any]
POD: Json = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "one"},
    "spec": {"containers": [{"name": "c", "image": "web:1"}]},
}


def behave(_container: Container) -> Behaviour:
    return Behaviour()


def play(story: Callable[[World], Awaitable[None]], seed: str = "eks") -> list[str]:
    """The story in a world with one Host; what happened, as text."""
    lines: list[str] = []

    async def main() -> None:
        world = World(seed, behave)
        await world.open()
        world.add_host(Host("h-1", "h-1", POOL, POOL))
        try:
            await world.clock.sleep(2)
            await story(world)
            lines.extend(world.trace.lines)
            assert not world.violations
        finally:
            await world.close()

    run_virtual(main())
    return lines


async def ask(world: World, service: str, method: str, path: str, body: bytes = b"", **headers: str
              ) -> Json:  # fmt: skip
    config = world.config
    given = {"host": f"{config.listen}:{config.aws_port}", **headers}
    request = Request(method, path, headers=given, body=body)
    signer = Signer(*world.keys, config.region, service)
    answer = await world.aws(sign(request, signer, world.clock.now()))
    if service != "eks":
        return {"status": answer.status}
    found: Json = orjson.loads(answer.body)
    return {**found, "status": answer.status}


async def create(world: World, name: str) -> Json:
    config = world.config
    form = {"content-type": "application/x-www-form-urlencoded"}
    body = f"Action=CreateRole&Version=2010-05-08&RoleName=eks&AssumeRolePolicyDocument={TRUST}"
    await ask(world, "iam", "POST", "/", body.encode(), **form)
    subnets = NetworkPlanner(world.view).default_subnets(config.account, config.region)
    wanted = {
        "name": name,
        "roleArn": f"arn:aws:iam::{config.account}:role/eks",
        "resourcesVpcConfig": {"subnetIds": [subnet.id for subnet in subnets]},
    }
    return await ask(world, "eks", "POST", "/clusters", orjson.dumps(wanted))


def record(world: World, name: str) -> Cluster | None:
    rows = world.view.rows(CLUSTERS).scan()
    return next((entry.value for entry in rows if entry.value.name == name), None)


async def until(world: World, done: Callable[[], bool], timeout_s: float = 60) -> None:
    for _ in range(int(timeout_s * 5)):
        if done():
            return
        await world.clock.sleep(0.2)
    raise AssertionError("not in time")


async def active(world: World, name: str) -> Cluster:
    def is_active() -> bool:
        found = record(world, name)
        return found is not None and found.status == "ACTIVE"

    await until(world, is_active, 10)
    found = record(world, name)
    assert found is not None
    return found


async def run_pod(world: World, uid: str, finalizers: list[str] | None = None) -> None:
    assert world.front is not None
    body = {**POD, "metadata": {"name": "one", "finalizers": finalizers or []}}
    call = Call(uid, "create", "", "pods", "default", "one", body=body)
    for _ in range(20):  # until the namespace has its service account
        try:
            await world.front.plane.kube.perform(call)
            break
        except CallerFault:
            await world.clock.sleep(0.5)
    await until(world, lambda: phases(world, uid) == ["Running"])


def phases(world: World, uid: str) -> list[str]:
    rows = world.view.rows(PODS).scan(f"/kube/{uid}/core/pods/")
    return [entry.value.status.phase for entry in rows]


async def left(world: World, uid: str) -> list[str]:
    page = await world.store.range(f"/kube/{uid}/")
    return [item.key for item in page.records]


def test_a_cluster_comes_up_runs_pods_and_leaves_nothing() -> None:
    async def story(world: World) -> None:
        assert (await create(world, "dev"))["cluster"]["status"] == "CREATING"
        cluster = await active(world, "dev")
        assert cluster.port == world.config.kube_port + 1
        await until(world, lambda: any(world.view.rows(NODES).scan(f"/kube/{cluster.uid}/")))
        await run_pod(world, cluster.uid)
        await ask(world, "eks", "DELETE", "/clusters/dev")
        await until(world, lambda: record(world, "dev") is None)
        await world.clock.sleep(60)
        assert await left(world, cluster.uid) == []
        assert compute.instances_of(world.view, f"/kube/{cluster.uid}/") == []
        held = [row.value.holder for row in world.view.rows(ADDRESSES).scan()]
        assert not [holder for holder in held if cluster.uid in holder]
        assert not (await world.hosts["h-1"].runtime.list()).sandboxes
        assert world.front is not None and cluster.uid not in world.front.plane.kube.clusters

    play(story)


def test_a_finalizer_does_not_keep_a_cluster() -> None:
    async def story(world: World) -> None:
        await create(world, "dev")
        cluster = await active(world, "dev")
        await run_pod(world, cluster.uid, finalizers=["example.com/never"])
        await ask(world, "eks", "DELETE", "/clusters/dev")
        await until(world, lambda: record(world, "dev") is None)
        assert not (await world.hosts["h-1"].runtime.list()).sandboxes

    play(story)


@pytest.mark.parametrize("moment_s", [0.0, 0.05, 0.3])
def test_a_cluster_comes_up_though_the_control_plane_dies(moment_s: float) -> None:
    async def story(world: World) -> None:
        await create(world, "dev")
        await world.clock.sleep(moment_s)
        await world.crash_plane()
        await world.start_plane()
        cluster = await active(world, "dev")
        await world.clock.sleep(20)
        await run_pod(world, cluster.uid)

    play(story)


@pytest.mark.parametrize("moment_s", [0.0, 0.6, 1.2])
def test_a_cluster_goes_though_the_control_plane_dies(moment_s: float) -> None:
    async def story(world: World) -> None:
        await create(world, "dev")
        cluster = await active(world, "dev")
        await run_pod(world, cluster.uid)
        await ask(world, "eks", "DELETE", "/clusters/dev")
        await world.clock.sleep(moment_s)
        await world.crash_plane()
        await world.start_plane()
        await until(world, lambda: record(world, "dev") is None)
        assert await left(world, cluster.uid) == []

    play(story)


def test_a_cluster_goes_once_its_silent_host_is_back() -> None:
    async def story(world: World) -> None:
        await create(world, "dev")
        cluster = await active(world, "dev")
        await run_pod(world, cluster.uid)
        await world.hosts["h-1"].crash()
        await ask(world, "eks", "DELETE", "/clusters/dev")
        await world.clock.sleep(90)
        there = record(world, "dev")
        assert there is not None and there.status == "DELETING"
        world.hosts["h-1"].start()
        await until(world, lambda: record(world, "dev") is None)
        assert not (await world.hosts["h-1"].runtime.list()).sandboxes

    play(story)


def test_a_restored_cluster_keeps_its_port_and_its_keys() -> None:
    async def story(world: World) -> None:
        await create(world, "dev")
        before = await active(world, "dev")
        await world.crash_plane()
        await world.start_plane()
        assert world.front is not None
        cluster = world.front.plane.kube.clusters[before.uid]
        assert (cluster.port, cluster.ca_pem) == (before.port, before.authority)
        await world.clock.sleep(20)
        await run_pod(world, before.uid)

    play(story)


def test_one_seed_makes_the_same_clusters() -> None:
    async def story(world: World) -> None:
        await create(world, "a")
        await create(world, "b")
        ports = {(await active(world, name)).port for name in ("a", "b")}
        assert len(ports) == 2

    assert play(story, "s") == play(story, "s")
