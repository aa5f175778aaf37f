"""Does an object fit its kind's schema? (types, required fields, unknown fields)"""

from __future__ import annotations

from typing import Any

from proa.kube.schema.errors import FieldError
from proa.kube.schema.kinds import Resource


def validate(resource: Resource, obj: dict[str, Any], *, strict: bool) -> list[FieldError]:
    """What of an object does not fit its schema; with ``strict`` unknown fields too."""
    raise NotImplementedError


def decode_error(resource: Resource, obj: dict[str, Any]) -> str:
    """The 400 message for the first field of a wrong type, or ""."""
    raise NotImplementedError


def unknown_fields(resource: Resource, obj: dict[str, Any]) -> list[str]:
    """Unknown fields as kubectl shows them: ``unknown field "spec.foo"``."""
    raise NotImplementedError


def prune_unknown(resource: Resource, obj: dict[str, Any]) -> dict[str, Any]:
    """The object without fields its schema does not know (built-in kinds drop them)."""
    raise NotImplementedError
