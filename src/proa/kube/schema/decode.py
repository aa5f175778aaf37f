"""What a Go server makes of an object's JSON: the slow, exact reading.

Walks an object beside its schema and does what decoding into Kubernetes' structs and encoding
again would do: wrong types end it with Go's message, unknown fields fall away (and are listed),
nulls, empty lists and empty maps of optional fields disappear, quantities and times take their
canonical form. ``kube.schema.validate`` calls this only for objects that its compiled validator
does not wave through. Fields that must be present are listed too.
"""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime
from typing import Any

from proa.kube.schema.cache import Definition, SchemaCache, Shape
from proa.kube.schema.quantity_text import canonical_quantity

# Required by the schema, yet a Go server takes the zero value (and in workloads the semantic
# rules of ``kube.schema.rules`` say more than "required").
LENIENT = frozenset(
    {
        ("HTTPHeader", "value"),
        ("Sysctl", "value"),
        ("SleepAction", "seconds"),
        ("ISCSIVolumeSource", "lun"),
        ("ISCSIPersistentVolumeSource", "lun"),
        ("ControllerRevision", "revision"),
        ("CustomResourceDefinitionVersion", "served"),
        ("CustomResourceDefinitionVersion", "storage"),
        ("LimitRangeSpec", "limits"),
        ("ResourcePool", "generation"),
        ("ResourceClaim", "spec"),
        ("CSIDriver", "spec"),
        ("CSINodeSpec", "drivers"),
        ("DeviceClass", "spec"),
        ("Endpoint", "addresses"),
        ("TokenReviewSpec", "token"),
        ("Event", "metadata"),
        ("Event", "involvedObject"),
        ("LocalSubjectAccessReview", "spec"),
        ("SelfSubjectAccessReview", "spec"),
        ("SelfSubjectRulesReview", "spec"),
        ("SubjectAccessReview", "spec"),
        ("TokenReview", "spec"),
        ("PodSpec", "containers"),
        ("PolicyRule", "verbs"),
        ("PersistentVolumeClaimTemplate", "spec"),
        ("APIServiceSpec", "groupPriorityMinimum"),
        ("APIServiceSpec", "versionPriority"),
        ("OwnerReference", "apiVersion"),
        ("OwnerReference", "kind"),
        ("OwnerReference", "name"),
        ("OwnerReference", "uid"),
        *((f"{kind}Spec", field) for kind in ("Deployment", "ReplicaSet", "StatefulSet",
            "DaemonSet", "Job") for field in ("selector", "template")),
        *((kind, field) for kind in ("CustomResourceDefinitionSpec",) for field in ("names",)),
    }
)  # fmt: skip
_BOUNDS = {32: 2**31, 64: 2**63}
_GO_TYPES = {
    "string": "string",
    "boolean": "bool",
    "number": "float64",
    "bytes": "[]uint8",
    "raw-object": "map[string]interface {}",
}


class GoError(ValueError):
    """The message with which Go's decoder gives up."""


def required_fields(definition: Definition) -> list[str]:
    """The fields whose absence is a fault."""
    struct = definition.struct
    return [name for name in definition.required if (struct, name) not in LENIENT]


class Reading:
    """One object's reading: ``value`` is what a server would keep; raises GoError."""

    def __init__(self, schemas: SchemaCache, name: str, obj: dict[str, Any]) -> None:
        self.schemas = schemas
        self.unknown: list[str] = []
        self.missing: list[str] = []
        self.value: dict[str, Any] = self._object(schemas.definition(name), obj, "", "", True)

    def _object(
        self, definition: Definition, value: dict[str, Any], path: str, keys: str, checked: bool
    ) -> dict[str, Any]:
        """``path`` has list indexes and is ours to report, ``keys`` is as Go's errors name it."""
        kept: dict[str, Any] = {}
        fields = definition.fields
        for name, item in value.items():
            shape = fields.get(name)
            below = f"{path}.{name}" if path else name
            if shape is None:
                self.unknown.append(below)
                continue
            if item is None:
                continue
            go_path = f"{keys}.{name}" if keys else name
            with_status = checked and not (path == "" and name == "status")
            read = self._value(shape, item, below, go_path, definition.struct, with_status)
            empty = read == [] or (read == {} and shape.kind == "map")
            if not empty or name in definition.required:
                kept[name] = read
        if checked:
            self.missing += [
                f"{path}.{name}" if path else name
                for name in required_fields(definition)
                if kept.get(name) in (None, "")
            ]
        return kept

    def _value(
        self, shape: Shape, value: Any, path: str, keys: str, struct: str, checked: bool
    ) -> Any:
        kind = shape.kind
        if kind == "object":
            if not isinstance(value, dict):
                raise _mismatch(value, keys, struct, go_type(shape))
            return self._object(self.schemas.definition(shape.ref), value, path, keys, checked)
        if kind == "list":
            if not isinstance(value, list):
                raise _mismatch(value, keys, struct, go_type(shape))
            item = shape.item
            assert item is not None
            return [
                _zero(item)
                if entry is None
                else self._value(item, entry, f"{path}[{index}]", keys, struct, checked)
                for index, entry in enumerate(value)
            ]
        if kind == "map":
            if not isinstance(value, dict):
                raise _mismatch(value, keys, struct, go_type(shape))
            item = shape.item
            assert item is not None
            return {
                key: _zero(item)
                if entry is None
                else self._value(item, entry, f"{path}.{key}", keys, struct, checked)
                for key, entry in value.items()
            }
        return _scalar(shape, value, keys, struct)


