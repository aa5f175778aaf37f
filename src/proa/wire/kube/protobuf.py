"""Kubernetes' protobuf bodies, decoded into the JSON form of the same objects.

client-go programs send ``application/vnd.kubernetes.protobuf``: the bytes ``k8s\\0``, then a
runtime.Unknown message that names the kind and holds the object in proto2. The API decodes request
bodies with ``decode`` and goes on as with JSON; answers may always be JSON.

``fields.json`` holds the published field numbers of the served kinds (facts of Kubernetes 1.36)
under their JSON names: ``{package: {message: {field: [number, type, keep zero?]}}}``. A type may be
``repeated X``, ``map<string,X>`` or ``inline X`` (an embedded struct whose fields belong to the
outer object); a type with a leading dot is a full name, another one is of the same package. Go
writes the zero values of plain fields too; only those marked are kept, as JSON would have them.

Total and bounded: any body gives an object or a ValueError, nothing is nested deeper than
``MAX_DEPTH``, and the result is no larger than a small multiple of the body.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

MAGIC = b"k8s\x00"
MAX_DEPTH = 64
META = "k8s.io.apimachinery.pkg.apis.meta.v1"
RUNTIME = "k8s.io.apimachinery.pkg.runtime"
EXTENSIONS = "k8s.io.apiextensions_apiserver.pkg.apis.apiextensions.v1"
_PACKAGES = {
    "apiextensions.k8s.io": "k8s.io.apiextensions_apiserver.pkg.apis.apiextensions",
    "apiregistration.k8s.io": "k8s.io.kube_aggregator.pkg.apis.apiregistration",
    "metrics.k8s.io": "k8s.io.metrics.pkg.apis.metrics",
    "meta.k8s.io": "k8s.io.apimachinery.pkg.apis.meta",
    "": "k8s.io.api.core",
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
JSON = dict[str, Any]
_ABSENT = object()
"""What an encoded value stands for that JSON would leave out."""


@dataclass(slots=True, eq=False)
class Field:
    """One field of a message, ready to be read."""

    name: str
    kind: str
    wire: int
    repeated: bool
    keep_zero: bool
    message: str = ""
    map_value: Field | None = None


@dataclass(slots=True, eq=False)
class Message:
    """One message type: its fields by number."""

    name: str
    fields: dict[int, Field] = field(default_factory=dict)


def decode(body: bytes) -> JSON:
    """The object in a ``k8s\\0`` + runtime.Unknown frame, in its JSON form; raises ValueError."""
    return _unwrap(body, 0)


def is_protobuf(body: bytes) -> bool:
    """Whether a body is framed as Kubernetes' protobuf."""
    return body.startswith(MAGIC)


def _unwrap(body: bytes, depth: int) -> JSON:
    if not body.startswith(MAGIC):
        raise ValueError("not a Kubernetes protobuf body: it does not begin with k8s\\0")
    frame = _Frame()
    for number, wire, value in _records(body[len(MAGIC) :]):
        frame.take(number, wire, value)
    if frame.content_type == "application/json":
        return _json_object(frame.raw)
    name = _message_name(frame.api_version, frame.kind)
    obj = _decode(name, frame.raw, depth)
    return {"apiVersion": frame.api_version, "kind": frame.kind, **obj}


class _Frame:
    """The parts of a runtime.Unknown."""

    def __init__(self) -> None:
        self.api_version = self.kind = self.content_type = ""
        self.raw = b""

    def take(self, number: int, wire: int, value: Any) -> None:
        if wire != _BYTES:
            return
        if number == 1:
            meta = _decode(f"{RUNTIME}.TypeMeta", value, 0)
            self.api_version = meta.get("apiVersion", "")
            self.kind = meta.get("kind", "")
        elif number == 2:
            self.raw = value
        elif number == 3 and value:
            raise ValueError(f"unsupported content encoding {value!r}")
        elif number == 4:
            self.content_type = _text(value)


def _message_name(api_version: str, kind: str) -> str:
    group, _, version = api_version.rpartition("/")
    package = _PACKAGES.get(group, f"k8s.io.api.{group.split('.')[0]}")
    for name in (f"{package}.{version}.{kind}", f"{META}.{kind}"):
        if _exists(name):
            return name
    raise ValueError(f'no kind "{kind}" is registered for version "{api_version}"')


def _decode(name: str, body: bytes, depth: int) -> Any:
    """The JSON form of one message."""
    if depth > MAX_DEPTH:
        raise ValueError("message nested too deeply")
    special = SPECIAL.get(name)
    if special is not None:
        return special(body, depth)
    return _plain(name, body, depth)


