"""Every service that botocore knows, in every protocol it speaks: one operation and one error.

The choice is by a hash of the names, so that it is spread over the shapes of all models; the
services that Proa serves are tested whole in test_aws_roundtrip.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from botocore import parsers
from botocore.loaders import Loader
from botocore.model import OperationModel, ServiceModel

from proa.wire.aws.faults import Fault
from proa.wire.aws.protocol import Protocol
from proa.wire.aws.service import ServiceCodec
from tests.unit.wire.aws_values import Values, for_botocore, plain
from tests.unit.wire.test_aws_roundtrip import wire_request


def chosen(model: ServiceModel) -> OperationModel | None:
    """One operation without streams, or None."""
    operations = [model.operation_model(name) for name in model.operation_names]
    usable = [
        operation
        for operation in operations
        if not (operation.has_event_stream_input or operation.has_event_stream_output)
        and not (operation.deprecated or operation.has_streaming_output)
    ]
    return min(usable, key=lambda o: hashlib.sha256(o.name.encode()).digest(), default=None)


def spoken() -> Iterator[tuple[str, str, Protocol, ServiceModel, OperationModel]]:
    """Every (service, protocol) with its codec and the chosen operation."""
    for service in sorted(Loader().list_available_services("service-2")):
        document = Loader().load_service_model(service, "service-2")
        facts = document["metadata"]
        operation = chosen(ServiceModel(document, service))
        if operation is None:
            continue
        codec = ServiceCodec(service, [operation.name])
        for protocol in facts.get("protocols", [facts["protocol"]]):
            facts["protocol"] = protocol
            model = ServiceModel(document, service)
            yield service, protocol, codec._protocols[protocol], model, chosen(model)  # type: ignore[misc]


def round_trip(wire: Protocol, model: ServiceModel, operation: OperationModel, seed: str) -> None:
    shape = operation.input_shape
    if shape is not None:
        given = Values(seed).draw(shape)
        request = wire_request(model, operation, for_botocore(given, shape))
        located, labels = wire.locate(request)
        assert located == operation.name
        assert wire.operations[operation.name].parse(request, labels) == given
    shape = operation.output_shape
    output = Values(seed).draw(shape) if shape else {}
    answer = wire.operations[operation.name].encode(output, "request-1")
    found = plain(read(model, answer.status, answer.headers, answer.body, shape))
    bound = {
        name
        for name, member in (shape.members.items() if shape else ())
        if member.serialization.get("location") == "statusCode"
    }
    shown = {name: v for name, v in found.items() if name in output or (v and name not in bound)}
    assert shown == output


def read(model: ServiceModel, status: int, headers: Any, body: bytes, shape: Any) -> dict[str, Any]:
    response = {"status_code": status, "headers": headers, "body": body}
    parsed: dict[str, Any] = parsers.create_parser(model.protocol).parse(response, shape)
    return parsed


def test_every_service_is_read_and_written_as_botocore_does() -> None:
    broken: dict[str, str] = {}
    for service, protocol, wire, model, operation in spoken():
        try:
            round_trip(wire, model, operation, f"{service}.{operation.name}")
            errors = sorted(model.error_shapes, key=lambda shape: shape.name)
            code = errors[0].name if errors else "SomethingElse"
            answer = wire.encode_fault(Fault(code, "words & more", 0), "request-1")
            error = read(model, answer.status, answer.headers, answer.body, None)["Error"]
            sent = errors[0].metadata.get("error", {}).get("code", code) if errors else code
            assert error["Code"] in (code, sent), error
            assert error["Message"] == "words & more", error
        except AssertionError as error:
            broken[f"{service} {protocol} {operation.name}"] = str(error)[:300]
    assert not broken
