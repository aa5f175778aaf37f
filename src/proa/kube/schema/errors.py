"""What is wrong with a field, in Kubernetes' words (apimachinery's ``field.Error``).

Made by ``kube.schema.validate`` and ``kube.schema.rules``; the API turns a list of them into a
422 Status whose causes carry ``type``, ``body()`` and ``field``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

REQUIRED = "FieldValueRequired"
DUPLICATE = "FieldValueDuplicate"
INVALID = "FieldValueInvalid"
NOT_SUPPORTED = "FieldValueNotSupported"
FORBIDDEN = "FieldValueForbidden"
TOO_LONG = "FieldValueTooLong"
TOO_MANY = "FieldValueTooMany"
TYPE_INVALID = "FieldValueTypeInvalid"
NOT_FOUND = "FieldValueNotFound"
UNKNOWN = "FieldUnknown"
"""Not a cause of Kubernetes: an unknown field, which strict validation answers by 400."""

_TITLES = {
    REQUIRED: "Required value",
    DUPLICATE: "Duplicate value",
    INVALID: "Invalid value",
    NOT_SUPPORTED: "Unsupported value",
    FORBIDDEN: "Forbidden",
    TOO_LONG: "Too long",
    TOO_MANY: "Too many",
    TYPE_INVALID: "Invalid value",
    NOT_FOUND: "Not found",
}


@dataclass(frozen=True)
class FieldError:
    """One cause of a 422: ``type`` is the cause's reason, ``field`` a path in the object."""

    type: str
    field: str
    detail: str = ""
    value: Any = None

    def message(self) -> str:
        """The whole text: ``spec.replicas: Invalid value: -1: must be …``."""
        return f"{self.field}: {self.body()}"

    def body(self) -> str:
        """The text without the field: a status cause's ``message``."""
        if self.type == UNKNOWN:
            return self.detail
        text = _TITLES[self.type]
        if self.type in (INVALID, NOT_SUPPORTED, DUPLICATE, TYPE_INVALID, NOT_FOUND):
            text += f": {_shown(self.value)}"
        return f"{text}: {self.detail}" if self.detail else text


def _shown(value: Any) -> str:
    """A value as Go's error text shows it: strings quoted, objects as JSON, nothing as null."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)


def required(path: str, detail: str = "") -> FieldError:
    return FieldError(REQUIRED, path, detail)


def invalid(path: str, value: Any, detail: str) -> FieldError:
    return FieldError(INVALID, path, detail, value)


def duplicate(path: str, value: Any) -> FieldError:
    return FieldError(DUPLICATE, path, "", value)


def forbidden(path: str, detail: str) -> FieldError:
    return FieldError(FORBIDDEN, path, detail)


def too_long(path: str, limit: int) -> FieldError:
    return FieldError(TOO_LONG, path, f"may not be more than {limit} bytes")


def unsupported(path: str, value: Any, supported: list[str]) -> FieldError:
    listed = ", ".join(f'"{item}"' for item in supported)
    return FieldError(NOT_SUPPORTED, path, f"supported values: {listed}", value)
