"""Shape closures that write XML (query, ec2, rest-xml answers) and read it (rest-xml inputs).

Text is built as a list of strings, without an element tree. Reading uses expat through
ElementTree after a check that the document declares no entities.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from xml.etree import ElementTree

from proa.wire.aws.faults import Malformed, UnmodelledMember
from proa.wire.aws.model import Model, Ref, Shape, cache_key, tied
from proa.wire.aws.values import (
    EPOCH,
    ISO8601,
    decode_blob,
    encode_blob,
    format_instant,
    format_instant_millis,
    format_scalar,
    parse_instant,
    parse_scalar,
)

# A writer appends an element of the given name holding the value.
Write = Callable[[list[str], str, Any], None]
Read = Callable[[ElementTree.Element], Any]
_REST_LOCATIONS = frozenset({"header", "headers", "uri", "querystring", "statusCode"})
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\r": "&#xD;"})


def escape(text: str) -> str:
    """Text for an element or attribute; what XML 1.0 cannot carry becomes U+FFFD."""
    return _FORBIDDEN.sub("\ufffd", text).translate(_ESCAPES)


def element(name: str, content: str) -> str:
    """One element of text, escaped."""
    return f"<{name}>{escape(content)}</{name}>"


class XmlCompiler:
    """Compiles the shapes of one model; ``ec2`` writes instants with milliseconds always."""

    def __init__(self, model: Model, ec2: bool = False) -> None:
        self._model, self._ec2 = model, ec2
        self._writers: dict[tuple[Any, ...], Write] = {}
        self._readers: dict[tuple[Any, ...], Read] = {}

    def writer(self, ref: Ref) -> Write:
        """How to append a value of this shape."""
        shape = self._model.shape(ref)
        return tied(self._writers, cache_key(ref), lambda: self._build_writer(shape))

    def members_writer(self, ref: Ref) -> Callable[[list[str], Mapping[str, Any]], None]:
        """Appends a structure's members without an element around them."""
        shape = self._model.shape(ref)
        table, elsewhere = self._member_writers(shape)

        def write(out: list[str], value: Mapping[str, Any]) -> None:
            for name, item in value.items():
                if item is None:
                    continue
                known = table.get(name)
                if known is not None:
                    known[1](out, known[0], item)
                elif name not in elsewhere:
                    raise UnmodelledMember(f"{shape.name} has no member {name!r}")

        return write

    def _member_writers(self, shape: Shape) -> tuple[dict[str, tuple[str, Write]], set[str]]:
        table: dict[str, tuple[str, Write]] = {}
        elsewhere: set[str] = set()
        for name, ref in shape.members.items():
            if ref.get("location") in _REST_LOCATIONS or ref.get("xmlAttribute"):
                elsewhere.add(name)
                continue
            table[name] = (self._element_name(name, ref), self.writer(ref))
        return table, elsewhere

    def _element_name(self, name: str, ref: Ref) -> str:
        shape = self._model.shape(ref)
        if shape.type == "list" and shape.traits.get("flattened"):
            inner = shape.traits["member"].get("locationName")
            if inner is not None:
                return str(inner)
        return shape.wire_name(name)

    def _build_writer(self, shape: Shape) -> Write:
        if shape.type == "structure":
            return self._write_structure(shape)
        if shape.type == "list":
            return self._write_list(shape)
        if shape.type == "map":
            return self._write_map(shape)
        text = self._scalar_text(shape)

        def write(out: list[str], name: str, value: Any) -> None:
            out.append(f"<{name}>{escape(text(value))}</{name}>")

        return write

    def _scalar_text(self, shape: Shape) -> Callable[[Any], str]:
        if shape.type == "timestamp":
            style = shape.traits.get("timestampFormat", ISO8601)
            if self._ec2 and style == ISO8601:
                return format_instant_millis
            return lambda value: format_instant(value, style)
        if shape.type == "blob":
            return encode_blob
        if shape.type in ("string", "character"):
            return str
        kind = shape.type
        return lambda value: format_scalar(value, kind)

    def _write_structure(self, shape: Shape) -> Write:
        members = self.members_writer({"shape": shape.name})
        attributes = [
            (name, ref.get("locationName", name))
            for name, ref in shape.members.items()
            if ref.get("xmlAttribute")
        ]
        opening = _namespace(shape)

        def write(out: list[str], name: str, value: Any) -> None:
            extra = "".join(
                f' {wire}="{escape(str(value[member]))}"'
                for member, wire in attributes
                if value.get(member) is not None
            )
            out.append(f"<{name}{opening}{extra}>")
            members(out, value)
            out.append(f"</{name}>")

        return write

    def _write_list(self, shape: Shape) -> Write:
        ref = shape.traits["member"]
        member = self.writer(ref)
        if shape.traits.get("flattened"):

            def write_flat(out: list[str], name: str, value: Any) -> None:
                for item in value:
                    member(out, name, item)

            return write_flat
        inner = ref.get("locationName", "member")

        def write(out: list[str], name: str, value: Any) -> None:
            if not value:
                out.append(f"<{name}/>")
                return
            out.append(f"<{name}>")
            for item in value:
                member(out, inner, item)
            out.append(f"</{name}>")

        return write

    def _write_map(self, shape: Shape) -> Write:
        key_name = shape.traits["key"].get("locationName", "key")
        value_name = shape.traits["value"].get("locationName", "value")
        member = self.writer(shape.traits["value"])
        flattened = bool(shape.traits.get("flattened"))

        def write(out: list[str], name: str, value: Any) -> None:
            entry = name if flattened else "entry"
            if not flattened:
                out.append(f"<{name}>")
            for key, item in value.items():
                out.append(f"<{entry}>{element(key_name, key)}")
                member(out, value_name, item)
                out.append(f"</{entry}>")
            if not flattened:
                out.append(f"</{name}>")

        return write

    # Reading (rest-xml inputs)

    def reader(self, ref: Ref) -> Read:
        """Element → input; raises Malformed."""
        shape = self._model.shape(ref)
        return tied(self._readers, cache_key(ref), lambda: self._build_reader(shape))

    def _build_reader(self, shape: Shape) -> Read:
        if shape.type == "structure":
            return self._read_structure(shape)
        if shape.type == "list":
            member, inner = self._list_reader(shape)
            return lambda node: [member(child) for child in node if local(child) == inner]
        if shape.type == "map":
            entry = self._entry_reader(shape)
            return lambda node: dict(entry(child) for child in node if local(child) == "entry")
        if shape.type == "timestamp":
            style = shape.traits.get("timestampFormat", ISO8601)
            return lambda node: parse_instant(node.text or "", EPOCH if style == EPOCH else style)
        if shape.type == "blob":
            return lambda node: decode_blob(node.text or "")
        kind = shape.type
        return lambda node: parse_scalar(node.text or "", kind)

    def _list_reader(self, shape: Shape) -> tuple[Read, str]:
        ref = shape.traits["member"]
        return self.reader(ref), str(ref.get("locationName", "member"))

    def _entry_reader(self, shape: Shape) -> Callable[[ElementTree.Element], tuple[str, Any]]:
        key_name = shape.traits["key"].get("locationName", "key")
        value_name = shape.traits["value"].get("locationName", "value")
        member = self.reader(shape.traits["value"])

        def read(node: ElementTree.Element) -> tuple[str, Any]:
            found = {local(child): child for child in node}
            if key_name not in found or value_name not in found:
                raise Malformed("a map entry lacks its key or value")
            return found[key_name].text or "", member(found[value_name])

        return read

    def _read_structure(self, shape: Shape) -> Read:
        single: dict[str, tuple[str, Read]] = {}
        repeated: dict[str, tuple[str, Read]] = {}
        maps: dict[str, tuple[str, Callable[[ElementTree.Element], tuple[str, Any]]]] = {}
        attributes: dict[str, str] = {}
        for name, ref in shape.members.items():
            if ref.get("location") in _REST_LOCATIONS:
                continue
            member, wire = self._model.shape(ref), self._element_name(name, ref)
            if member.traits.get("xmlAttribute"):
                attributes[member.wire_name(name).rpartition(":")[2]] = name
            elif member.traits.get("flattened") and member.type == "list":
                repeated[wire] = (name, self._list_reader(member)[0])
            elif member.traits.get("flattened"):
                maps[wire] = (name, self._entry_reader(member))
            else:
                single[wire] = (name, self.reader(ref))

        def read(node: ElementTree.Element) -> dict[str, Any]:
            out: dict[str, Any] = {}
            for tag, text in node.attrib.items():
                if tag.rpartition("}")[2] in attributes:
                    out[attributes[tag.rpartition("}")[2]]] = text
            for child in node:
                tag = local(child)
                if tag in single:
                    out[single[tag][0]] = single[tag][1](child)
                elif tag in repeated:
                    out.setdefault(repeated[tag][0], []).append(repeated[tag][1](child))
                elif tag in maps:
                    key, value = maps[tag][1](child)
                    out.setdefault(maps[tag][0], {})[key] = value
            return out

        return read


def _namespace(shape: Shape) -> str:
    namespace = shape.traits.get("xmlNamespace")
    if not namespace:
        return ""
    if isinstance(namespace, str):
        return f' xmlns="{escape(namespace)}"'
    prefix = f":{namespace['prefix']}" if namespace.get("prefix") else ""
    return f' xmlns{prefix}="{escape(namespace["uri"])}"'


def local(node: ElementTree.Element) -> str:
    """An element's name without its namespace."""
    return node.tag.rpartition("}")[2]


def parse_document(body: bytes) -> ElementTree.Element:
    """The root of a document without a DOCTYPE; raises Malformed."""
    if b"<!DOCTYPE" in body or b"<!ENTITY" in body or b"\x00" in body:
        raise Malformed("The XML you provided declares a document type")
    try:
        return ElementTree.fromstring(body)
    except ElementTree.ParseError as error:
        raise Malformed("The XML you provided was not well-formed") from error


def wrap(name: str, namespace: str, parts: Iterator[str] | list[str]) -> bytes:
    """A whole document with one root."""
    space = f' xmlns="{escape(namespace)}"' if namespace else ""
    body = "".join(parts)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<{name}{space}>{body}</{name}>'.encode()
