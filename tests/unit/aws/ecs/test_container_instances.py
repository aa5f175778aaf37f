"""Container instances: attributes, tags, draining, deregistration, and account settings."""

from __future__ import annotations

from typing import Any

import pytest

from proa.aws.gateway.service import AwsError
from proa.cloud import network
from tests.unit.aws.ecs.world import World, run_world


async def first(world: World) -> str:
    return str((await world.call("ListContainerInstances"))["containerInstanceArns"][0])


async def refused(world: World, operation: str, **request: Any) -> AwsError:
    with pytest.raises(AwsError) as caught:
        await world.call(operation, **request)
    return caught.value


def test_custom_attributes_steer_placement_and_can_be_listed_and_deleted() -> None:
    async def story(world: World) -> None:
        arn = await first(world)
        other = await world.add_instance()
        attribute = {"name": "stack", "value": "blue", "targetId": other}
        answer = await world.call("PutAttributes", attributes=[attribute])
        assert answer["attributes"] == [attribute]
        await world.define_ec2(
            placementConstraints=[{"type": "memberOf", "expression": "attribute:stack == blue"}]
        )
        tasks = (await world.call("RunTask", taskDefinition="local", count=3))["tasks"]
        assert {task["containerInstanceArn"] for task in tasks} == {other}
        listed = await world.call(
            "ListAttributes", targetType="container-instance", attributeName="stack"
        )
        assert listed["attributes"] == [attribute]
        found = await world.call("ListContainerInstances", filter="attribute:stack == blue")
        assert found["containerInstanceArns"] == [other]
        short = {"name": "stack", "targetId": other.rpartition("/")[2]}
        error = await refused(world, "DeleteAttributes", attributes=[short])
        assert "targetType is required" in error.message
        short["targetType"] = "container-instance"
        await world.call("DeleteAttributes", attributes=[short])
        failures = (await world.call("RunTask", taskDefinition="local"))["failures"]
        assert failures[0]["reason"] == "ATTRIBUTE" and failures[0]["arn"] in (arn, other)

    run_world(story)


@pytest.mark.parametrize(
    ("attribute", "code"),
    [
        ({"name": "a b"}, "InvalidParameterException"),
        ({"name": "a", "value": " x"}, "InvalidParameterException"),
        ({"name": "ecs.os-type", "value": "x"}, "InvalidParameterException"),
        ({"name": "a", "targetId": "f" * 32, "targetType": "container-instance"},
         "TargetNotFoundException"),
    ],
)  # fmt: skip
def test_attributes_are_refused(attribute: dict[str, str], code: str) -> None:
    async def story(world: World) -> None:
        given = {"targetId": await first(world), **attribute}
        assert (await refused(world, "PutAttributes", attributes=[given])).code == code

    run_world(story)


def test_a_container_instance_has_ten_custom_attributes_at_most() -> None:
    async def story(world: World) -> None:
        arn = await first(world)
        many = [{"name": f"a{n}", "targetId": arn} for n in range(10)]
        await world.call("PutAttributes", attributes=many)
        more = [{"name": "b", "targetId": arn}]
        error = await refused(world, "PutAttributes", attributes=more)
        assert error.code == "AttributeLimitExceededException"

    run_world(story)


def test_container_instances_have_tags() -> None:
    async def story(world: World) -> None:
        arn = await first(world)
        await world.call("TagResource", resourceArn=arn, tags=[{"key": "team", "value": "a"}])
        shown = await world.call(
            "DescribeContainerInstances", containerInstances=[arn], include=["TAGS"]
        )
        assert shown["containerInstances"][0]["tags"] == [{"key": "team", "value": "a"}]
        await world.call("UntagResource", resourceArn=arn, tagKeys=["team"])
        assert (await world.call("ListTagsForResource", resourceArn=arn))["tags"] == []

    run_world(story)


