"""What is wrong with a field, in Kubernetes' words (k8s.io/apimachinery's field.Error)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


class DecodeError(ValueError):
    """A body whose JSON does not fit the kind's types: 400 BadRequest with this message."""


@dataclass(frozen=True)
class FieldError:
    """One cause of a 422: ``type`` is the cause's reason (FieldValueInvalid, …), ``field`` a path."""

    type: str
    field: str
    detail: str = ""
    value: Any = None

    def message(self) -> str:
        """The whole text, ``field: Invalid value: "x": detail``."""
        return f"{self.field}: {self.body()}"

    def body(self) -> str:
        """The text without the field: a status cause's ``message``."""
        raise NotImplementedError
