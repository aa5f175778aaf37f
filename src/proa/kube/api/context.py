"""What the API server's modules share: one cluster's store, view, kinds, clock and chance."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from proa.base.chance import Chance
from proa.base.clock import Clock
from proa.kube.keys import object_key, prefix_of
from proa.kube.objects import Object
from proa.kube.schema.kinds import Kinds, Resource
from proa.kube.tables import OBJECTS
from proa.reconcile.view import Entry, View
from proa.store.api import Store


@dataclass(slots=True, frozen=True)
class ClusterInfo:
    """One logical cluster. ``uid`` is its key prefix; ``service_cidr`` the range of VIPs."""

    uid: str
    name: str
    version: str
    service_cidr: str
    address: str  # host:port at which the API is reached
    issuer: str


@dataclass(slots=True, frozen=True)
class Grant:
    """A ClusterRole that a user holds without a binding: everywhere, or in the namespaces that
    match one of the patterns ("team-*")."""

    role: str
    namespaces: tuple[str, ...] = ()


@dataclass(slots=True, frozen=True)
class User:
    """Who asks. ``extra`` and ``grants`` as authentication found them."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: dict[str, tuple[str, ...]] = field(default_factory=dict)
    grants: tuple[Grant, ...] = ()


ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))
LOOPBACK = User("system:apiserver", ("system:masters", "system:authenticated"))


Rendering = Callable[[Resource, Entry[Object]], Entry[Object]]


def as_stored(_resource: Resource, entry: Entry[Object]) -> Entry[Object]:
    """Every object is shown as it lies in the store."""
    return entry


@dataclass(slots=True, frozen=True)
class Api:
    """Handed to every module of this package. ``rendered`` gives the form of an object that
    readers see, for what is known of it and not stored (a node's sign of life in its Lease)."""

    store: Store
    view: View
    cluster: ClusterInfo
    kinds: Kinds
    clock: Clock
    chance: Chance
    acted_on: frozenset[tuple[str, str]]  # (group, resource) that something acts on
    rendered: Rendering = as_stored

    def key(self, resource: Resource, namespace: str, name: str) -> str:
        """The store key of an object."""
        group, where = resource.home[0], namespace if resource.namespaced else ""
        return object_key(self.cluster.uid, group, resource.name, where, name)

    def entry(self, resource: Resource, namespace: str, name: str) -> Entry[Object] | None:
        """One object as the view shows it."""
        return self.view.rows(OBJECTS).get(self.key(resource, namespace, name))

    def entries(
        self, resource: Resource, namespace: str = "", after: str = ""
    ) -> Iterator[Entry[Object]]:
        """The objects of a resource, in key order."""
        return self.view.rows(OBJECTS).scan(self.prefix(resource, namespace), after)

    def prefix(self, resource: Resource, namespace: str = "") -> str:
        """Where the objects of a resource lie."""
        return prefix_of(self.cluster.uid, resource.home[0], resource.name, namespace)

    def builtin(self, group: str, name: str) -> Resource:
        """A resource that every cluster has."""
        found = self.kinds.find(group, self.kinds.versions(group)[0], name)
        assert found is not None, f"{name}.{group} is built in"
        return found

    async def fresh(self) -> None:
        """Wait until the view shows every commit acknowledged so far."""
        version = await self.store.version()
        if self.view.version < version:
            await self.view.reached(version)


Json = dict[str, Any]
