"""The protocols that spread an operation over HTTP: rest-json and rest-xml."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import orjson

from proa.base.http import Request, Response
from proa.wire.aws import errors
from proa.wire.aws.bindings import RestBinder, payload_of
from proa.wire.aws.faults import UnknownOperation
from proa.wire.aws.model import Model, Shape
from proa.wire.aws.protocol import (
    Encode,
    Labels,
    OperationCodec,
    Parse,
    Protocol,
    load_json,
    shapes_of,
)
from proa.wire.aws.routes import Routes
from proa.wire.aws.tree import JSON, TreeCompiler
from proa.wire.aws.xml import XmlCompiler, parse_document, wrap


def _rest(model: Model, name: str, operations: Iterable[str]) -> Protocol:
    routes, binder, table = Routes(model), RestBinder(model), errors.ErrorTable.of(model)
    bodies: _JsonBodies | _XmlBodies
    if name == "rest-json":
        bodies = _JsonBodies(TreeCompiler(model, JSON))
        faults = errors.json_faults(table, "application/json", rest=True, query_compatible=False)
    else:
        bodies = _XmlBodies(model, XmlCompiler(model))
        s3 = model.service == "s3"
        faults = errors.s3_faults(table) if s3 else errors.query_faults(table, "")

    def locate(request: Request) -> tuple[str, Labels]:
        found = routes.match(request.method, request.path, request.query)
        if found is None:
            raise UnknownOperation(f"{request.method} {request.path}")
        return found

    protocol = Protocol(name, locate, faults)
    for operation in operations:
        given, returned = shapes_of(model, operation)
        status = int(model.operations[operation]["http"].get("responseCode", 200))
        protocol.operations[operation] = OperationCodec(
            _rest_parse(model, binder, bodies, given),
            _rest_encode(model, binder, bodies, returned, status),
        )
    return protocol


def _raw(value: bytes | str | None) -> bytes:
    return value.encode() if isinstance(value, str) else value or b""


class _JsonBodies:
    """The body half of rest-json."""

    content_type = "application/json"

    def __init__(self, compiler: TreeCompiler) -> None:
        self._compiler = compiler

    def reader(self, shape: Shape) -> Callable[[bytes], Any]:
        read = self._compiler.parser({"shape": shape.name})
        return lambda body: read(load_json(body))

    def writer(self, shape: Shape) -> Callable[[Any], bytes]:
        write = self._compiler.writer({"shape": shape.name})
        return lambda value: orjson.dumps(write(value))


class _XmlBodies:
    """The body half of rest-xml."""

    content_type = "application/xml"

    def __init__(self, model: Model, compiler: XmlCompiler) -> None:
        self._model, self._compiler = model, compiler

    def reader(self, shape: Shape) -> Callable[[bytes], Any]:
        read = self._compiler.reader({"shape": shape.name})
        return lambda body: read(parse_document(body)) if body.strip() else {}

    def writer(self, shape: Shape) -> Callable[[Any], bytes]:
        members = self._compiler.members_writer({"shape": shape.name})
        name = shape.wire_name(shape.name)
        namespace = shape.traits.get("xmlNamespace") or {}
        uri = namespace if isinstance(namespace, str) else namespace.get("uri", "")

        def write(value: Any) -> bytes:
            parts: list[str] = []
            members(parts, value)
            return wrap(name, uri, parts)

        return write


def _rest_parse(
    model: Model, binder: RestBinder, bodies: _JsonBodies | _XmlBodies, shape: Shape | None
) -> Parse:
    if shape is None:
        return lambda _request, _labels: {}
    collect, payload = binder.collector(shape), payload_of(model, shape)
    bound = {name for name, ref in shape.members.items() if ref.get("location")}
    if payload is None:
        if bound == set(shape.members):
            return collect
        read = bodies.reader(shape)

        def parse(request: Request, labels: Labels) -> dict[str, Any]:
            return {**read(request.body), **collect(request, labels)}

        return parse
    member, raw = payload.member, payload.raw
    text = payload.shape.type == "string"
    read = (lambda body: body.decode() if text else body) if raw else bodies.reader(payload.shape)

    def parse_payload(request: Request, labels: Labels) -> dict[str, Any]:
        out = collect(request, labels)
        if request.body:
            out[member] = read(request.body)
        return out

    return parse_payload


def _rest_encode(
    model: Model,
    binder: RestBinder,
    bodies: _JsonBodies | _XmlBodies,
    shape: Shape | None,
    status: int,
) -> Encode:
    if shape is None:
        return lambda _output, request_id: Response(
            status, b"", {"x-amzn-requestid": request_id, "content-type": bodies.content_type}
        )
    spread, payload = binder.spreader(shape), payload_of(model, shape)
    body_of: Callable[[Mapping[str, Any]], bytes]
    if payload is None:
        in_body = any(not ref.get("location") for ref in shape.members.values())
        body_of = bodies.writer(shape) if in_body else lambda _output: b""
        if not in_body and isinstance(bodies, _JsonBodies):
            body_of = lambda _output: b"{}"  # noqa: E731 - as AWS answers
    elif payload.raw:
        member = payload.member
        body_of = lambda output: _raw(output.get(member))  # noqa: E731
    else:
        member, write = payload.member, bodies.writer(payload.shape)
        body_of = lambda output: write(output[member]) if output.get(member) else b""  # noqa: E731

    def encode(output: Mapping[str, Any], request_id: str) -> Response:
        chosen, headers = spread(output)
        headers = {
            "content-type": bodies.content_type, "x-amzn-requestid": request_id, **headers
        }  # fmt: skip
        return Response(chosen or status, body_of(output), headers)

    return encode


BUILDERS: dict[str, Callable[[Model, str, Iterable[str]], Protocol]] = {
    "rest-json": _rest,
    "rest-xml": _rest,
}
