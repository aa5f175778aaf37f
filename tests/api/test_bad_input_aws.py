"""Bad input over the AWS API: the right error in the protocol's own shape, nothing half-written.

Each case is a raw HTTP request, signed by botocore unless the signature is what is wrong. After
it, a census of every kind of resource that the request might have made is what it was before.
"""

from __future__ import annotations

import datetime
import http.client
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.live import Proa, eventually

JSON = "application/x-amz-json-1.1"
FORM = "application/x-www-form-urlencoded"
ECS = "AmazonEC2ContainerServiceV20141113"


@dataclass
class Sent:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """The error's code, out of whichever shape it came in."""
        text = self.body.decode()
        if text.startswith("<"):
            found = re.search(r"<Code>(.*?)</Code>", text)
            return found[1] if found else ""
        code: str = json.loads(text)["__type"]
        return code.rsplit("#", 1)[-1]

    @property
    def message(self) -> str:
        text = self.body.decode()
        if text.startswith("<"):
            found = re.search(r"<Message>(.*?)</Message>", text, re.DOTALL)
            return found[1] if found else ""
        fields = json.loads(text)
        return str(fields.get("message") or fields.get("Message") or "")


@dataclass
class Case:
    """One bad request. ``before`` changes headers before signing, ``after`` when signed."""

    name: str
    service: str
    body: bytes | str
    status: int
    code: str
    words: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    after: Callable[[dict[str, str]], None] = lambda headers: None
    region: str = "us-east-1"
    clock: float = 0.0


def ecs(operation: str) -> dict[str, str]:
    return {"Content-Type": JSON, "X-Amz-Target": f"{ECS}.{operation}"}


def form() -> dict[str, str]:
    return {"Content-Type": FORM}


def define(**change: Any) -> str:
    container = {"name": "a", "image": "nginx", "memory": 64}
    return json.dumps({"family": "bad-input", "containerDefinitions": [container], **change})


def without(name: str) -> Callable[[dict[str, str]], None]:
    def remove(headers: dict[str, str]) -> None:
        del headers[name]

    return remove


def garbled(headers: dict[str, str]) -> None:
    headers["Authorization"] = "AWS4-HMAC-SHA256 Credential=x"


def forged(headers: dict[str, str]) -> None:
    old = headers["Authorization"]
    headers["Authorization"] = old[:-4] + ("0000" if old[-4:] != "0000" else "1111")


def redirected(headers: dict[str, str]) -> None:
    headers["X-Amz-Target"] = f"{ECS}.RegisterTaskDefinition"


