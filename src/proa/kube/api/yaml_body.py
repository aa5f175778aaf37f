"""YAML request bodies, read as Kubernetes reads them and no more expensively than JSON.

``bodies`` and server-side apply call ``read_yaml``. libyaml does the work, and before anything is
built its events are counted: a body may be neither deep nor, with its aliases written out, large.
What JSON cannot say is refused; dates stay texts and keys become texts, as sigs.k8s.io/yaml has it.
"""

from __future__ import annotations

import re
from math import isfinite
from typing import Any

import yaml

MAX_DEPTH = 100
MAX_NODES = 200_000
WHOLE = 1e21  # below it, Go writes a whole number without fraction or exponent
_INTEGERS = range(-(2**63), 2**64)


class _Loader(yaml.CSafeLoader):
    """libyaml's loader with Go's idea of what a plain word is (go-yaml v2): no timestamps, no
    sexagesimal numbers, but exponents without a point, ``0o17``, ``y`` and ``n``."""


def _whole(loader: yaml.CSafeLoader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node)).replace("_", "").lower()
    octal = re.fullmatch(r"([-+]?)0([0-7]+)", text)
    return int(octal[1] + octal[2], 8) if octal else int(text, 0)


def _truth(loader: yaml.CSafeLoader, node: yaml.ScalarNode) -> bool:
    return str(loader.construct_scalar(node)).lower() in ("y", "yes", "true", "on")


_TAG = "tag:yaml.org,2002:"
_Loader.yaml_implicit_resolvers = {}
for _name, _pattern, _first in (
    ("merge", r"<<", "<"),
    ("null", r"~|null|Null|NULL|", "~nN"),
    ("bool", r"[yYnN]|yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF",
     "yYnNtTfFoO"),
    ("int", r"[-+]?(0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|0|[1-9][0-9_]*)", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?"
     r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", "-+.0123456789"),
):  # fmt: skip
    _Loader.add_implicit_resolver(
        _TAG + _name, re.compile(f"(?:{_pattern})$"), [*_first, *([""] if _name == "null" else [])]
    )
_Loader.add_constructor(f"{_TAG}int", _whole)
_Loader.add_constructor(f"{_TAG}bool", _truth)


def read_yaml(body: bytes) -> Any:
    """The JSON value that a YAML document says. Raises ValueError."""
    return read_yaml_strictly(body)[0]


def read_yaml_strictly(body: bytes) -> tuple[Any, list[str]]:
    """The same, and what is said of keys that stand twice in one map. Raises ValueError."""
    try:
        twice = _check_size(body)
        return _plain(yaml.load(body, _Loader)), twice
    except (yaml.YAMLError, UnicodeError) as error:
        raise ValueError(str(error)) from error


class _Keys:
    """The keys of the maps that are open while a document is read."""

    def __init__(self) -> None:
        self.twice: list[str] = []
        self._open: list[tuple[bool, set[str], list[bool]]] = []  # is a map, keys, key is next

    def opens(self, *, is_map: bool) -> None:
        self._value()
        self._open.append((is_map, set(), [True]))

    def closes(self) -> None:
        self._open.pop()

    def scalar(self, event: yaml.ScalarEvent) -> None:
        if self._open and self._open[-1][0] and self._open[-1][2][0]:
            seen = self._open[-1][1]
            if event.value in seen and event.value != "<<":
                assert event.start_mark is not None
                line = event.start_mark.line + 1
                self.twice.append(f'line {line}: key "{event.value}" already set in map')
            seen.add(event.value)
        self._value()

    def alias(self) -> None:
        self._value()

    def _value(self) -> None:
        """A node of the innermost map: keys and values take turns."""
        if self._open and self._open[-1][0]:
            self._open[-1][2][0] = not self._open[-1][2][0]


def _check_size(body: bytes) -> list[str]:
    """Count the nodes of a document as they would be without aliases; keys that stand twice."""
    keys = _Keys()
    sizes: dict[str, int] = {}
    open_nodes: list[tuple[str | None, int]] = [(None, 0)]

    def add(anchor: str | None, size: int) -> None:
        if anchor:
            sizes[anchor] = size
        above, before = open_nodes[-1]
        open_nodes[-1] = (above, before + size)
        if before + size > MAX_NODES:
            raise ValueError("yaml: the document is too large once its aliases are written out")

    for event in yaml.parse(body, _Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            keys.opens(is_map=isinstance(event, yaml.MappingStartEvent))
            open_nodes.append((event.anchor, 1))
            if len(open_nodes) > MAX_DEPTH:
                raise ValueError(f"yaml: exceeded max depth of {MAX_DEPTH}")
        elif isinstance(event, yaml.CollectionEndEvent):
            keys.closes()
            add(*open_nodes.pop())
        elif isinstance(event, yaml.ScalarEvent):
            keys.scalar(event)
            add(event.anchor, 1)
        elif isinstance(event, yaml.AliasEvent):
            keys.alias()
            add(None, sizes.get(event.anchor or "", 1))
    return keys.twice


def _plain(value: Any) -> Any:
    """The value with texts as keys. Raises ValueError for what JSON has no form of."""
    if isinstance(value, dict):
        return {_key(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, bool | str) or value is None:
        return value
    if isinstance(value, float):
        if not isfinite(value):
            raise ValueError(f"yaml: cannot be written as JSON: {value}")
        return int(value) if value.is_integer() and abs(value) < WHOLE else value
    if isinstance(value, int) and value in _INTEGERS:
        return value
    raise ValueError(f"yaml: cannot be written as JSON: {str(value)[:80]}")


def _key(key: object) -> str:
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, str | int | float):
        return str(key)
    raise ValueError(f"yaml: invalid map key: {str(key)[:80]}")
