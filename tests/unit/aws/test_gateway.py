"""The gateway, driven by boto3 over toy slices."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from botocore.exceptions import ClientError
from msgspec.structs import replace

from proa.aws.gateway.gateway import AwsGateway
from proa.aws.gateway.service import AwsError, Context, Input, Output, Service
from proa.base.chance import Chance
from proa.base.clock import SystemClock
from proa.base.errors import Conflict
from proa.base.http import Request
from proa.cloud.identity import Credential
from proa.wire.sigv4 import Signer, sign
from tests.unit.aws.client import Caller

KEY, SECRET = "AKIAPROATEST00000001", "secret"
ROOT = "arn:aws:iam::000000000000:root"


class Keys:
    """A credential source over a dict."""

    def __init__(self, *credentials: Credential) -> None:
        self._known = {credential.access_key: credential for credential in credentials}

    def lookup(self, access_key: str) -> Credential | None:
        return self._known.get(access_key)


class Toys:
    """Handlers that record their calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[Context, Input]] = []

    async def list_clusters(self, context: Context, given: Input) -> Output:
        self.calls.append((context, given))
        return {"clusterArns": ["arn:aws:ecs:us-east-1:000000000000:cluster/default"]}

    async def run_task(self, context: Context, given: Input) -> Output:
        self.calls.append((context, given))
        return {"tasks": [{"taskArn": "t", "createdAt": context.now}], "failures": []}

    async def describe_clusters(self, _context: Context, _given: Input) -> Output:
        raise AwsError("ClusterNotFoundException", "Cluster not found.")

    async def delete_cluster(self, _context: Context, _given: Input) -> Output:
        raise RuntimeError("a bug")

    async def create_cluster(self, _context: Context, _given: Input) -> Output:
        raise Conflict("lost a race")

    async def stop_task(self, _context: Context, _given: Input) -> Output:
        return {"task": {"noSuchMember": 1}}

    async def describe_subnets(self, context: Context, given: Input) -> Output:
        self.calls.append((context, given))
        return {"Subnets": [{"SubnetId": "subnet-1", "DefaultForAz": True, "Tags": []}]}

    async def describe_vpcs(self, _context: Context, _given: Input) -> Output:
        raise AwsError("InvalidVpcID.NotFound", "The vpc ID 'vpc-1' does not exist")

    async def get_role(self, context: Context, given: Input) -> Output:
        self.calls.append((context, given))
        if given["RoleName"] == "none":
            raise AwsError("NoSuchEntity", "The role with name none cannot be found.")
        role = {"RoleName": given["RoleName"], "CreateDate": 1_700_000_000.0, "Path": "/"}
        return {"Role": {**role, "RoleId": "AROA", "Arn": "arn:aws:iam::0:role/web"}}

    async def describe_cluster(self, context: Context, given: Input) -> Output:
        self.calls.append((context, given))
        if given["name"] == "none":
            raise AwsError("ResourceNotFoundException", "No cluster found for name: none.")
        return {"cluster": {"name": given["name"], "createdAt": 1_700_000_000.0}}

    async def put_bucket(self, context: Context, given: Input) -> Output:
        self.calls.append((context, given))
        return {}

    async def list_buckets(self, _context: Context, _given: Input) -> Output:
        return {"Buckets": [{"Name": "b", "CreationDate": 1_700_000_000.0}]}

    async def web_identity(self, context: Context, given: Input) -> Output:
        self.calls.append((context, given))
        return {"Provider": "p"}

    def services(self) -> list[Service]:
        return [
            Service("ecs", {
                "ListClusters": self.list_clusters, "RunTask": self.run_task,
                "DescribeClusters": self.describe_clusters,
                "DeleteCluster": self.delete_cluster, "CreateCluster": self.create_cluster,
                "StopTask": self.stop_task,
            }),
            Service("ec2", {
                "DescribeSubnets": self.describe_subnets, "DescribeVpcs": self.describe_vpcs,
            }),
            Service("iam", {"GetRole": self.get_role}),
            Service("eks", {"DescribeCluster": self.describe_cluster}),
            Service("s3", {
                "PutBucketTagging": self.put_bucket, "ListBuckets": self.list_buckets,
            }),
            Service(
                "sts", {"AssumeRoleWithWebIdentity": self.web_identity},
                frozenset({"AssumeRoleWithWebIdentity"}),
            ),
        ]  # fmt: skip