DEEP = '{"family":' + '{"a":' * 5_000 + "1" + "}" * 5_000 + "}"
CASES = [
    Case("JSON that breaks off", "ecs", '{"family": "bad-', 400, "SerializationException",
         headers=ecs("RegisterTaskDefinition")),
    Case("JSON nested beyond reason", "ecs", DEEP, 400, "SerializationException",
         headers=ecs("RegisterTaskDefinition")),
    Case("a list where the operation takes a structure", "ecs", "[]", 400,
         "SerializationException", headers=ecs("RegisterTaskDefinition")),
    Case("bytes that are no UTF-8", "ecs", b'{"family": "\xff\xfe"}', 400,
         "SerializationException", headers=ecs("RegisterTaskDefinition")),
    Case("a text where a number belongs", "ecs",
         define(containerDefinitions=[{"name": "a", "image": "x", "memory": "much"}]), 400,
         "SerializationException", headers=ecs("RegisterTaskDefinition")),
    Case("a required member missing", "ecs", '{"containerDefinitions": []}', 400,
         "InvalidParameterException", "Member must not be null",
         headers=ecs("RegisterTaskDefinition")),
    Case("an enum's value that is none", "ecs", define(networkMode="carrier-pigeon"), 400,
         "InvalidParameterException", "carrier-pigeon", headers=ecs("RegisterTaskDefinition")),
    Case("a container twice", "ecs",
         define(containerDefinitions=[{"name": "a", "image": "x", "memory": 64}] * 2), 400,
         "ClientException", "more than one", headers=ecs("RegisterTaskDefinition")),
    Case("resources no machine of Fargate has", "ecs",
         define(requiresCompatibilities=["FARGATE"], networkMode="awsvpc", cpu="256",
                memory="65536"), 400, "ClientException", "No Fargate configuration exists",
         headers=ecs("RegisterTaskDefinition")),
    Case("an operation that does not exist", "ecs", "{}", 400, "UnknownOperationException",
         headers=ecs("BuildPyramid")),
    Case("no operation named at all", "ecs", "{}", 400, "UnknownOperationException",
         headers={"Content-Type": JSON}),
    Case("a cluster that does not exist", "ecs",
         '{"cluster": "nowhere", "serviceName": "x", "taskDefinition": "y"}', 400,
         "ClusterNotFoundException", headers=ecs("CreateService")),
    Case("more tasks than one call may start", "ecs", '{"taskDefinition": "x", "count": 11}', 400,
         "InvalidParameterException", "10", headers=ecs("RunTask")),
    Case("a page token of somebody else's making", "ecs", '{"nextToken": "../../etc"}', 400,
         "InvalidParameterException", headers=ecs("ListTaskDefinitions")),
    Case("a body beyond the limit", "ecs", "{" + " " * 20_000_000 + "}", 413,
         "RequestEntityTooLargeException", headers=ecs("RegisterTaskDefinition")),
    Case("a forged signature", "ecs", define(), 400, "InvalidSignatureException",
         headers=ecs("RegisterTaskDefinition"), after=forged),
    Case("half an Authorization header", "ecs", define(), 400, "IncompleteSignatureException",
         headers=ecs("RegisterTaskDefinition"), after=garbled),
    Case("no signature", "ecs", define(), 400, "MissingAuthenticationTokenException",
         headers=ecs("RegisterTaskDefinition"), after=without("Authorization")),
    Case("a signature of an hour ago", "ecs", define(), 400, "InvalidSignatureException",
         "Signature expired", headers=ecs("RegisterTaskDefinition"), clock=-3600),
    Case("another operation than was signed", "ecs", define(), 400, "InvalidSignatureException",
         headers=ecs("ListClusters"), after=redirected),
    Case("a name IAM does not allow, in XML", "iam",
         "Action=CreateUser&Version=2010-05-08&UserName=bad%20input%2F", 400, "ValidationError",
         headers=form()),
    Case("a policy that is no JSON, in XML", "iam",
         "Action=CreatePolicy&Version=2010-05-08&PolicyName=bad-input&PolicyDocument=%7B", 400,
         "MalformedPolicyDocument", headers=form()),
    Case("an unknown action of a query service", "iam", "Action=Nonsense&Version=2010-05-08", 400,
         "InvalidAction", headers=form()),
    Case("a network that is no network, in EC2's shape", "ec2",
         "Action=CreateVpc&Version=2016-11-15&CidrBlock=10.0.0.0%2F99", 400,
         "InvalidParameterValue", headers=form()),
    Case("a subnet outside its VPC", "ec2", "", 400, "InvalidSubnet.Range", headers=form()),
    Case("a retention that logs does not have", "logs",
         '{"logGroupName": "bad-input", "retentionInDays": 4}', 400, "InvalidParameterException",
         headers={"Content-Type": JSON, "X-Amz-Target": "Logs_20140328.PutRetentionPolicy"}),
]  # fmt: skip


