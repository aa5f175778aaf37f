"""RegisterTaskDefinition's rules and answers, and the lists over them."""

from __future__ import annotations

from typing import Any

import pytest

from proa.aws.ecs import runnable, taskdef, taskdef_rules
from proa.aws.ecs.fargate import cpu_units, is_size, memory_mib
from proa.aws.ecs.records import TaskDefinition
from proa.aws.gateway.service import AwsError
from tests.unit.aws.ecs.world import World, run_world

AWSLOGS = {
    "logDriver": "awslogs",
    "options": {
        "awslogs-group": "/ecs/web",
        "awslogs-region": "us-east-1",
        "awslogs-stream-prefix": "ecs",
    },
}


def definition(*containers: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A Fargate definition; containers default to one called web."""
    given = [{"name": "web", "image": "nginx", **item} for item in containers or ({},)]
    return {
        "family": "web",
        "networkMode": "awsvpc",
        "requiresCompatibilities": ["FARGATE"],
        "cpu": "256",
        "memory": "512",
        "containerDefinitions": given,
        **more,
    }


def on_ec2(*containers: dict[str, Any], **more: Any) -> dict[str, Any]:
    """An EC2 definition whose containers have 128 MiB unless they say otherwise."""
    request = definition(*({"memory": 128, **item} for item in containers or ({},)), **more)
    for member in ("requiresCompatibilities", "cpu", "memory"):
        if member not in more:
            del request[member]
    if "networkMode" not in more:
        del request["networkMode"]
    return request


DB = {"name": "db"}
REFUSED: list[tuple[dict[str, Any], str]] = [
    (
        definition({"logConfiguration": AWSLOGS}),
        "Fargate requires task definition to have execution role ARN to support log driver "
        "awslogs.",
    ),
    (definition(cpu="256", memory="4096"), "No Fargate configuration exists for given values."),
    (definition(cpu="300"), "No Fargate configuration exists for given values."),
    (definition(cpu="lots"), "Invalid 'cpu' setting for task."),
    (definition(cpu="2_56"), "Invalid 'cpu' setting for task."),
    (definition(cpu=""), "Fargate requires that 'cpu' be defined at the task level."),
    (definition(memory=""), "Fargate requires that 'memory' be defined at the task level."),
    (definition(networkMode="bridge"), "Fargate only supports network mode ‘awsvpc’."),
    (definition(family="a b"), "Family contains invalid characters"),
    (definition(containerDefinitions=[]), "Container list cannot be empty."),
    (definition({}, {}), "used by more than one container"),
    (definition({"image": ""}), "image should not be null"),
    (definition({"essential": False}), "At least one container must be marked essential."),
    (definition({"privileged": True}), "privileged"),
    (definition({"memory": 1024}), "greater than the memory at the task level"),
    (definition({"cpu": 200}, {**DB, "cpu": 200}), "total CPU of the containers"),
    (definition({"stopTimeout": 121}), "2-120"),
    (
        definition({"portMappings": [{"containerPort": 80, "hostPort": 8080}]}),
        "When networkMode=awsvpc, the host ports and container ports in port mappings must match.",
    ),
    (
        definition({"portMappings": [{"containerPort": 80}, {"containerPort": 80}]}),
        "mapped more than once",
    ),
    (definition({"portMappings": [{"containerPort": 0}]}), "Invalid 'containerPort'"),
    (
        on_ec2({"portMappings": [{"containerPort": 80}]}, networkMode="none"),
        "not supported when networkMode=none",
    ),
    (on_ec2({"memory": None}), "At least one of 'memory' or 'memoryReservation'"),
    (on_ec2({"memory": 64, "memoryReservation": 128}), "greater than or equal to"),
    (on_ec2({"memory": 4}), "minimum is 6 MiB"),
    (
        definition(
            {"dependsOn": [{"containerName": "db", "condition": "START"}]},
            {**DB, "dependsOn": [{"containerName": "web", "condition": "START"}]},
        ),
        "form a cycle",
    ),
    (definition({"dependsOn": [{"containerName": "x", "condition": "START"}]}), "not another"),
    (
        definition({"dependsOn": [{"containerName": "db", "condition": "HEALTHY"}]}, DB),
        "no health check",
    ),
    (
        definition({"dependsOn": [{"containerName": "db", "condition": "SUCCESS"}]}, DB),
        "essential container may not be waited for",
    ),
    (definition({"healthCheck": {"command": ["curl"]}}), "must start with CMD"),
    (definition({"healthCheck": {"command": ["CMD", "x"], "interval": 1}}), "between 5 and 300"),
    (
        definition({"mountPoints": [{"sourceVolume": "v", "containerPath": "/v"}]}),
        "Unknown volume 'v'.",
    ),
    (definition(volumes=[{"name": "v", "host": {"sourcePath": "/x"}}]), "sourcePath"),
    (
        definition(
            {"logConfiguration": {"logDriver": "awslogs", "options": {}}}, executionRoleArn="role"
        ),
        "requires options: awslogs-group",
    ),
    (definition({"logConfiguration": {"logDriver": "json-file"}}), "not supported on Fargate"),
    (definition({"secrets": [{"name": "A", "valueFrom": "arn"}]}), "'executionRoleArn'"),
]


@pytest.mark.parametrize(("request_", "text"), REFUSED, ids=[text[:40] for _, text in REFUSED])
def test_a_task_definition_is_refused(request_: dict[str, Any], text: str) -> None:
    with pytest.raises(AwsError) as caught:
        taskdef_rules.check(request_)
    assert caught.value.code == "ClientException"
    assert text in caught.value.message


@pytest.mark.parametrize(
    "request_",
    [
        definition(),
        definition({"logConfiguration": AWSLOGS}, executionRoleArn="role"),
        definition(cpu=".5 vCPU", memory="1GB"),
        definition({"portMappings": [{"containerPort": 80, "hostPort": 80}]}),
        on_ec2(),
        on_ec2({"portMappings": [{"containerPort": 80, "hostPort": 8080}]}),
        on_ec2({"memory": None}, memory="512"),
        on_ec2(
            {"dependsOn": [{"containerName": "db", "condition": "SUCCESS"}]},
            {**DB, "essential": False},
        ),
    ],
)
def test_a_sound_task_definition_passes(request_: dict[str, Any]) -> None:
    taskdef_rules.check(request_)


def test_fargate_sizes_are_the_published_table() -> None:
    assert [is_size(1024, gib * 1024) for gib in (1, 2, 8, 9)] == [False, True, True, False]
    assert is_size(8192, 20 * 1024) and not is_size(8192, 18 * 1024)
    assert is_size(16384, 120 * 1024) and is_size(32768, 244 * 1024)
    assert (cpu_units("1 vcpu"), memory_mib("0.5 GB")) == (1024, 512)


def test_what_cannot_be_run_here_is_named() -> None:
    def named(request: dict[str, Any]) -> list[str]:
        return runnable.unsupported(
            TaskDefinition("1", "r", "web", 1, taskdef.document_of(request))
        )

    log = {"logDriver": "fluentd"}
    refused = on_ec2(
        {"logConfiguration": log, "dockerSecurityOptions": ["label:x"]},
        volumes=[{"name": "e", "efsVolumeConfiguration": {"x": "y"}}],
        runtimePlatform={"cpuArchitecture": "ARM64"},
    )
    assert named(refused) == [
        "cpuArchitecture ARM64",
        "dockerSecurityOptions label:x",
        "efsVolumeConfiguration",
        "logDriver fluentd",
    ]
    assert named(definition()) == []
    many = {"portMappings": [{"containerPortRange": "8000-8100"}]}
    assert named(on_ec2(many)) == ["more than 30 host ports in a task"]


def test_a_definition_is_answered_with_defaults_and_compatibilities() -> None:
    async def story(world: World) -> None:
        ports = {"portMappings": [{"containerPort": 80}], "logConfiguration": AWSLOGS}
        answer = await world.call(
            "RegisterTaskDefinition",
            **definition(ports, executionRoleArn="role"),
            tags=[{"key": "team", "value": "a"}],
        )
        shown = answer["taskDefinition"]
        assert shown["taskDefinitionArn"].endswith(":task-definition/web:1")
        assert shown["compatibilities"] == ["EC2", "FARGATE"]
        container = shown["containerDefinitions"][0]
        assert container["portMappings"] == [
            {"containerPort": 80, "hostPort": 80, "protocol": "tcp"}
        ]
        assert (container["essential"], container["cpu"]) == (True, 0)
        names = {item["name"] for item in shown["requiresAttributes"]}
        assert "ecs.capability.task-eni" in names
        assert "com.amazonaws.ecs.capability.logging-driver.awslogs" in names
        assert answer["tags"] == [{"key": "team", "value": "a"}]
        described = await world.call(
            "DescribeTaskDefinition", taskDefinition=shown["taskDefinitionArn"], include=["TAGS"]
        )
        assert described == answer

    run_world(story)


def test_revisions_count_up_and_the_newest_active_one_is_meant() -> None:
    async def story(world: World) -> None:
        for _ in range(3):
            await world.define()
        await world.call("DeregisterTaskDefinition", taskDefinition="web:3")
        newest = await world.call("DescribeTaskDefinition", taskDefinition="web")
        assert newest["taskDefinition"]["revision"] == 2
        old = await world.call("DescribeTaskDefinition", taskDefinition="web:3")
        assert old["taskDefinition"]["status"] == "INACTIVE"
        await world.define()
        names = (await world.call("ListTaskDefinitions", sort="DESC"))["taskDefinitionArns"]
        assert [name.rpartition(":")[2] for name in names] == ["4", "2", "1"]
        with pytest.raises(AwsError) as caught:
            await world.call("RunTask", taskDefinition="web:3")
        assert caught.value.message == "TaskDefinition is inactive"
        with pytest.raises(AwsError) as caught:
            await world.call("DescribeTaskDefinition", taskDefinition="web:9")
        assert caught.value.message == "Unable to describe task definition."

    run_world(story)


def test_lists_of_definitions_and_families_filter_and_page() -> None:
    async def story(world: World) -> None:
        for family in ("web", "web-api", "worker"):
            await world.define(family)
            await world.define(family)
        own = await world.call("ListTaskDefinitions", familyPrefix="web")
        assert [arn.rpartition("/")[2] for arn in own["taskDefinitionArns"]] == ["web:1", "web:2"]
        families = await world.call("ListTaskDefinitionFamilies", familyPrefix="web")
        assert families["families"] == ["web", "web-api"]
        for direction, wanted in (("ASC", ["1", "2"] * 3), ("DESC", ["2", "1"] * 3)):
            seen: list[str] = []
            token: dict[str, str] = {}
            while True:
                page = await world.call(
                    "ListTaskDefinitions", maxResults=4, sort=direction, **token
                )
                seen += page["taskDefinitionArns"]
                if "nextToken" not in page:
                    break
                token = {"nextToken": page["nextToken"]}
            assert [arn.rpartition(":")[2] for arn in seen] == wanted

    run_world(story)


def test_a_deleted_definition_stays_until_nothing_refers_to_it() -> None:
    async def story(world: World) -> None:
        arn = await world.define()
        unknown = "web:7"
        answer = await world.call("DeleteTaskDefinitions", taskDefinitions=[arn, unknown])
        reasons = {item["arn"]: item["reason"] for item in answer["failures"]}
        assert "still in ACTIVE status" in reasons[arn] and "does not exist" in reasons[unknown]
        request = {"taskDefinition": "web", "networkConfiguration": world.network}
        task = (await world.call("RunTask", launchType="FARGATE", **request))["tasks"][0]
        await world.until_status(task["taskArn"], "RUNNING")
        await world.call("DeregisterTaskDefinition", taskDefinition=arn)
        answer = await world.call("DeleteTaskDefinitions", taskDefinitions=[arn, arn])
        assert [item["status"] for item in answer["taskDefinitions"]] == ["DELETE_IN_PROGRESS"] * 2
        assert answer["taskDefinitions"][0]["deleteRequestedAt"]
        await world.clock.sleep(300)
        listed = await world.call("ListTaskDefinitions", status="DELETE_IN_PROGRESS")
        assert listed["taskDefinitionArns"] == [arn]
        assert (await world.task(task["taskArn"]))["lastStatus"] == "RUNNING"
        await world.call("StopTask", task=task["taskArn"])
        await world.clock.sleep(3600 + 300)
        with pytest.raises(AwsError) as caught:
            await world.call("DescribeTaskDefinition", taskDefinition=arn)
        assert caught.value.message == "Unable to describe task definition."
        again = await world.define()
        assert again.endswith("web:2")

    run_world(story)


def test_definitions_are_listed_in_order_by_family_status_and_page() -> None:
    async def story(world: World) -> None:
        arns = [await world.define() for _ in range(11)]
        other = await world.define(family="other")
        listed = await world.call("ListTaskDefinitions", familyPrefix="web", sort="DESC")
        assert listed["taskDefinitionArns"] == arns[::-1]
        await world.call("DeregisterTaskDefinition", taskDefinition=other)
        page = await world.call("ListTaskDefinitions", maxResults=4)
        assert page["taskDefinitionArns"] == arns[:4]
        following = await world.call(
            "ListTaskDefinitions", maxResults=4, nextToken=page["nextToken"]
        )
        assert following["taskDefinitionArns"] == arns[4:8]
        families = await world.call("ListTaskDefinitionFamilies", status="INACTIVE")
        assert families["families"] == ["other"]
        for token in ("nonsense", "AAAA", "%%%"):
            with pytest.raises(AwsError) as caught:
                await world.call("ListTaskDefinitions", nextToken=token)
            assert caught.value.code == "InvalidParameterException"

    run_world(story)
