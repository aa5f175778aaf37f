"""The kinds that a cluster serves: built-in ones from a table, custom ones added by the API."""

from __future__ import annotations

from dataclasses import dataclass, field

from proa.kube.schema.cache import SchemaCache


@dataclass(frozen=True)
class Resource:
    """One resource of one group version, as discovery shows it.

    ``name`` is the plural; ``group`` is "" for core. ``schemas`` is where ``schema_ref`` is found:
    the cluster's cache for built-in kinds, None for a kind without a schema."""

    group: str
    version: str
    name: str
    kind: str
    singular: str
    namespaced: bool
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()
    storage_version: str = ""
    schema_ref: str = ""
    schemas: SchemaCache | None = field(default=None, repr=False, compare=False)

    @property
    def api_version(self) -> str:
        """The ``apiVersion`` of its objects."""
        return f"{self.group}/{self.version}" if self.group else self.version


class Kinds:
    """All resources of one cluster's version."""

    def resources(self) -> list[Resource]:
        raise NotImplementedError

    def find(self, group: str, version: str, name: str) -> Resource | None:
        """The resource with this plural name."""
        raise NotImplementedError

    def by_kind(self, group: str, version: str, kind: str) -> Resource | None:
        """The resource whose objects are of this kind."""
        raise NotImplementedError

    def versions(self, group: str) -> list[str]:
        """The versions of a group, preferred first."""
        raise NotImplementedError

    def groups(self) -> list[str]:
        """The groups in discovery's order, "" (core) first."""
        raise NotImplementedError


def load_kinds(cache: SchemaCache) -> Kinds:
    """The built-in kinds of the cache's version."""
    raise NotImplementedError
