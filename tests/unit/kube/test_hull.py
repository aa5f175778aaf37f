"""The Kubernetes bow on the hull: pods placed, bound with an address, compiled, reported."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from msgspec import structs

from proa.base.chance import Chance
from proa.base.clock import VirtualClock, run_virtual
from proa.base.config import Config
from proa.base.errors import CallerFault, Conflict
from proa.cloud import compute
from proa.cloud.network import ADDRESSES, NETWORK_TABLES, bootstrap_network
from proa.cloud.network.bootstrap import stable_id
from proa.dispatch.scheduler import Scheduler
from proa.kube.asks import ask_of
from proa.kube.controllers.cluster import ApiPlace
from proa.kube.controllers.contents import controllers
from proa.kube.decoding import decoder
from proa.kube.hull import KubeSkin, Links
from proa.kube.nodes import Heartbeats
from proa.kube.objects import Deployment, Pod, ReplicaSet
from proa.kube.tables import DEPLOYMENTS, PODS, REPLICA_SETS, TABLES
from proa.kube.unschedulable import message_of
from proa.model.host import Host, Instance
from proa.model.resources import Resources
from proa.model.sandbox import ContainerStatus, NodeEvent, SandboxStatus
from proa.placement.asks import Reason, Requirement, Term, Toleration, Unplaced
from proa.reconcile.view import Change, Entry, Table
from proa.store.api import Transaction
from tests.unit.kube.world import CLUSTER, Json, World, deployment

CPU = 128_000
HOST = Host("h1", hostname="h1", pool=Resources(2 * CPU, 4 * 2**30, 20 * 2**30, 110))
SUBNET = stable_id("subnet", "000000000000", "us-east-1", "us-east-1a")
INSTANCE = compute.local_instance(
    HOST,
    f"/kube/{CLUSTER}/",
    zone="us-east-1a",
    subnet=SUBNET,
    address="172.31.0.9",
    region="us-east-1",
    now=0.0,
)
NODE = INSTANCE.name
Scene = Callable[[World, KubeSkin, Scheduler], Awaitable[None]]


def play(scene: Scene) -> None:
    async def main() -> None:
        tables = (*TABLES, *NETWORK_TABLES, compute.HOSTS, compute.INSTANCES)
        given = controllers(Chance("c"), lambda _cluster: "PEM", lambda _cluster: ApiPlace(),
                            Heartbeats(VirtualClock()))  # fmt: skip
        world = World(given, tables=tables)
        await world.store.commit(bootstrap_network("000000000000", "us-east-1", Config()))
        await world.store.commit(
            Transaction((), (compute.put_host(HOST), compute.put_instance(INSTANCE)))
        )
        async with world:
            links = Links(
                world.store, world.clock, Chance("l"), world.api.perform, lambda _request: "token"
            )
            skin = KubeSkin(links)
            scheduler = Scheduler(
                world.store,  # type: ignore[arg-type]
                world.view,
                world.clock,
                [skin],
                world.runner.perform,
            )
            scheduler.start()
            world.spawn(scheduler.run())
            world.spawn(beat(world))
            world.namespace()
            await world.sleep(1)
            await scene(world, skin, scheduler)

    run_virtual(main())


async def beat(world: World) -> None:
    while True:
        for call in world.heartbeats.beat(world.view, INSTANCE, HOST, "1.36.2"):
            world.api.apply(call)
        await asyncio.sleep(10)


def pod(name: str = "p", cpu: str = "100m", **spec: Any) -> Json:
    container = {"name": "main", "image": "one", "resources": {"requests": {"cpu": cpu}}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": name}},
        "spec": {"containers": [container], **spec},
    }


def key_of(name: str) -> str:
    return f"/kube/{CLUSTER}/core/pods/default/{name}"


async def run(world: World, skin: KubeSkin, name: str, **more: Any) -> None:
    """What an agent says once the pod runs."""
    assignment = await skin.assignment(world.view, key_of(name))
    assert assignment is not None and assignment.sandbox is not None
    main = ContainerStatus("main", "running", started_at=1.0, started=True, ready=True)
    status = SandboxStatus(
        assignment.uid,
        "running",
        key=key_of(name),
        address=assignment.sandbox.network.address,
        containers=(main,),
        sandbox_ready_at=1.0,
        **more,
    )
    await skin.report(world.view, [status], [NodeEvent(assignment.uid, "Started", "Started")])


def test_pod_is_bound_with_an_address_and_runs_behind_its_service() -> None:
    async def scene(world: World, skin: KubeSkin, _scheduler: Scheduler) -> None:
        world.create("apps", "deployments", deployment(replicas=2))
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"selector": {"app": "web"}, "clusterIP": "10.100.0.7",
                     "ports": [{"port": 80, "protocol": "TCP"}]},
        }  # fmt: skip
        world.create("", "services", service)
        await world.sleep(1)
        pods = world.list("", "pods")
        assert {item["spec"]["nodeName"] for item in pods} == {NODE}
        assert pods[0]["status"]["conditions"][0]["type"] == "PodScheduled"
        name = pods[0]["metadata"]["name"]
        assert f"Successfully assigned default/{name} to {NODE}" in world.events("Scheduled")
        for item in pods:
            await run(world, skin, item["metadata"]["name"])
        await world.sleep(1)
        assert world.get("apps", "deployments", "default", "web")["status"]["readyReplicas"] == 2
        vip = next(item for item in skin.vips(world.view) if item.address == "10.100.0.7")
        assert len({endpoint.address for endpoint in vip.endpoints}) == 2
        names = {record.name for record in skin.zones(world.view)}
        assert "web.default.svc.cluster.local" in names
        kinds: dict[Table[Any], type[Any]] = {
            PODS: Pod, REPLICA_SETS: ReplicaSet, DEPLOYMENTS: Deployment,
        }  # fmt: skip
        for table, kind in kinds.items():
            for row in world.view.rows(table).scan():  # known from what wrote it, and right
                assert row.value == decoder(kind)(row.body)
        (event,) = [e for e in world.list("", "events") if e["involvedObject"]["name"] == name
                    and e["reason"] == "Started"]  # fmt: skip
        assert event["source"] == {"component": "kubelet", "host": NODE}

    play(scene)


def test_pod_without_room_says_so_and_is_bound_when_there_is() -> None:
    async def scene(world: World, _skin: KubeSkin, scheduler: Scheduler) -> None:
        world.create("", "pods", pod("big", cpu="1500m"))
        await world.sleep(1)
        world.create("", "pods", pod("late", cpu="1"))
        await world.sleep(1)
        late = world.get("", "pods", "default", "late")
        (condition,) = late["status"]["conditions"]
        assert (condition["status"], condition["reason"]) == ("False", "Unschedulable")
        text = (
            "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: "
            "1 No preemption victims found for incoming pod."
        )
        assert condition["message"] == text
        assert world.events("FailedScheduling") == [text]
        assert scheduler.waiting == 1
        world.delete("", "pods", "default", "big", grace_s=0)
        await world.sleep(1)
        late = world.get("", "pods", "default", "late")
        assert late["spec"]["nodeName"] == NODE

    play(scene)


def test_pod_bound_past_the_scheduler_gets_an_address_and_holds_its_room() -> None:
    async def scene(world: World, skin: KubeSkin, _scheduler: Scheduler) -> None:
        world.create("", "pods", pod(nodeName=NODE))
        await world.sleep(1)
        assignment = await skin.assignment(world.view, key_of("p"))
        assert assignment is not None and assignment.sandbox is not None
        assert assignment.sandbox.network.address.startswith("172.31.")
        assert assignment.sandbox.reserve == Resources(CPU // 10, sandboxes=1)
        held = skin.held(world.view, key_of("p"))
        assert held is not None and held.instance == INSTANCE.id

    play(scene)


def test_deleted_pod_is_stopped_gracefully_and_gives_its_address_back() -> None:
    async def scene(world: World, skin: KubeSkin, _scheduler: Scheduler) -> None:
        world.create("", "pods", pod())
        await world.sleep(1)
        await run(world, skin, "p")
        assert len(list(world.view.rows(ADDRESSES).scan())) == 1
        world.delete("", "pods", "default", "p")
        await world.sleep(1)
        assignment = await skin.assignment(world.view, key_of("p"))
        assert assignment is not None
        assert (assignment.want, assignment.grace_s) == ("stop", 30)
        assert abs(assignment.since - (world.clock.now() - 1)) <= 1
        assert assignment.sandbox is not None
        brief = await skin.assignment(world.view, key_of("p"), assignment.uid)
        assert brief == structs.replace(assignment, sandbox=None)
        other = await skin.assignment(world.view, key_of("p"), "another pod of the name")
        assert other == assignment
        status = SandboxStatus(assignment.uid, "succeeded", key=key_of("p"), gone=True)
        await skin.report(world.view, [status], [])
        await world.sleep(1)
        assert not world.list("", "pods")
        assert not list(world.view.rows(ADDRESSES).scan())
        assert await skin.assignment(world.view, key_of("p")) is None

    play(scene)


def test_bind_of_a_pod_that_changed_hands_is_a_conflict() -> None:
    async def scene(world: World, skin: KubeSkin, _scheduler: Scheduler) -> None:
        world.create("", "pods", pod("p", schedulerName="mine"))
        await world.sleep(1)
        entry = world.view.rows(PODS).get(key_of("p"))
        assert entry is not None
        assert skin.ask(world.view, key_of("p")) is None
        with pytest.raises(Conflict):
            skin.bind(world.view, ask_of(world.view, entry), INSTANCE, set(), 0.0)
        world.create("", "pods", pod("q", schedulingGates=[{"name": "wait"}]))
        await world.sleep(1)
        assert skin.ask(world.view, key_of("q")) is None
        lost = Instance("i-2", "h1", INSTANCE.cluster, name="n2", subnet="subnet-none")
        world.create("", "pods", pod("r", cpu="64"))
        await world.sleep(1)
        entry = world.view.rows(PODS).get(key_of("r"))
        assert entry is not None
        with pytest.raises(CallerFault):
            skin.bind(world.view, ask_of(world.view, entry), lost, set(), 0.0)

    play(scene)


def test_a_pod_is_compiled_again_for_its_labels_and_its_end_but_not_for_its_status() -> None:
    async def scene(world: World, skin: KubeSkin, _scheduler: Scheduler) -> None:
        world.create("", "pods", pod())
        await world.sleep(1)
        told: list[bool] = []

        def changed(table: Table[Any], change: Change[Any]) -> None:
            if table is PODS:
                told.append(skin.alters(change))

        world.view.subscribe(changed)
        await run(world, skin, "p")
        await world.sleep(1)
        assert told == [False]
        world.patch("", "pods", "default", "p", {"metadata": {"labels": {"app": "other"}}})
        await world.sleep(1)
        assert told[1:] == [True]
        world.delete("", "pods", "default", "p")
        await world.sleep(1)
        assert told[2:] and all(told[2:])

    play(scene)


def test_pods_that_use_a_config_map_are_compiled_again_when_it_changes() -> None:
    async def scene(world: World, skin: KubeSkin, _scheduler: Scheduler) -> None:
        env = [{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}]
        body = pod()
        body["spec"]["containers"][0]["env"] = env
        world.create("", "pods", body)
        await world.sleep(1)
        before = await skin.assignment(world.view, key_of("p"))
        assert before is not None and before.sandbox is not None
        blocked = before.sandbox.containers[0].blocked
        assert blocked == 'CreateContainerConfigError: configmap "c" not found'
        told: list[str] = []
        world.view.subscribe(lambda _t, change: told.extend(skin.stakeholders(world.view, change)))
        config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}
        world.create("", "configmaps", {**config, "metadata": {"name": "c", "namespace": "default"},
                                        "data": {"k": "v"}})  # fmt: skip
        await world.sleep(1)
        assert set(told) == {key_of("p")}
        after = await skin.assignment(world.view, key_of("p"))
        assert after is not None and after.sandbox is not None
        assert ("X", "v") in after.sandbox.containers[0].environment

    play(scene)


def test_ask_carries_affinity_tolerations_and_default_spreads() -> None:
    async def scene(world: World, _skin: KubeSkin, _scheduler: Scheduler) -> None:
        expression = {"key": "disk", "operator": "In", "values": ["ssd"]}
        field = {"key": "metadata.name", "operator": "In", "values": ["node-7"]}
        terms = [{"matchExpressions": [expression]}, {"matchFields": [field]}]
        affinity = {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}
            }
        }
        body = pod(
            affinity=affinity,
            tolerations=[{"operator": "Exists"}],
            nodeSelector={"zone": "a"},
            priority=7,
        )
        data = json.dumps(body).encode()
        entry = Entry(key_of("p"), data, 1, 1, decoder(Pod)(data))
        ask = ask_of(world.view, entry)
        assert ask.affinity == (
            Term((Requirement("disk", "In", ("ssd",)),)),
            Term((), ("node-7",)),
        )
        assert ask.tolerations == (Toleration("", "Exists"),)
        assert (ask.node_selector, ask.priority) == ((("zone", "a"),), 7)
        assert ask.cluster == INSTANCE.cluster
        world.create("apps", "deployments", deployment(replicas=1))
        await world.sleep(1)
        (made,) = [row for row in world.view.rows(PODS).scan() if row.value.metadata.controller]
        spreads = ask_of(world.view, made).spreads
        assert [(item.key, item.max_skew, item.hard) for item in spreads] == [
            ("kubernetes.io/hostname", 3, False),
            ("topology.kubernetes.io/zone", 5, False),
        ]

    play(scene)


@pytest.mark.parametrize(
    ("total", "reasons", "expected"),
    [
        (0, (), "no nodes available to schedule pods"),
        (
            3,
            (Reason("cpu", 2), Reason("memory", 1), Reason("taint", 1, "a: b")),
            "0/3 nodes are available: 1 Insufficient memory, 1 node(s) had untolerated taint(s), "
            "2 Insufficient cpu. preemption: 0/3 nodes are available: "
            "1 Preemption is not helpful for scheduling, "
            "2 No preemption victims found for incoming pod.",
        ),
        (
            1,
            (Reason("cpu", 1, "", INSTANCE.id),),
            "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: "
            "1 Preemption is not helpful for scheduling.",
        ),
    ],
)
def test_refusal_speaks_the_schedulers_words(
    total: int, reasons: tuple[Reason, ...], expected: str
) -> None:
    async def scene(world: World, _skin: KubeSkin, _scheduler: Scheduler) -> None:
        data = json.dumps(pod(cpu="9")).encode()
        entry = Entry(key_of("p"), data, 1, 1, decoder(Pod)(data))
        unplaced = Unplaced(ask_of(world.view, entry), total, reasons)
        assert message_of(world.view, unplaced) == expected

    play(scene)


def test_affinity_by_name_takes_every_field_of_a_term_and_leaves_out_empty_wishes() -> None:
    def field(operator: str, *names: str) -> Json:
        return {"key": "metadata.name", "operator": operator, "values": list(names)}

    async def scene(world: World, _skin: KubeSkin, _scheduler: Scheduler) -> None:
        term = {"matchFields": [field("In", "a"), field("NotIn", "b")]}
        affinity = {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]},
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {"weight": 5, "preference": {}},
                    {"weight": 7, "preference": {"matchFields": [field("In", "c")]}},
                ],
            }
        }
        data = json.dumps(pod(affinity=affinity)).encode()
        ask = ask_of(world.view, Entry(key_of("p"), data, 1, 1, decoder(Pod)(data)))
        assert ask.affinity == (Term((), ("a",), ("b",)),)
        assert ask.preferred == ((7, Term((), ("c",))),)

    play(scene)


@pytest.mark.parametrize(
    ("volume", "claims", "text"),
    [
        (
            {"persistentVolumeClaim": {"claimName": "data"}},
            (),
            'persistentvolumeclaim "data" not found',
        ),
        (
            {"persistentVolumeClaim": {"claimName": "data"}},
            ("data",),
            "pod has unbound immediate PersistentVolumeClaims",
        ),
        (
            {"ephemeral": {"volumeClaimTemplate": {"spec": {}}}},
            (),
            'waiting for ephemeral volume controller to create the persistentvolumeclaim "p-v"',
        ),
    ],
)
def test_pod_with_a_claim_nobody_can_bind_stays_pending(
    volume: Json, claims: tuple[str, ...], text: str
) -> None:
    async def scene(world: World, _skin: KubeSkin, _scheduler: Scheduler) -> None:
        for name in claims:
            meta = {"name": name, "namespace": "default"}
            claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta}
            world.create("", "persistentvolumeclaims", claim)
        world.create("", "pods", pod(volumes=[{"name": "v", **volume}]))
        await world.sleep(2)
        assert "nodeName" not in world.get("", "pods", "default", "p")["spec"]
        assert world.events("FailedScheduling") == [
            f"0/1 nodes are available: {text}. preemption: 0/1 nodes are available: "
            "1 Preemption is not helpful for scheduling."
        ]

    play(scene)


def test_pod_affinity_follows_the_labels_of_namespaces() -> None:
    async def scene(world: World, _skin: KubeSkin, _scheduler: Scheduler) -> None:
        selector = {"matchLabels": {"team": "x"}}
        term = {
            "topologyKey": "kubernetes.io/hostname",
            "labelSelector": {},
            "namespaceSelector": selector,
        }
        apart = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
        space: Json = {"metadata": {}}
        world.create("", "pods", pod("neighbour"))
        await world.sleep(1)
        world.create("", "pods", pod("shy", affinity=apart))
        await world.sleep(1)
        assert world.get("", "pods", "default", "shy")["spec"].get("nodeName")
        space["metadata"]["labels"] = {"team": "x"}
        world.patch("", "namespaces", "", "default", space)
        world.create("", "pods", pod("shier", affinity=apart))
        await world.sleep(1)
        refused = world.get("", "pods", "default", "shier")
        assert "nodeName" not in refused["spec"]
        (condition,) = refused["status"]["conditions"]
        assert "node(s) didn't match pod anti-affinity rules" in condition["message"]
        space["metadata"]["labels"] = {"team": "y"}
        world.patch("", "namespaces", "", "default", space)
        await world.sleep(2)
        assert world.get("", "pods", "default", "shier")["spec"].get("nodeName")

    play(scene)
