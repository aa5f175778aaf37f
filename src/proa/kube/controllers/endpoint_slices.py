"""EndpointSlices: the pods behind each Service, at most 100 a slice.

Pods with the same ports share slices. An endpoint stays in the slice it is in; what is new fills
slices with room before another is made; a Service without endpoints keeps one empty slice. Rules:
"EndpointSlices" and KEP-752, KEP-1672 (terminating endpoints).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from proa.base.chance import Chance
from proa.kube.api.call import Call
from proa.kube.controllers.common import delete, owner_reference, patch, service_account
from proa.kube.controllers.endpoints import (
    HEADLESS,
    Ports,
    hostname_of,
    is_served,
    may_serve,
    pod_reference,
    port_json,
    ports_for,
    services_of_pod,
)
from proa.kube.keys import object_key
from proa.kube.objects import EndpointSlice, Pod, Service
from proa.kube.tables import (
    ENDPOINT_SLICES,
    NODES,
    PODS,
    SERVICES,
    cluster_of,
    namespace_of,
    node_of,
    selected_pods,
)
from proa.reconcile.controller import Trigger
from proa.reconcile.plan import NOTHING, Plan
from proa.reconcile.runner import row_key
from proa.reconcile.view import Change, Entry, View

PER_SLICE = 100
GROUP = "discovery.k8s.io"
USER = service_account("endpointslice-controller")
SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
MANAGER = "endpointslice-controller.k8s.io"
ZONE = "topology.kubernetes.io/zone"
Slice = Entry[EndpointSlice]
Endpoints = dict[str, dict[str, Any]]  # pod uid → endpoint


class EndpointSliceController:
    """Key: the Service's store key."""

    name = "endpoint-slice"

    def __init__(self, chance: Chance) -> None:
        self._chance = chance
        self.triggers: Sequence[Trigger] = (
            Trigger(SERVICES, row_key),
            Trigger(PODS, services_of_pod),
            Trigger(ENDPOINT_SLICES, _service_of_slice),
            Trigger(NODES, _services_of_moved_node),
        )

    def reconcile(self, view: View, key: str, now: float) -> Plan:
        entry = view.rows(SERVICES).get(key)
        if entry is None or entry.value.metadata.deleting:
            return NOTHING  # the garbage collector takes what a Service owned
        service, meta = entry.value, entry.value.metadata
        if not is_served(service):
            return NOTHING
        cluster = cluster_of(key)
        home = namespace_of(view, cluster, meta.namespace)
        if home is not None and home.value.metadata.deleting:
            return NOTHING
        groups = _wanted(view, entry)
        calls: list[Call] = []
        present = [slice for slice in _slices(view, entry) if not slice.value.metadata.deleting]
        for ports, endpoints in groups.items():
            mine = [slice for slice in present if _ports_of(slice) == ports]
            present = [slice for slice in present if slice not in mine]
            calls += self._fill(entry, ports, endpoints, mine)
        return Plan((*calls, *(delete(slice, USER) for slice in present)))

    def _fill(
        self, service: Entry[Service], ports: Ports, wanted: Endpoints, slices: Sequence[Slice]
    ) -> list[Call]:
        """Bring the slices of one set of ports up to date, with as few writes as it takes."""
        left = dict(wanted)
        contents: list[tuple[Slice, list[Any], list[Any]]] = []
        for slice in slices:
            present: list[Any] = orjson.loads(slice.body).get("endpoints") or []
            kept: list[Any] = []
            for endpoint in present:
                uid = (endpoint.get("targetRef") or {}).get("uid", "")
                found = left.pop(uid, None)
                if found is not None:
                    kept.append(found)
            contents.append((slice, present, kept))
        calls: list[Call] = []
        remaining = list(left.values())
        keep_empty = not wanted
        for slice, present, kept in sorted(contents, key=lambda item: -len(item[2])):
            room = PER_SLICE - len(kept)
            kept += remaining[:room]
            remaining = remaining[room:]
            if not kept and not keep_empty:
                calls.append(delete(slice, USER))
                continue
            keep_empty = False
            calls += _changed(service, slice, present, kept)
        if not slices and not remaining:
            calls.append(self._new(service, ports, []))
        while remaining:
            calls.append(self._new(service, ports, remaining[:PER_SLICE]))
            remaining = remaining[PER_SLICE:]
        return calls

    def _new(self, service: Entry[Service], ports: Ports, endpoints: list[Any]) -> Call:
        meta = service.value.metadata
        name = f"{meta.name[:57]}-{self._chance.suffix()}"
        body = {
            "apiVersion": f"{GROUP}/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": name,
                "generateName": f"{meta.name}-",
                "namespace": meta.namespace,
                "labels": _labels(service.value),
                "ownerReferences": [owner_reference("v1", "Service", meta)],
            },
            "addressType": "IPv4",
            "endpoints": endpoints,
            "ports": _ports_json(ports),
        }
        cluster = cluster_of(service.key)
        return Call(
            cluster, "create", GROUP, "endpointslices", meta.namespace, name, body=body, user=USER
        )


