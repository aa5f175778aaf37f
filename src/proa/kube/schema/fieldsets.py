"""Sets of fields, as metadata.managedFields holds them (``FieldsV1`` of structured-merge-diff).

A path is a tuple of elements: ``f:<field or key>``, ``k:<keys of a list's item as JSON>``,
``v:<item of a set as JSON>``. A set holds the paths of leaves, and of each item of a keyed list
itself. What is a leaf is the schema's affair: scalars, atomic lists, maps and structs, and what is
empty. Pure; used by ``kube.schema.apply``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from proa.kube.schema.cache import SchemaCache, Shape

JSON = dict[str, Any]
Path = tuple[str, ...]
FieldSet = frozenset[Path]
MISSING = object()
"""What ``value_at`` answers for a path that leads nowhere."""
_NESTED = frozenset({"object", "map", "list"})
_KEY_DEFAULTS = {"protocol": "TCP"}
"""List keys that items may leave out, and what they then are."""
_UNTRACKED = frozenset(
    {
        ("f:apiVersion",),
        ("f:kind",),
        ("f:metadata",),
        *(
            ("f:metadata", f"f:{name}")
            for name in (
                "name",
                "namespace",
                "creationTimestamp",
                "selfLink",
                "uid",
                "generation",
                "managedFields",
                "resourceVersion",
                "deletionTimestamp",
                "deletionGracePeriodSeconds",
            )
        ),
    }
)

_IDENTITY = frozenset({path[0][2:] for path in _UNTRACKED if len(path) == 1} - {"metadata"})
_GIVEN = frozenset(path[1][2:] for path in _UNTRACKED if len(path) == 2)


def is_keyed(shape: Shape) -> bool:
    """A list that merges item by item."""
    return shape.kind == "list" and shape.list_type == "map" and bool(shape.list_keys)


def is_set(shape: Shape) -> bool:
    """A list that merges as a set of scalars."""
    return shape.kind == "list" and shape.list_type == "set"


def is_granular(shape: Shape) -> bool:
    """A struct or map that merges field by field."""
    return shape.kind in ("object", "map") and not shape.atomic


def child(schemas: SchemaCache, shape: Shape, name: str) -> Shape | None:
    """The shape of a field of a granular struct or map."""
    return shape.item if shape.kind == "map" else schemas.fields(shape).get(name)


def key_element(shape: Shape, item: Any) -> str:
    """The path element of a keyed list's item."""
    given = item if isinstance(item, dict) else {}
    keys = {name: given.get(name, _KEY_DEFAULTS.get(name)) for name in shape.list_keys}
    keys = {key: value for key, value in keys.items() if value is not None}
    if all(type(value) is str or type(value) is int for value in keys.values()):
        return "k:" + _compact_keys(tuple(keys), tuple(keys.values()))
    return "k:" + _compact(keys)


def value_element(item: Any) -> str:
    return "v:" + _compact(item)


@lru_cache(maxsize=4096)
def _compact_keys(names: tuple[str, ...], values: tuple[str | int, ...]) -> str:
    return _compact(dict(zip(names, values, strict=True)))


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True)


def fields_of(schemas: SchemaCache, name: str, obj: JSON) -> FieldSet:
    """The fields that an object of one definition sets, identity left out."""
    root = Shape("object", ref=name)
    return frozenset(_walk(schemas, root, obj, ())) - _UNTRACKED


def _walk(schemas: SchemaCache, shape: Shape, value: Any, path: Path) -> Iterator[Path]:
    if is_granular(shape) and isinstance(value, dict) and value:
        for name, item in value.items():
            below = child(schemas, shape, name)
            if below is not None:
                yield from _walk(schemas, below, item, (*path, f"f:{name}"))
    elif is_keyed(shape) and isinstance(value, list) and value:
        assert shape.item is not None
        for item in value:
            at = (*path, key_element(shape, item))
            yield at
            yield from _walk(schemas, shape.item, item, at)
    elif is_set(shape) and isinstance(value, list) and value:
        for item in value:
            yield (*path, value_element(item))
    else:
        yield path


def tree_of(schemas: SchemaCache, name: str, obj: JSON, skip: str = "") -> JSON:
    """``to_tree(fields_of(…))`` in one walk, without the field ``skip``: what a creation sets."""
    fields = schemas.definition(name).fields
    tree: JSON = {}
    for key in sorted(obj):
        if key == skip or key in _IDENTITY:
            continue
        below, value = fields.get(key), obj[key]
        if below is None:
            continue
        if key == "metadata":
            if not value or _GIVEN.issuperset(value):
                continue
            value = {name: item for name, item in value.items() if name not in _GIVEN}
        node = _tree(schemas, below, value)
        if node is not None:
            tree[f"f:{key}"] = node
    return tree


def _tree(schemas: SchemaCache, shape: Shape, value: Any) -> JSON | None:
    """The FieldsV1 of one value; None where nothing of it is known."""
    kind = shape.kind
    if not value or shape.atomic or kind not in _NESTED:
        return {}
    plain = kind == "map" and shape.item is not None and shape.item.kind not in _NESTED
    if plain and isinstance(value, dict):
        return {f"f:{name}": {} for name in sorted(value)}
    if kind != "list" and isinstance(value, dict):
        item, fields = shape.item, schemas.fields(shape) if kind == "object" else {}
        tree: JSON = {}
        for name in sorted(value):
            below = fields.get(name) if kind == "object" else item
            if below is None:
                continue
            inner = below.kind in _NESTED and value[name]
            node = _tree(schemas, below, value[name]) if inner else {}
            if node is not None:
                tree[f"f:{name}"] = node
        return tree or None
    if isinstance(value, list) and shape.item is not None:
        if is_keyed(shape):
            return _item_trees(schemas, shape, value)
        if is_set(shape):
            return {element: {} for element in sorted(map(value_element, value))}
    return {}