def test_draining_replaces_service_tasks_elsewhere_and_leaves_others_alone() -> None:
    async def story(world: World) -> None:
        arn = await first(world)
        await world.define_ec2()
        alone = (await world.call("StartTask", taskDefinition="local", containerInstances=[arn]))[
            "tasks"
        ][0]["taskArn"]
        service = {"taskDefinition": "local", "launchType": "EC2"}
        service |= {"networkConfiguration": {}}
        await world.create(count=2, **service)
        await world.until_steady()
        other = await world.add_instance()
        answer = await world.call(
            "UpdateContainerInstancesState", containerInstances=[arn, "f" * 32], status="DRAINING"
        )
        assert [item["status"] for item in answer["containerInstances"]] == ["DRAINING"]
        assert [item["reason"] for item in answer["failures"]] == ["MISSING"]

        async def moved() -> bool:
            arns = (await world.call("ListTasks", serviceName="web"))["taskArns"]
            tasks = (await world.call("DescribeTasks", tasks=arns))["tasks"]
            return len(tasks) == 2 and all(
                (task["containerInstanceArn"], task["lastStatus"]) == (other, "RUNNING")
                for task in tasks
            )

        await world.until(moved)
        assert (await world.task(alone))["lastStatus"] == "RUNNING"
        listed = await world.call("ListContainerInstances", status="DRAINING")
        assert listed["containerInstanceArns"] == [arn]
        await world.call("UpdateContainerInstancesState", containerInstances=[arn], status="ACTIVE")
        assert len((await world.call("ListContainerInstances", status="ACTIVE"))[
            "containerInstanceArns"]) == 2  # fmt: skip

    run_world(story)


def test_tasks_are_not_run_where_every_container_instance_drains() -> None:
    async def story(world: World) -> None:
        arn = await first(world)
        await world.define_ec2()
        await world.call(
            "UpdateContainerInstancesState", containerInstances=[arn], status="DRAINING"
        )
        error = await refused(world, "RunTask", taskDefinition="local")
        assert error.message == "No Container Instances were found in your cluster."
        bad = await refused(
            world, "UpdateContainerInstancesState", containerInstances=[arn], status="REGISTERING"
        )
        assert "ACTIVE, DRAINING" in bad.message

    run_world(story)


def test_a_container_instance_with_tasks_is_deregistered_by_force_only() -> None:
    async def story(world: World) -> None:
        arn = await first(world)
        await world.define_ec2(container={"portMappings": [{"containerPort": 80}]})
        task = (await world.call("RunTask", taskDefinition="local"))["tasks"][0]["taskArn"]
        await world.until_status(task, "RUNNING")
        error = await refused(world, "DeregisterContainerInstance", containerInstance=arn)
        assert error.message == "Found running tasks on the instance."
        answer = await world.call("DeregisterContainerInstance", containerInstance=arn, force=True)
        assert answer["containerInstance"]["status"] == "INACTIVE"
        ended = await world.task(task)
        assert ended["stoppedReason"] == "Container instance deregistration forced by user"
        assert ended["lastStatus"] == "STOPPED"
        assert len(world.view.rows(network.ADDRESSES)) == 0
        assert (await world.call("ListContainerInstances"))["containerInstanceArns"] == []
        again = await refused(world, "DeregisterContainerInstance", containerInstance=arn)
        assert again.message == "Referenced container instance not found."

    run_world(story)


def test_the_agent_of_a_container_instance_is_always_the_newest() -> None:
    async def story(world: World) -> None:
        error = await refused(world, "UpdateContainerAgent", containerInstance=await first(world))
        assert error.code == "NoUpdateAvailableException"

    run_world(story)


def test_account_settings_fall_back_from_own_to_default_to_ecs() -> None:
    async def story(world: World) -> None:
        async def effective() -> str:
            answer = await world.call(
                "ListAccountSettings", name="containerInsights", effectiveSettings=True
            )
            return str(answer["settings"][0]["value"])

        assert await effective() == "disabled"
        await world.call("PutAccountSettingDefault", name="containerInsights", value="enabled")
        assert await effective() == "enabled"
        await world.call("PutAccountSetting", name="containerInsights", value="enhanced")
        assert await effective() == "enhanced"
        await world.call("DeleteAccountSetting", name="containerInsights")
        assert await effective() == "enabled"
        for name, value in (("guardDutyActivate", "on"), ("taskLongArnFormat", "disabled"),
                            ("awsvpcTrunking", "maybe")):  # fmt: skip
            error = await refused(world, "PutAccountSetting", name=name, value=value)
            assert error.code == "InvalidParameterException"

    run_world(story)
