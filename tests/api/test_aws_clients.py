"""The AWS API as the CLI and boto3 see it."""

from __future__ import annotations

import botocore.exceptions
import pytest

from tests.live import Proa, eventually

CONTAINER = {"name": "web", "image": "nginx:alpine", "memory": 64}


def refused(call, code: str) -> str:  # type: ignore[no-untyped-def]
    with pytest.raises(botocore.exceptions.ClientError) as raised:
        call()
    assert raised.value.response["Error"]["Code"] == code
    return str(raised.value.response["Error"]["Message"])


def test_caller_is_the_root_user(proa: Proa) -> None:
    assert proa.aws("sts get-caller-identity")["Arn"] == "arn:aws:iam::000000000000:root"


def test_wrong_secret_and_unknown_key_are_refused(proa: Proa) -> None:
    wrong = {**proa.environment, "AWS_SECRET_ACCESS_KEY": "wrong"}
    shown = Proa(proa.data_dir, wrong).run(["aws", "ecs", "list-clusters"], ok=False)
    assert "InvalidSignatureException" in shown.stderr
    unknown = {**proa.environment, "AWS_ACCESS_KEY_ID": "AKIAUNKNOWN000000000"}
    shown = Proa(proa.data_dir, unknown).run(["aws", "ecs", "list-clusters"], ok=False)
    assert "UnrecognizedClientException" in shown.stderr


def test_default_network_has_a_subnet_in_each_of_three_zones(proa: Proa) -> None:
    ec2 = proa.boto("ec2")
    subnets = ec2.describe_subnets(Filters=[{"Name": "default-for-az", "Values": ["true"]}])
    zones = [subnet["AvailabilityZone"] for subnet in subnets["Subnets"]]
    assert sorted(zones) == ["us-east-1a", "us-east-1b", "us-east-1c"]
    refused(lambda: ec2.describe_subnets(SubnetIds=["subnet-0"]), "InvalidSubnetID.NotFound")


def test_regions_do_not_see_each_other(proa: Proa) -> None:
    proa.boto("ecs", region_name="eu-west-1").create_cluster(clusterName="far")
    assert not any("far" in arn for arn in proa.boto("ecs").list_clusters()["clusterArns"])
    far = proa.boto("ecs", region_name="eu-west-1").list_clusters()["clusterArns"]
    assert "arn:aws:ecs:eu-west-1:000000000000:cluster/far" in far


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"cpu": "300"}, "ClientException", "No Fargate configuration exists for given values"),
        ({"containerDefinitions": []}, "ClientException", "Container list cannot be empty"),
        ({"networkMode": "bridge"}, "ClientException", "Fargate only supports network mode"),
        (
            {"containerDefinitions": [CONTAINER, CONTAINER]},
            "ClientException",
            "used by more than one",
        ),
    ],
)
def test_bad_task_definitions_meet_ecs_own_errors(
    proa: Proa, change: dict, code: str, words: str
) -> None:
    good = {
        "family": "bad",
        "networkMode": "awsvpc",
        "requiresCompatibilities": ["FARGATE"],
        "cpu": "256",
        "memory": "512",
        "containerDefinitions": [CONTAINER],
    }
    message = refused(lambda: proa.boto("ecs").register_task_definition(**{**good, **change}), code)
    assert words.lower() in message.lower()


def test_service_rolls_and_never_has_too_few_or_too_many_tasks(proa: Proa) -> None:
    ecs = proa.boto("ecs")
    subnet = proa.boto("ec2").describe_subnets()["Subnets"][0]["SubnetId"]
    network = {"awsvpcConfiguration": {"subnets": [subnet]}}
    for _ in range(2):
        ecs.register_task_definition(
            family="rolled",
            networkMode="awsvpc",
            requiresCompatibilities=["FARGATE"],
            cpu="256",
            memory="512",
            containerDefinitions=[
                {
                    "name": "web",
                    "image": "nginx:alpine",
                    "healthCheck": {
                        "command": ["CMD-SHELL", "wget -qO- http://127.0.0.1/ || exit 1"],
                        "interval": 5,
                    },
                }
            ],
        )
    ecs.create_service(
        serviceName="rolled", taskDefinition="rolled:1", desiredCount=2,
        launchType="FARGATE", networkConfiguration=network,
    )  # fmt: skip

    def state() -> dict:
        service: dict = ecs.describe_services(services=["rolled"])["services"][0]
        return service

    eventually(lambda: state()["deployments"][0]["rolloutState"] == "COMPLETED", 60)
    ecs.update_service(service="rolled", taskDefinition="rolled:2")

    def rolled() -> bool:
        service = state()
        counts = [item["runningCount"] + item["pendingCount"] for item in service["deployments"]]
        assert sum(counts) <= 4, "maximumPercent is 200"
        assert service["runningCount"] >= 2, "minimumHealthyPercent is 100"
        first = service["deployments"][0]
        return (
            len(service["deployments"]) == 1
            and first["taskDefinition"].endswith(":2")
            and (first["rolloutState"] == "COMPLETED")
        )

    eventually(rolled, 90)
    messages = [event["message"] for event in state()["events"]]
    assert any("has reached a steady state" in message for message in messages)
    ecs.delete_service(service="rolled", force=True)
    ecs.get_waiter("services_inactive").wait(services=["rolled"], WaiterConfig={"Delay": 1})


def test_ec2_task_shares_the_default_clusters_instance(proa: Proa) -> None:
    ecs = proa.boto("ecs")
    (arn,) = ecs.list_container_instances()["containerInstanceArns"]
    instance = ecs.describe_container_instances(containerInstances=[arn])["containerInstances"][0]
    assert instance["status"] == "ACTIVE" and instance["agentConnected"]
    ecs.register_task_definition(
        family="shared", networkMode="host",
        containerDefinitions=[
            {"name": "s", "image": "busybox", "command": ["sleep", "600"], "memory": 32,
             "stopTimeout": 2}
        ],
    )  # fmt: skip
    task = ecs.run_task(taskDefinition="shared", launchType="EC2")["tasks"][0]["taskArn"]
    ecs.get_waiter("tasks_running").wait(tasks=[task], WaiterConfig={"Delay": 1})
    ecs.stop_task(task=task, reason="done")
    ecs.get_waiter("tasks_stopped").wait(tasks=[task], WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    ended = ecs.describe_tasks(tasks=[task])["tasks"][0]
    assert (ended["stopCode"], ended["stoppedReason"]) == ("UserInitiated", "done")


def test_image_that_cannot_be_pulled_stops_the_task_and_says_so(proa: Proa) -> None:
    ecs = proa.boto("ecs")
    ecs.register_task_definition(
        family="missing", networkMode="host",
        containerDefinitions=[{"name": "m", "image": "localhost:1/none", "memory": 32}],
    )  # fmt: skip
    task = ecs.run_task(taskDefinition="missing", launchType="EC2")["tasks"][0]["taskArn"]
    stopped = eventually(
        lambda: (
            (found := ecs.describe_tasks(tasks=[task])["tasks"][0])["lastStatus"] == "STOPPED"
            and found
        ),
        60,
    )
    assert stopped["stopCode"] == "TaskFailedToStart"
    assert "CannotPullContainerError" in stopped["stoppedReason"]
