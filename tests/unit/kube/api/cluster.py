"""One cluster's API context over a store in memory: what authority's modules are given."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from proa.base.chance import Chance
from proa.base.clock import VirtualClock, run_virtual
from proa.kube.api.context import Api, ClusterInfo
from proa.kube.keys import object_key
from proa.kube.schema.kinds import Kinds, Resource
from proa.kube.tables import TABLES
from proa.reconcile.view import View
from tests.unit.kube.world import MemoryStore

CLUSTER = ClusterInfo("c1", "one", "1.31", "10.96.0.0/16", "127.0.0.1:6443", "https://issuer")
RBAC = "rbac.authorization.k8s.io"
_KINDS = (
    ("", "v1", "pods", "Pod", True),
    ("", "v1", "serviceaccounts", "ServiceAccount", True),
    ("", "v1", "nodes", "Node", False),
    ("", "v1", "secrets", "Secret", True),
    (RBAC, "v1", "roles", "Role", True),
    (RBAC, "v1", "rolebindings", "RoleBinding", True),
    (RBAC, "v1", "clusterroles", "ClusterRole", False),
    (RBAC, "v1", "clusterrolebindings", "ClusterRoleBinding", False),
)
KINDS = Kinds(
    Resource(group, version, name, kind, kind.lower(), namespaced)
    for group, version, name, kind, namespaced in _KINDS
)
_RESOURCES = {kind: (group, name) for group, _, name, kind, _ in _KINDS}
Json = dict[str, Any]
NOW = VirtualClock().epoch  # when every check begins


def given(
    objects: Iterable[Json], check: Callable[[Api, MemoryStore], Awaitable[None] | None]
) -> None:
    """Run ``check`` with an Api whose view shows ``objects``."""

    async def run() -> None:
        store, clock = MemoryStore(), VirtualClock()
        for body in objects:
            put(store, body)
        view = View(store, TABLES)  # type: ignore[arg-type]
        running = asyncio.create_task(view.run())
        await view.synced.wait()
        api = Api(store, view, CLUSTER, KINDS, clock, Chance("api"), frozenset())  # type: ignore[arg-type]
        try:
            outcome = check(api, store)
            if outcome is not None:
                await outcome
        finally:
            running.cancel()

    run_virtual(run())


def key_of(body: Json) -> str:
    """Where an object lies."""
    group, name = _RESOURCES[body["kind"]]
    metadata = body["metadata"]
    return object_key(CLUSTER.uid, group, name, metadata.get("namespace", ""), metadata["name"])


def put(store: MemoryStore, body: Json) -> None:
    """Store an object."""
    store.put(key_of(body), json.dumps(body).encode())


def role(
    name: str,
    *rules: Json,
    namespace: str = "",
    labels: dict[str, str] | None = None,
    selects: str = "",
) -> Json:
    """A Role in a namespace, else a ClusterRole; ``selects`` makes it an aggregate of a label."""
    metadata: Json = {"name": name, "uid": name, "labels": labels or {}}
    body: Json = {"kind": "ClusterRole", "metadata": metadata, "rules": list(rules)}
    if namespace:
        metadata["namespace"] = namespace
        body["kind"] = "Role"
    if selects:
        body["aggregationRule"] = {"clusterRoleSelectors": [{"matchLabels": {selects: "true"}}]}
    return body


def binding(name: str, role_name: str, subject: Json, namespace: str = "", kind: str = "") -> Json:
    """A RoleBinding in a namespace, else a ClusterRoleBinding."""
    metadata = {"name": name, "uid": name, **({"namespace": namespace} if namespace else {})}
    return {
        "kind": "RoleBinding" if namespace else "ClusterRoleBinding",
        "metadata": metadata,
        "roleRef": {"kind": kind or "ClusterRole", "name": role_name, "apiGroup": RBAC},
        "subjects": [subject],
    }


def rule(verbs: str, resources: str, groups: str = "", **more: Any) -> Json:
    """A rule on resources, each field comma separated."""
    return {
        "verbs": verbs.split(","),
        "resources": resources.split(","),
        "apiGroups": groups.split(","),
        **more,
    }


def user(name: str) -> Json:
    """A subject."""
    return {"kind": "User", "name": name, "apiGroup": RBAC}


def account(name: str = "robot", namespace: str = "default", uid: str = "sa-1") -> Json:
    """A ServiceAccount."""
    metadata = {"name": name, "namespace": namespace, "uid": uid}
    return {"kind": "ServiceAccount", "apiVersion": "v1", "metadata": metadata}


def pod(name: str = "web", namespace: str = "default", uid: str = "pod-1", sa: str = "robot") -> (
    Json
):  # fmt: skip
    """A Pod that runs as a service account."""
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": name, "namespace": namespace, "uid": uid},
        "spec": {"serviceAccountName": sa, "containers": [{"name": "main", "image": "one"}]},
    }
