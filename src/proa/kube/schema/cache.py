"""Definitions of one Kubernetes version, kept compact.

The published definitions come with the package ``kubernetes_validate``, as JSON Schema with
nullable types, 1.6 MB per version. ``SchemaCache`` converts them once into two compressed parts
of one file: the *structure* (types and merge rules without any prose, ``kube.schema.convert``),
which stays in memory as compact JSON values and becomes ``Shape`` objects one definition at a time
when something asks; and the *documents* (with prose), which only ``kube.schema.openapi`` reads and
lets go again. The server opens one cache per cluster version and shares it.
"""

from __future__ import annotations

import importlib.util
import os
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from proa.kube.schema.convert import SPECIAL, documents_of, structure_of

FORMAT = 3
"""The number of the file's layout: a file with another number is made anew."""

SCALARS = {
    "s": "string",
    "b": "boolean",
    "n": "number",
    "i": "integer",
    "i32": "integer",
    "i64": "integer",
    "y": "bytes",
    "q": "quantity",
    "x": "int-or-string",
    "t": "time",
    "u": "micro-time",
    "*": "any",
    "o": "raw-object",
}


@dataclass(slots=True, eq=False)
class Shape:
    """The type of one field, or of one list's or map's items.

    ``kind``: "object" (``ref`` names its definition; resolve it by ``SchemaCache.fields``), "map"
    and "list" (with ``item``), or a scalar of ``SCALARS``. ``merge_key`` and ``strategies`` steer
    strategic merge; ``list_type``, ``list_keys`` and ``atomic`` steer server-side apply."""

    kind: str
    ref: str = ""
    item: Shape | None = None
    width: int = 0
    merge_key: str = ""
    strategies: tuple[str, ...] = ()
    list_type: str = "atomic"
    list_keys: tuple[str, ...] = ()
    atomic: bool = False


@dataclass(slots=True, eq=False)
class Definition:
    """One definition's fields, those its JSON must have, and whether it merges only as a whole."""

    name: str
    fields: dict[str, Shape]
    required: tuple[str, ...] = ()
    atomic: bool = False

    @property
    def struct(self) -> str:
        """The name of the Go struct behind it, as decode errors show it."""
        return self.name.rsplit(".", 1)[-1]


_SHARED = {
    code: Shape(kind, width=int(code[1:]) if code[1:].isdigit() else 64)
    for code, kind in SCALARS.items()
}