class World:
    def __init__(self) -> None:
        self.toys = Toys()
        self.gateway = AwsGateway(
            self.toys.services(),
            Keys(Credential(KEY, SECRET, "000000000000", ROOT)),
            SystemClock(),
            Chance("gateway"),
        )
        self.caller = Caller(self.gateway.handle)

    def client(self, service: str, **options: Any) -> Any:
        return self.caller.client(service, **options)


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.caller.close()


def error_of(call: Any, **given: Any) -> tuple[str, str, int]:
    with pytest.raises(ClientError) as caught:
        call(**given)
    response = caught.value.response
    return (
        response["Error"]["Code"],
        response["Error"]["Message"],
        response["ResponseMetadata"]["HTTPStatusCode"],
    )


def test_json_service_answers_boto3(world: World) -> None:
    answer = world.client("ecs").list_clusters(maxResults=5)
    assert answer["clusterArns"] == ["arn:aws:ecs:us-east-1:000000000000:cluster/default"]
    context, given = world.toys.calls[0]
    assert given == {"maxResults": 5}
    assert (context.account, context.region, context.principal_arn) == (
        "000000000000", "us-east-1", ROOT,
    )  # fmt: skip
    assert answer["ResponseMetadata"]["RequestId"] == context.request_id


def test_region_comes_from_the_credential_scope(world: World) -> None:
    world.client("ecs", region="eu-west-3").list_clusters()
    assert world.toys.calls[0][0].region == "eu-west-3"


def test_instants_reach_clients_as_datetimes(world: World) -> None:
    answer = world.client("ecs").run_task(taskDefinition="web")
    assert answer["tasks"][0]["createdAt"].timestamp() == pytest.approx(
        world.toys.calls[0][0].now, abs=0.001
    )


def test_ec2_service_answers_boto3_and_reads_flattened_lists(world: World) -> None:
    answer = world.client("ec2").describe_subnets(
        SubnetIds=["subnet-1"], Filters=[{"Name": "vpc-id", "Values": ["vpc-1", "vpc-2"]}]
    )
    assert world.toys.calls[0][1] == {
        "SubnetIds": ["subnet-1"],
        "Filters": [{"Name": "vpc-id", "Values": ["vpc-1", "vpc-2"]}],
    }
    assert answer["Subnets"] == [{"SubnetId": "subnet-1", "DefaultForAz": True, "Tags": []}]


def test_query_service_answers_boto3(world: World) -> None:
    role = world.client("iam").get_role(RoleName="web")["Role"]
    assert role["RoleName"] == "web"
    assert role["CreateDate"].timestamp() == 1_700_000_000


def test_rest_json_service_reads_its_path(world: World) -> None:
    cluster = world.client("eks").describe_cluster(name="blue")["cluster"]
    assert (cluster["name"], cluster["createdAt"].timestamp()) == ("blue", 1_700_000_000)


def test_rest_xml_service_reads_path_query_and_body(world: World) -> None:
    client = world.client("s3", s3={"addressing_style": "path"})
    tags = {"TagSet": [{"Key": "a", "Value": "<1>"}]}
    client.put_bucket_tagging(Bucket="bucket", Tagging=tags)
    given = world.toys.calls[0][1]
    assert (given["Bucket"], given["Tagging"]) == ("bucket", tags)
    assert client.list_buckets()["Buckets"][0]["Name"] == "b"


@pytest.mark.parametrize(
    ("service", "method", "given", "wanted"),
    [
        ("ecs", "describe_clusters", {},
         ("ClusterNotFoundException", "Cluster not found.", 400)),
        ("ec2", "describe_vpcs", {},
         ("InvalidVpcID.NotFound", "The vpc ID 'vpc-1' does not exist", 400)),
        ("iam", "get_role", {"RoleName": "none"},
         ("NoSuchEntity", "The role with name none cannot be found.", 404)),
        ("eks", "describe_cluster", {"name": "none"},
         ("ResourceNotFoundException", "No cluster found for name: none.", 404)),
    ],
)  # fmt: skip
def test_errors_arrive_in_the_protocols_own_shape(
    world: World, service: str, method: str, given: Input, wanted: tuple[str, str, int]
) -> None:
    assert error_of(getattr(world.client(service), method), **given) == wanted


