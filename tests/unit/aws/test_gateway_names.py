"""Which service a request is for, by botocore's own facts."""

from __future__ import annotations

from collections import defaultdict

import orjson
import pytest
from botocore.loaders import Loader

from proa.aws.gateway import names
from proa.aws.gateway.names import action_of, service_of_scope
from proa.base.http import Request
from proa.wire.aws.model import load_model

FORM = {"content-type": "application/x-www-form-urlencoded"}


def test_scopes_are_those_of_botocores_models() -> None:
    found: dict[str, list[list[str]]] = defaultdict(list)
    for service in sorted(Loader().list_available_services("service-2")):
        facts = load_model(service).metadata
        signs_as = facts.get("signingName") or facts["endpointPrefix"]
        entry = [service, facts["apiVersion"], facts.get("targetPrefix", "")]
        found[signs_as].append(entry)
    differing = {
        name: entries
        for name, entries in found.items()
        if len(entries) > 1 or entries[0][0] != name
    }
    written = names.__file__.replace("names.py", "scopes.json")
    with open(written, "rb") as file:
        assert orjson.loads(file.read()) == differing


def post(body: bytes = b"", path: str = "/", **headers: str) -> Request:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request("POST", path, headers=named, body=body)


@pytest.mark.parametrize(
    ("scope", "request_", "service"),
    [
        ("ecs", post(), "ecs"),
        ("monitoring", post(), "cloudwatch"),
        ("states", post(), "stepfunctions"),
        ("dynamodb", post(x_amz_target="DynamoDB_20120810.GetItem"), "dynamodb"),
        ("dynamodb", post(x_amz_target="DynamoDBStreams_20120810.X"), "dynamodbstreams"),
        ("elasticloadbalancing", Request("POST", "/", headers=FORM, body=b"Version=2015-12-01"),
         "elbv2"),
        ("elasticloadbalancing", Request("POST", "/", headers=FORM, body=b"Version=2012-06-01"),
         "elb"),
        ("rds", Request("POST", "/", headers=FORM, body=b"Version=2014-10-31"), "rds"),
        ("s3", Request("PUT", "/shelf/k"), "s3"),
        ("s3", Request("GET", "/v20180820/jobs"), "s3control"),
        ("apigateway", Request("GET", "/v2/apis"), "apigatewayv2"),
        ("apigateway", Request("GET", "/restapis"), "apigateway"),
        ("ses", Request("GET", "/v2/email/contact-lists"), "sesv2"),
        ("lambda", Request("GET", "/2015-03-31/functions/"), "lambda"),
        ("nobodys-service", post(), "nobodys-service"),
    ],
)  # fmt: skip
def test_service_is_found(scope: str, request_: Request, service: str) -> None:
    assert service_of_scope(scope, request_) == service


@pytest.mark.parametrize(
    ("service", "operation", "action"),
    [
        ("ecs", "RunTask", "ecs:RunTask"),
        ("elbv2", "DescribeRules", "elasticloadbalancing:DescribeRules"),
        ("cloudwatch", "PutMetricData", "cloudwatch:PutMetricData"),
        ("stepfunctions", "StartExecution", "states:StartExecution"),
        ("s3", "ListObjectsV2", "s3:ListBucket"),
        ("s3", "HeadObject", "s3:GetObject"),
        ("s3", "UploadPart", "s3:PutObject"),
        ("sqs", "SendMessageBatch", "sqs:SendMessage"),
        ("lambda", "Invoke", "lambda:InvokeFunction"),
    ],
)
def test_action_is_iams_name_for_the_operation(service: str, operation: str, action: str) -> None:
    assert action_of(service, operation) == action
