"""Tasks from RunTask to their end, through the real scheduler and a fake agent."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from proa.aws.ecs.fargate import NO_CAPACITY
from proa.aws.ecs.tables import TASKS
from proa.aws.gateway.service import AwsError
from proa.base.quantity import CPU_PER_ECS_UNIT, MIB
from proa.cloud import compute, network
from proa.model.resources import Resources
from proa.reconcile.view import Change, Table
from tests.unit.aws.ecs.world import Behaviour, World, run_world

FARGATE = {"launchType": "FARGATE"}


async def started(world: World, **more: Any) -> dict[str, Any]:
    request = {"taskDefinition": "web", "networkConfiguration": world.network, **FARGATE, **more}
    return await world.call("RunTask", **request)


def test_a_fargate_task_goes_from_provisioning_to_running_with_its_interface() -> None:
    async def story(world: World) -> None:
        await world.define()
        answer = await started(world, startedBy="me")
        task = answer["tasks"][0]
        assert (task["lastStatus"], task["desiredStatus"]) == ("PROVISIONING", "RUNNING")
        assert answer["failures"] == []
        task = await world.until_status(task["taskArn"], "RUNNING")
        details = {item["name"]: item["value"] for item in task["attachments"][0]["details"]}
        assert details["subnetId"] in world.subnets
        assert details["privateIPv4Address"].startswith("172.31.")
        assert set(details) >= {"networkInterfaceId", "macAddress", "privateDnsName"}
        container = task["containers"][0]
        assert (
            container["networkInterfaces"][0]["privateIpv4Address"]
            == (details["privateIPv4Address"])
        )
        assert container["lastStatus"] == "RUNNING" and container["imageDigest"] == "sha256:abc"
        assert task["attachments"][0]["status"] == "ATTACHED"
        assert task["createdAt"] <= task["pullStartedAt"] <= task["startedAt"]
        assert task["group"] == "family:web" and task["platformVersion"] == "1.4.0"
        assert (await world.call("ListTasks", startedBy="me"))["taskArns"] == [task["taskArn"]]

    run_world(story)


def test_a_task_is_told_to_its_agent_once_and_not_again_for_how_far_it_has_come() -> None:
    async def story(world: World) -> None:
        await world.define()
        told: list[tuple[str, bool]] = []

        def changed(table: Table[Any], change: Change[Any]) -> None:
            if table is TASKS and change.old is not None:
                told.append((change.new.value.last_status, world.skin.alters(change)))

        world.view.subscribe(changed)
        arn = (await started(world))["tasks"][0]["taskArn"]
        task = await world.until_status(arn, "RUNNING")
        assert task["attachments"][0]["status"] == "ATTACHED"
        assert told[0] == ("PENDING", True)
        assert told[-1] == ("RUNNING", False)
        assert not any(again for _, again in told[1:])
        await world.call("StopTask", task=arn)
        await world.clock.sleep(1)
        assert told[-1][1]

    run_world(story)


def test_a_stopped_task_gives_back_interface_and_instance_and_is_forgotten_after_an_hour() -> None:
    async def story(world: World) -> None:
        await world.define()
        arn = (await started(world))["tasks"][0]["taskArn"]
        await world.until_status(arn, "RUNNING")
        assert len(world.view.rows(network.INTERFACES)) == 1
        answer = await world.call("StopTask", task=arn, reason="enough")
        assert answer["task"]["desiredStatus"] == "STOPPED"
        task = await world.until_status(arn, "STOPPED")
        assert (task["stopCode"], task["stoppedReason"]) == ("UserInitiated", "enough")
        assert task["stoppingAt"] <= task["executionStoppedAt"] <= task["stoppedAt"]
        assert task["containers"][0]["exitCode"] == 143
        assert len(world.view.rows(network.INTERFACES)) == 0
        assert len(world.view.rows(network.ADDRESSES)) == 0
        assert [item.value.purchase for item in world.view.rows(compute.INSTANCES).scan()] == [
            "on-demand"
        ]
        assert (await world.call("ListTasks"))["taskArns"] == []
        assert (await world.call("ListTasks", desiredStatus="STOPPED"))["taskArns"] == [arn]
        await world.clock.sleep(3590)
        assert (await world.task(arn))["lastStatus"] == "STOPPED"
        await world.clock.sleep(80)
        missing = await world.call("DescribeTasks", tasks=[arn])
        assert missing["failures"] == [{"arn": arn, "reason": "MISSING"}]

    run_world(story)


def test_an_essential_container_that_exits_ends_its_task() -> None:
    async def story(world: World) -> None:
        world.agent.behaviours["web"] = Behaviour(exits_after=3, exit_code=7)
        await world.define()
        arn = (await started(world))["tasks"][0]["taskArn"]
        task = await world.until_status(arn, "STOPPED")
        assert task["stopCode"] == "EssentialContainerExited"
        assert task["stoppedReason"] == "Essential container in task exited"
        assert task["containers"][0]["exitCode"] == 7

    run_world(story)


def test_an_image_that_cannot_be_pulled_fails_the_task_to_start() -> None:
    async def story(world: World) -> None:
        world.agent.behaviours["web"] = Behaviour(pull_error="no such image")
        await world.define()
        arn = (await started(world))["tasks"][0]["taskArn"]
        task = await world.until_status(arn, "STOPPED")
        assert task["stopCode"] == "TaskFailedToStart"
        assert task["stoppedReason"] == "CannotPullContainerError: no such image"
        assert "startedAt" not in task

    run_world(story)


def test_a_container_killed_for_memory_says_so() -> None:
    async def story(world: World) -> None:
        world.agent.behaviours["web"] = Behaviour(exits_after=2, exit_code=137, reason="OOMKilled")
        await world.define()
        arn = (await started(world))["tasks"][0]["taskArn"]
        task = await world.until_status(arn, "STOPPED")
        reason = task["containers"][0]["reason"]
        assert reason.startswith("OutOfMemoryError: Container killed due to memory usage")
        assert task["stopCode"] == "EssentialContainerExited"

    run_world(story)


LOGGED = {
    "logConfiguration": {
        "logDriver": "awslogs",
        "options": {
            "awslogs-group": "/ecs/web",
            "awslogs-region": "us-east-1",
            "awslogs-stream-prefix": "web",
        },
    }
}
ROLE = "arn:aws:iam::000000000000:role/exec"


def test_a_missing_log_group_ends_the_task_as_fargate_does() -> None:
    async def story(world: World) -> None:
        await world.define(container=LOGGED, executionRoleArn=ROLE)
        arn = (await started(world))["tasks"][0]["taskArn"]
        task = await world.until_status(arn, "STOPPED")
        assert task["stoppedReason"].startswith(
            "ResourceInitializationError: failed to validate logger args"
        )
        assert world.agent.seen == {}

    run_world(story)


def test_a_log_group_is_created_where_the_definition_says_so() -> None:
    async def story(world: World) -> None:
        options = {**LOGGED["logConfiguration"]["options"], "awslogs-create-group": "true"}
        log = {"logConfiguration": {"logDriver": "awslogs", "options": options}}
        await world.define(container=log, executionRoleArn=ROLE)
        tasks = (await started(world, count=3))["tasks"]
        for task in tasks:
            await world.until_status(task["taskArn"], "RUNNING")
        assert world.logs.created == ["/ecs/web"]

    run_world(story)


def test_run_task_answers_at_once_when_the_instance_has_no_room() -> None:
    async def story(world: World) -> None:
        await world.define_ec2(container={"memory": 300})
        answer = await world.call("RunTask", taskDefinition="local", count=3)
        assert len(answer["tasks"]) == 1
        assert [item["reason"] for item in answer["failures"]] == ["RESOURCE:MEMORY"] * 2
        assert "container-instance/default/" in answer["failures"][0]["arn"]
        assert len(world.records()) == 1

    run_world(story, pool=Resources(4096 * CPU_PER_ECS_UNIT, 512 * MIB, 0, 10))


def test_fargate_without_capacity_is_a_failure() -> None:
    async def story(world: World) -> None:
        await world.define()
        answer = await started(world, count=2)
        assert len(answer["tasks"]) == 1
        assert answer["failures"] == [{"reason": NO_CAPACITY}]
        assert len(world.view.rows(network.INTERFACES)) == 1

    run_world(story, pool=Resources(300 * CPU_PER_ECS_UNIT, 4096 * MIB, 0, 10))


def test_start_task_meets_the_named_instance_and_its_ports() -> None:
    async def story(world: World) -> None:
        await world.define_ec2(
            container={"portMappings": [{"containerPort": 80, "hostPort": 8080}]}
        )
        instances = (await world.call("ListContainerInstances"))["containerInstanceArns"]
        request = {"taskDefinition": "local", "containerInstances": instances}
        first = (await world.call("StartTask", **request))["tasks"][0]
        again = await world.call("StartTask", **request)
        assert [item["reason"] for item in again["failures"]] == ["RESOURCE:PORTS"]
        missing = await world.call(
            "StartTask", taskDefinition="local", containerInstances=["f" * 32]
        )
        assert missing["failures"][0]["reason"] == "MISSING"
        task = await world.until_status(first["taskArn"], "RUNNING")
        assert task["containerInstanceArn"] == instances[0]
        assert task["containers"][0]["networkBindings"] == [
            {"bindIP": "0.0.0.0", "containerPort": 80, "hostPort": 8080, "protocol": "tcp"}
        ]
        assert task["attachments"] == []
        vips = world.skin.vips(world.view)
        assert [(vip.address, vip.port, vip.endpoints[0].port) for vip in vips] == [
            ("172.31.0.10", 8080, 80)
        ]
        described = await world.call("DescribeContainerInstances", containerInstances=instances)
        shown = described["containerInstances"][0]
        ports = next(r for r in shown["remainingResources"] if r["name"] == "PORTS")
        assert "8080" in ports["stringSetValue"] and shown["runningTasksCount"] == 1

    run_world(story)


def test_dynamic_host_ports_differ_on_one_instance() -> None:
    async def story(world: World) -> None:
        await world.define_ec2(container={"portMappings": [{"containerPort": 80}]})
        answer = await world.call("RunTask", taskDefinition="local", count=3)
        ports = {
            task["containers"][0]["networkBindings"][0]["hostPort"] for task in answer["tasks"]
        }
        assert len(ports) == 3 and all(32768 <= port <= 60999 for port in ports)

    run_world(story)


def test_a_client_token_answers_the_same_tasks_and_refuses_another_request() -> None:
    async def story(world: World) -> None:
        await world.define()
        first = await started(world, clientToken="once")
        again = await started(world, clientToken="once")
        assert again["tasks"][0]["taskArn"] == first["tasks"][0]["taskArn"]
        assert len(world.records()) == 1
        with pytest.raises(AwsError) as caught:
            await started(world, clientToken="once", count=2)
        assert caught.value.code == "ConflictException"
        assert caught.value.fields["resourceIds"] == [first["tasks"][0]["taskArn"]]

    run_world(story)


@pytest.mark.parametrize(
    ("change", "code", "text"),
    [
        ({"count": 11}, "InvalidParameterException", "count must be between 1 and 10"),
        ({"taskDefinition": "nothing"}, "ClientException", "TaskDefinition not found."),
        ({"cluster": "nowhere"}, "ClusterNotFoundException", "Cluster not found."),
        ({"networkConfiguration": {}}, "InvalidParameterException", "must be provided when"),
        (
            {"networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-1"]}}},
            "InvalidParameterException",
            "InvalidSubnetID.NotFound",
        ),
        (
            {"overrides": {"containerOverrides": [{"name": "db"}]}},
            "InvalidParameterException",
            "Override for container named db is not a container in the TaskDefinition.",
        ),
        (
            {"capacityProviderStrategy": [{"capacityProvider": "FARGATE", "weight": 1}]},
            "InvalidParameterException",
            "both a launch type and capacity provider strategy",
        ),
        ({"launchType": "EXTERNAL"}, "UnsupportedFeatureException", "EXTERNAL"),
        ({"platformVersion": "9"}, "PlatformUnknownException", "does not exist"),
        ({"group": "service:web"}, "InvalidParameterException", "reserved"),
        ({"startedBy": "a b"}, "InvalidParameterException", "startedBy may have 128 letters"),
        ({"referenceId": "x" * 1025}, "InvalidParameterException", "referenceId"),
        (
            {"overrides": {"taskRoleArn": "x" * 8192}},
            "InvalidParameterException",
            "Container Overrides length must be at most 8192",
        ),
        (
            {"overrides": {"containerOverrides": [{"command": ["x"]}]}},
            "InvalidParameterException",
            "must specify the name",
        ),
        (
            {"overrides": {"containerOverrides": [{"name": "web", "cpu": 1}] * 2}},
            "InvalidParameterException",
            "overridden more than once",
        ),
        (
            {"overrides": {"containerOverrides": [{"name": "web", "memory": 2}]}},
            "InvalidParameterException",
            "minimum is 6 MiB",
        ),
        (
            {"overrides": {"containerOverrides": [{"name": "web", "memory": 4096}]}},
            "InvalidParameterException",
            "greater than the memory at the task level",
        ),
        (
            {"overrides": {"ephemeralStorage": {"sizeInGiB": 201}}},
            "InvalidParameterException",
            "between 21 and 200",
        ),
        ({"overrides": {"cpu": "300"}}, "InvalidParameterException", "No Fargate configuration"),
        (
            {"volumeConfigurations": [{"name": "v"}]},
            "UnsupportedFeatureException",
            "volumeConfigurations",
        ),
        (
            {"placementStrategy": [{"type": "random"}]},
            "InvalidParameterException",
            "not supported with FARGATE",
        ),
    ],
)
def test_run_task_refuses(change: dict[str, Any], code: str, text: str) -> None:
    async def story(world: World) -> None:
        await world.define()
        with pytest.raises(AwsError) as caught:
            await started(world, **change)
        assert caught.value.code == code
        assert text in caught.value.message
        assert world.records() == []

    run_world(story)


def test_a_capacity_provider_strategy_meets_its_base_and_then_its_weights() -> None:
    async def story(world: World) -> None:
        await world.define()
        answer = await world.call(
            "RunTask",
            taskDefinition="web",
            networkConfiguration=world.network,
            count=7,
            capacityProviderStrategy=[
                {"capacityProvider": "FARGATE", "base": 1, "weight": 1},
                {"capacityProvider": "FARGATE_SPOT", "weight": 2},
            ],
        )
        providers = [task["capacityProviderName"] for task in answer["tasks"]]
        assert providers.count("FARGATE") == 3 and providers.count("FARGATE_SPOT") == 4

    run_world(story)


def test_listing_tasks_pages_without_gap_or_repetition() -> None:
    async def story(world: World) -> None:
        await world.define()
        arns = {task["taskArn"] for task in (await started(world, count=7))["tasks"]}
        seen: list[str] = []
        token: dict[str, str] = {}
        while True:
            page = await world.call("ListTasks", maxResults=3, **token)
            seen += page["taskArns"]
            if "nextToken" not in page:
                break
            token = {"nextToken": page["nextToken"]}
        assert len(seen) == 7 and set(seen) == arns

    run_world(story)


def test_a_task_refused_by_its_agent_says_which_resource_was_short() -> None:
    async def story(world: World) -> None:
        from proa.model.sandbox import SandboxStatus

        await world.define_ec2()
        arn = (await world.call("RunTask", taskDefinition="local"))["tasks"][0]["taskArn"]
        refusal = SandboxStatus(arn.rpartition("/")[2], "failed", "OutOfcpu", gone=True, serial=9)
        await world.skin.report(world.view, [refusal], ())
        task = await world.task(arn)
        assert task["lastStatus"] == "STOPPED" and task["stopCode"] == "TaskFailedToStart"
        assert task["stoppedReason"] == "RESOURCE:CPU"

    run_world(story)


def test_room_given_back_is_used_again() -> None:
    async def story(world: World) -> None:
        await world.define_ec2(container={"memory": 300})
        for _ in range(3):
            answer = await world.call("RunTask", taskDefinition="local")
            arn = answer["tasks"][0]["taskArn"]
            await world.until_status(arn, "RUNNING")
            await world.call("StopTask", task=arn)
            await world.until_status(arn, "STOPPED")

    run_world(story, pool=Resources(4096 * CPU_PER_ECS_UNIT, 512 * MIB, 0, 10))


def test_a_fargate_task_is_booked_on_the_pool_it_was_placed_on() -> None:
    async def story(world: World) -> None:
        await world.define()
        await started(world)
        (booking,) = world.scheduler.fleet.bookings.values()
        assert booking.pool == "host-1"
        assert world.scheduler.fleet.pool_used["host-1"][0] == 256 * CPU_PER_ECS_UNIT

    run_world(story)


def test_a_task_is_given_up_when_a_start_timeout_passes() -> None:
    async def story(world: World) -> None:
        check = {"healthCheck": {"command": ["CMD", "x"]}, "startTimeout": 20}
        containers = [
            {"name": "web", "image": "web", "memory": 8,
             "dependsOn": [{"containerName": "db", "condition": "HEALTHY"}]},
            {"name": "db", "image": "db", "memory": 8, **check},
        ]  # fmt: skip
        await world.call("RegisterTaskDefinition", family="x", containerDefinitions=containers)
        world.agent.behaviours["web"] = Behaviour(start_s=1000.0)
        task = (await world.call("RunTask", taskDefinition="x"))["tasks"][0]
        ended = await world.until_status(task["taskArn"], "STOPPED")
        assert (ended["stopCode"], ended["stoppedReason"]) == (
            "TaskFailedToStart",
            "Task failed to start",
        )
        web = next(item for item in ended["containers"] if item["name"] == "web")
        assert web["reason"].endswith("dependency [db] for container [web] has timed out")
        assert 20 <= ended["stoppingAt"] - ended["createdAt"] < 25

    run_world(story)


def test_an_agent_that_knows_a_task_is_told_no_more_than_to_stop_it() -> None:
    async def story(world: World) -> None:
        await world.define_ec2()
        world.agent.stop_s = 1000.0
        answer = await world.call("RunTask", taskDefinition="local")
        arn = answer["tasks"][0]["taskArn"]
        await world.until_status(arn, "RUNNING")
        await world.call("StopTask", task=arn)
        await world.clock.sleep(1)
        (record,) = world.records()
        anew = await world.skin.assignment(world.view, record.key)
        known = await world.skin.assignment(world.view, record.key, record.id)
        assert anew is not None and anew.sandbox is not None
        assert known == msgspec.structs.replace(anew, sandbox=None)
        assert (known.want, known.grace_s) == ("stop", anew.sandbox.grace_s)

    run_world(story)


def test_a_fargate_task_shows_the_storage_it_asked_for() -> None:
    async def story(world: World) -> None:
        await world.define(ephemeralStorage={"sizeInGiB": 30})
        task = (await started(world))["tasks"][0]
        assert task["ephemeralStorage"] == {"sizeInGiB": 30}
        override = {"ephemeralStorage": {"sizeInGiB": 40}}
        task = (await started(world, overrides=override))["tasks"][0]
        assert task["ephemeralStorage"] == {"sizeInGiB": 40}

    run_world(story)


def test_environment_files_and_secrets_are_read_once_a_task() -> None:
    async def story(world: World) -> None:
        file = "arn:aws:s3:::bucket/app.env"
        container = {
            "environmentFiles": [{"type": "s3", "value": file}],
            "secrets": [{"name": "PASSWORD", "valueFrom": "/app/password"}],
        }
        world.objects.bodies["bucket/app.env"] = b"MODE=fast"
        world.secrets.values["/app/password"] = "first"
        await world.define_ec2(container=container, executionRoleArn=ROLE)
        task = (await world.call("RunTask", taskDefinition="local"))["tasks"][0]
        await world.until_status(task["taskArn"], "RUNNING")
        world.secrets.values["/app/password"] = "second"
        (record,) = world.records()
        assignment = await world.skin.assignment(world.view, record.key)
        assert assignment is not None and assignment.sandbox is not None
        values = dict(assignment.sandbox.containers[0].environment)
        assert (values["MODE"], values["PASSWORD"]) == ("fast", "first")

    run_world(story)