def _wanted(view: View, entry: Entry[Service]) -> dict[Ports, Endpoints]:
    """Endpoints by their ports. Without any, the Service's own ports with none."""
    service, meta = entry.value, entry.value.metadata
    cluster = cluster_of(entry.key)
    groups: dict[Ports, Endpoints] = {}
    for pod in selected_pods(view, cluster, meta.namespace, service.spec.selector):
        if may_serve(pod.value, terminating=True):
            ports = ports_for(service, pod.value)
            endpoint = _endpoint(view, cluster, service, pod.value)
            groups.setdefault(ports, {})[pod.value.metadata.uid] = endpoint
    return groups or {(): {}}


def _endpoint(view: View, cluster: str, service: Service, pod: Pod) -> dict[str, Any]:
    serving, ending = pod.ready_since is not None, pod.metadata.deleting
    publish = service.spec.publish_not_ready_addresses
    endpoint: dict[str, Any] = {
        "addresses": [pod.status.pod_ip],
        "conditions": {
            "ready": publish or (serving and not ending),
            "serving": serving,
            "terminating": ending,
        },
    }
    hostname = hostname_of(service, pod)
    if hostname:
        endpoint["hostname"] = hostname
    if pod.spec.node_name:
        endpoint["nodeName"] = pod.spec.node_name
        node = node_of(view, cluster, pod.spec.node_name)
        zone = node.value.metadata.labels.get(ZONE, "") if node else ""
        if zone:
            endpoint["zone"] = zone
    endpoint["targetRef"] = pod_reference(pod)
    return endpoint


def _labels(service: Service) -> dict[str, str]:
    labels = {
        **service.metadata.labels,
        SERVICE_NAME: service.metadata.name,
        MANAGED_BY: MANAGER,
    }
    if service.headless:
        labels[HEADLESS] = ""
    else:
        labels.pop(HEADLESS, None)
    return labels


def _slices(view: View, service: Entry[Service]) -> list[Slice]:
    meta = service.value.metadata
    value = f"{cluster_of(service.key)}/{meta.namespace}/{meta.name}"
    return [
        slice
        for slice in view.rows(ENDPOINT_SLICES).by("service", value)
        if slice.value.metadata.labels.get(MANAGED_BY) == MANAGER
    ]


def _ports_of(slice: Slice) -> Ports:
    return tuple(
        (port.name, port.port or 0, port.protocol, port.app_protocol) for port in slice.value.ports
    )


def _ports_json(ports: Ports) -> list[dict[str, Any]]:
    return [{"name": port[0], **port_json(*port)} for port in ports]


def _changed(
    service: Entry[Service], slice: Slice, present: list[Any], endpoints: list[Any]
) -> list[Call]:
    labels = _labels(service.value)
    known = slice.value.metadata.labels
    body: dict[str, Any] = {}
    if known != labels:
        stale = {label: None for label in known if label not in labels}
        body["metadata"] = {"labels": {**stale, **labels}}
    if present != endpoints:
        body["endpoints"] = endpoints
    return [patch(slice, body, USER)] if body else []


def _service_of_slice(_view: View, change: Change[EndpointSlice]) -> Iterable[str]:
    keys: dict[str, None] = {}
    for side in (change.old, change.new):
        if side is not None and side.value.metadata.labels.get(MANAGED_BY) == MANAGER:
            meta = side.value.metadata
            name = meta.labels.get(SERVICE_NAME, "")
            keys[object_key(cluster_of(side.key), "", "services", meta.namespace, name)] = None
    return keys


def _services_of_moved_node(view: View, change: Change[Any]) -> Iterable[str]:
    """A node's zone is written into its pods' endpoints."""
    zones = [
        side.value.metadata.labels.get(ZONE, "") if side else ""
        for side in (change.old, change.new)
    ]
    if zones[0] == zones[1]:
        return ()
    side = change.new or change.old
    assert side is not None, "a change has a side"
    cluster, name = cluster_of(change.key), side.value.metadata.name
    keys: dict[str, None] = {}
    for pod in view.rows(PODS).by("node", f"{cluster}/{name}"):
        same: Change[Pod] = Change(pod.key, pod.version, None, pod)
        keys.update(dict.fromkeys(services_of_pod(view, same)))
    return keys
