"""Priorities on the whole control plane in virtual time: victims leave gracefully, the budgeted
stay where others may go, and the room waits for whom it was made."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from proa.base.clock import run_virtual
from proa.base.http import Peer, Request
from proa.model.host import Host
from proa.model.resources import Resources
from proa.node.sim import Behaviour
from proa.sim.world import World, admin_certificate

PODS = "/api/v1/namespaces/default/pods"
BUDGETS = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
CLASSES = "/apis/scheduling.k8s.io/v1/priorityclasses"


def play(scene: Callable[[World], Awaitable[None]]) -> None:
    async def main() -> None:
        world = World("preemption", lambda _container: Behaviour(stops_s=4.0))
        await world.open()
        world.add_host(Host("h-1", pool=Resources(4 * 128_000, 8 * 2**30, 50 * 2**30, 100)))
        await world.clock.sleep(20)
        await scene(world)
        await world.close()

    run_virtual(main())


async def kube(
    world: World, path: str, method: str = "GET", body: Any = None
) -> tuple[int, dict[str, Any]]:
    assert world.front is not None
    data = b"" if body is None else json.dumps(body).encode()
    request = Request(method, path, body=data, peer=Peer("127.0.0.1", admin_certificate()))
    answer = await world.front.plane.kube.handle(request)
    return answer.status, json.loads(answer.body)


async def create(world: World, path: str, body: dict[str, Any]) -> dict[str, Any]:
    status, made = await kube(world, path, "POST", body)
    assert status == 201, made
    return made


async def pods(world: World) -> dict[str, dict[str, Any]]:
    _, found = await kube(world, PODS)
    return {item["metadata"]["name"]: item for item in found["items"]}


def pod(name: str, node: str, cpu: int, priority: str = "", **spec: Any) -> dict[str, Any]:
    container = {"name": "main", "image": "nginx", "resources": {"requests": {"cpu": f"{cpu}m"}}}
    return {
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "containers": [container],
            "nodeSelector": {"kubernetes.io/hostname": node},
            "terminationGracePeriodSeconds": 5,
            **({"priorityClassName": priority} if priority else {}),
            **spec,
        },
    }


async def prepared(world: World) -> tuple[str, int]:
    """(a node, what is free of its CPU in thousandths) with classes ``low`` and ``high``."""
    for name, value in (("low", -5), ("high", 1000)):
        await create(world, CLASSES, {"metadata": {"name": name}, "value": value})
    never = {"metadata": {"name": "meek"}, "value": 1000, "preemptionPolicy": "Never"}
    await create(world, CLASSES, never)
    _, nodes = await kube(world, "/api/v1/nodes")
    node = nodes["items"][0]
    cpu = node["status"]["allocatable"]["cpu"]
    free = int(cpu[:-1]) if cpu.endswith("m") else int(cpu) * 1000
    return node["metadata"]["name"], free


async def events(world: World, reason: str) -> list[str]:
    _, found = await kube(world, "/api/v1/namespaces/default/events")
    return [item["message"] for item in found["items"] if item["reason"] == reason]


def test_the_unbudgeted_leaves_and_the_room_is_its_preemptors() -> None:
    async def scene(world: World) -> None:
        node, free = await prepared(world)
        third = free // 3
        guarded = {
            "metadata": {"name": "guard"},
            "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "guarded"}}},
        }
        await create(world, BUDGETS, guarded)
        for name in ("guarded", "loose"):
            await create(world, PODS, pod(name, node, third, "low"))
        await world.clock.sleep(10)
        assert (await pods(world))["loose"]["status"]["phase"] == "Running"
        _, budget = await kube(world, f"{BUDGETS}/guard")
        assert budget["status"]["disruptionsAllowed"] == 0
        assert budget["status"]["currentHealthy"] == 1
        made = await create(world, PODS, pod("urgent", node, free - third, "high"))
        await world.clock.sleep(2)
        found = await pods(world)
        assert found["urgent"]["status"]["nominatedNodeName"] == node
        assert "nodeName" not in found["urgent"]["spec"]
        loose = found["loose"]
        assert loose["metadata"]["deletionTimestamp"]
        reasons = {item["type"]: item.get("reason") for item in loose["status"]["conditions"]}
        assert reasons["DisruptionTarget"] == "PreemptionByScheduler"
        assert "deletionTimestamp" not in found["guarded"]["metadata"]
        await create(world, PODS, pod("thief", node, third, "low"))
        await world.clock.sleep(20)
        found = await pods(world)
        assert "loose" not in found
        assert found["urgent"]["spec"]["nodeName"] == node
        assert "nominatedNodeName" not in found["urgent"]["status"]
        assert "nodeName" not in found["thief"]["spec"]
        said = await events(world, "Preempted")
        assert said == [f"Preempted by pod {made['metadata']['uid']} on node {node}"]

    play(scene)


def test_who_may_not_preempt_waits_and_says_so() -> None:
    async def scene(world: World) -> None:
        node, free = await prepared(world)
        await create(world, PODS, pod("there", node, free * 2 // 3, "low"))
        await world.clock.sleep(5)
        await create(world, PODS, pod("meek", node, free * 2 // 3, "meek"))
        await world.clock.sleep(5)
        found = await pods(world)
        assert "deletionTimestamp" not in found["there"]["metadata"]
        text = found["meek"]["status"]["conditions"][0]["message"]
        assert text.endswith("preemption: not eligible due to preemptionPolicy=Never.")

    play(scene)


def test_an_eviction_beyond_the_budget_is_refused_with_the_cause() -> None:
    async def scene(world: World) -> None:
        node, free = await prepared(world)
        budget = {
            "metadata": {"name": "guard"},
            "spec": {"minAvailable": 1, "selector": {"matchExpressions": [
                {"key": "app", "operator": "In", "values": ["one", "two"]}]}},
        }  # fmt: skip
        await create(world, BUDGETS, budget)
        for name in ("one", "two"):
            await create(world, PODS, pod(name, node, free // 4))
        await world.clock.sleep(10)
        answers = []
        for name in ("one", "two"):
            body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
            answers.append(await kube(world, f"{PODS}/{name}/eviction", "POST", body))
        assert [status for status, _ in answers] == [201, 429]
        refused = answers[1][1]
        assert refused["message"] == (
            "Cannot evict pod as it would violate the pod's disruption budget."
        )
        cause = refused["details"]["causes"][0]
        assert cause["reason"] == "DisruptionBudget"
        assert cause["message"].startswith("The disruption budget guard needs 1 healthy pods")

    play(scene)
