"""REST bindings: which members live in the path, the query, the headers, the status, the body.

``RestBinder`` compiles an operation's input into "collect from the request" and its output into
"spread over the answer"; what remains is the body's, which the JSON or XML compiler handles.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from proa.base.http import Request
from proa.wire.aws.faults import Malformed
from proa.wire.aws.model import Model, Shape
from proa.wire.aws.values import (
    ISO8601,
    RFC822,
    decode_blob,
    encode_blob,
    format_instant,
    format_scalar,
    parse_instant,
    parse_scalar,
)

FromText = Callable[[str], Any]
ToText = Callable[[Any], str]
Collect = Callable[[Request, Mapping[str, str]], dict[str, Any]]
Spread = Callable[[Mapping[str, Any]], tuple[int, dict[str, str]]]


def _from_text(shape: Shape, default_style: str) -> FromText:
    if shape.type == "timestamp":
        style = shape.traits.get("timestampFormat", default_style)
        return lambda text: parse_instant(text, style)
    if shape.type == "blob":
        return decode_blob
    if shape.traits.get("jsonvalue"):
        return _json_value
    kind = shape.type
    return lambda text: parse_scalar(text, kind)


def _json_value(text: str) -> str:
    """A JSON text carried as base64 in a header; handlers see the JSON text."""
    return base64.b64decode(text).decode()


def _to_text(shape: Shape, default_style: str) -> ToText:
    if shape.type == "timestamp":
        style = shape.traits.get("timestampFormat", default_style)
        return lambda value: format_instant(value, style)
    if shape.type == "blob":
        return encode_blob
    if shape.traits.get("jsonvalue"):
        return lambda value: base64.b64encode(
            value.encode() if isinstance(value, str) else orjson.dumps(value)
        ).decode()
    kind = shape.type
    return lambda value: format_scalar(value, kind)


@dataclass(slots=True, frozen=True)
class Payload:
    """The member that is the whole body: its name and shape."""

    member: str
    shape: Shape

    @property
    def raw(self) -> bool:
        """Whether the body is the value itself, not an encoded structure."""
        return self.shape.type in ("blob", "string")


def payload_of(model: Model, shape: Shape) -> Payload | None:
    """The payload member of an input or output shape, if it names one."""
    name = shape.traits.get("payload")
    return Payload(name, model.shape(shape.members[name])) if name else None


class RestBinder:
    """Compiles bindings of one model's operations."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def collector(self, shape: Shape) -> Collect:
        """Reads every bound input member of a request, given the path's labels."""
        steps = [
            self._collect(name, self._model.shape(ref))
            for name, ref in shape.members.items()
            if ref.get("location")
        ]

        def collect(request: Request, labels: Mapping[str, str]) -> dict[str, Any]:
            out: dict[str, Any] = {}
            for name, step in steps:
                value = step(request, labels)
                if value is not None:
                    out[name] = value
            return out

        return collect

    def _collect(
        self, name: str, shape: Shape
    ) -> tuple[str, Callable[[Request, Mapping[str, str]], Any]]:
        location, wire = shape.traits["location"], shape.wire_name(name)
        if location == "uri":
            read = _from_text(shape, ISO8601)
            return name, lambda _request, labels: read(labels[wire]) if wire in labels else None
        if location == "header":
            return name, self._collect_header(shape, wire.lower())
        if location == "headers":
            return name, lambda request, _labels: _with_prefix(request, wire.lower())
        if location == "querystring":
            return name, self._collect_query(shape, wire)
        raise Malformed(f"inputs have no location {location!r}")

    def _collect_header(
        self, shape: Shape, wire: str
    ) -> Callable[[Request, Mapping[str, str]], Any]:
        if shape.type == "list":
            item = _from_text(self._model.shape(shape.traits["member"]), RFC822)
            return lambda request, _labels: (
                [item(part.strip()) for part in request.headers[wire].split(",")]
                if wire in request.headers
                else None
            )
        read = _from_text(shape, RFC822)
        return lambda request, _labels: (
            read(request.headers[wire]) if wire in request.headers else None
        )

    def _collect_query(
        self, shape: Shape, wire: str
    ) -> Callable[[Request, Mapping[str, str]], Any]:
        if shape.type == "list":
            item = _from_text(self._model.shape(shape.traits["member"]), ISO8601)
            return lambda request, _labels: (
                [item(value) for key, value in request.query if key == wire] or None
            )
        if shape.type == "map":
            return self._collect_query_map(shape)
        read = _from_text(shape, ISO8601)

        def collect(request: Request, _labels: Mapping[str, str]) -> Any:
            for key, value in request.query:
                if key == wire:
                    return read(value)
            return None

        return collect

    def _collect_query_map(self, shape: Shape) -> Callable[[Request, Mapping[str, str]], Any]:
        lists = self._model.shape(shape.traits["value"]).type == "list"

        def collect(request: Request, _labels: Mapping[str, str]) -> Any:
            out: dict[str, Any] = {}
            for key, value in request.query:
                if lists:
                    out.setdefault(key, []).append(value)
                else:
                    out[key] = value
            return out or None

        return collect

    def spreader(self, shape: Shape) -> Spread:
        """Writes the bound output members: the status (0: the model's default) and headers."""
        headers: list[tuple[str, str, ToText]] = []
        prefixes: list[tuple[str, str]] = []
        statuses: list[str] = []
        for name, ref in shape.members.items():
            member = self._model.shape(ref)
            location = ref.get("location")
            if location == "header":
                headers.append((name, member.wire_name(name), self._header_text(member)))
            elif location == "headers":
                prefixes.append((name, member.wire_name(name)))
            elif location == "statusCode":
                statuses.append(name)

        def spread(output: Mapping[str, Any]) -> tuple[int, dict[str, str]]:
            found: dict[str, str] = {}
            for name, wire, text in headers:
                if output.get(name) is not None:
                    found[wire] = text(output[name])
            for name, prefix in prefixes:
                for key, value in (output.get(name) or {}).items():
                    found[prefix + key] = value
            status = next((output[name] for name in statuses if output.get(name)), 0)
            return int(status), found

        return spread

    def _header_text(self, shape: Shape) -> ToText:
        if shape.type == "list":
            item = _to_text(self._model.shape(shape.traits["member"]), RFC822)
            return lambda value: ", ".join(item(part) for part in value)
        return _to_text(shape, RFC822)


def _with_prefix(request: Request, prefix: str) -> dict[str, str] | None:
    found = {
        name[len(prefix) :]: value
        for name, value in request.headers.items()
        if name.startswith(prefix)
    }
    return found or None
