"""The kinds that a cluster serves: built-in ones from a table, custom ones added by the API.

``data/kinds.json`` lists the resources that Kubernetes serves by default, group versions in
discovery's order; what a row leaves out is usual (cluster scope, all verbs, no subresources).
A ``Kinds`` is a value: the API makes a new one when custom resource definitions change.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from importlib.resources import files
from typing import Any

import orjson

from proa.kube.schema.cache import SchemaCache

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
# (group, resource) that are kept as another: (group, version). See ``kube.schema.versions``.
_KEPT_AS = {
    ("autoscaling", "horizontalpodautoscalers"): ("autoscaling", "v2"),
    ("events.k8s.io", "events"): ("", "v1"),
}
_VERSION = re.compile(r"^v(\d+)(?:(alpha|beta)(\d+))?$")


@dataclass(frozen=True)
class Resource:
    """One resource of one group version, as discovery shows it.

    ``name`` is the plural; ``group`` is "" for core. ``schemas`` is where ``schema_ref`` is found:
    the cluster's cache for built-in kinds, None for a kind without a schema there."""

    group: str
    version: str
    name: str
    kind: str
    singular: str
    namespaced: bool
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ALL_VERBS
    subresources: tuple[str, ...] = ()
    storage_version: str = ""
    schema_ref: str = ""
    schemas: SchemaCache | None = field(default=None, repr=False, compare=False)

    @cached_property
    def api_version(self) -> str:
        """The ``apiVersion`` of its objects."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @cached_property
    def group_resource(self) -> str:
        """``deployments.apps``, ``pods``: how error messages name it."""
        return f"{self.name}.{self.group}" if self.group else self.name

    @cached_property
    def group_name(self) -> tuple[str, str]:
        """Group and plural, which are the same in all versions."""
        return (self.group, self.name)

    @cached_property
    def group_kind(self) -> tuple[str, str]:
        """Group and kind, by which rules are found."""
        return (self.group, self.kind)

    @cached_property
    def home(self) -> tuple[str, str]:
        """(group, version) in which its objects are kept."""
        return _KEPT_AS.get(self.group_name, (self.group, self.version))

    @cached_property
    def versioned(self) -> bool:
        """Whether a stored object may be of another version than this one."""
        return self.group_name in _KEPT_AS


class Kinds:
    """All resources of one cluster's version."""

    def __init__(self, resources: Iterable[Resource]) -> None:
        self._resources = list(resources)
        self._by_name = {(r.group, r.version, r.name): r for r in self._resources}
        self._by_kind = {(r.group, r.version, r.kind): r for r in self._resources}
        self._versions: dict[str, list[str]] = {}
        for resource in self._resources:
            versions = self._versions.setdefault(resource.group, [])
            if resource.version not in versions:
                versions.append(resource.version)
        for versions in self._versions.values():
            versions.sort(key=version_priority)

    def resources(self) -> list[Resource]:
        """All of them, in discovery's order."""
        return self._resources

    def of(self, group: str, version: str) -> list[Resource]:
        """The resources of one group version, in order."""
        return [r for r in self._resources if r.group == group and r.version == version]

    def find(self, group: str, version: str, name: str) -> Resource | None:
        """The resource with this plural name."""
        return self._by_name.get((group, version, name))

    def by_kind(self, group: str, version: str, kind: str) -> Resource | None:
        """The resource whose objects are of this kind."""
        return self._by_kind.get((group, version, kind))

    def versions(self, group: str) -> list[str]:
        """The versions of a group, preferred first."""
        return self._versions.get(group, [])

    def groups(self) -> list[str]:
        """The groups in discovery's order, "" (core) first."""
        return list(self._versions)

    def with_resources(self, added: Iterable[Resource]) -> Kinds:
        """These kinds and more (custom ones)."""
        return Kinds([*self._resources, *added])


def version_priority(version: str) -> tuple[int, int, int, str]:
    """Sorts versions as Kubernetes prefers them: GA before beta before alpha, newer first."""
    match = _VERSION.match(version)
    if match is None:
        return (3, 0, 0, version)
    major, stage, minor = match.groups()
    return ({None: 0, "beta": 1, "alpha": 2}[stage], -int(major), -int(minor or 0), version)


def load_kinds(cache: SchemaCache) -> Kinds:
    """The built-in kinds of the cache's version."""
    defined = cache.kinds()
    resources: list[Resource] = []
    for api_version, rows in _table().items():
        group, _, version = api_version.rpartition("/")
        resources += [
            _resource(cache, group, version, row, name)
            for row in rows
            if (name := defined.get((group, version, row["kind"])))
        ]
    return Kinds(resources)


def _resource(
    cache: SchemaCache, group: str, version: str, row: dict[str, Any], definition: str
) -> Resource:
    return Resource(
        group=group,
        version=version,
        name=row["name"],
        kind=row["kind"],
        singular=row["kind"].lower(),
        namespaced=row.get("namespaced", False),
        short_names=tuple(row.get("short", ())),
        categories=tuple(row.get("categories", ())),
        verbs=tuple(row.get("verbs", ALL_VERBS)),
        subresources=tuple(row.get("subresources", ())),
        storage_version="v2" if group == "autoscaling" else version,
        schema_ref=definition,
        schemas=cache,
    )


@lru_cache(maxsize=1)
def _table() -> dict[str, list[dict[str, Any]]]:
    table: dict[str, list[dict[str, Any]]] = orjson.loads(
        files("proa.kube.data").joinpath("kinds.json").read_bytes()
    )
    return table
