"""Shape closures for protocols whose bodies are trees of plain values: JSON and CBOR.

``TreeCompiler`` turns a shape into a parser (decoded body → input by member names) and a writer
(output → body ready to encode). The dialect says how blobs and instants look and whether
members are renamed. Null members count as absent; unknown input members are ignored, as AWS
does; an output member that the model lacks is our bug and raises UnmodelledMember.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from proa.wire.aws.faults import Malformed, UnmodelledMember
from proa.wire.aws.model import Model, Ref, Shape, cache_key, tied
from proa.wire.aws.values import (
    EPOCH,
    decode_blob,
    encode_blob,
    format_instant,
    instant,
    parse_instant,
)

Convert = Callable[[Any], Any]
_REST_LOCATIONS = frozenset({"header", "headers", "uri", "querystring", "statusCode"})


@dataclass(slots=True, frozen=True)
class Dialect:
    """How a protocol writes a tree. ``instant_in``/``instant_out`` apply where the model names
    no timestamp format."""

    renames: bool
    instant_in: Convert
    instant_out: Convert
    blob_in: Convert
    blob_out: Convert


def _json_instant(value: Any) -> float:
    if isinstance(value, str):
        return parse_instant(value, EPOCH)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Malformed(_misfit(value, "a Timestamp"))
    return instant(value)


def _json_number(seconds: float) -> float | int:
    return int(seconds) if seconds == int(seconds) else round(seconds, 3)


def _json_blob(value: Any) -> bytes:
    if not isinstance(value, str):
        raise Malformed(_misfit(value, "a Blob"))
    return decode_blob(value)


JSON = Dialect(True, _json_instant, _json_number, _json_blob, encode_blob)


def _misfit(value: Any, wanted: str) -> str:
    """How AWS's JSON front end words a value of the wrong type."""
    if isinstance(value, dict):
        return "Start of structure or map found where not expected."
    if isinstance(value, list):
        return "Start of list found where not expected"
    if isinstance(value, bool):
        return f"{'TRUE' if value else 'FALSE'}_VALUE can not be converted to {wanted}"
    kind = "STRING" if isinstance(value, str) else "NUMBER"
    return f"{kind}_VALUE can not be converted to {wanted}"


def _text(value: Any) -> str:
    if type(value) is str:
        return value
    raise Malformed(_misfit(value, "a String"))


def _whole(value: Any) -> int:
    if type(value) is int:
        return value
    if type(value) is float and value.is_integer():
        return int(value)
    raise Malformed(_misfit(value, "an Integer"))


def _real(value: Any) -> float:
    if type(value) is float or type(value) is int:
        return float(value)
    if value in ("NaN", "Infinity", "-Infinity"):
        return float(value)
    raise Malformed(_misfit(value, "a Double"))


def _truth(value: Any) -> bool:
    if type(value) is bool:
        return value
    raise Malformed(_misfit(value, "a Boolean"))


def _same(value: Any) -> Any:
    return value


_SCALARS: Mapping[str, Convert] = {
    "string": _text,
    "character": _text,
    "integer": _whole,
    "long": _whole,
    "float": _real,
    "double": _real,
    "boolean": _truth,
}


class TreeCompiler:
    """Compiles the shapes of one model for one dialect; recursive shapes are tied late."""

    def __init__(self, model: Model, dialect: Dialect) -> None:
        self._model, self._dialect = model, dialect
        self._parsers: dict[tuple[Any, ...], Convert] = {}
        self._writers: dict[tuple[Any, ...], Convert] = {}

    def parser(self, ref: Ref) -> Convert:
        """Decoded body → input; raises Malformed."""
        shape = self._model.shape(ref)
        return tied(self._parsers, cache_key(ref), lambda: self._build_parser(shape))

    def writer(self, ref: Ref) -> Convert:
        """Output → body."""
        shape = self._model.shape(ref)
        return tied(self._writers, cache_key(ref), lambda: self._build_writer(shape))

    def _wire_name(self, member: Shape, name: str) -> str:
        return member.wire_name(name) if self._dialect.renames else name

    def _body_members(self, shape: Shape) -> list[tuple[str, str, Ref]]:
        """(member, wire name, reference) of what belongs into the body."""
        found = []
        for name, ref in shape.members.items():
            if ref.get("location") in _REST_LOCATIONS:
                continue
            found.append((name, self._wire_name(self._model.shape(ref), name), ref))
        return found

    # Parsing

    def _build_parser(self, shape: Shape) -> Convert:
        if shape.type == "structure":
            return _same if shape.traits.get("document") else self._parse_structure(shape)
        if shape.type == "list":
            return self._parse_list(shape)
        if shape.type == "map":
            return self._parse_map(shape)
        if shape.type == "timestamp":
            style = shape.traits.get("timestampFormat")
            if style in (None, EPOCH):
                return self._dialect.instant_in
            return lambda value: parse_instant(_text(value), style)
        if shape.type == "blob":
            return self._dialect.blob_in
        return _SCALARS[shape.type]

    def _parse_structure(self, shape: Shape) -> Convert:
        table = {wire: (name, self.parser(ref)) for name, wire, ref in self._body_members(shape)}

        def parse(value: Any) -> dict[str, Any]:
            if type(value) is not dict:
                raise Malformed(_misfit(value, "a Structure"))
            out = {}
            for key, item in value.items():
                known = table.get(key)
                if known is not None and item is not None:
                    out[known[0]] = known[1](item)
            return out

        return parse

    def _parse_list(self, shape: Shape) -> Convert:
        member = self.parser(shape.traits["member"])

        def parse(value: Any) -> list[Any]:
            if type(value) is not list:
                raise Malformed(_misfit(value, "a List"))
            return [None if item is None else member(item) for item in value]

        return parse

    def _parse_map(self, shape: Shape) -> Convert:
        member = self.parser(shape.traits["value"])

        def parse(value: Any) -> dict[str, Any]:
            if type(value) is not dict:
                raise Malformed(_misfit(value, "a Map"))
            return {
                _text(key): None if item is None else member(item) for key, item in value.items()
            }

        return parse

    # Writing

    def _build_writer(self, shape: Shape) -> Convert:
        if shape.type == "structure":
            return _same if shape.traits.get("document") else self._write_structure(shape)
        if shape.type == "list":
            member = self.writer(shape.traits["member"])
            return lambda value: list(value) if member is _same else [member(v) for v in value]
        if shape.type == "map":
            item = self.writer(shape.traits["value"])
            return lambda value: {key: item(v) for key, v in value.items()}
        if shape.type == "timestamp":
            style = shape.traits.get("timestampFormat")
            if style in (None, EPOCH):
                return self._dialect.instant_out
            return lambda value: format_instant(value, style)
        if shape.type == "blob":
            return self._dialect.blob_out
        return _same

    def _write_structure(self, shape: Shape) -> Convert:
        table = {name: (wire, self.writer(ref)) for name, wire, ref in self._body_members(shape)}
        elsewhere = shape.members.keys() - table.keys()  # bound to headers or the status

        def write(value: Mapping[str, Any]) -> dict[str, Any]:
            out = {}
            for name, item in value.items():
                if item is None:
                    continue
                known = table.get(name)
                if known is not None:
                    out[known[0]] = item if known[1] is _same else known[1](item)
                elif name not in elsewhere:
                    raise UnmodelledMember(f"{shape.name} has no member {name!r}")
            return out

        return write
