"""OpenAPI documents in protobuf, read back by the field numbers of gnostic's OpenAPIv2.proto."""

from __future__ import annotations

from typing import Any

from proa.wire.kube.openapi_proto import encode

DOCUMENT = {
    "swagger": "2.0",
    "info": {"title": "Kubernetes", "version": "v1"},
    "paths": {
        "/a/{name}": {
            "patch": {
                "consumes": ["application/json"],
                "parameters": [
                    {"name": "dryRun", "in": "query", "type": "string", "uniqueItems": True}
                ],
                "responses": {"200": {"description": "OK"}},
                "x-kubernetes-action": "patch",
            },
            "parameters": [{"name": "name", "in": "path", "type": "string", "required": True}],
        }
    },
    "definitions": {
        "A": {
            "type": "object",
            "required": ["b"],
            "properties": {
                "b": {"type": "array", "items": {"$ref": "#/definitions/B"}},
                "c": {"type": "object", "additionalProperties": {"type": "string"}},
            },
        }
    },
}


def fields(body: bytes) -> dict[int, list[Any]]:
    """The fields of a message: bytes, or numbers."""
    found: dict[int, list[Any]] = {}
    at = 0

    def varint() -> int:
        nonlocal at
        number = shift = 0
        while True:
            byte = body[at]
            at += 1
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return number

    while at < len(body):
        tag = varint()
        if tag & 7 == 0:
            value: Any = varint()
        else:
            size = varint()
            value, at = body[at : at + size], at + size
        found.setdefault(tag >> 3, []).append(value)
    return found


def inside(body: bytes, *path: int) -> bytes:
    """The first message at a path of field numbers."""
    for number in path:
        body = fields(body)[number][0]
    return body


def test_a_document_is_what_gnostic_would_read() -> None:
    body = encode(DOCUMENT)
    assert fields(body)[1] == [b"2.0"]
    assert fields(inside(body, 2)) == {1: [b"Kubernetes"], 2: [b"v1"]}
    assert inside(body, 8, 2, 1) == b"/a/{name}"
    item = fields(inside(body, 8, 2, 2))
    patch = fields(item[8][0])
    assert patch[7] == [b"application/json"]
    query = fields(inside(patch[8][0], 1, 2, 3))
    assert (query[2], query[4], query[6], query[20]) == ([b"query"], [b"dryRun"], [b"string"], [1])
    assert fields(inside(patch[9][0], 1))[1] == [b"200"]
    assert inside(patch[9][0], 1, 2, 1, 1) == b"OK"
    assert fields(patch[13][0])[1] == [b"x-kubernetes-action"]
    assert inside(patch[13][0], 2, 2) == b'"patch"'
    assert fields(inside(item[9][0], 1, 2, 4))[1] == [1]


def test_schemas_refer_nest_and_repeat() -> None:
    body = encode(DOCUMENT)
    assert inside(body, 9, 1, 1) == b"A"
    schema = fields(inside(body, 9, 1, 2))
    assert inside(schema[22][0], 1) == b"object"
    assert schema[19] == [b"b"]
    first, second = fields(schema[25][0])[1]
    assert inside(first, 2, 23, 1, 1) == b"#/definitions/B"
    assert inside(second, 2, 21, 1, 22, 1) == b"string"
