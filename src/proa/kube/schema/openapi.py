"""OpenAPI documents, built when first asked for and kept compressed."""

from __future__ import annotations

from proa.kube.schema.cache import SchemaCache
from proa.kube.schema.kinds import Kinds


class OpenAPI:
    """The documents of one cluster's version."""

    def __init__(self, kinds: Kinds, cache: SchemaCache) -> None:
        raise NotImplementedError

    def index(self) -> bytes:
        """/openapi/v3: JSON, where each group version's document is, with its hash."""
        raise NotImplementedError

    def group_version(self, path: str) -> bytes | None:
        """/openapi/v3/<path> ("api/v1", "apis/apps/v1") as JSON, or None."""
        raise NotImplementedError

    def v2(self) -> bytes:
        """/openapi/v2 as JSON."""
        raise NotImplementedError