def _scalar(shape: Shape, value: Any, keys: str, struct: str) -> Any:
    """One scalar in its canonical form; raises GoError."""
    kind = shape.kind
    if kind == "any":
        return value
    if kind == "quantity":
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            try:
                return canonical_quantity(value)
            except ValueError as error:
                raise GoError(str(error)) from None
        raise GoError(f"json: cannot unmarshal {_json_type(value)} into Go value of type string")
    if kind == "int-or-string":
        if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
            return value
        raise GoError(f"json: cannot unmarshal {_json_type(value)} into Go value of type int32")
    if kind in ("time", "micro-time"):
        return _time(value, micro=kind == "micro-time")
    if not _fits(shape, value):
        raise _mismatch(value, keys, struct, go_type(shape))
    if kind == "bytes":
        return _bytes(value)
    return value


def _fits(shape: Shape, value: Any) -> bool:
    if shape.kind in ("string", "bytes"):
        return isinstance(value, str)
    if shape.kind == "boolean":
        return isinstance(value, bool)
    if shape.kind == "raw-object":
        return isinstance(value, dict)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if shape.kind == "number":
        return True
    bound = _BOUNDS[shape.width]
    return isinstance(value, int) and -bound <= value < bound


def _bytes(value: str) -> str:
    text = value.replace("\n", "").replace("\r", "")
    try:
        return base64.b64encode(base64.b64decode(text, validate=True)).decode()
    except (binascii.Error, ValueError):
        valid = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
        at = next((i for i, letter in enumerate(value) if letter not in valid), len(value))
        raise GoError(f"illegal base64 data at input byte {at}") from None


def _time(value: Any, *, micro: bool) -> str:
    if not isinstance(value, str):
        kind = _json_type(value)
        raise GoError(f"json: cannot unmarshal {kind} into Go value of type string")
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None or "T" not in value:
            raise ValueError(value)
    except ValueError:
        layout = "2006-01-02T15:04:05.000000Z07:00" if micro else "2006-01-02T15:04:05Z07:00"
        quoted = f'"{value}"'
        raise GoError(
            f'parsing time {quoted} as "{layout}": cannot parse {quoted} as "2006"'
        ) from (None)
    moment = moment.astimezone(UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ" if micro else "%Y-%m-%dT%H:%M:%SZ")


def _zero(shape: Shape) -> Any:
    """What Go makes of a null inside a list or a map."""
    if shape.kind in ("object", "map", "raw-object"):
        return {}
    if shape.kind == "list":
        return []
    if shape.kind in ("integer", "number", "int-or-string"):
        return 0
    return {"boolean": False, "any": None, "quantity": "0"}.get(shape.kind, "")


def _json_type(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "object" if isinstance(value, dict) else "array"


def _mismatch(value: Any, keys: str, struct: str, wanted: str) -> GoError:
    kind = _json_type(value)
    if kind == "number" and wanted.startswith("int"):
        kind = f"number {value}"
    return GoError(
        f"json: cannot unmarshal {kind} into Go struct field {struct}.{keys} of type {wanted}"
    )


def go_type(shape: Shape) -> str:
    """A shape's type as Go prints it."""
    if shape.kind == "object":
        package, name = shape.ref.rsplit(".", 2)[-2:]
        return f"{package}.{name}"
    if shape.kind == "list":
        return f"[]{go_type(shape.item)}" if shape.item else "[]"
    if shape.kind == "map":
        if shape.item is not None and shape.item.kind == "quantity":
            return "v1.ResourceList"
        return f"map[string]{go_type(shape.item)}" if shape.item else "map"
    if shape.kind == "integer":
        return f"int{shape.width}"
    return _GO_TYPES.get(shape.kind, shape.kind)