@pytest.mark.parametrize(
    ("service", "method", "given", "code"),
    [
        ("ecs", "list_clusters", {}, "UnrecognizedClientException"),
        ("ec2", "describe_vpcs", {}, "AuthFailure"),
        ("iam", "get_role", {"RoleName": "x"}, "InvalidClientTokenId"),
        ("eks", "describe_cluster", {"name": "x"}, "UnrecognizedClientException"),
        ("sqs", "list_queues", {}, "UnrecognizedClientException"),
    ],
)
def test_unknown_access_key_is_refused(
    world: World, service: str, method: str, given: Input, code: str
) -> None:
    client = world.client(service, access_key="AKIANOBODY")
    assert error_of(getattr(client, method), **given)[0] == code
    assert world.toys.calls == []


@pytest.mark.parametrize(
    ("service", "method", "given", "code"),
    [
        ("ecs", "list_clusters", {}, "InvalidSignatureException"),
        ("ec2", "describe_vpcs", {}, "AuthFailure"),
        ("iam", "get_role", {"RoleName": "x"}, "SignatureDoesNotMatch"),
        ("eks", "describe_cluster", {"name": "x"}, "InvalidSignatureException"),
    ],
)
def test_wrong_secret_is_refused(
    world: World, service: str, method: str, given: Input, code: str
) -> None:
    client = world.client(service, secret="wrong")
    assert error_of(getattr(client, method), **given)[0] == code
    assert world.toys.calls == []


def test_altered_body_is_refused(world: World) -> None:
    client = world.client("ecs")
    world.caller.alter = lambda request: replace(request, body=b'{"maxResults": 6}')
    assert error_of(client.list_clusters, maxResults=5)[0] == "InvalidSignatureException"


def test_unsigned_request_is_refused_in_the_family_it_shows(world: World) -> None:
    headers = {
        "host": "127.0.0.1:4566",
        "x-amz-target": "AmazonEC2ContainerServiceV20141113.ListClusters",
    }
    answer = world.caller.call(Request("POST", "/", headers=headers, body=b"{}"))
    assert orjson.loads(answer.body)["__type"] == "MissingAuthenticationTokenException"
    form = {"host": "x", "content-type": "application/x-www-form-urlencoded"}
    answer = world.caller.call(Request("POST", "/", headers=form, body=b"Action=GetRole"))
    assert (answer.status, b"<Code>MissingAuthenticationToken</Code>" in answer.body) == (403, True)


def test_anonymous_operation_needs_no_signature(world: World) -> None:
    client = world.client("sts")
    answer = client.assume_role_with_web_identity(
        RoleArn="arn:aws:iam::000000000000:role/web", RoleSessionName="s1", WebIdentityToken="jwt-"
    )
    assert answer["Provider"] == "p"
    assert "authorization" not in world.caller.seen[0][0].headers


def test_broken_constraints_are_named_as_aws_names_them(world: World) -> None:
    code, message, status = error_of(world.client("ecs").run_task, launchType="MOON", count=1)
    assert (code, status) == ("InvalidParameterException", 400)
    assert message.startswith("2 validation errors detected: ")
    assert (
        "Value null at 'taskDefinition' failed to satisfy constraint: Member must not be null"
        in message
    )
    assert (
        "Value 'MOON' at 'launchType' failed to satisfy constraint: "
        "Member must satisfy enum value set: [EC2, FARGATE, EXTERNAL" in message
    )
    code, message, _ = error_of(world.client("iam").get_role, RoleName="no spaces")
    assert code == "ValidationError"
    assert "Member must satisfy regular expression pattern: [\\w+=,.@-]+" in message


def test_wrong_type_is_a_serialization_exception(world: World) -> None:
    code, message, _ = error_of(world.client("ecs").list_clusters, maxResults="five")
    assert code == "SerializationException"
    assert message == "STRING_VALUE can not be converted to an Integer"


def test_operation_that_is_not_built_says_so(world: World) -> None:
    code, message, status = error_of(world.client("ecs").list_tasks)
    assert (code, status) == ("NotImplementedException", 501)
    assert message == "Proa does not implement ListTasks of ecs."
    assert error_of(world.client("sqs").list_queues)[0] == "NotImplementedException"


