"""Which resources must be allowed: the ones a call works on, all of them, and no text beside."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from proa.aws.gateway.service import Context, Input
from proa.aws.iam.authorize import Authority
from tests.unit.aws.realm import ACCOUNT, REGION, Realm

ANN = f"arn:aws:iam::{ACCOUNT}:user/ann"


@pytest.fixture
def realm() -> Iterator[Realm]:
    made = Realm()
    yield made
    made.close()


def allowed(realm: Realm, resource: str | list[str], action: str, given: Input) -> bool:
    """Whether a user with one statement may do it."""
    iam: Any = realm.client("iam")
    statement = {"Effect": "Allow", "Action": "*", "Resource": resource}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.create_user(UserName="ann")
    iam.put_user_policy(UserName="ann", PolicyName="p", PolicyDocument=document)
    context = Context(ACCOUNT, REGION, ANN, "AKIA", "r", 0.0)
    authority = Authority(realm.view)
    if action == "sts:AssumeRole":
        return authority.denial(context, action, given) is None
    return authority(context, action, given) is None


MINE, THEIRS = (f"arn:aws:iam::{ACCOUNT}:role/{name}" for name in ("mine", "theirs"))
TOPIC, OTHER = (f"arn:aws:sns:{REGION}:{ACCOUNT}:{name}" for name in ("mine", "theirs"))
OWN = f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/mine"


@pytest.mark.parametrize(
    ("resource", "action", "given"),
    [
        (MINE, "sts:AssumeRole", {"RoleArn": THEIRS, "SerialNumber": MINE}),
        (OWN, "ssm:PutParameter", {"Name": "theirs", "Value": "x", "Description": OWN}),
        (OWN, "ssm:GetParameters", {"Names": ["mine", "theirs"]}),
        (TOPIC, "sns:Publish", {"TopicArn": OTHER, "Message": TOPIC}),
        (TOPIC, "sns:TagResource", {"ResourceArn": OTHER, "TargetArn": TOPIC}),
        ("arn:aws:s3:::mine/*", "s3:PutObject",
         {"Bucket": "mine", "Key": "k", "CopySource": "theirs/k"}),
        ("arn:aws:s3:::mine/*", "s3:PutObject",
         {"Bucket": "mine", "Key": "k", "CopySource": "/theirs%2Fk?versionId=1"}),
    ],
)  # fmt: skip
def test_a_right_to_one_resource_does_not_reach_another(
    realm: Realm, resource: str, action: str, given: Input
) -> None:
    assert not allowed(realm, resource, action, given)


@pytest.mark.parametrize(
    ("resource", "action", "given"),
    [
        (MINE, "sts:AssumeRole", {"RoleArn": MINE, "SerialNumber": "x"}),
        (OWN, "ssm:GetParameters", {"Names": ["mine", "/mine"]}),
        (TOPIC, "sns:Publish", {"TopicArn": TOPIC, "Message": OTHER}),
        (TOPIC, "sns:Subscribe",
         {"TopicArn": TOPIC, "Protocol": "sqs", "Endpoint": "arn:aws:sqs:us-east-1:1:q"}),
        (["arn:aws:s3:::mine/*", "arn:aws:s3:::theirs/*"], "s3:PutObject",
         {"Bucket": "mine", "Key": "k", "CopySource": "theirs/k"}),
        (f"arn:aws:ecs:{REGION}:{ACCOUNT}:service/c/s", "ecs:UpdateService",
         {"cluster": "c", "service": "s", "taskDefinition": "web:1"}),
    ],
)  # fmt: skip
def test_a_right_to_what_a_call_works_on_is_enough(
    realm: Realm, resource: str | list[str], action: str, given: Input
) -> None:
    assert allowed(realm, resource, action, given)
