"""Does an object fit its kind's schema? (types, required fields, unknown fields)

Called by the API for every write. An object in perfect order is recognised in microseconds by a
validator compiled once per kind; anything else is read again slowly (``kube.schema.decode``),
which says what is wrong in a Go server's words and what such a server would keep. The compiled
schema must therefore be at least as strict as the slow reading: a test holds it to that.
"""

from __future__ import annotations

from typing import Any

import jsonschema_rs

from proa.kube.schema.cache import SchemaCache, Shape
from proa.kube.schema.decode import GoError, Reading, required_fields
from proa.kube.schema.errors import TYPE_INVALID, UNKNOWN, FieldError, required
from proa.kube.schema.kinds import Resource

JSON = dict[str, Any]
_SECOND = "[0-9]{4}-[01][0-9]-[0-2][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9]"
_BASE64_END = "(?:[A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?"
_SCALARS: dict[str, JSON] = {
    "string": {"type": "string"},
    "boolean": {"type": "boolean"},
    "number": {"type": "number"},
    "bytes": {"type": "string", "pattern": f"^(?:[A-Za-z0-9+/]{{4}})*{_BASE64_END}$"},
    # Only what is surely canonical; the slow reading settles the rest.
    "quantity": {"type": "string", "pattern": "^(0|[1-9][0-9]{0,2}(m|k|M|G|T|Ki|Mi|Gi|Ti)?)$"},
    "int-or-string": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
    "time": {"type": "string", "pattern": f"^{_SECOND}Z$"},
    "micro-time": {"type": "string", "pattern": f"^{_SECOND}[.][0-9]{{6}}Z$"},
    "any": {},
    "raw-object": {"type": "object"},
}


def validate(resource: Resource, obj: JSON, *, strict: bool) -> list[FieldError]:
    """What of an object does not fit its schema; with ``strict`` unknown fields too.

    A wrong type hides all other faults, as it does in a Go server (``decode_error``)."""
    if _fits(resource, obj):
        return []
    reading = _read(resource, obj)
    if isinstance(reading, GoError):
        return [FieldError(TYPE_INVALID, "", str(reading), None)]
    errors = [required(path) for path in reading.missing]
    if strict:
        errors += [FieldError(UNKNOWN, path, _unknown(path)) for path in reading.unknown]
    return errors


def fits(resource: Resource, obj: JSON) -> bool:
    """Whether an object is in perfect order: nothing to refuse, to drop or to make canonical."""
    return _fits(resource, obj)


def decode_error(resource: Resource, obj: JSON) -> str:
    """What keeps an object from being decoded, or "".

    A server says ``<Kind> in version "<version>" cannot be handled as a <Kind>: `` before it."""
    if _fits(resource, obj):
        return ""
    reading = _read(resource, obj)
    return str(reading) if isinstance(reading, GoError) else ""


def unknown_fields(resource: Resource, obj: JSON) -> list[str]:
    """Unknown fields as kubectl shows them: ``unknown field "spec.foo"``."""
    if _fits(resource, obj):
        return []
    reading = _read(resource, obj)
    return [] if isinstance(reading, GoError) else [_unknown(path) for path in reading.unknown]


def prune_unknown(resource: Resource, obj: JSON) -> JSON:
    """The object as a Go server keeps it: no unknown fields, no nulls, canonical quantities.

    Gives back the object itself if there is nothing to change; raises ValueError where
    ``decode_error`` has something to say."""
    if _fits(resource, obj):
        return obj
    reading = _read(resource, obj)
    if isinstance(reading, GoError):
        raise reading
    return reading.value


def _unknown(path: str) -> str:
    return f'unknown field "{path}"'


def _read(resource: Resource, obj: JSON) -> Reading | GoError:
    assert resource.schemas is not None
    try:
        return Reading(resource.schemas, resource.schema_ref, obj)
    except GoError as error:
        return error
    except RecursionError:
        return GoError("exceeded max depth")


def _fits(resource: Resource, obj: JSON) -> bool:
    schemas = resource.schemas
    if schemas is None:
        return True
    validator = schemas.validators.get(resource.schema_ref)
    if validator is None:
        schema = compiled_schema(schemas, resource.schema_ref)
        # Draft 4 is the last one to which 3.0 is no integer, as it is to Go.
        validator = jsonschema_rs.Draft4Validator(schema)
        schemas.validators[resource.schema_ref] = validator
    return bool(validator.is_valid(obj))


def compiled_schema(schemas: SchemaCache, name: str) -> JSON:
    """The strict JSON Schema of one kind, with what it refers to."""
    outside_status = _reachable(schemas, name, skip="status")
    definitions = {
        below: _definition(schemas, below, below in outside_status)
        for below in _reachable(schemas, name, skip="")
    }
    return {"$ref": f"#/$defs/{name}", "$defs": definitions}


def _reachable(schemas: SchemaCache, name: str, *, skip: str) -> dict[str, None]:
    """The definitions that ``name`` leads to, not through its own field ``skip``."""
    found: dict[str, None] = {name: None}
    waiting = [name]
    while waiting:
        current = waiting.pop()
        for field, shape in schemas.definition(current).fields.items():
            inner: Shape | None = shape
            while inner is not None and inner.item is not None:
                inner = inner.item
            skipped = current == name and field == skip
            if inner is not None and inner.ref and not skipped and inner.ref not in found:
                found[inner.ref] = None
                waiting.append(inner.ref)
    return found


def _definition(schemas: SchemaCache, name: str, checked: bool) -> JSON:
    definition = schemas.definition(name)
    needed = required_fields(definition) if checked else []
    return {
        "type": "object",
        "additionalProperties": False,
        "required": needed,
        "properties": {
            field: _property(shape, field in needed, field in definition.required)
            for field, shape in definition.fields.items()
        },
    }


def _property(shape: Shape, needed: bool, kept_empty: bool) -> JSON:
    schema = _schema(shape)
    if shape.kind == "string" and needed:
        return {**schema, "minLength": 1}
    if shape.kind == "list" and not kept_empty:
        return {**schema, "minItems": 1}
    if shape.kind == "map" and not kept_empty:
        return {**schema, "minProperties": 1}
    return schema


def _schema(shape: Shape) -> JSON:
    if shape.kind == "object":
        return {"$ref": f"#/$defs/{shape.ref}"}
    if shape.kind == "list":
        assert shape.item is not None
        return {"type": "array", "items": _schema(shape.item)}
    if shape.kind == "map":
        assert shape.item is not None
        return {"type": "object", "additionalProperties": _schema(shape.item)}
    if shape.kind == "integer":
        bound = 2 ** (shape.width - 1)
        return {"type": "integer", "minimum": -bound, "maximum": bound - 1}
    return _SCALARS[shape.kind]