def _item_trees(schemas: SchemaCache, shape: Shape, items: list[Any]) -> JSON:
    assert shape.item is not None, "a list has items"
    tree: JSON = {}
    for item in items:
        element, node = key_element(shape, item), _tree(schemas, shape.item, item)
        node = {".": {}, **node} if node else {}
        tree[element] = _joined(tree[element], node) if element in tree else node
    return {element: tree[element] for element in sorted(tree)}


def _joined(one: JSON, other: JSON) -> JSON:
    """The union of two nodes; both name themselves if either does."""
    if not one or not other:
        return {".": {}, **one, **other} if one or other else {}
    return {
        key: _joined(one[key], other[key])
        if key in one and key in other and key != "."
        else one.get(key, other.get(key))
        for key in sorted({*one, *other})
    }


@dataclass(slots=True)
class Difference:
    """What a write changed: fields with another value, and paths that are no longer there."""

    changed: set[Path] = field(default_factory=set)
    gone: set[Path] = field(default_factory=set)


def difference(schemas: SchemaCache, name: str, old: JSON, new: JSON) -> Difference:
    """What changed between two objects of one definition. Equal parts are not looked into."""
    found = Difference()
    _compare(schemas, Shape("object", ref=name), old, new, (), found)
    return Difference(found.changed - _UNTRACKED, found.gone - _UNTRACKED)


def _compare(
    schemas: SchemaCache, shape: Shape, old: Any, new: Any, path: Path, found: Difference
) -> None:
    if old == new:
        return
    before, after = _parts(schemas, shape, old), _parts(schemas, shape, new)
    if before is None or after is None:
        if before is not None or after is not None:
            found.gone.add(path)
        found.changed.update(_walk(schemas, shape, new, path))
        return
    for element, (value, below) in after.items():
        if element not in before:
            if element.startswith("k:"):
                found.changed.add((*path, element))
            found.changed.update(_walk(schemas, below, value, (*path, element)))
        else:
            _compare(schemas, below, before[element][0], value, (*path, element), found)
    found.gone.update((*path, element) for element in before if element not in after)


def _parts(schemas: SchemaCache, shape: Shape, value: Any) -> dict[str, tuple[Any, Shape]] | None:
    """The children of what merges part by part; None for a leaf."""
    if is_granular(shape) and isinstance(value, dict) and value:
        shapes = {name: child(schemas, shape, name) for name in value}
        return {f"f:{name}": (value[name], below) for name, below in shapes.items() if below}
    if isinstance(value, list) and value and shape.item is not None:
        if is_keyed(shape):
            return {key_element(shape, item): (item, shape.item) for item in value}
        if is_set(shape):
            return {value_element(item): (item, shape.item) for item in value}
    return None


def holds(tree: Mapping[str, Any], path: Path) -> bool:
    """Whether anything at or below a path is in the set that FieldsV1 describes."""
    node = tree
    for element in path:
        if element not in node:
            return False
        node = node[element]
    return True


def value_at(schemas: SchemaCache, name: str, obj: JSON, path: Path) -> Any:
    """The value at a path of an object, or ``MISSING``."""
    shape: Shape | None = Shape("object", ref=name)
    value: Any = obj
    for element in path:
        if shape is None:
            return MISSING
        value, shape = _step(schemas, shape, value, element)
        if value is MISSING:
            return MISSING
    return value


def _step(schemas: SchemaCache, shape: Shape, value: Any, element: str) -> tuple[Any, Shape | None]:
    kind, rest = element[:2], element[2:]
    if kind == "f:" and isinstance(value, dict):
        return value.get(rest, MISSING), child(schemas, shape, rest)
    if isinstance(value, list):
        for item in value:
            found = key_element(shape, item) if kind == "k:" else value_element(item)
            if found == element:
                return item, shape.item
    return MISSING, None


def to_tree(fields: Iterable[Path]) -> JSON:
    """A set as FieldsV1 writes it: nested objects, ``.`` for a path that is itself in the set."""
    tree: JSON = {}
    for path in sorted(fields):
        node = tree
        for element in path:
            node = node.setdefault(element, {})
        node["."] = {}
    return _pruned(tree)


def _pruned(node: JSON) -> JSON:
    """Leaves need no ``.`` of their own."""
    if node.keys() == {"."}:
        return {}
    return {key: _pruned(item) if key != "." else {} for key, item in node.items()}


def from_tree(tree: Mapping[str, Any]) -> FieldSet:
    """The set that FieldsV1 describes."""
    return frozenset(_leaves(tree, ()))


def _leaves(node: Mapping[str, Any], path: Path) -> Iterator[Path]:
    if path and (not node or "." in node):
        yield path
    for element, below in node.items():
        if element != ".":
            yield from _leaves(below, (*path, element))


def shown(path: Path) -> str:
    """A path as conflicts name it: ``.spec.containers[name="web"].image``."""
    text = ""
    for element in path:
        kind, rest = element[:2], element[2:]
        if kind == "f:":
            text += f".{rest}"
        elif kind == "k:":
            keys = json.loads(rest)
            text += "[" + ",".join(f"{key}={_compact(keys[key])}" for key in keys) + "]"
        else:
            text += f"[={rest}]"
    return text
