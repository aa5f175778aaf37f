"""Namespaces: what every one of them gets, and how one ends.

A deleted namespace is Terminating: its content is deleted, pods before all else, and once nothing
of it is left its finalizer "kubernetes" goes and with it the namespace. Rules: "Namespaces
Walkthrough", KEP-5080 (ordered deletion), and the controller's conditions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import orjson

from proa.base.clock import iso8601
from proa.kube.api.call import Call
from proa.kube.controllers.common import condition_json, delete, patch, service_account
from proa.kube.keys import object_key, parse_key
from proa.kube.objects import Condition, Namespace, Object, condition
from proa.kube.tables import (
    CONFIG_MAPS,
    LIFE,
    NAMESPACES,
    OBJECTS,
    PREFIX,
    SERVICE_ACCOUNTS,
    cluster_of,
)
from proa.reconcile.controller import Trigger
from proa.reconcile.plan import NOTHING, Plan
from proa.reconcile.runner import row_key
from proa.reconcile.view import Change, Entry, View

FINALIZER = "kubernetes"
ROOT_CA = "kube-root-ca.crt"
BATCH = 100  # deletions a turn
AGAIN_S = 5.0
_CA_NOTE = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal "
    "endpoints such as the internal service IP or kubernetes.default.svc. No other usage is "
    "guaranteed across distributions of Kubernetes clusters."
)


def namespace_of_row(_view: View, change: Change[Any]) -> Iterable[str]:
    """The key of the namespace that a namespaced object lies in."""
    key = parse_key(change.key)
    return (object_key(key.cluster, "", "namespaces", "", key.namespace),) if key.namespace else ()


class ServiceAccountController:
    """Every active namespace has a service account "default". Key: the namespace's."""

    name = "service-account"
    user = service_account("service-account-controller")

    def __init__(self) -> None:
        self.triggers: Sequence[Trigger] = (
            Trigger(NAMESPACES, row_key),
            Trigger(SERVICE_ACCOUNTS, _if_gone),
        )

    def reconcile(self, view: View, key: str, now: float) -> Plan:
        entry = view.rows(NAMESPACES).get(key)
        if entry is None or entry.value.metadata.deleting:
            return NOTHING
        cluster, name = cluster_of(key), entry.value.metadata.name
        wanted = object_key(cluster, "", "serviceaccounts", name, "default")
        if view.rows(SERVICE_ACCOUNTS).get(wanted) is not None:
            return NOTHING
        body = {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": "default", "namespace": name},
        }
        return Plan((_create(cluster, "serviceaccounts", name, "default", body, self.user),))


class RootCaController:
    """Every active namespace has the ConfigMap kube-root-ca.crt with the cluster's CA. Key: the
    namespace's. ``root_ca`` gives a cluster's certificate as PEM."""

    name = "root-ca"
    user = service_account("root-ca-cert-publisher")

    def __init__(self, root_ca: Callable[[str], str]) -> None:
        self._root_ca = root_ca
        self.triggers: Sequence[Trigger] = (
            Trigger(NAMESPACES, row_key),
            Trigger(CONFIG_MAPS, _if_root_ca),
        )

    def reconcile(self, view: View, key: str, now: float) -> Plan:
        entry = view.rows(NAMESPACES).get(key)
        if entry is None or entry.value.metadata.deleting:
            return NOTHING
        cluster, name = cluster_of(key), entry.value.metadata.name
        data = {"ca.crt": self._root_ca(cluster)}
        found = view.rows(CONFIG_MAPS).get(object_key(cluster, "", "configmaps", name, ROOT_CA))
        if found is None:
            body = {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {
                    "name": ROOT_CA,
                    "namespace": name,
                    "annotations": {"kubernetes.io/description": _CA_NOTE},
                },
                "data": data,
            }
            return Plan((_create(cluster, "configmaps", name, ROOT_CA, body, self.user),))
        if found.value.data == data:
            return NOTHING
        stale = {name: None for name in found.value.data if name not in data}
        return Plan((patch(found, {"data": {**stale, **data}}, self.user),))


def _create(
    cluster: str, resource: str, namespace: str, name: str, body: dict[str, Any], user: str
) -> Call:
    return Call(
        cluster, "create", "", resource, namespace, name, body=body, user=user, existing_ok=True
    )


def _if_gone(view: View, change: Change[Any]) -> Iterable[str]:
    return namespace_of_row(view, change) if change.new is None else ()


def _if_root_ca(view: View, change: Change[Any]) -> Iterable[str]:
    return namespace_of_row(view, change) if change.key.endswith(f"/{ROOT_CA}") else ()


