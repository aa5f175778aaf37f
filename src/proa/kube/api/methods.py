"""Which requests a resource takes at all: methods of its subresources, and in which namespace.

``server`` asks after authorisation. A rule of RBAC allows a verb, whatever the verb then does;
so a "get" must never reach what only a "create" may do (mint a token, evict a pod), and a right
in one namespace must never reach what lies in none. Source: the storages that kube-apiserver
registers for each subresource.
"""

from __future__ import annotations

from msgspec.structs import replace

from proa.kube.api.failures import method_not_allowed, no_such_path
from proa.kube.api.paths import Target
from proa.kube.api.rbac import Attributes
from proa.kube.schema.kinds import Resource

_CREATE = frozenset({"create"})
_STREAMED = frozenset({"get", "create"})
_CHANGED = frozenset({"get", "update", "patch"})
_TAKEN = {
    "log": frozenset({"get"}),
    "exec": _STREAMED,
    "attach": _STREAMED,
    "portforward": _STREAMED,
    "binding": _CREATE,
    "eviction": _CREATE,
    "token": _CREATE,
    "finalize": frozenset({"update"}),
    "scale": _CHANGED,
    "status": _CHANGED,
}
_WITHIN = frozenset({"exec", "attach", "portforward"})


def check_place(resource: Resource, target: Target) -> None:
    """Raise ApiError 404 for a resource of the cluster that is asked for below a namespace: who
    may do something there was asked about that namespace only."""
    own = resource.name == "namespaces" and target.namespace == target.name
    if target.namespace and not resource.namespaced and not own:
        raise no_such_path()


def check_method(target: Target) -> None:
    """Raise ApiError 405 for a method that a subresource does not take; a proxy takes all."""
    taken = _TAKEN.get(target.subresource)
    if taken is not None and target.verb not in taken:
        raise method_not_allowed()


def also_needed(attributes: Attributes) -> Attributes | None:
    """What else who opens a stream into a container must be allowed: a WebSocket begins with a
    GET, and a right to read must not run commands (Kubernetes 1.35, "create" for WebSockets)."""
    if attributes.verb == "get" and attributes.subresource in _WITHIN:
        return replace(attributes, verb="create")
    return None
