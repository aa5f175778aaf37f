"""Strategic merge patch: merging by what the schema says about lists.

``kubectl apply`` (client side), ``kubectl patch`` and ``kubectl rollout restart`` send these. The
rules are those of "strategic-merge-patch.md" of kubernetes/community: lists with the strategy
``merge`` merge by their merge key (or as sets, for scalars), everything else is replaced; a patch
may carry the directives ``$patch`` (replace, delete, merge), ``$deleteFromPrimitiveList/<list>``,
``$setElementOrder/<list>`` and ``$retainKeys``. Works on copies that its caller gives away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from proa.kube.schema.cache import SchemaCache, Shape

JSON = dict[str, Any]
T = TypeVar("T")
DIRECTIVE = "$patch"
RETAIN = "$retainKeys"
ORDER = "$setElementOrder/"
DELETE = "$deleteFromPrimitiveList/"
_NO_FIELDS: Mapping[str, Shape] = {}


class PatchError(ValueError):
    """A patch that cannot be applied; ``status`` is the HTTP status (400, 413, 415 or 422)."""

    def __init__(self, message: str, status: int = 422) -> None:
        super().__init__(message)
        self.status = status


def clone(value: T) -> T:
    """A copy of a JSON value that shares nothing with it."""
    if isinstance(value, dict):
        return {key: clone(item) for key, item in value.items()}  # type: ignore[return-value]
    if isinstance(value, list):
        return [clone(item) for item in value]  # type: ignore[return-value]
    return value


@dataclass
class StrategicMerge:
    """Merges by the definitions of one schema cache."""

    schemas: SchemaCache

    def merge_kind(self, name: str, original: JSON, patch: JSON) -> JSON:
        """Merge a patch into an object of one definition."""
        return self._map(self.schemas.definition(name).fields, original, patch)

    def _fields(self, shape: Shape | None) -> Mapping[str, Shape]:
        return self.schemas.fields(shape) if shape is not None else _NO_FIELDS

    def _map(self, fields: Mapping[str, Shape], original: JSON, patch: JSON) -> JSON:
        if (directive := patch.pop(DIRECTIVE, None)) is not None:
            if directive == "replace":
                replaced: JSON = _without_directives(patch)
                return replaced
            if directive == "delete":
                return {}
            if directive != "merge":
                raise PatchError(f"unknown patch type found: {directive}", 400)
        _retain(original, patch)
        orders = {k.removeprefix(ORDER): patch.pop(k) for k in list(patch) if k.startswith(ORDER)}
        deletes = {
            k.removeprefix(DELETE): patch.pop(k) for k in list(patch) if k.startswith(DELETE)
        }
        for key, gone in deletes.items():
            if isinstance(original.get(key), list):
                original[key] = [item for item in original[key] if item not in _list(gone)]
        for key, value in patch.items():
            self._field(fields.get(key), original, key, value, orders.pop(key, None))
        for key, order in orders.items():
            shape = fields.get(key)
            if isinstance(original.get(key), list):
                merge_key = shape.merge_key if shape else ""
                original[key] = _ordered(original[key], original[key], _list(order), merge_key)
        return original

    def _field(self, shape: Shape | None, original: JSON, key: str, value: Any, order: Any) -> None:
        if value is None:
            original.pop(key, None)
            return
        replaced = shape is not None and "replace" in shape.strategies
        current = original.get(key)
        if isinstance(value, dict) and not replaced:
            before = current if isinstance(current, dict) else {}
            emptied = value.get(DIRECTIVE) == "delete"
            merged = self._map(self._fields(shape), before, value)
            if emptied:
                original.pop(key, None)
            else:
                original[key] = merged
        elif isinstance(value, list) and shape is not None and "merge" in shape.strategies:
            before_list = current if isinstance(current, list) else []
            original[key] = self._list(shape, before_list, value, order)
        else:
            original[key] = _without_directives(value)

    def _list(self, shape: Shape, original: list[Any], patch: list[Any], order: Any) -> list[Any]:
        if not shape.merge_key:
            merged = list(original)
            for item in patch:
                if item not in merged:
                    merged.append(item)
        else:
            merged = self._keyed(shape, list(original), patch)
        wanted = patch if order is None else _list(order)
        return _ordered(merged, original, wanted, shape.merge_key)

    def _keyed(self, shape: Shape, items: list[Any], patch: list[Any]) -> list[Any]:
        key = shape.merge_key
        if any(isinstance(item, dict) and _only_replaces(item) for item in patch):
            rest = [item for item in patch if not _only_replaces(item)]
            return [_without_directives(item) for item in rest]
        fields = self._fields(shape.item)
        for item in patch:
            if not isinstance(item, dict) or key not in item:
                raise PatchError(f"map: {_go_map(item)} does not contain declared merge key: {key}")
            directive = item.get(DIRECTIVE)
            at = next((i for i, old in enumerate(items) if old.get(key) == item[key]), None)
            if directive == "delete":
                items = [old for old in items if old.get(key) != item[key]]
            elif at is None:
                items.append(self._map(fields, {}, item))
            else:
                items[at] = self._map(fields, items[at], item)
        return items


def _retain(original: JSON, patch: JSON) -> None:
    """``$retainKeys``: of the original only these stay (a union's other members go)."""
    retained = patch.pop(RETAIN, None)
    if retained is None:
        return
    if not isinstance(retained, list):
        raise PatchError(f"invalid patch format of {RETAIN}", 400)
    for key in patch:
        if not key.startswith("$") and patch[key] is not None and key not in retained:
            raise PatchError(f"{RETAIN} list doesn't contain all fields present in the patch", 400)
    for key in [key for key in original if key not in retained]:
        del original[key]


def _only_replaces(item: Any) -> bool:
    return isinstance(item, dict) and item.get(DIRECTIVE) == "replace"


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise PatchError("invalid patch format: a list directive needs a list", 400)
    return value


def _without_directives(value: Any) -> Any:
    """A patch's value where nothing is there to merge into."""
    if isinstance(value, dict):
        return {
            key: _without_directives(item)
            for key, item in value.items()
            if item is not None and not key.startswith("$")
        }
    if isinstance(value, list):
        kept = [item for item in value if not (isinstance(item, dict) and DIRECTIVE in item)]
        return [_without_directives(item) for item in kept]
    return value


def _ordered(merged: list[Any], original: list[Any], order: list[Any], key: str) -> list[Any]:
    """Items named by the order (where a patch says none, its own items), in that order; the
    server's others keep their place among them, new items of the patch go before them."""

    def name(item: Any) -> str:
        return str(item.get(key) if key and isinstance(item, dict) else item)

    rank = {name(item): index for index, item in enumerate(order)}
    server = {name(item): index for index, item in enumerate(original)}
    asked = sorted((item for item in merged if name(item) in rank), key=lambda x: rank[name(x)])
    others = [item for item in merged if name(item) not in rank]
    result: list[Any] = []
    while asked and others:
        ours, theirs = server.get(name(asked[0])), server.get(name(others[0]))
        theirs_first = ours is not None and theirs is not None and theirs < ours
        result.append((others if theirs_first else asked).pop(0))
    return result + asked + others


def _go_map(item: Any) -> str:
    if not isinstance(item, dict):
        return str(item)
    return "map[" + " ".join(f"{key}:{item[key]}" for key in sorted(item)) + "]"
