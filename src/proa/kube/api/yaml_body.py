"""YAML request bodies, read as Kubernetes reads them and no more expensively than JSON.

``bodies`` and server-side apply call ``read_yaml``. libyaml does the work, and before anything is
built its events are counted: a body may be neither deep nor, with its aliases written out, large.
What JSON cannot say is refused; dates stay texts and keys become texts, as sigs.k8s.io/yaml has it.
"""

from __future__ import annotations

from math import isfinite
from typing import Any

import yaml

MAX_DEPTH = 100
MAX_NODES = 200_000
WHOLE = 1e21  # below it, Go writes a whole number without fraction or exponent
_INTEGERS = range(-(2**63), 2**64)


class _Loader(yaml.CSafeLoader):
    """libyaml's loader without YAML's timestamps."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


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
