"""ECS's bookkeeping by boto3 against a running Proa: definitions, instances, settings, tags."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.live import Proa


@pytest.fixture(scope="module")
def ecs(proa: Proa) -> Any:
    return proa.boto("ecs")


def refused(call: Any, **request: Any) -> tuple[str, str]:
    """(code, message) of the error that a call must end in."""
    with pytest.raises(ClientError) as caught:
        call(**request)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def one(**container: Any) -> list[dict[str, Any]]:
    return [{"name": "web", "image": "busybox", "memory": 16, **container}]


def test_a_definition_lives_from_active_to_inactive_to_deleted(ecs: Any) -> None:
    tags = [{"key": "team", "value": "a"}]
    made = ecs.register_task_definition(family="life", containerDefinitions=one(), tags=tags)
    definition = made["taskDefinition"]
    assert (definition["revision"], definition["status"], made["tags"]) == (1, "ACTIVE", tags)
    assert definition["registeredBy"].endswith(":root")
    assert definition["compatibilities"] == ["EXTERNAL", "EC2"]
    assert definition["containerDefinitions"][0] == {
        "name": "web", "image": "busybox", "cpu": 0, "memory": 16, "portMappings": [],
        "essential": True, "environment": [], "mountPoints": [], "volumesFrom": [],
        "systemControls": [],
    }  # fmt: skip
    second = ecs.register_task_definition(family="life", containerDefinitions=one())
    arns = [definition["taskDefinitionArn"], second["taskDefinition"]["taskDefinitionArn"]]
    listed = ecs.list_task_definitions(familyPrefix="life", sort="DESC")["taskDefinitionArns"]
    assert listed == arns[::-1]
    gone = ecs.deregister_task_definition(taskDefinition="life:2")["taskDefinition"]
    assert gone["status"] == "INACTIVE" and gone["deregisteredAt"]
    latest = ecs.describe_task_definition(taskDefinition="life", include=["TAGS"])
    assert latest["taskDefinition"]["revision"] == 1 and latest["tags"] == tags
    deleted = ecs.delete_task_definitions(taskDefinitions=["life:1", "life:2"])
    assert [item["status"] for item in deleted["taskDefinitions"]] == ["DELETE_IN_PROGRESS"]
    assert "still in ACTIVE status" in deleted["failures"][0]["reason"]
    third = ecs.register_task_definition(family="life", containerDefinitions=one())
    assert third["taskDefinition"]["revision"] == 3


@pytest.mark.parametrize(
    ("request_", "code", "text"),
    [
        ({"containerDefinitions": one(memory=None)}, "ParamValidation", ""),
        ({"containerDefinitions": one(memory=4)}, "ClientException", "minimum is 6 MiB"),
        ({"containerDefinitions": one(image="a b")}, "ClientException", "invalid characters"),
        (
            {"containerDefinitions": one(links=["x"]), "networkMode": "awsvpc"},
            "ClientException",
            "Links are not supported when networkMode=awsvpc.",
        ),
        ({"containerDefinitions": one(), "networkMode": "nat"}, "ClientException", "networkMode"),
        (
            {"containerDefinitions": one(ulimits=[{"name": "x", "softLimit": 1, "hardLimit": 1}])},
            "ClientException",
            "enum",
        ),
        ({"containerDefinitions": [], "family": "x"}, "ClientException", "cannot be empty"),
        ({"containerDefinitions": one(), "tags": [{"key": "aws:x", "value": ""}]},
         "InvalidParameterException", "aws:"),
        ({"containerDefinitions": one(), "tags": [{"key": f"k{n}"} for n in range(51)]},
         "InvalidParameterException", "50"),
    ],
)  # fmt: skip
def test_registering_is_refused_and_leaves_nothing(
    ecs: Any, request_: dict[str, Any], code: str, text: str
) -> None:
    if code == "ParamValidation":
        request_ = {"containerDefinitions": [{"name": "web", "image": "busybox"}]}
        code, text = "ClientException", "At least one of 'memory' or 'memoryReservation'"
    found = refused(ecs.register_task_definition, **{"family": "refused", **request_})
    assert found[0] in (code, "InvalidParameterException") and text.lower() in found[1].lower()
    assert ecs.list_task_definition_families(familyPrefix="refused")["families"] == []


def test_container_instances_carry_attributes_tags_and_states(ecs: Any) -> None:
    arn = ecs.list_container_instances()["containerInstanceArns"][0]
    attribute = {"name": "rack", "value": "r1", "targetId": arn}
    ecs.put_attributes(attributes=[attribute])
    listed = ecs.list_attributes(targetType="container-instance", attributeName="rack")
    assert listed["attributes"] == [attribute]
    ecs.tag_resource(resourceArn=arn, tags=[{"key": "a", "value": "b"}])
    shown = ecs.describe_container_instances(containerInstances=[arn], include=["TAGS"])
    assert shown["containerInstances"][0]["tags"] == [{"key": "a", "value": "b"}]
    ecs.update_container_instances_state(containerInstances=[arn], status="DRAINING")
    try:
        assert ecs.list_container_instances(status="ACTIVE")["containerInstanceArns"] == []
        ecs.register_task_definition(family="drained", containerDefinitions=one())
        assert refused(ecs.run_task, taskDefinition="drained") == (
            "InvalidParameterException",
            "No Container Instances were found in your cluster.",
        )
    finally:
        ecs.update_container_instances_state(containerInstances=[arn], status="ACTIVE")
        ecs.delete_attributes(attributes=[attribute])
    assert ecs.list_container_instances(status="ACTIVE")["containerInstanceArns"] == [arn]
    assert refused(ecs.update_container_agent, containerInstance=arn)[0] == (
        "NoUpdateAvailableException"
    )


def test_account_settings_page_and_fall_back(ecs: Any) -> None:
    pages = ecs.get_paginator("list_account_settings").paginate(effectiveSettings=True)
    names = [item["name"] for page in pages for item in page["settings"]]
    assert len(names) == len(set(names)) == 11
    ecs.put_account_setting_default(name="containerInsights", value="enabled")
    ecs.put_account_setting(name="containerInsights", value="enhanced")
    own = ecs.list_account_settings(name="containerInsights")["settings"]
    assert own[0]["value"] == "enhanced"
    assert ecs.delete_account_setting(name="containerInsights")["setting"]["value"] == "enabled"
    assert ecs.list_account_settings(name="containerInsights")["settings"] == []
    ecs.put_account_setting_default(name="containerInsights", value="disabled")


@pytest.mark.parametrize(
    ("call", "request_", "code"),
    [
        ("list_tasks", {"nextToken": "nonsense"}, "InvalidParameterException"),
        ("list_tasks", {"maxResults": 101}, "InvalidParameterException"),
        ("list_tasks", {"cluster": "nowhere"}, "ClusterNotFoundException"),
        ("list_tasks", {"serviceName": "nothing"}, "ServiceNotFoundException"),
        ("describe_tasks", {"tasks": []}, "InvalidParameterException"),
        ("describe_tasks", {"tasks": ["x"] * 101}, "InvalidParameterException"),
        ("stop_task", {"task": "f" * 32}, "InvalidParameterException"),
        ("run_task", {"taskDefinition": "nothing"}, "ClientException"),
        ("run_task", {"taskDefinition": "nothing:x"}, "ClientException"),
        ("run_task", {"taskDefinition": "nothing", "count": 0}, "InvalidParameterException"),
        ("describe_task_definition", {"taskDefinition": "nothing"}, "ClientException"),
        ("deregister_task_definition", {"taskDefinition": "nothing"}, "ClientException"),
        ("delete_task_definitions", {"taskDefinitions": []}, "ClientException"),
        ("list_tags_for_resource", {"resourceArn": "x"}, "InvalidParameterException"),
        ("put_account_setting", {"name": "taskLongArnFormat", "value": "x"},
         "InvalidParameterException"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(ecs: Any, call: str, request_: dict[str, Any], code: str) -> None:
    assert refused(getattr(ecs, call), **request_)[0] == code


def test_missing_tasks_are_failures(ecs: Any) -> None:
    arn = "arn:aws:ecs:us-east-1:000000000000:task/default/" + "f" * 32
    answer = ecs.describe_tasks(tasks=["f" * 32])
    assert answer["tasks"] == [] and answer["failures"] == [{"arn": arn, "reason": "MISSING"}]
