"""Discovery documents: which groups, versions and resources are served."""

from __future__ import annotations

from typing import Any

from proa.kube.schema.kinds import Kinds


def aggregated(kinds: Kinds, accept: str, core: bool) -> bytes:
    """An APIGroupDiscoveryList for /api (``core``) or /apis, in the version ``accept`` names."""
    raise NotImplementedError


def aggregated_type(accept: str) -> str:
    """The content type of the aggregated document that ``accept`` asks for, or ""."""
    raise NotImplementedError


def api_versions(address: str = "") -> dict[str, Any]:
    """/api; ``address`` is the server's own host:port."""
    raise NotImplementedError


def api_groups(kinds: Kinds) -> dict[str, Any]:
    """/apis."""
    raise NotImplementedError


def api_group(kinds: Kinds, group: str) -> dict[str, Any] | None:
    """/apis/<group>, or None if nothing is served there."""
    raise NotImplementedError


def resource_list(kinds: Kinds, group: str, version: str) -> dict[str, Any] | None:
    """/api/v1 or /apis/<group>/<version>, or None if nothing is served there."""
    raise NotImplementedError
