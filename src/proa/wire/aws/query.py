"""Shape closures that read the form bodies of the query and ec2 protocols.

A body ``A.1.B=c`` becomes a tree of nodes once; parsers then walk it by shape. The two
protocols differ in names (ec2: ``queryName``, or the location name capitalised) and lists (ec2:
always flattened). Source: the AWS query and EC2 query protocol definitions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from proa.wire.aws.faults import Malformed
from proa.wire.aws.model import Model, Ref, Shape, cache_key, tied
from proa.wire.aws.values import EPOCH, ISO8601, decode_blob, parse_instant, parse_scalar

MAX_DEPTH = 64


class Node:
    """A parameter's value, its children by the next part of the name, or both."""

    __slots__ = ("children", "text")

    def __init__(self) -> None:
        self.text: str | None = None
        self.children: dict[str, Node] = {}


Parse = Callable[[Node], Any]


def grow(parameters: Iterable[tuple[str, str]]) -> Node:
    """The tree of a form's parameters; raises Malformed for absurdly deep names."""
    root = Node()
    for name, value in parameters:
        parts = name.split(".")
        if len(parts) > MAX_DEPTH:
            raise Malformed("a parameter is nested too deeply")
        node = root
        for part in parts:
            child = node.children.get(part)
            if child is None:
                child = node.children[part] = Node()
            node = child
        node.text = value
    return root


def _numbered(node: Node) -> list[Node]:
    """Children named by numbers, in their order; gaps are closed, as AWS does."""
    numbered = [(int(key), child) for key, child in node.children.items() if key.isdecimal()]
    return [child for _, child in sorted(numbered, key=lambda item: item[0])]


class QueryCompiler:
    """Compiles the input shapes of one model; ``ec2`` chooses the dialect."""

    def __init__(self, model: Model, ec2: bool) -> None:
        self._model, self._ec2 = model, ec2
        self._parsers: dict[tuple[Any, ...], Parse] = {}

    def parser(self, ref: Ref) -> Parse:
        """Node → input; raises Malformed."""
        shape = self._model.shape(ref)
        return tied(self._parsers, cache_key(ref), lambda: self._build(shape))

    def _build(self, shape: Shape) -> Parse:
        if shape.type == "structure":
            return self._structure(shape)
        if shape.type == "list":
            return self._list(shape)
        if shape.type == "map":
            return self._map(shape)
        if shape.type == "timestamp":
            style = shape.traits.get("timestampFormat", ISO8601)
            return lambda node: parse_instant(_text(node), EPOCH if style == EPOCH else style)
        if shape.type == "blob":
            return lambda node: decode_blob(_text(node))
        kind = shape.type
        return lambda node: parse_scalar(_text(node), kind)

    def wire_name(self, name: str, ref: Ref) -> str:
        """The name of a member among its structure's parameters."""
        shape = self._model.shape(ref)
        if self._ec2:
            if "queryName" in shape.traits:
                return str(shape.traits["queryName"])
            wire = shape.traits.get("locationName")
            return name if wire is None else wire[:1].upper() + wire[1:]
        if shape.type == "list" and shape.traits.get("flattened"):
            inner = shape.traits["member"].get("locationName")
            if inner is not None:
                return str(inner)
        return shape.wire_name(name)

    def _structure(self, shape: Shape) -> Parse:
        table = [
            (self.wire_name(name, ref), name, self.parser(ref))
            for name, ref in shape.members.items()
        ]

        def parse(node: Node) -> dict[str, Any]:
            children = node.children
            out = {}
            for wire, name, member in table:
                child = children.get(wire)
                if child is not None:
                    out[name] = member(child)
            return out

        return parse

    def _list(self, shape: Shape) -> Parse:
        ref = shape.traits["member"]
        member = self.parser(ref)
        flattened = self._ec2 or bool(shape.traits.get("flattened"))
        inner = ref.get("locationName", "member")

        def parse(node: Node) -> list[Any]:
            if not flattened:
                wrapped = node.children.get(inner)
                if wrapped is None:
                    return []
                node = wrapped
            return [member(child) for child in _numbered(node)]

        return parse

    def _map(self, shape: Shape) -> Parse:
        flattened = bool(shape.traits.get("flattened"))
        key_name = shape.traits["key"].get("locationName", "key")
        value_name = shape.traits["value"].get("locationName", "value")
        value = self.parser(shape.traits["value"])

        def parse(node: Node) -> dict[str, Any]:
            if not flattened:
                entry = node.children.get("entry")
                if entry is None:
                    return {}
                node = entry
            out = {}
            for child in _numbered(node):
                key, item = child.children.get(key_name), child.children.get(value_name)
                if key is None or item is None:
                    raise Malformed("a map entry lacks its key or value")
                out[_text(key)] = value(item)
            return out

        return parse


def _text(node: Node) -> str:
    if node.text is None:
        raise Malformed("a value is missing")
    return node.text