@dataclass(eq=False)
class SchemaCache:
    """Definitions by name, resolved when asked for."""

    version: str
    structure: dict[str, Any]
    _documents: bytes = field(repr=False)
    validators: dict[str, Any] = field(default_factory=dict, repr=False)
    """What ``kube.schema.validate`` has compiled so far, by definition name."""
    default_plans: dict[str, Any] = field(default_factory=dict, repr=False)
    """What ``kube.schema.defaults`` has planned so far, by definition name."""
    _resolved: dict[str, Definition] = field(default_factory=dict, repr=False)

    @classmethod
    def open(cls, path: Path | None, version: str = "1.36") -> SchemaCache:
        """Read the compact file at ``path``, made first from kubernetes_validate if it is
        absent, damaged, or of another version or layout. With no path nothing is kept on disk."""
        header = f"proa-kube-schema {FORMAT} {version} ".encode()
        if path is not None and path.exists():
            kept = path.read_bytes()
            checksum, body = kept[len(header) : len(header) + 8], kept[len(header) + 8 :]
            if kept.startswith(header) and checksum == _checksum(body):
                return cls._parse(version, body)
        body = _convert(version)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_suffix(f".{os.getpid()}.tmp")
            unfinished.write_bytes(header + _checksum(body) + body)
            unfinished.replace(path)
        return cls._parse(version, body)

    @classmethod
    def _parse(cls, version: str, body: bytes) -> SchemaCache:
        size = int(body[:8], 16)
        structure = orjson.loads(zlib.decompress(body[8 : 8 + size]))
        return cls(version, structure, body[8 + size :])

    def __contains__(self, name: str) -> bool:
        return name in self.structure

    def definition(self, name: str) -> Definition:
        """One definition, its fields as shapes; raises KeyError."""
        found = self._resolved.get(name)
        if found is None:
            found = self._resolved[name] = self._resolve(name)
        return found

    def fields(self, shape: Shape) -> dict[str, Shape]:
        """The fields of an object's shape; {} for maps and for objects without known fields."""
        return self.definition(shape.ref).fields if shape.ref else {}

    def documents(self) -> dict[str, bytes]:
        """Every definition with its prose: the JSON text of an OpenAPI v3 schema each.

        Decompressed anew on each call (1.5 MB): hold on to it no longer than needed."""
        lines = zlib.decompress(self._documents).split(b"\n")
        return {line[: line.index(b"\t")].decode(): line[line.index(b"\t") + 1 :] for line in lines}

    def reachable(self, names: Iterable[str]) -> dict[str, None]:
        """These definitions and all that they refer to, special ones (Quantity) included."""
        found: dict[str, None] = {}
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name in found:
                continue
            found[name] = None
            if name in self.structure:
                waiting += _references(self.definition(name))
        return found

    def kinds(self) -> dict[tuple[str, str, str], str]:
        """Definition names by (group, version, kind), for kinds that belong to one version."""
        return {
            (gvk[0], gvk[1], gvk[2]): name
            for name, entry in self.structure.items()
            if (gvk := entry.get("g"))
        }

    def _resolve(self, name: str) -> Definition:
        entry = self.structure[name]
        fields = {key: self._shape(code) for key, code in entry.get("f", {}).items()}
        return Definition(name, fields, tuple(entry.get("r", ())), bool(entry.get("a")))

    def _shape(self, code: str | dict[str, Any]) -> Shape:
        if isinstance(code, str):
            if not code.startswith("@"):
                return _SHARED[code]
            atomic = bool(self.structure[code[1:]].get("a"))
            return Shape("object", ref=code[1:], atomic=atomic)
        if "l" in code:
            return Shape(
                "list",
                item=self._shape(code["l"]),
                merge_key=code.get("m", ""),
                strategies=tuple(code.get("p", ())),
                list_type=code.get("t", "atomic"),
                list_keys=tuple(code.get("k", ())),
            )
        if "v" in code:
            strategies = tuple(code.get("p", ()))
            item = self._shape(code["v"])
            return Shape("map", item=item, strategies=strategies, atomic=bool(code.get("a")))
        base = self._shape(code["@"])
        granular = code.get("a") == 0
        return Shape(
            base.kind,
            ref=base.ref,
            strategies=tuple(code.get("p", ())),
            atomic=base.atomic and not granular,
        )


_SPECIAL_NAMES = {code: name for name, code in SPECIAL.items() if code in "qxtu"}
_KIND_NAMES = {SCALARS[code]: name for code, name in _SPECIAL_NAMES.items()}
_UNTYPED = tuple(name for name, code in SPECIAL.items() if code in "*o")


def _references(definition: Definition) -> list[str]:
    """The definitions that one names; where it has untyped fields, all the untyped ones."""
    names: list[str] = []
    for shape in definition.fields.values():
        inner: Shape | None = shape
        while inner is not None and inner.item is not None:
            inner = inner.item
        assert inner is not None
        if inner.ref:
            names.append(inner.ref)
        elif inner.kind in _KIND_NAMES:
            names.append(_KIND_NAMES[inner.kind])
        elif inner.kind in ("any", "raw-object"):
            names += _UNTYPED
    return names


def _checksum(body: bytes) -> bytes:
    """Eight hexadecimal digits that a cut-off body does not have."""
    return f"{zlib.crc32(body):08x}".encode()


def _convert(version: str) -> bytes:
    """The file's body: the structure's size in hexadecimal, the structure, the documents."""
    definitions = orjson.loads(_published(version).read_bytes())["$defs"]
    structure = zlib.compress(orjson.dumps(structure_of(definitions)), 9)
    lines = [
        name.encode() + b"\t" + orjson.dumps(document)
        for name, document in documents_of(definitions).items()
    ]
    documents = zlib.compress(b"\n".join(lines), 9)
    return f"{len(structure):08x}".encode() + structure + documents


def _published(version: str) -> Path:
    """The published definitions, found without importing the package (which takes 0.2 s)."""
    package = importlib.util.find_spec("kubernetes_validate")
    assert package is not None and package.submodule_search_locations
    folder = Path(package.submodule_search_locations[0]) / "kubernetes-json-schema"
    return folder / f"v{version}.0-local" / "_definitions.json"
