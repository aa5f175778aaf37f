"""What a cluster holds by itself: its namespaces' base set, the Service of its own API, and the
end of old Events.

In Kubernetes the API server keeps these; here they are controllers like all others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from proa.cloud import compute
from proa.kube.api.call import SYSTEM, Call
from proa.kube.controllers.common import patch
from proa.kube.event_objects import Event
from proa.kube.events import expires_at
from proa.kube.keys import object_key
from proa.kube.tables import (
    ENDPOINT_SLICES,
    ENDPOINTS,
    EVENTS,
    NAMESPACES,
    PREFIX,
    SERVICES,
    cluster_of,
)
from proa.reconcile.controller import Trigger
from proa.reconcile.plan import NOTHING, Commit, Plan
from proa.reconcile.view import Change, Table, View
from proa.store.api import Delete, Guard, Transaction

NAME, HOME = "kubernetes", "default"
MINUTE_S, RECHECK_S = 60.0, 1.0
AT_ONCE = 45  # Events of one transaction: a guard and a write each


@dataclass(slots=True, frozen=True)
class ApiPlace:
    """Where a cluster's pods reach its API: the Service's address, and the server behind it.
    ``own_ports`` are further ports of the nodes that are Proa's."""

    cluster_ip: str = "10.100.0.1"
    address: str = "127.0.0.1"
    port: int = 6443
    own_ports: tuple[int, ...] = ()


class KubernetesServiceController:
    """Service, EndpointSlice and Endpoints "kubernetes" in namespace default. Key: that
    namespace's."""

    name = "kubernetes-service"

    def __init__(self, place: Callable[[str], ApiPlace | None]) -> None:
        self._place = place
        self.triggers: Sequence[Trigger] = (
            Trigger(NAMESPACES, _if_home),
            *(Trigger(table, _if_own) for table in (SERVICES, ENDPOINT_SLICES, ENDPOINTS)),
            Trigger(compute.INSTANCES, _home_of_instance),
        )

    def reconcile(self, view: View, key: str, now: float) -> Plan:
        if view.rows(NAMESPACES).get(key) is None:
            return NOTHING
        cluster = cluster_of(key)
        place = self._place(cluster)
        if place is None:
            return NOTHING  # a cluster that is on its way out
        steps = [
            call
            for table, group, resource, body in _wanted(place)
            if (call := _ensured(view, cluster, table, group, resource, body)) is not None
        ]
        return Plan(tuple(steps))


def _wanted(place: ApiPlace) -> list[tuple[Table[Any], str, str, dict[str, Any]]]:
    labels = {"component": "apiserver", "provider": "kubernetes"}
    port = {"name": "https", "port": 443, "protocol": "TCP", "targetPort": place.port}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": NAME, "namespace": HOME, "labels": labels},
        "spec": {
            "type": "ClusterIP",
            "clusterIP": place.cluster_ip,
            "clusterIPs": [place.cluster_ip],
            "sessionAffinity": "None",
            "ports": [port],
        },
    }
    slice = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": NAME,
            "namespace": HOME,
            "labels": {"kubernetes.io/service-name": NAME},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [place.address], "conditions": {"ready": True}}],
        "ports": [{"name": "https", "port": place.port, "protocol": "TCP"}],
    }
    endpoints = {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {
            "name": NAME,
            "namespace": HOME,
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
        },
        "subsets": [
            {
                "addresses": [{"ip": place.address}],
                "ports": [{"name": "https", "port": place.port, "protocol": "TCP"}],
            }
        ],
    }
    return [
        (SERVICES, "", "services", service),
        (ENDPOINT_SLICES, "discovery.k8s.io", "endpointslices", slice),
        (ENDPOINTS, "", "endpoints", endpoints),
    ]


def _ensured(
    view: View, cluster: str, table: Table[Any], group: str, resource: str, body: dict[str, Any]
) -> Call | None:
    """Create what is missing; point what is there to the right place."""
    found = view.rows(table).get(object_key(cluster, group, resource, HOME, NAME))
    if found is None:
        return Call(cluster, "create", group, resource, HOME, NAME, body=body, existing_ok=True)
    present = orjson.loads(found.body)
    parts = ("endpoints", "ports", "subsets")
    news = {part: body[part] for part in parts if part in body and present.get(part) != body[part]}
    return patch(found, news, SYSTEM) if news else None


def _if_home(_view: View, change: Change[Any]) -> Iterable[str]:
    return (change.key,) if change.key.endswith(f"/namespaces/-/{HOME}") else ()


def _if_own(_view: View, change: Change[Any]) -> Iterable[str]:
    if not change.key.endswith(f"/{HOME}/{NAME}"):
        return ()
    return (object_key(cluster_of(change.key), "", "namespaces", "", HOME),)


def _home_of_instance(_view: View, change: Change[Any]) -> Iterable[str]:
    """Pods reach the API at an Instance's address."""
    side = change.new or change.old
    if side is None or not side.value.cluster.startswith(PREFIX):
        return ()
    return (object_key(cluster_of(side.value.cluster), "", "namespaces", "", HOME),)


class EventExpiryController:
    """Deletes Events an hour after they were last said. Key: the minute in which some are due, so
    that thousands of them cost one look. Which are due in which minute is kept in memory: it
    follows from the Events, and is told again to every new process."""

    name = "event-expiry"

    def __init__(self) -> None:
        self._due: dict[str, dict[str, None]] = {}  # minute → Events
        self.triggers: Sequence[Trigger] = (Trigger(EVENTS, self._minute),)

    def _minute(self, _view: View, change: Change[Event]) -> Iterable[str]:
        if change.new is None:
            return ()
        minute = str(int(expires_at(change.new) // MINUTE_S) + 1)
        known = self._due.get(minute)
        if known is not None:
            known[change.key] = None
            return ()
        self._due[minute] = {change.key: None}
        return (minute,)

    def reconcile(self, view: View, key: str, now: float) -> Plan:
        due_at = int(key) * MINUTE_S
        if now < due_at:
            return Plan(again_at=due_at)
        rows = view.rows(EVENTS)
        found = [rows.get(event) for event in self._due.get(key, ())]
        due = [
            entry
            for entry in found
            if entry is not None
            and expires_at(entry) <= now
            and not entry.value.metadata.finalizers
        ]
        if not due:
            self._due.pop(key, None)
            return NOTHING
        steps = []
        for first in range(0, len(due), AT_ONCE):
            part = due[first : first + AT_ONCE]
            guards = tuple(Guard(entry.key, entry.version) for entry in part)
            steps.append(Commit(Transaction(guards, tuple(Delete(entry.key) for entry in part))))
        return Plan(tuple(steps), now + RECHECK_S)