def _plain(name: str, body: bytes, depth: int) -> JSON:
    fields = _message(name).fields
    obj: JSON = {}
    for number, wire, raw in _records(body):
        known = fields.get(number)
        if known is None:
            continue
        if known.kind == "map":
            _entry(known, wire, raw, obj.setdefault(known.name, {}), depth)
        elif known.repeated:
            values = obj.setdefault(known.name, [])
            if _is_packed(known, wire):
                values += _packed(known, raw)
            else:
                values.append(_element(known, wire, raw, depth))
        elif known.kind == "inline":
            _expect(known, wire)
            obj |= _decode(known.message, raw, depth + 1)
        else:
            value = _value(known, wire, raw, depth)
            said = known.keep_zero or known.kind == "message" or bool(value)
            if said and value is not _ABSENT:
                obj[known.name] = value
            else:
                obj.pop(known.name, None)
    return obj


def _value(known: Field, wire: int, raw: Any, depth: int) -> Any:
    _expect(known, wire)
    if known.kind == "message":
        return _decode(known.message, raw, depth + 1)
    return _SCALARS[known.kind][1](raw)


def _element(known: Field, wire: int, raw: Any, depth: int) -> Any:
    value = _value(known, wire, raw, depth)
    return None if value is _ABSENT else value


def _expect(known: Field, wire: int) -> None:
    if wire != known.wire:
        raise ValueError(f"field {known.name}: wire type {wire} where {known.wire} belongs")


def _entry(known: Field, wire: int, raw: Any, into: JSON, depth: int) -> None:
    """One entry of a map: a message of key (1) and value (2)."""
    _expect(known, wire)
    value_field = known.map_value
    assert value_field is not None
    key, value = "", _zero(value_field, depth)
    for number, inner_wire, inner in _records(raw):
        if number == 1:
            if inner_wire != _BYTES:
                raise ValueError(f"field {known.name}: a map's key is not a string")
            key = _text(inner)
        elif number == 2:
            value = _element(value_field, inner_wire, inner, depth)
    into[key] = value


def _zero(known: Field, depth: int) -> Any:
    if known.kind == "message":
        value = _decode(known.message, b"", depth + 1)
        return None if value is _ABSENT else value
    return _SCALARS[known.kind][1](b"" if known.wire == _BYTES else 0)


def _is_packed(known: Field, wire: int) -> bool:
    return wire == _BYTES and known.wire == _VARINT


def _packed(known: Field, raw: bytes) -> list[Any]:
    values: list[Any] = []
    at = 0
    while at < len(raw):
        number, at = _varint(raw, at)
        values.append(_SCALARS[known.kind][1](number))
    return values


# Bytes


def _records(body: bytes) -> list[tuple[int, int, Any]]:
    """The (field number, wire type, raw value) of each field in a message."""
    records: list[tuple[int, int, Any]] = []
    at, end = 0, len(body)
    while at < end:
        tag, at = _varint(body, at)
        number, wire = tag >> 3, tag & 7
        if number == 0:
            raise ValueError("illegal field number 0")
        value: Any
        if wire == _VARINT:
            value, at = _varint(body, at)
        elif wire == _BYTES:
            size, at = _varint(body, at)
            value, at = body[at : at + size], at + size
        elif wire in (_FIXED64, _FIXED32):
            size = 8 if wire == _FIXED64 else 4
            value, at = body[at : at + size], at + size
        else:
            raise ValueError(f"illegal wire type {wire}")
        if at > end:
            raise ValueError("unexpected end of the message")
        records.append((number, wire, value))
    return records


