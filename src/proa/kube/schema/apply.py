"""Server-side apply, and who owns which fields (KEP-555).

``apply_patch`` merges a configuration into an object by the schema's list types: what the
configuration sets is set, what its manager applied before and now leaves out is removed unless
somebody else owns it too, and setting another's field to another value is a conflict unless
forced. ``track_update`` keeps the books for every other write: whoever changes a field owns it.
The books are metadata.managedFields, one entry per manager, operation and subresource.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from proa.base.clock import iso8601
from proa.kube.schema.cache import SchemaCache, Shape
from proa.kube.schema.fieldsets import (
    MISSING,
    FieldSet,
    Path,
    child,
    difference,
    fields_of,
    from_tree,
    holds,
    is_granular,
    is_keyed,
    is_set,
    key_element,
    shown,
    to_tree,
    tree_of,
    value_at,
    value_element,
)
from proa.kube.schema.kinds import Resource
from proa.kube.schema.strategic import clone
from proa.kube.schema.validate import decode_error, prune_unknown, unknown_fields

JSON = dict[str, Any]
FIRST_OWNER = "before-first-apply"
"""The manager of what was there before anybody applied."""


class ApplyConflict(Exception):
    """Fields that other managers own: (manager, apiVersion, field path) each."""

    def __init__(self, causes: tuple[tuple[str, str, str], ...]) -> None:
        super().__init__(f"{len(causes)} conflicts")
        self.causes = causes


@dataclass(slots=True)
class Owner:
    """One entry of managedFields, its fields as a set."""

    manager: str
    operation: str
    api_version: str
    time: str
    subresource: str
    fields: FieldSet

    @property
    def identity(self) -> tuple[str, str, str]:
        return (self.manager, self.operation, self.subresource)


def apply_patch(
    resource: Resource,
    live: JSON | None,
    applied: JSON,
    *,
    manager: str,
    force: bool,
    now: float,
    subresource: str = "",
) -> JSON:
    """Server-side apply: the merged object with its managedFields. Raises ApplyConflict.

    ``live`` is None for an object that is not there yet. ``now`` in seconds since 1970."""
    schemas, name = _schema(resource)
    wanted = _canonical(resource, clone(applied))
    wanted.get("metadata", {}).pop("managedFields", None)
    fields = _tracked(resource, fields_of(schemas, name, wanted), subresource)
    owners = _owners(resource, live, now)
    identity = (manager, "Apply", subresource)
    before = next((owner for owner in owners if owner.identity == identity), None)
    others = [owner for owner in owners if owner.identity != identity]
    if live is not None:
        taken = _conflicts(schemas, name, live, wanted, fields, others)
        if taken and not force:
            raise ApplyConflict(
                tuple((owner.manager, owner.api_version, shown(path)) for owner, path in taken)
            )
        for owner, path in taken:
            owner.fields -= {path}
    root = Shape("object", ref=name)
    merged: JSON = _merged(schemas, root, clone(live or {}), wanted)
    if before is not None:
        kept = fields.union(*(owner.fields for owner in others))
        for path in _left_out(before.fields, kept):
            _remove(schemas, root, merged, path)
    time = before.time if before is not None and before.fields == fields else iso8601(now)
    mine = Owner(manager, "Apply", resource.api_version, time, subresource, fields)
    merged.setdefault("metadata", {})["managedFields"] = _written([mine, *others])
    return merged


def track_update(
    resource: Resource,
    old: JSON | None,
    new: JSON,
    *,
    manager: str,
    now: float,
    subresource: str = "",
) -> list[JSON]:
    """The managedFields of ``new`` after a write that was not an apply (create: no ``old``).

    Looks only at what changed, so an entry that is not concerned is passed on as it is."""
    schemas, name = _schema(resource)
    if old is None and not subresource:
        unowned = "status" if "status" in resource.subresources else ""
        tree = tree_of(schemas, name, new, unowned)
        return [_update_entry(resource, manager, now, tree)] if tree else []
    found = difference(schemas, name, old or {}, new)
    changed = _tracked(resource, frozenset(found.changed), subresource)
    entries: list[JSON] = (old or {}).get("metadata", {}).get("managedFields") or []
    if not changed and not found.gone:
        return entries
    mine = Owner(manager, "Update", resource.api_version, iso8601(now), subresource, changed)
    kept: list[JSON] = []
    touched = changed | found.gone
    for entry in entries:
        own = _identity(entry) == mine.identity
        if not own and not any(holds(entry.get("fieldsV1") or {}, path) for path in touched):
            kept.append(entry)
            continue
        owner = _owner(entry)
        owner.fields = _without(owner.fields, found.gone)
        if own:
            mine.fields |= owner.fields
        else:
            owner.fields -= changed
            kept += _written([owner])
    return _in_order([*kept, *_written([mine])])


def _update_entry(resource: Resource, manager: str, now: float, tree: JSON) -> JSON:
    return {
        "manager": manager,
        "operation": "Update",
        "apiVersion": resource.api_version,
        "time": iso8601(now),
        "fieldsType": "FieldsV1",
        "fieldsV1": tree,
    }


def _without(fields: FieldSet, gone: set[Path]) -> FieldSet:
    """The fields that lie neither at nor below any of these paths."""
    return frozenset(
        path
        for path in fields
        if not any(path[:length] in gone for length in range(1, len(path) + 1))
    )


def _canonical(resource: Resource, applied: JSON) -> JSON:
    """The configuration with quantities and times as they are stored, so that equal is equal.

    One that cannot be decoded or has unknown fields stays as it is: the API says so later."""
    if unknown_fields(resource, applied) or decode_error(resource, applied):
        return applied
    return prune_unknown(resource, applied)


def _schema(resource: Resource) -> tuple[SchemaCache, str]:
    if resource.schemas is None:
        return _UNTYPED, "untyped"
    return resource.schemas, resource.schema_ref


def _untyped() -> SchemaCache:
    """For kinds whose schema is elsewhere: metadata is known, spec and status are atomic."""
    structure: JSON = {
        "untyped": {"f": {"metadata": "@meta", "spec": "*", "status": "*", "data": "*"}},
        "meta": {"f": {"labels": {"v": "s"}, "annotations": {"v": "s"}, "finalizers": "*"}},
    }
    return SchemaCache("", structure, b"")


_UNTYPED = _untyped()


def _tracked(resource: Resource, fields: FieldSet, subresource: str) -> FieldSet:
    """What a write through this endpoint can own: the status by its subresource, and only it."""
    if "status" not in resource.subresources:
        return fields
    if subresource == "status":
        return frozenset(path for path in fields if path[0] in ("f:status", "f:metadata"))
    return frozenset(path for path in fields if path[0] != "f:status")


def _owners(resource: Resource, live: JSON | None, now: float) -> list[Owner]:
    if live is None:
        return []
    entries = live.get("metadata", {}).get("managedFields")
    if not entries:
        schemas, name = _schema(resource)
        everything = fields_of(schemas, name, live)
        version = resource.api_version
        return [Owner(FIRST_OWNER, "Update", version, iso8601(now), "", everything)]
    return [_owner(entry) for entry in entries]


def _identity(entry: JSON) -> tuple[str, str, str]:
    return (
        entry.get("manager", ""),
        entry.get("operation", ""),
        entry.get("subresource", ""),
    )


def _owner(entry: JSON) -> Owner:
    return Owner(
        entry.get("manager", ""),
        entry.get("operation", ""),
        entry.get("apiVersion", ""),
        entry.get("time", ""),
        entry.get("subresource", ""),
        from_tree(entry.get("fieldsV1") or {}),
    )


def _written(owners: list[Owner]) -> list[JSON]:
    """Owners as entries of managedFields; those without fields are gone."""
    return _in_order([_entry(owner) for owner in owners if owner.fields])


def _in_order(entries: list[JSON]) -> list[JSON]:
    """Applies first, each group by age."""
    return sorted(
        entries,
        key=lambda entry: (
            entry.get("operation") != "Apply",
            entry.get("time", ""),
            entry.get("manager", ""),
        ),
    )


def _entry(owner: Owner) -> JSON:
    entry = {
        "manager": owner.manager,
        "operation": owner.operation,
        "apiVersion": owner.api_version,
        "time": owner.time,
        "fieldsType": "FieldsV1",
        "fieldsV1": to_tree(owner.fields),
    }
    if owner.subresource:
        entry["subresource"] = owner.subresource
    return {key: value for key, value in entry.items() if key != "time" or value}


def _conflicts(
    schemas: SchemaCache,
    name: str,
    live: JSON,
    wanted: JSON,
    fields: FieldSet,
    others: list[Owner],
) -> list[tuple[Owner, Path]]:
    """Fields of others that would change."""
    found: list[tuple[Owner, Path]] = []
    for owner in others:
        for path in sorted(owner.fields & fields):
            if path[-1].startswith(("k:", "v:")):
                continue
            there = value_at(schemas, name, live, path)
            if there is not MISSING and there != value_at(schemas, name, wanted, path):
                found.append((owner, path))
    return found


def _merged(schemas: SchemaCache, shape: Shape | None, live: Any, wanted: Any) -> Any:
    """The wanted value laid over the live one, which is given away."""
    if shape is None or wanted is None:
        return wanted
    if is_granular(shape) and isinstance(wanted, dict) and isinstance(live, dict):
        for name, value in wanted.items():
            live[name] = _merged(schemas, child(schemas, shape, name), live.get(name), value)
        return live
    if is_keyed(shape) and isinstance(wanted, list):
        return _merged_items(schemas, shape, live if isinstance(live, list) else [], wanted)
    if is_set(shape) and isinstance(wanted, list) and isinstance(live, list):
        return [*live, *(item for item in wanted if item not in live)]
    return wanted


def _merged_items(
    schemas: SchemaCache, shape: Shape, live: list[Any], wanted: list[Any]
) -> list[Any]:
    """The wanted items in their order; the others stay where they were among them."""
    there = {key_element(shape, item): item for item in live}
    asked = {key_element(shape, item): item for item in wanted}
    ahead: dict[str, list[Any]] = {}
    waiting: list[Any] = []
    for key, item in there.items():
        if key in asked:
            ahead[key] = waiting
            waiting = []
        else:
            waiting.append(item)
    result: list[Any] = []
    for key, item in asked.items():
        result += ahead.get(key, [])
        result.append(_merged(schemas, shape.item, there.get(key), item))
    return result + waiting


def _left_out(before: FieldSet, kept: FieldSet) -> list[Path]:
    """What nobody wants any more, each item of a list as a whole where that is so."""
    gone: list[Path] = []
    taken: set[Path] = set()
    for path in sorted(before - kept, key=lambda path: (len(path), path)):
        covered = any(path[:length] in taken for length in range(1, len(path)))
        if (
            not covered
            and not _is_key(path)
            and not any(other[: len(path)] == path for other in kept)
        ):
            gone.append(path)
            taken.add(path)
    return gone


def _is_key(path: Path) -> bool:
    """A field by which an item of a list is known goes only with its item."""
    above = path[-2] if len(path) > 1 else ""
    return above.startswith("k:") and path[-1].removeprefix("f:") in json.loads(above[2:])


def _remove(schemas: SchemaCache, shape: Shape, value: Any, path: Path) -> None:
    """Take a field out of an object; what becomes empty by that goes with it, structs excepted."""
    element, rest = path[0], path[1:]
    name = element[2:]
    if element.startswith("f:") and isinstance(value, dict) and name in value:
        below = child(schemas, shape, name)
        if rest and below is not None:
            _remove(schemas, below, value[name], rest)
            if value[name] in ([], {}) and below.kind != "object":
                del value[name]
        elif not rest:
            del value[name]
    elif isinstance(value, list):
        for index, item in enumerate(value):
            found = key_element(shape, item) if element[0] == "k" else value_element(item)
            if found == element:
                if rest and shape.item is not None:
                    _remove(schemas, shape.item, item, rest)
                elif not rest:
                    del value[index]
                return
