"""Definitions of one Kubernetes version, kept compact (see ``SchemaCache.open``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any


class SchemaCache:
    """Definitions by name, resolved when asked for."""

    @classmethod
    def open(cls, path: Path | None, version: str = "1.36") -> SchemaCache:
        """Read the compact file at ``path``, made first from kubernetes_validate if it is absent.

        With no path nothing is kept on disk."""
        raise NotImplementedError

    def definition(self, name: str) -> dict[str, Any]:
        """One definition in OpenAPI v3 form, $refs by plain definition name; raises KeyError."""
        raise NotImplementedError
