"""An OpenAPI v2 document in protobuf, which clients ask for by a media type of its own.

``kube.api.documents`` encodes /openapi/v2 by it where ``Accept`` says so: client-go parses that
answer as protobuf unconditionally. The messages and field numbers are those of gnostic's
OpenAPIv2.proto, as far as our documents go; extensions (``x-…``) are carried as YAML, for which
JSON serves.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import orjson

MEDIA_TYPE = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
CONTENT_TYPE = MEDIA_TYPE.replace("@", ".")  # an @ is no part of a media type to Go's parser
JSON = dict[str, Any]
Encode = Callable[[Any], bytes]
_STRING, _BOOL, _DOUBLE, _INT = "string", "bool", "double", "int"


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _chunk(field: int, body: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(body)) + body


def _scalar(field: int, kind: str, value: Any) -> bytes:
    if kind == _STRING:
        return _chunk(field, str(value).encode())
    if kind == _DOUBLE:
        return _varint(field << 3 | 1) + struct.pack("<d", value)
    return _varint(field << 3) + _varint(int(value))


def _any(value: Any) -> bytes:
    """gnostic's Any: the value as YAML."""
    return _chunk(2, orjson.dumps(value))


def _named(of: Encode) -> Encode:
    """A map as repeated pairs of name (1) and value (2)."""

    def encode(value: JSON) -> bytes:
        return b"".join(
            _chunk(1, _chunk(1, name.encode()) + _chunk(2, of(item)))
            for name, item in value.items()
        )

    return encode


def _message(extensions: int, **fields: tuple[int, str | Encode]) -> Encode:
    """A message: JSON names to (number, how it is written); lists are repeated. What is not named
    is left out, but for extensions, which all go to the field ``extensions``."""

    def encode(value: JSON) -> bytes:
        out: list[bytes] = []
        for name, item in value.items():
            if name.startswith("x-"):
                pair = _chunk(1, name.encode()) + _chunk(2, _any(item))
                out.append(_chunk(extensions, pair))
                continue
            number, kind = fields.get(name.replace("$", "_"), (0, _STRING))
            if not number:
                continue
            for one in item if isinstance(item, list) else [item]:
                if isinstance(kind, str):
                    out.append(_scalar(number, kind, one))
                else:
                    out.append(_chunk(number, kind(one)))
        return b"".join(out)

    return encode


def _schema(value: Any) -> bytes:
    return _SCHEMA(value)


def _type(value: str) -> bytes:
    return _chunk(1, value.encode())


def _items(value: JSON) -> bytes:
    return _chunk(1, _schema(value))


def _additional(value: Any) -> bytes:
    """AdditionalPropertiesItem: a schema, or whether there may be any."""
    return _scalar(2, _BOOL, value) if isinstance(value, bool) else _chunk(1, _schema(value))


_SCHEMA = _message(
    31,
    _ref=(1, _STRING),
    format=(2, _STRING),
    title=(3, _STRING),
    description=(4, _STRING),
    default=(5, _any),
    maximum=(7, _DOUBLE),
    minimum=(9, _DOUBLE),
    maxLength=(11, _INT),
    minLength=(12, _INT),
    pattern=(13, _STRING),
    maxItems=(14, _INT),
    minItems=(15, _INT),
    uniqueItems=(16, _BOOL),
    required=(19, _STRING),
    enum=(20, _any),
    additionalProperties=(21, _additional),
    type=(22, _type),
    items=(23, _items),
    allOf=(24, _schema),
    properties=(25, _named(_schema)),
    readOnly=(27, _BOOL),
    example=(30, _any),
)
_QUERY = _message(
    23,
    required=(1, _BOOL),
    description=(3, _STRING),
    name=(4, _STRING),
    type=(6, _STRING),
    format=(7, _STRING),
    uniqueItems=(20, _BOOL),
    **{"in": (2, _STRING)},
)
_PATH = _message(
    22,
    required=(1, _BOOL),
    description=(3, _STRING),
    name=(4, _STRING),
    type=(5, _STRING),
    format=(6, _STRING),
    uniqueItems=(19, _BOOL),
    **{"in": (2, _STRING)},
)
_BODY = _message(
    6,
    description=(1, _STRING),
    name=(2, _STRING),
    required=(4, _BOOL),
    schema=(5, _schema),
    **{"in": (3, _STRING)},
)


def _parameter(value: JSON) -> bytes:
    """ParametersItem: a Parameter in the body, the query or the path."""
    place = value.get("in")
    if place == "body":
        return _chunk(1, _chunk(1, _BODY(value)))
    number, encode = (4, _PATH) if place == "path" else (3, _QUERY)
    return _chunk(1, _chunk(2, _chunk(number, encode(value))))


def _answer(value: JSON) -> bytes:
    """ResponseValue: a Response."""
    schema = _message(0, schema=(1, _schema))
    described = _chunk(1, str(value.get("description", "")).encode())
    return _chunk(1, described + (_chunk(2, schema(value)) if "schema" in value else b""))


_OPERATION = _message(
    13,
    tags=(1, _STRING),
    description=(3, _STRING),
    operationId=(5, _STRING),
    produces=(6, _STRING),
    consumes=(7, _STRING),
    parameters=(8, _parameter),
    responses=(9, _named(_answer)),
)
_PATH_ITEM = _message(
    10,
    get=(2, _OPERATION),
    put=(3, _OPERATION),
    post=(4, _OPERATION),
    delete=(5, _OPERATION),
    options=(6, _OPERATION),
    head=(7, _OPERATION),
    patch=(8, _OPERATION),
    parameters=(9, _parameter),
)


def _paths(value: JSON) -> bytes:
    pairs = (_chunk(1, path.encode()) + _chunk(2, _PATH_ITEM(item)) for path, item in value.items())
    return b"".join(_chunk(2, pair) for pair in pairs)


_DOCUMENT = _message(
    16,
    swagger=(1, _STRING),
    info=(2, _message(7, title=(1, _STRING), version=(2, _STRING))),
    paths=(8, _paths),
    definitions=(9, _named(_schema)),
)


def encode(document: JSON) -> bytes:
    """A document as openapi.v2.Document."""
    return _DOCUMENT(document)