def send(proa: Proa, case: Case) -> Sent:
    environment = proa.environment
    url = environment["AWS_ENDPOINT_URL"]
    body = case.body.encode() if isinstance(case.body, str) else case.body
    request = AWSRequest("POST", f"{url}/", headers=dict(case.headers), data=body)
    keys = Credentials(environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"])
    signer = SigV4Auth(keys, case.service, case.region)
    at = datetime.datetime.fromtimestamp(time.time() + case.clock, datetime.UTC)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("botocore.auth.get_current_datetime", lambda *_, **__: at, raising=False)
        signer.add_auth(request)
    headers = dict(request.headers.items())
    case.after(headers)
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    try:
        connection.request("POST", "/", body, headers)
        answer = connection.getresponse()
        return Sent(answer.status, dict(answer.getheaders()), answer.read())
    finally:
        connection.close()


def census(proa: Proa) -> dict[str, Any]:
    """Everything that a bad request might have left behind."""
    ecs, iam, ec2, logs = (proa.boto(name) for name in ("ecs", "iam", "ec2", "logs"))
    return {
        "definitions": ecs.list_task_definitions()["taskDefinitionArns"],
        "clusters": sorted(ecs.list_clusters()["clusterArns"]),
        "services": ecs.list_services()["serviceArns"],
        "tasks": ecs.list_tasks()["taskArns"],
        "users": [user["UserName"] for user in iam.list_users()["Users"]],
        "policies": [item["PolicyName"] for item in iam.list_policies(Scope="Local")["Policies"]],
        "vpcs": sorted(vpc["VpcId"] for vpc in ec2.describe_vpcs()["Vpcs"]),
        "subnets": len(ec2.describe_subnets()["Subnets"]),
        "groups": [group["logGroupName"] for group in logs.describe_log_groups()["logGroups"]],
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input_is_refused_in_the_protocols_shape_and_leaves_nothing(
    proa: Proa, case: Case
) -> None:
    if case.code == "InvalidSubnet.Range":
        vpc = proa.boto("ec2").describe_vpcs()["Vpcs"][0]["VpcId"]
        case.body = f"Action=CreateSubnet&Version=2016-11-15&VpcId={vpc}&CidrBlock=192.168.7.0%2F24"
    before = census(proa)
    sent = send(proa, case)
    assert (sent.status, sent.code) == (case.status, case.code), sent.body[:400]
    assert case.words in sent.message
    assert sent.message, "an error says what is wrong"
    assert any(name.lower().startswith("x-amzn-requestid") for name in sent.headers)
    assert census(proa) == before


def test_a_task_of_an_image_that_is_nowhere_stops_and_says_why(proa: Proa) -> None:
    ecs = proa.boto("ecs")
    container = {"name": "a", "image": "nowhere.invalid/none:1", "memory": 32}
    ecs.register_task_definition(family="bad-image", containerDefinitions=[container])
    arn = ecs.run_task(taskDefinition="bad-image")["tasks"][0]["taskArn"]

    def stopped() -> Any:
        (task,) = ecs.describe_tasks(tasks=[arn])["tasks"]
        return task if task["lastStatus"] == "STOPPED" else None

    task = eventually(stopped, 60)
    assert task["stopCode"] == "TaskFailedToStart"
    assert "CannotPullContainerError" in task["stoppedReason"]


def test_a_service_whose_tasks_crash_is_told_by_its_events_and_its_breaker(proa: Proa) -> None:
    ecs = proa.boto("ecs")
    container = {"name": "a", "image": "busybox", "memory": 32, "command": ["sh", "-c", "exit 9"]}
    ecs.register_task_definition(family="bad-crash", containerDefinitions=[container])
    breaker = {"deploymentCircuitBreaker": {"enable": True, "rollback": False}}
    ecs.create_service(serviceName="bad-crash", taskDefinition="bad-crash", desiredCount=1,
                       deploymentConfiguration=breaker)  # fmt: skip

    def broken() -> bool:
        (service,) = ecs.describe_services(services=["bad-crash"])["services"]
        return bool(service["deployments"][0]["rolloutState"] == "FAILED")

    try:
        eventually(broken, 90)
    finally:
        ecs.delete_service(service="bad-crash", force=True)


def test_impossible_resources_are_a_failure_of_the_call_and_no_task(proa: Proa) -> None:
    ecs = proa.boto("ecs")
    container = {"name": "a", "image": "busybox", "memory": 2_000_000}
    ecs.register_task_definition(family="bad-size", containerDefinitions=[container])
    before = ecs.list_tasks()["taskArns"]
    answer = ecs.run_task(taskDefinition="bad-size")
    assert answer["tasks"] == []
    assert answer["failures"][0]["reason"] == "RESOURCE:MEMORY"
    assert ecs.list_tasks()["taskArns"] == before
