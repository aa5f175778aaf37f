"""Server-side apply and the ownership of fields (metadata.managedFields)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from proa.kube.schema.kinds import Resource


@dataclass(frozen=True)
class ApplyConflict(Exception):
    """Fields that other managers own: (manager, apiVersion, field path) each."""

    causes: tuple[tuple[str, str, str], ...]


def apply_patch(
    resource: Resource,
    live: dict[str, Any] | None,
    applied: dict[str, Any],
    *,
    manager: str,
    force: bool,
    now: float,
    subresource: str = "",
) -> dict[str, Any]:
    """Server-side apply: the merged object with its managedFields; raises ApplyConflict."""
    raise NotImplementedError


def track_update(
    resource: Resource,
    old: dict[str, Any] | None,
    new: dict[str, Any],
    *,
    manager: str,
    now: float,
    subresource: str = "",
) -> list[dict[str, Any]]:
    """The managedFields of ``new`` after a write that was not an apply."""
    raise NotImplementedError
