"""Clusters, tags, settings, container instances, names."""

from __future__ import annotations

from typing import Any

import pytest

from proa.aws.gateway.service import AwsError
from tests.unit.aws.ecs.world import ACCOUNT, REGION, World, run_world


async def refused(world: World, operation: str, **request: Any) -> AwsError:
    with pytest.raises(AwsError) as caught:
        await world.call(operation, **request)
    return caught.value


def test_the_default_cluster_exists_with_its_local_instance() -> None:
    async def story(world: World) -> None:
        answer = await world.call("DescribeClusters", include=["SETTINGS", "STATISTICS"])
        cluster = answer["clusters"][0]
        assert cluster["clusterName"] == "default" and cluster["status"] == "ACTIVE"
        assert cluster["registeredContainerInstancesCount"] == 1
        assert cluster["capacityProviders"] == ["FARGATE", "FARGATE_SPOT"]
        assert cluster["settings"] == [{"name": "containerInsights", "value": "disabled"}]

    run_world(story)


def test_creating_a_cluster_twice_answers_the_same_cluster() -> None:
    async def story(world: World) -> None:
        first = await world.call(
            "CreateCluster", clusterName="lab", tags=[{"key": "a", "value": "b"}]
        )
        again = await world.call("CreateCluster", clusterName="lab")
        assert again == first
        assert len((await world.call("ListClusters"))["clusterArns"]) == 2
        error = await refused(world, "CreateCluster", clusterName="not a name")
        assert error.code == "InvalidParameterException"

    run_world(story)


def test_a_cluster_in_use_is_not_deleted_and_an_empty_one_becomes_inactive() -> None:
    async def story(world: World) -> None:
        await world.call("CreateCluster", clusterName="lab")
        await world.define()
        run = await world.call(
            "RunTask",
            cluster="lab",
            taskDefinition="web",
            launchType="FARGATE",
            networkConfiguration=world.network,
        )
        error = await refused(world, "DeleteCluster", cluster="lab")
        assert error.code == "ClusterContainsTasksException"
        await world.call("StopTask", cluster="lab", task=run["tasks"][0]["taskArn"])
        await world.clock.sleep(10)
        answer = await world.call("DeleteCluster", cluster="lab")
        assert answer["cluster"]["status"] == "INACTIVE"
        shown = await world.call("DescribeClusters", clusters=["lab", "never"])
        assert shown["clusters"][0]["status"] == "INACTIVE"
        assert shown["failures"] == [
            {"arn": f"arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/never", "reason": "MISSING"}
        ]
        error = await refused(world, "ListTasks", cluster="lab")
        assert error.code == "ClusterNotFoundException"
        error = await refused(world, "DeleteCluster", cluster="default")
        assert error.code == "ClusterContainsContainerInstancesException"
        await world.call("CreateCluster", clusterName="lab")
        assert (await world.call("ListTasks", cluster="lab"))["taskArns"] == []

    run_world(story)


def test_an_identifier_of_another_region_or_kind_is_refused() -> None:
    async def story(world: World) -> None:
        for text in (
            f"arn:aws:ecs:eu-west-1:{ACCOUNT}:cluster/default",
            f"arn:aws:ecs:{REGION}:123456789012:cluster/default",
            f"arn:aws:ecs:{REGION}:{ACCOUNT}:service/default/web",
            "default/web",
        ):
            error = await refused(world, "ListTasks", cluster=text)
            assert error.code == "InvalidParameterException", text

    run_world(story)


def test_tags_are_added_replaced_removed_and_bounded() -> None:
    async def story(world: World) -> None:
        arn = await world.define()
        for resource in (arn, world.default_cluster().value.arn):
            await world.call(
                "TagResource",
                resourceArn=resource,
                tags=[{"key": "a", "value": "1"}, {"key": "b", "value": "2"}],
            )
            await world.call("TagResource", resourceArn=resource, tags=[{"key": "a", "value": "3"}])
            await world.call("UntagResource", resourceArn=resource, tagKeys=["b", "c"])
            answer = await world.call("ListTagsForResource", resourceArn=resource)
            assert answer["tags"] == [{"key": "a", "value": "3"}]
        many = [{"key": f"k{number}", "value": ""} for number in range(51)]
        for tags in (many, [{"key": "aws:x", "value": ""}], [{"key": "k", "value": ""}] * 2):
            error = await refused(world, "TagResource", resourceArn=arn, tags=tags)
            assert error.code == "InvalidParameterException"
        missing = arn.replace("web:1", "web:7")
        error = await refused(world, "ListTagsForResource", resourceArn=missing)
        assert "not found" in error.message

    run_world(story)


def test_account_settings_are_stored_and_shown() -> None:
    async def story(world: World) -> None:
        assert (await world.call("ListAccountSettings"))["settings"] == []
        await world.call("PutAccountSetting", name="containerInsights", value="enhanced")
        own = (await world.call("ListAccountSettings"))["settings"]
        assert [(item["name"], item["value"]) for item in own] == [
            ("containerInsights", "enhanced")
        ]
        effective = (
            await world.call(
                "ListAccountSettings", effectiveSettings=True, name="taskLongArnFormat"
            )
        )["settings"]
        assert ("taskLongArnFormat", "enabled") in {
            (item["name"], item["value"]) for item in effective
        }
        error = await refused(world, "PutAccountSetting", name="containerInsights", value="maybe")
        assert error.code == "InvalidParameterException"

    run_world(story)


def test_container_instances_are_filtered_by_the_query_language() -> None:
    async def story(world: World) -> None:
        for expression, count in (
            ("attribute:ecs.availability-zone == us-east-1a", 1),
            ("attribute:ecs.availability-zone in [us-east-1b, us-east-1c]", 0),
            ("attribute:ecs.os-type == linux and attribute:gpu !exists", 1),
            ("attribute:ecs.instance-type != proa.local", 0),
        ):
            answer = await world.call("ListContainerInstances", filter=expression)
            assert len(answer["containerInstanceArns"]) == count, expression
        error = await refused(world, "ListContainerInstances", filter="runningTasksCount > 1")
        assert "Invalid expression" in error.message

    run_world(story)


def test_a_constraint_that_no_instance_meets_is_an_attribute_failure() -> None:
    async def story(world: World) -> None:
        await world.define_ec2()
        request: dict[str, Any] = {
            "taskDefinition": "local",
            "placementConstraints": [
                {"type": "memberOf", "expression": "attribute:ecs.instance-type == p9.huge"}
            ],
        }
        answer = await world.call("RunTask", **request)
        assert [item["reason"] for item in answer["failures"]] == ["ATTRIBUTE"]

    run_world(story)
