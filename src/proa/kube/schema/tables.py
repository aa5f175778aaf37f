"""meta.k8s.io/v1 Table: the columns that ``kubectl get`` shows."""

from __future__ import annotations

from typing import Any, Literal

from proa.kube.schema.kinds import Resource

Include = Literal["None", "Metadata", "Object"]


def table(
    resource: Resource, objects: list[dict[str, Any]], now: float, include: Include = "Metadata"
) -> dict[str, Any]:
    """A Table of objects; ``now`` in seconds since 1970 dates the AGE cells."""
    raise NotImplementedError
