"""How bridge, host and none tasks are attached, and the host ports they take."""

from __future__ import annotations

from typing import Any

import pytest

from proa.aws.ecs.keys import task_key
from proa.aws.ecs.tables import PORT_CLAIMS
from proa.cloud import network
from proa.model.sandbox import Sandbox
from tests.unit.aws.ecs.world import ACCOUNT, REGION, World, run_world


def container(name: str, *ports: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": name, "image": name, "memory": 8, "portMappings": list(ports), **more}


async def run(world: World, *containers: dict[str, Any], **document: Any) -> dict[str, Any]:
    """Register and run one task; its description once it runs."""
    await world.call(
        "RegisterTaskDefinition", family="x", containerDefinitions=list(containers), **document
    )
    answer = await world.call("RunTask", taskDefinition="x")
    assert answer["failures"] == []
    return await world.until_status(answer["tasks"][0]["taskArn"], "RUNNING")


async def sandbox_of(world: World, arn: str) -> Sandbox:
    key = task_key(ACCOUNT, REGION, "default", arn.rpartition("/")[2])
    assignment = await world.skin.assignment(world.view, key)
    assert assignment is not None and assignment.sandbox is not None
    return assignment.sandbox


def test_each_container_of_a_bridge_task_has_a_namespace_and_its_links_as_hosts() -> None:
    async def story(world: World) -> None:
        web = container("web", {"containerPort": 80}, links=["db:database"], hostname="front")
        task = await run(world, web, container("db", {"containerPort": 80}))
        sandbox = await sandbox_of(world, task["taskArn"])
        first, second = sandbox.containers
        assert first.network is None and second.network is not None
        assert sandbox.network.hostname == "front"
        assert sandbox.network.address != second.network.address
        assert sandbox.network.hosts == ((second.network.address, ("database", "db")),)
        assert [(item.container, item.condition) for item in first.depends_on] == [("db", "START")]
        assert task["attachments"] == [] and task["containers"][0]["networkInterfaces"] == []
        hosts = [item["networkBindings"][0]["hostPort"] for item in task["containers"]]
        vips = {vip.port: vip.endpoints[0] for vip in world.skin.vips(world.view)}
        assert [vips[port].address for port in hosts] == [
            sandbox.network.address,
            second.network.address,
        ]
        assert [port.number for port in sandbox.ports] == hosts

    run_world(story)


def test_a_stopped_bridge_task_gives_back_addresses_and_ports() -> None:
    async def story(world: World) -> None:
        task = await run(world, container("web", {"containerPort": 80}), container("db"))
        assert len(world.view.rows(network.ADDRESSES)) == 2
        assert len(world.view.rows(network.INTERFACES)) == 0
        assert len(world.view.rows(PORT_CLAIMS)) == 1
        await world.call("StopTask", task=task["taskArn"])
        await world.until_status(task["taskArn"], "STOPPED")
        assert len(world.view.rows(network.ADDRESSES)) == 0
        assert len(world.view.rows(PORT_CLAIMS)) == 0

    run_world(story)


def test_containers_without_networking_have_a_namespace_with_nothing_in_it() -> None:
    async def story(world: World) -> None:
        task = await run(world, container("a"), container("b"), networkMode="none")
        sandbox = await sandbox_of(world, task["taskArn"])
        other = sandbox.containers[1].network
        assert sandbox.network.mode == "none" and other is not None and other.mode == "none"
        apart = await run(world, container("a"), container("b", disableNetworking=True))
        sandbox = await sandbox_of(world, apart["taskArn"])
        other = sandbox.containers[1].network
        assert sandbox.network.mode == "vpc" and other is not None and other.mode == "none"

    run_world(story)


def test_kernel_parameters_go_to_the_namespace_they_belong_to() -> None:
    def controls(**values: str) -> dict[str, Any]:
        return {
            "systemControls": [
                {"namespace": name.replace("_", "."), "value": value}
                for name, value in values.items()
            ]
        }

    async def story(world: World) -> None:
        first = container("a", **controls(net_core_somaxconn="1"))
        second = container("b", **controls(net_core_somaxconn="2", kernel_msgmax="3"))
        task = await run(world, first, second)
        sandbox = await sandbox_of(world, task["taskArn"])
        assert dict(sandbox.sysctls) == {"net.core.somaxconn": "1", "kernel.msgmax": "3"}
        assert sandbox.containers[1].sysctls == (("net.core.somaxconn", "2"),)

    run_world(story)


def test_a_range_of_container_ports_is_bound_to_as_many_neighbouring_host_ports() -> None:
    async def story(world: World) -> None:
        task = await run(world, container("web", {"containerPortRange": "8000-8003"}))
        (binding,) = task["containers"][0]["networkBindings"]
        first, _, last = binding["hostPortRange"].partition("-")
        assert binding["containerPortRange"] == "8000-8003" and int(last) - int(first) == 3
        ports = {vip.port: vip.endpoints[0].port for vip in world.skin.vips(world.view)}
        assert ports == {int(first) + offset: 8000 + offset for offset in range(4)}

    run_world(story)


@pytest.mark.parametrize("mode", ["bridge", "host"])
def test_a_fixed_host_port_is_taken_once_on_an_instance(mode: str) -> None:
    async def story(world: World) -> None:
        mapping = {"containerPort": 8080, "hostPort": 8080}
        task = await run(world, container("web", mapping), networkMode=mode)
        assert task["containers"][0]["networkBindings"][0]["hostPort"] == 8080
        again = await world.call("RunTask", taskDefinition="x", count=2)
        assert [item["reason"] for item in again["failures"]] == ["RESOURCE:PORTS"] * 2
        await world.call("StopTask", task=task["taskArn"])
        await world.until_status(task["taskArn"], "STOPPED")
        assert (await world.call("RunTask", taskDefinition="x"))["failures"] == []

    run_world(story)


def test_a_dynamic_port_is_refused_to_a_later_task_that_fixes_it() -> None:
    async def story(world: World) -> None:
        task = await run(world, container("web", {"containerPort": 80}))
        port = task["containers"][0]["networkBindings"][0]["hostPort"]
        fixed = container("web", {"containerPort": 80, "hostPort": port})
        await world.call("RegisterTaskDefinition", family="y", containerDefinitions=[fixed])
        answer = await world.call("RunTask", taskDefinition="y")
        assert [item["reason"] for item in answer["failures"]] == ["RESOURCE:PORTS"]

    run_world(story)


def test_many_large_bridge_tasks_are_written_in_several_transactions() -> None:
    async def story(world: World) -> None:
        containers = [container(f"c{n}", {"containerPort": 80}) for n in range(10)]
        await world.call("RegisterTaskDefinition", family="x", containerDefinitions=containers)
        answer = await world.call("RunTask", taskDefinition="x", count=10, clientToken="t")
        assert len(answer["tasks"]) == 10 and answer["failures"] == []
        again = await world.call("RunTask", taskDefinition="x", count=10, clientToken="t")
        assert [task["taskArn"] for task in again["tasks"]] == [
            task["taskArn"] for task in answer["tasks"]
        ]
        assert len(world.records()) == 10

    run_world(story)