def _varint(body: bytes, at: int) -> tuple[int, int]:
    """An unsigned varint of at most 64 bits, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(body):
            raise ValueError("unexpected end of the message")
        byte = body[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >> 64:
                raise ValueError("varint overflows 64 bits")
            return value, at
    raise ValueError("varint longer than ten bytes")


def _text(raw: bytes) -> str:
    return raw.decode("utf-8")


def _int32(raw: int) -> int:
    low = raw & 0xFFFFFFFF
    return low - (1 << 32) if low >> 31 else low


def _int64(raw: int) -> int:
    return raw - (1 << 64) if raw >> 63 else raw


def _double(raw: bytes) -> float:
    number: float = struct.unpack("<d", raw or bytes(8))[0]
    if number != number or number in (float("inf"), float("-inf")):
        raise ValueError("a number that JSON cannot hold")
    return number


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


_SCALARS: dict[str, tuple[int, Callable[[Any], Any]]] = {
    "string": (_BYTES, _text),
    "bytes": (_BYTES, _base64),
    "bool": (_VARINT, bool),
    "int32": (_VARINT, _int32),
    "int64": (_VARINT, _int64),
    "double": (_FIXED64, _double),
}


# Messages whose JSON form is not an object of their fields


def _quantity(body: bytes, depth: int) -> Any:
    return _plain(QUANTITY, body, depth).get("string") or "0"


def _moment(body: bytes, depth: int, *, micro: bool) -> Any:
    if not body:
        return _ABSENT
    parts = {number: value for number, wire, value in _records(body) if wire == _VARINT}
    seconds, nanos = _int64(parts.get(1, 0)), _int32(parts.get(2, 0))
    try:
        moment = _EPOCH + timedelta(seconds=seconds, microseconds=nanos // 1000 if micro else 0)
    except OverflowError:
        raise ValueError(f"a time out of range: {seconds} s") from None
    layout = f"{moment.year:04d}-%m-%dT%H:%M:%S" + (".%fZ" if micro else "Z")
    return moment.strftime(layout)


def _time(body: bytes, depth: int) -> Any:
    return _moment(body, depth, micro=False)


def _micro_time(body: bytes, depth: int) -> Any:
    return _moment(body, depth, micro=True)


def _int_or_string(body: bytes, depth: int) -> Any:
    parts = _plain(INT_OR_STRING, body, depth)
    return parts.get("strVal", "") if parts.get("type") == 1 else parts.get("intVal", 0)


def _raw_field(body: bytes) -> bytes:
    return next((value for number, wire, value in _records(body) if number == 1 and wire == 2), b"")


def _raw_extension(body: bytes, depth: int) -> Any:
    """An object within an object: in JSON, or framed once more."""
    raw = _raw_field(body)
    if raw.startswith(MAGIC):
        return _unwrap(raw, depth + 1)
    return _raw_json(body, depth)


def _raw_json(body: bytes, depth: int) -> Any:
    raw = _raw_field(body)
    return _json(raw) if raw else _ABSENT


def _json(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except RecursionError:
        raise ValueError("JSON nested too deeply") from None


def _json_object(raw: bytes) -> JSON:
    obj = _json(raw)
    if not isinstance(obj, dict):
        raise ValueError("the JSON in the frame is not an object")
    return obj


def _items(body: bytes, depth: int) -> Any:
    """ExtraValue and Verbs: lists of strings in a message of their own."""
    return [_text(value) for number, wire, value in _records(body) if number == 1 and wire == 2]


def _duration(body: bytes, depth: int) -> Any:
    parts = {number: value for number, wire, value in _records(body) if wire == _VARINT}
    nanos = _int64(parts.get(1, 0))
    return f"{nanos / 1e9:g}s"


def _schema_or(name: str) -> Callable[[bytes, int], Any]:
    """JSONSchemaPropsOr…: a schema, or the other thing it may be."""

    def read(body: bytes, depth: int) -> Any:
        parts = _plain(f"{EXTENSIONS}.{name}", body, depth)
        for field_name in ("schema", "jSONSchemas", "property"):
            if field_name in parts:
                return parts[field_name]
        return parts.get("allows", False) if name == "JSONSchemaPropsOrBool" else []

    return read


QUANTITY = "k8s.io.apimachinery.pkg.api.resource.Quantity"
INT_OR_STRING = "k8s.io.apimachinery.pkg.util.intstr.IntOrString"
SPECIAL: dict[str, Callable[[bytes, int], Any]] = {
    QUANTITY: _quantity,
    INT_OR_STRING: _int_or_string,
    f"{META}.Time": _time,
    f"{META}.MicroTime": _micro_time,
    f"{META}.Duration": _duration,
    f"{META}.FieldsV1": _raw_json,
    f"{META}.Verbs": _items,
    f"{RUNTIME}.RawExtension": _raw_extension,
    f"{EXTENSIONS}.JSON": _raw_json,
    **{
        f"{EXTENSIONS}.{name}": _schema_or(name)
        for name in (
            "JSONSchemaPropsOrArray",
            "JSONSchemaPropsOrBool",
            "JSONSchemaPropsOrStringArray",
        )
    },
    **{
        f"k8s.io.api.{group}.v1.ExtraValue": _items
        for group in ("authentication", "authorization", "certificates")
    },
}


# The table


@lru_cache(maxsize=1)
def _table() -> dict[str, dict[str, dict[str, list[Any]]]]:
    table: dict[str, dict[str, dict[str, list[Any]]]] = json.loads(
        files("proa.wire.kube").joinpath("fields.json").read_bytes()
    )
    return table


def _exists(name: str) -> bool:
    package, _, message = name.rpartition(".")
    return message in _table().get(package, {})


@cache
def _message(name: str) -> Message:
    """A message type, made ready when it is first met (their number is that of the table)."""
    package, _, short = name.rpartition(".")
    message = Message(name)
    for field_name, row in _table()[package][short].items():
        message.fields[row[0]] = _field(package, field_name, row[1], len(row) > 2)
    return message


def _field(package: str, name: str, declared: str, keep_zero: bool) -> Field:
    repeated = declared.startswith("repeated ")
    kind = declared.removeprefix("repeated ")
    if kind.startswith("map<string,"):
        value = _field(package, "value", kind[len("map<string,") : -1], True)
        return Field(name, "map", _BYTES, False, True, map_value=value)
    if kind in _SCALARS:
        return Field(name, kind, _SCALARS[kind][0], repeated, keep_zero)
    inline = kind.startswith("inline ")
    kind = kind.removeprefix("inline ")
    full = kind[1:] if kind.startswith(".") else f"{package}.{kind}"
    return Field(name, "inline" if inline else "message", _BYTES, repeated, keep_zero, full)
