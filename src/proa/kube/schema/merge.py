"""Patches: JSON patch, JSON merge patch, strategic merge patch, server-side apply."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from proa.kube.schema.kinds import Resource


class PatchError(ValueError):
    """A patch that cannot be applied; ``status`` is the HTTP status (400 or 422)."""

    def __init__(self, message: str, status: int = 422) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class ApplyConflict(Exception):
    """Fields that other managers own: (manager, apiVersion, field path) each."""

    causes: tuple[tuple[str, str, str], ...]


def json_patch(doc: Any, patch: list[dict[str, Any]]) -> Any:
    """RFC 6902; the document given is not changed; raises PatchError."""
    raise NotImplementedError


def merge_patch(doc: Any, patch: Any) -> Any:
    """RFC 7386; the document given is not changed."""
    raise NotImplementedError


def strategic_merge(
    resource: Resource, doc: dict[str, Any], patch: dict[str, Any]
) -> dict[str, Any]:
    """A strategic merge patch by the kind's merge keys; raises PatchError."""
    raise NotImplementedError


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
