"""The protocols that name their operation outright: json, rpc-v2-cbor, query, ec2.

``build_rpc`` compiles the asked operations of a model for one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import cbor2
import orjson

from proa.base.http import Request, Response
from proa.wire.aws import errors
from proa.wire.aws.faults import Malformed, UnknownOperation
from proa.wire.aws.model import Model, Shape
from proa.wire.aws.protocol import (
    Encode,
    Labels,
    OperationCodec,
    Protocol,
    form_of,
    load_json,
    shapes_of,
)
from proa.wire.aws.query import QueryCompiler, grow
from proa.wire.aws.tree import JSON, Dialect, TreeCompiler
from proa.wire.aws.values import instant
from proa.wire.aws.xml import XmlCompiler, element, wrap


def _no_labels(locate: Callable[[Request], str]) -> Callable[[Request], tuple[str, Labels]]:
    return lambda request: (locate(request), {})


def _json(model: Model, name: str, operations: Iterable[str]) -> Protocol:
    metadata = model.metadata
    content_type = f"application/x-amz-json-{metadata.get('jsonVersion', '1.0')}"
    compiler = TreeCompiler(model, JSON)

    def locate(request: Request) -> str:
        return request.headers.get("x-amz-target", "").rpartition(".")[2]

    table = errors.ErrorTable.of(model)
    compatible = "awsQueryCompatible" in metadata
    encode_fault = errors.json_faults(table, content_type, rest=False, query_compatible=compatible)
    protocol = Protocol(name, _no_labels(locate), encode_fault)
    for operation in operations:
        given, returned = shapes_of(model, operation)
        read = compiler.parser({"shape": given.name}) if given else None
        write = compiler.writer({"shape": returned.name}) if returned else None

        def parse(request: Request, _labels: Labels, read: Any = read) -> dict[str, Any]:
            parsed: dict[str, Any] = read(load_json(request.body)) if read else {}
            return parsed

        def encode(output: Mapping[str, Any], request_id: str, write: Any = write) -> Response:
            body = orjson.dumps(write(output)) if write else b""
            headers = {"content-type": content_type, "x-amzn-requestid": request_id}
            return Response(200, body, headers)

        protocol.operations[operation] = OperationCodec(parse, encode)
    return protocol


def _cbor_instant(value: Any) -> float:
    if hasattr(value, "timestamp"):
        return float(value.timestamp())
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Malformed("a timestamp must be a tagged number")
    return instant(value)


def _cbor_blob(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise Malformed("a blob must be a byte string")
    return value


def _bytes(value: bytes | str) -> bytes:
    return value.encode() if isinstance(value, str) else value


CBOR = Dialect(
    False, _cbor_instant, lambda seconds: cbor2.CBORTag(1, float(seconds)), _cbor_blob, _bytes
)


def load_cbor(body: bytes) -> Any:
    """A CBOR body; an empty one is an empty structure. Raises Malformed."""
    if not body:
        return {}
    try:
        return cbor2.loads(body)
    except (cbor2.CBORDecodeError, ValueError, OverflowError) as error:
        raise Malformed("Unable to parse the request body as CBOR") from error


def _cbor(model: Model, name: str, operations: Iterable[str]) -> Protocol:
    compiler = TreeCompiler(model, CBOR)

    def locate(request: Request) -> str:
        parts = request.path.strip("/").split("/")
        if len(parts) < 4 or parts[-4] != "service" or parts[-2] != "operation":
            raise UnknownOperation(request.path)
        return parts[-1]

    table = errors.ErrorTable.of(model)
    compatible = "awsQueryCompatible" in model.metadata
    protocol = Protocol(name, _no_labels(locate), errors.cbor_faults(table, compatible))
    for operation in operations:
        given, returned = shapes_of(model, operation)
        read = compiler.parser({"shape": given.name}) if given else None
        write = compiler.writer({"shape": returned.name}) if returned else None

        def parse(request: Request, _labels: Labels, read: Any = read) -> dict[str, Any]:
            parsed: dict[str, Any] = read(load_cbor(request.body)) if read else {}
            return parsed

        def encode(output: Mapping[str, Any], request_id: str, write: Any = write) -> Response:
            headers = {
                "content-type": "application/cbor",
                "smithy-protocol": "rpc-v2-cbor",
                "x-amzn-requestid": request_id,
            }
            return Response(200, cbor2.dumps(write(output)) if write else b"", headers)

        protocol.operations[operation] = OperationCodec(parse, encode)
    return protocol


def _locate_action(request: Request) -> str:
    return next((value for key, value in form_of(request) if key == "Action"), "")


def _query(model: Model, name: str, operations: Iterable[str]) -> Protocol:
    ec2 = name == "ec2"
    reader, writer = QueryCompiler(model, ec2), XmlCompiler(model, ec2)
    namespace = model.metadata.get("xmlNamespace", "")
    if isinstance(namespace, dict):
        namespace = namespace.get("uri", "")
    namespace = namespace or f"http://{model.service}.amazonaws.com/doc/{_version(model)}"
    table = errors.ErrorTable.of(model)
    faults = errors.ec2_faults(table) if ec2 else errors.query_faults(table, namespace)
    protocol = Protocol(name, _no_labels(_locate_action), faults)
    finish = _ec2_encoder if ec2 else _query_encoder
    for operation in operations:
        given, returned = shapes_of(model, operation)
        read = reader.parser({"shape": given.name}) if given else None

        def parse(request: Request, _labels: Labels, read: Any = read) -> dict[str, Any]:
            parsed: dict[str, Any] = read(grow(form_of(request))) if read else {}
            return parsed

        protocol.operations[operation] = OperationCodec(
            parse, finish(writer, operation, returned, namespace)
        )
    return protocol


def _version(model: Model) -> str:
    return str(model.metadata["apiVersion"])


def _query_encoder(
    writer: XmlCompiler, operation: str, returned: Shape | None, namespace: str
) -> Encode:
    members = writer.members_writer({"shape": returned.name}) if returned else None
    result = returned.traits.get("resultWrapper", f"{operation}Result") if returned else ""

    def encode(output: Mapping[str, Any], request_id: str) -> Response:
        parts: list[str] = []
        if members:
            parts.append(f"<{result}>")
            members(parts, output)
            parts.append(f"</{result}>")
        parts.append(f"<ResponseMetadata>{element('RequestId', request_id)}</ResponseMetadata>")
        headers = {"content-type": "text/xml", "x-amzn-requestid": request_id}
        return Response(200, wrap(f"{operation}Response", namespace, parts), headers)

    return encode


def _ec2_encoder(
    writer: XmlCompiler, operation: str, returned: Shape | None, namespace: str
) -> Encode:
    members = writer.members_writer({"shape": returned.name}) if returned else None

    def encode(output: Mapping[str, Any], request_id: str) -> Response:
        parts = [element("requestId", request_id)]
        if members:
            members(parts, output)
        else:
            parts.append("<return>true</return>")
        headers = {"content-type": "text/xml;charset=UTF-8", "x-amzn-requestid": request_id}
        return Response(200, wrap(f"{operation}Response", namespace, parts), headers)

    return encode


BUILDERS: dict[str, Callable[[Model, str, Iterable[str]], Protocol]] = {
    "json": _json,
    "smithy-rpc-v2-cbor": _cbor,
    "query": _query,
    "ec2": _query,
}