def signed(service: str, body: bytes, **headers: str) -> Request:
    spelled = {name.replace("_", "-"): value for name, value in headers.items()}
    request = Request("POST", "/", headers={"host": "x", **spelled}, body=body)
    return sign(request, Signer(KEY, SECRET, "us-east-1", service), SystemClock().now())


def test_operation_that_does_not_exist_is_unknown(world: World) -> None:
    form = "application/x-www-form-urlencoded"
    answer = world.caller.call(signed("iam", b"Action=MakeTea", content_type=form))
    assert b"<Code>InvalidAction</Code>" in answer.body
    assert b"Could not find operation MakeTea for version 2010-05-08" in answer.body
    answer = world.caller.call(signed("ec2", b"Action=MakeTea", content_type=form))
    assert b"The action MakeTea is not valid for this web service." in answer.body
    answer = world.caller.call(signed("ecs", b"{}", x_amz_target="X.MakeTea"))
    assert orjson.loads(answer.body)["__type"] == "UnknownOperationException"
    answer = world.caller.call(signed("eks", b"{}"))
    assert (answer.status, answer.headers["x-amzn-errortype"]) == (
        404, "UnknownOperationException",
    )  # fmt: skip


def test_bug_in_a_handler_is_an_internal_failure(world: World) -> None:
    client = world.client("ecs")
    assert error_of(client.delete_cluster, cluster="c")[::2] == ("InternalFailure", 500)
    assert error_of(client.stop_task, task="t")[::2] == ("InternalFailure", 500)


def test_lost_race_is_a_passing_fault(world: World) -> None:
    assert error_of(world.client("ecs").create_cluster)[::2] == ("ServiceUnavailable", 503)


def test_health_needs_no_credentials(world: World) -> None:
    answer = world.caller.call(Request("GET", "/_proa/health"))
    assert answer.status == 200
    assert orjson.loads(answer.body)["services"]["ecs"] == "available"


def test_compressed_body_is_unpacked(world: World) -> None:
    target = "AmazonEC2ContainerServiceV20141113.ListClusters"
    body = gzip.compress(b'{"maxResults": 7}')
    request = signed("ecs", body, x_amz_target=target, content_encoding="gzip")
    assert world.caller.call(request).status == 200
    assert world.toys.calls[0][1] == {"maxResults": 7}


def test_expired_session_is_refused() -> None:
    now = SystemClock().now()
    old = Credential("ASIA1", SECRET, "0", ROOT, session_token="t", expires_at=now - 1)
    gateway = AwsGateway(Toys().services(), Keys(old), SystemClock(), Chance("x"))
    caller = Caller(gateway.handle)
    client = caller.client("ecs", access_key="ASIA1", token="t")
    assert error_of(client.list_clusters)[0] == "ExpiredTokenException"
    stranger = caller.client("ecs", access_key="ASIA1", token="other")
    assert error_of(stranger.list_clusters)[0] == "UnrecognizedClientException"
    caller.close()


def test_denied_call_names_the_action() -> None:
    def deny(context: Context, action: str, _given: Input) -> str | None:
        return f"User: {context.principal_arn} is not authorized to perform: {action}"

    toys = Toys()
    keys = Keys(Credential(KEY, SECRET, "000000000000", ROOT))
    gateway = AwsGateway(toys.services(), keys, SystemClock(), Chance("x"), authorize=deny)
    caller = Caller(gateway.handle)
    code, message, _ = error_of(caller.client("ecs").list_clusters)
    assert (code, message.rpartition(" ")[2]) == ("AccessDeniedException", "ecs:ListClusters")
    assert error_of(caller.client("ec2").describe_vpcs)[::2] == ("UnauthorizedOperation", 403)
    assert toys.calls == []
    caller.close()


def test_warm_compiles_every_service() -> None:
    toys = Toys()
    gateway = AwsGateway(toys.services(), Keys(), SystemClock(), Chance("x"))
    gateway.warm()
    unsigned = asyncio.run(gateway.handle(Request("POST", "/", headers={"host": "x"})))
    assert unsigned.status == 403
