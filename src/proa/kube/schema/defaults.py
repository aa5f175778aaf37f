"""Defaults that kube-apiserver writes into objects it admits."""

from __future__ import annotations

from typing import Any

from proa.kube.schema.kinds import Resource


def apply_defaults(resource: Resource, obj: dict[str, Any]) -> None:
    """Fill in the defaults of an object, in place."""
    raise NotImplementedError
