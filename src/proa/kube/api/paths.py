"""Paths and queries: what a request is about (kube-apiserver's RequestInfo)."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote

_VERBS = {
    "GET": "get",
    "WATCH": "watch",
    "HEAD": "get",
    "POST": "create",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
}


@dataclass(slots=True, frozen=True)
class Target:
    """A request on resources. ``verb`` as RBAC names it."""

    verb: str
    group: str
    version: str
    resource: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    rest: str = ""  # what follows a proxy subresource


def target_of(method: str, path: str) -> Target | None:
    """What a path below /api/v1 or /apis/GROUP/VERSION is about; None for other paths. A GET that
    asks for a watch is of the method WATCH."""
    parts = path.strip("/").split("/")
    if "%" in path:
        parts = [unquote(part) for part in parts]
    if parts[0] == "api" and len(parts) > 2:
        group, version, parts = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:
        group, version, parts = parts[1], parts[2], parts[3:]
    else:
        return None
    namespace = ""
    if parts[0] == "namespaces" and len(parts) > 2 and parts[2] not in ("finalize", "status"):
        namespace, parts = parts[1], parts[2:]
    elif parts[0] == "namespaces" and len(parts) > 1:
        namespace = parts[1]
    resource, name = parts[0], parts[1] if len(parts) > 1 else ""
    subresource = parts[2] if len(parts) > 2 else ""
    verb = _verb(method, name)
    if resource == "namespaces" and not name:
        namespace = ""
    return Target(verb, group, version, resource, namespace, name, subresource, "/".join(parts[3:]))


def _verb(method: str, name: str) -> str:
    verb = _VERBS.get(method, method.lower())
    if not name:
        return {"get": "list", "delete": "deletecollection"}.get(verb, verb)
    return verb
