"""Every operation of many services against botocore, which writes requests and reads answers.

botocore's serializer makes a request of a random input: our parser must give that input back.
Our encoder writes a random output: botocore's parser must give that output back.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from botocore import parsers, serialize
from botocore.awsrequest import create_request_object, prepare_request_dict
from botocore.loaders import Loader
from botocore.model import ServiceModel

from proa.base.http import Request
from proa.wire.aws.service import ServiceCodec
from tests.unit.aws.client import to_request
from tests.unit.wire.aws_values import Values, for_botocore, plain

# (service, protocol): each protocol on whole services; ec2 by a sample, for its size.
SERVICES = [
    ("ecs", "json"), ("logs", "json"), ("ecr", "json"), ("ssm", "json"),
    ("secretsmanager", "json"), ("servicediscovery", "json"), ("cloudwatch", "json"),
    ("application-autoscaling", "json"), ("events", "json"), ("dynamodb", "json"),
    ("iam", "query"), ("sts", "query"), ("elbv2", "query"), ("autoscaling", "query"),
    ("cloudformation", "query"), ("cloudwatch", "query"),
    ("elasticache", "query"), ("sns", "query"),
    ("ec2", "ec2"), ("eks", "rest-json"), ("eks-auth", "rest-json"), ("lambda", "rest-json"),
    ("scheduler", "rest-json"), ("efs", "rest-json"), ("s3", "rest-xml"), ("route53", "rest-xml"),
    ("cloudwatch", "smithy-rpc-v2-cbor"), ("servicediscovery", "smithy-rpc-v2-cbor"),
]  # fmt: skip
SAMPLE = 150
# S3 tells these from others with the same route by the host or by a header.
SHARED_ROUTES = {"ListDirectoryBuckets", "PutObject", "UploadPart", "UploadPartCopy"}


@cache
def model_of(service: str, protocol: str) -> ServiceModel:
    document = Loader().load_service_model(service, "service-2")
    document["metadata"]["protocol"] = protocol
    return ServiceModel(document, service)


@cache
def codec_of(service: str) -> ServiceCodec:
    model = model_of(service, "json")
    return ServiceCodec(service, sampled(model.operation_names))


def sampled(names: list[str]) -> list[str]:
    return sorted(names)[:: max(1, len(names) // SAMPLE)]


def wire_request(model: ServiceModel, operation: Any, given: Any) -> Request:
    serializer = serialize.create_serializer(model.protocol, include_validation=False)
    parts = serializer.serialize_to_request(given, operation)
    prepare_request_dict(parts, "http://127.0.0.1:4566")
    return to_request(create_request_object(parts).prepare())


@pytest.mark.parametrize(("service", "protocol"), SERVICES)
def test_inputs_that_botocore_writes_come_back_as_given(service: str, protocol: str) -> None:
    model, codec = model_of(service, protocol), codec_of(service)
    wire = codec._protocols[protocol]
    for name in sampled(model.operation_names):
        operation = model.operation_model(name)
        shape = operation.input_shape
        if shape is None or operation.has_event_stream_input or operation.deprecated:
            continue
        given = Values(f"{service}.{name}").draw(shape)
        request = wire_request(model, operation, for_botocore(given, shape))
        located, labels = wire.locate(request)
        assert located == name or name in SHARED_ROUTES
        if name in SHARED_ROUTES:
            continue
        parsed = wire.operations[name].parse(request, labels)
        if service == "s3":  # botocore sends this one header as it is given
            parsed.pop("Expires", None)
            given.pop("Expires", None)
        assert parsed == given, name


@pytest.mark.parametrize(("service", "protocol"), SERVICES)
def test_outputs_that_we_write_are_read_by_botocore(service: str, protocol: str) -> None:
    model, codec = model_of(service, protocol), codec_of(service)
    wire = codec._protocols[protocol]
    parser = parsers.create_parser(protocol)
    for name in sampled(model.operation_names):
        operation = model.operation_model(name)
        shape = operation.output_shape
        # botocore leaves streamed bodies unparsed, and S3 answers two shapes with one element.
        streamed = operation.has_streaming_output or operation.has_event_stream_output
        if streamed or operation.deprecated:
            continue
        output = Values(f"{service}.{name}").draw(shape) if shape else {}
        answer = wire.operations[name].encode(output, "request-1")
        parsed = parser.parse(
            {"status_code": answer.status, "headers": answer.headers, "body": answer.body}, shape
        )
        assert parsed["ResponseMetadata"]["HTTPStatusCode"] < 300
        found = plain(parsed)
        for member, value in list(found.items()):
            # A bound status and an empty payload show even where the handler gave none.
            if member not in output and (member == "StatusCode" or not value):
                del found[member]
        assert found == output, name
