"""What no schema says: names, immutability, references between fields, as kube-apiserver checks."""

from __future__ import annotations

from typing import Any

from proa.kube.schema.errors import FieldError
from proa.kube.schema.kinds import Resource


def check_create(resource: Resource, obj: dict[str, Any]) -> list[FieldError]:
    """Faults of a new object, its defaults applied."""
    raise NotImplementedError


def check_update(resource: Resource, old: dict[str, Any], new: dict[str, Any]) -> list[FieldError]:
    """Faults of a changed object, defaults applied to both."""
    raise NotImplementedError
