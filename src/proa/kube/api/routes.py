"""What a request's method and path alone say: what it is about, what its sender must be allowed.

``server`` asks for every request. Clients come back to the same paths, so what was found is kept.
"""

from __future__ import annotations

from functools import lru_cache

from msgspec import Struct

from proa.base.http import Request
from proa.kube.api.methods import also_needed
from proa.kube.api.metrics import Series
from proa.kube.api.paths import Target, target_of
from proa.kube.api.rbac import Attributes
from proa.kube.schema.kinds import Kinds, Resource

LENGTH_MAX = 256  # of paths that are kept
KEPT = 4096


class Route(Struct, frozen=True):
    """``target`` is None for a path that leads to no resource, ``resource`` also where its kind is
    not served. ``needed`` is all that the sender must be allowed, ``series`` where the answer is
    counted."""

    target: Target | None
    resource: Resource | None
    needed: tuple[Attributes, ...]
    series: Series


class Routes:
    """Of one cluster's API."""

    def __init__(self, kinds: Kinds) -> None:
        self._kinds = kinds
        self._known = lru_cache(maxsize=KEPT)(self._route)

    def of(self, request: Request) -> Route:
        """Where a request leads."""
        method, path = request.method, request.path
        if method == "GET" and request.query and request.param("watch") in ("true", "1"):
            method = "WATCH"
        return (self._known if len(path) <= LENGTH_MAX else self._route)(method, path)

    def _route(self, method: str, path: str) -> Route:
        target = target_of(method, path)
        if target is None:
            asked = Attributes(verb=_plain(method).lower(), path=path)
            return Route(None, None, (asked,), (_plain(method), "", "", ""))
        resource = self._kinds.find(target.group, target.version, target.resource)
        asked = Attributes(
            target.verb,
            target.group,
            target.resource,
            target.subresource,
            target.namespace,
            target.name,
        )
        more = also_needed(asked)
        series = (target.verb.upper(), "", "", "")
        if resource is not None:
            what = resource.name
            if target.subresource in resource.subresources:
                what = f"{what}/{target.subresource}"
            series = (target.verb.upper(), target.group, target.version, what)
        return Route(target, resource, (asked, more) if more is not None else (asked,), series)


def _plain(method: str) -> str:
    """The method as it was sent."""
    return "GET" if method == "WATCH" else method