class NamespaceController:
    """Ends namespaces. Key: the namespace's."""

    name = "namespace"
    user = service_account("namespace-controller")

    def __init__(self) -> None:
        self.triggers: Sequence[Trigger] = (
            Trigger(NAMESPACES, row_key),
            Trigger(OBJECTS, _ending_namespace, LIFE),
        )

    def reconcile(self, view: View, key: str, now: float) -> Plan:
        entry = view.rows(NAMESPACES).get(key)
        if entry is None or not entry.value.metadata.deleting:
            return NOTHING
        if FINALIZER not in entry.value.spec.finalizers:
            return NOTHING
        cluster, name = cluster_of(key), entry.value.metadata.name
        rows = view.rows(OBJECTS)
        kinds = rows.shelves(f"{PREFIX}{cluster}/")
        content = [item for kind in kinds for item in rows.scan(f"{kind}{name}/")]
        calls = self._report(entry, content, now)
        if not content:
            return Plan((*calls, self._finalize(entry)))
        pods = [item for item in content if parse_key(item.key).resource == "pods"]
        doomed = [item for item in pods or content if not item.value.metadata.deleting]
        calls += [delete(item, self.user, "Background") for item in doomed[:BATCH]]
        return Plan(tuple(calls), now + AGAIN_S)

    def _finalize(self, entry: Entry[Namespace]) -> Call:
        body = orjson.loads(entry.body)
        body["spec"]["finalizers"] = [
            item for item in entry.value.spec.finalizers if item != FINALIZER
        ]
        return Call(
            cluster_of(entry.key),
            "update",
            "",
            "namespaces",
            "",
            entry.value.metadata.name,
            "finalize",
            body=body,
            uid=entry.value.metadata.uid,
            user=self.user,
        )

    def _report(
        self, entry: Entry[Namespace], content: Sequence[Entry[Object]], now: float
    ) -> list[Call]:
        known = entry.value.status.conditions
        conditions = [_condition(known, *item, now) for item in _findings(content)]
        if entry.value.status.phase == "Terminating" and list(known) == conditions:
            return []
        body = {
            "phase": "Terminating",
            "conditions": [condition_json(item) for item in conditions],
        }
        return [patch(entry, {"status": body}, self.user, "status")]


def _ending_namespace(view: View, change: Change[Object]) -> Iterable[str]:
    """Only namespaces that are ending care for their content."""
    rows = view.rows(NAMESPACES)
    if not rows.values_of("ending"):
        return ()
    ending = rows.by("ending", cluster_of(change.key))
    mine = namespace_of_row(view, change)
    return [entry.key for entry in ending if entry.key in mine]


def _findings(content: Sequence[Entry[Object]]) -> list[tuple[str, bool, str, str]]:
    remaining: dict[str, int] = {}
    finalizers: dict[str, int] = {}
    for entry in content:
        key = parse_key(entry.key)
        resource = f"{key.resource}.{key.group}"
        remaining[resource] = remaining.get(resource, 0) + 1
        for finalizer in entry.value.metadata.finalizers:
            finalizers[finalizer] = finalizers.get(finalizer, 0) + 1
    left = ", ".join(f"{name} has {n} resource instances" for name, n in sorted(remaining.items()))
    held = ", ".join(f"{name} in {n} resource instances" for name, n in sorted(finalizers.items()))
    return [
        ("NamespaceDeletionDiscoveryFailure", False, "ResourcesDiscovered",
         "All resources successfully discovered"),
        ("NamespaceDeletionGroupVersionParsingFailure", False, "ParsedGroupVersions",
         "All legacy kube types successfully parsed"),
        ("NamespaceDeletionContentFailure", False, "ContentDeleted",
         "All content successfully deleted, may be waiting on finalization"),
        ("NamespaceContentRemaining", True, "SomeResourcesRemain",
         f"Some resources are remaining: {left}") if left else
        ("NamespaceContentRemaining", False, "ContentRemoved",
         "All content successfully removed"),
        ("NamespaceFinalizersRemaining", True, "SomeFinalizersRemain",
         f"Some content in the namespace has finalizers remaining: {held}") if held else
        ("NamespaceFinalizersRemaining", False, "ContentHasNoFinalizers",
         "All content-preserving finalizers finished"),
    ]  # fmt: skip


def _condition(
    known: tuple[Condition, ...], type: str, holds: bool, reason: str, message: str, now: float
) -> Condition:
    value = "True" if holds else "False"
    old = condition(known, type)
    same = old is not None and old.status == value
    since = old.last_transition_time if same and old else iso8601(now)
    return Condition(type, value, reason, message, last_transition_time=since)
