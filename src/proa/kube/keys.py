"""Where Kubernetes objects lie in the store.

``/kube/<cluster uid>/<group or "core">/<resource>/<namespace or "-">/<name>``: a cluster is a
key prefix, a resource and a namespace are prefixes below it. Kinds are stored once, whatever
version of the group they were written through.
"""

from __future__ import annotations

from typing import NamedTuple


class ObjectKey(NamedTuple):
    """The parts of a key; ``group`` is "" for core, ``namespace`` is "" for cluster scope."""

    cluster: str
    group: str
    resource: str
    namespace: str
    name: str


def object_key(cluster: str, group: str, resource: str, namespace: str, name: str) -> str:
    """The key of one object."""
    return f"/kube/{cluster}/{group or 'core'}/{resource}/{namespace or '-'}/{name}"


def prefix_of(cluster: str, group: str, resource: str, namespace: str = "") -> str:
    """The prefix of all objects of a resource, or of those in one namespace."""
    below = f"{namespace}/" if namespace else ""
    return f"/kube/{cluster}/{group or 'core'}/{resource}/{below}"


def shelf_of(key: str) -> str:
    """The prefix of all objects of the resource that a key, or a prefix, belongs to; "" for a
    prefix that is shorter."""
    parts = key.split("/", 5)
    return key[: len(key) - len(parts[5])] if len(parts) == 6 else ""


def parse_key(key: str) -> ObjectKey:
    """The parts of an object's key; raises ValueError for any other key."""
    _, kube, cluster, group, resource, namespace, name = key.split("/", 6)
    if kube != "kube":
        raise ValueError(f"not a Kubernetes object's key: {key}")
    return ObjectKey(
        cluster,
        "" if group == "core" else group,
        resource,
        "" if namespace == "-" else namespace,
        name,
    )


def is_resource(key: str, group: str, resource: str) -> bool:
    """Whether a key holds an object of this resource, in any cluster and namespace."""
    parts = key.split("/", 5)
    return (
        len(parts) == 6
        and parts[1] == "kube"
        and parts[3] == (group or "core")
        and parts[4] == resource
    )
