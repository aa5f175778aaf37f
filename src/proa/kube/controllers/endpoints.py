"""Which pods stand behind a Service, and the Endpoints object that older clients read.

``endpoint_slices`` uses the same pods and ports. Rules: "EndpointSlices" and "Service" (named
target ports, publishNotReadyAddresses), and the endpoints controller's limit of 1,000 addresses.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from proa.kube.api.call import Call
from proa.kube.controllers.common import delete, service_account
from proa.kube.keys import object_key
from proa.kube.objects import Pod, Service, ServicePort
from proa.kube.tables import (
    ENDPOINTS,
    PODS,
    SERVICES,
    any_selects,
    cluster_of,
    namespace_of,
    selected_pods,
    selecting_services,
)
from proa.reconcile.controller import Trigger
from proa.reconcile.plan import NOTHING, Plan
from proa.reconcile.runner import entry_of, row_key
from proa.reconcile.view import Change, Entry, View

CAPACITY = 1000
USER = service_account("endpoint-controller")
MANAGED_BY = "endpoints.kubernetes.io/managed-by"
HEADLESS = "service.kubernetes.io/headless"
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
Ports = tuple[tuple[str, int, str, str | None], ...]  # name, number, protocol, appProtocol


def is_served(service: Service) -> bool:
    """Whether controllers find the endpoints of a Service; without selector users give them."""
    return bool(service.spec.selector) and service.spec.type != "ExternalName"


def may_serve(pod: Pod, terminating: bool) -> bool:
    """Whether a pod is an endpoint at all: it has an address, has not ended, and is not ending
    unless ``terminating`` ones are wanted too."""
    if pod.terminal or not pod.status.pod_ip:
        return False
    return terminating or not pod.metadata.deleting


def ports_for(service: Service, pod: Pod) -> Ports:
    """The Service's ports as this pod has them; a named target that it lacks is left out."""
    found: list[tuple[str, int, str, str | None]] = []
    for port in service.spec.ports:
        number = target_port(port, pod)
        if number:
            found.append((port.name, number, port.protocol, port.app_protocol))
    return tuple(found)


def target_port(port: ServicePort, pod: Pod) -> int:
    """The pod's port behind a Service's port; 0 where a name is not found."""
    target = port.target_port or port.port
    if isinstance(target, int):
        return target
    if target.isdigit():
        return int(target)
    for container in pod.spec.containers:
        for item in container.ports:
            if item.name == target and item.protocol == port.protocol:
                return item.container_port
    return 0


def pod_reference(pod: Pod) -> dict[str, Any]:
    """The targetRef of an endpoint."""
    meta = pod.metadata
    return {"kind": "Pod", "namespace": meta.namespace, "name": meta.name, "uid": meta.uid}


def hostname_of(service: Service, pod: Pod) -> str:
    """The name of its own that a pod has within its headless Service."""
    if pod.spec.hostname and pod.spec.subdomain == service.metadata.name:
        return pod.spec.hostname
    return ""


def services_of_pod(view: View, change: Change[Pod]) -> Iterable[str]:
    """The Services that select a pod, before or after its change, while it may serve: until then,
    and from then on, it is no endpoint of theirs."""
    cluster, namespace = cluster_of(change.key), entry_of(change).value.metadata.namespace
    if not any_selects(view, cluster, namespace):
        return ()
    pods = [
        side.value
        for side in (change.new, change.old)
        if side is not None and may_serve(side.value, terminating=True)
    ]
    if not pods or (len(pods) == 2 and _are_reached_alike(*pods)):
        return ()
    keys: dict[str, None] = {}
    asked: dict[str, str] | None = None
    for pod in pods:
        labels = pod.metadata.labels
        if labels != asked:
            found = selecting_services(view, cluster, namespace, labels)
            keys.update(dict.fromkeys(service.key for service in found))
        asked = labels
    return keys


def _are_reached_alike(one: Pod, other: Pod) -> bool:
    """Whether a pod that may serve is no other destination after a change than before."""
    return (
        one.metadata == other.metadata
        and one.spec == other.spec
        and one.ready_since == other.ready_since
        and one.status.pod_ip == other.status.pod_ip
    )


class EndpointsController:
    """Key: the Service's store key."""

    name = "endpoints"

    def __init__(self) -> None:
        self.triggers: Sequence[Trigger] = (
            Trigger(SERVICES, row_key),
            Trigger(PODS, services_of_pod),
            Trigger(ENDPOINTS, _service_of_endpoints),
        )

    def reconcile(self, view: View, key: str, now: float) -> Plan:
        entry = view.rows(SERVICES).get(key)
        if entry is None:
            return self._gone(view, key)
        service, meta = entry.value, entry.value.metadata
        if not is_served(service) or meta.deleting:
            return NOTHING
        cluster = cluster_of(key)
        home = namespace_of(view, cluster, meta.namespace)
        if home is not None and home.value.metadata.deleting:
            return NOTHING
        pods = selected_pods(view, cluster, meta.namespace, service.spec.selector)
        body = endpoints_body(service, [pod.value for pod in pods])
        return _written(view, entry, body)

    def _gone(self, view: View, key: str) -> Plan:
        """The Endpoints of a deleted Service go with it, if they were ours."""
        found = view.rows(ENDPOINTS).get(key.replace("/core/services/", "/core/endpoints/"))
        if found is None or MANAGED_BY not in found.value.metadata.labels:
            return NOTHING
        return Plan((delete(found, USER),))


def _service_of_endpoints(_view: View, change: Change[Any]) -> Iterable[str]:
    return (change.key.replace("/core/endpoints/", "/core/services/"),)


def endpoints_body(service: Service, pods: Sequence[Pod]) -> dict[str, Any]:
    """The Endpoints of a Service: pods with the same ports share a subset."""
    meta = service.metadata
    groups: dict[Ports, tuple[list[Any], list[Any]]] = {}
    publish, count = service.spec.publish_not_ready_addresses, 0
    for pod in sorted(pods, key=lambda item: (item.status.pod_ip, item.metadata.uid)):
        ports = ports_for(service, pod)
        if not may_serve(pod, terminating=publish) or (service.spec.ports and not ports):
            continue
        ready = pod.ready_since is not None or publish
        count += 1
        if count <= CAPACITY:
            groups.setdefault(ports, ([], []))[0 if ready else 1].append(_address(service, pod))
    subsets = [_subset(ports, *groups[ports]) for ports in sorted(groups, key=str)]
    labels = {**meta.labels, MANAGED_BY: "endpoint-controller"}
    if service.headless:
        labels[HEADLESS] = ""
    body: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {"name": meta.name, "namespace": meta.namespace, "labels": labels},
    }
    if count > CAPACITY:
        body["metadata"]["annotations"] = {OVER_CAPACITY: "truncated"}
    if subsets:
        body["subsets"] = subsets
    return body


def _address(service: Service, pod: Pod) -> dict[str, Any]:
    address: dict[str, Any] = {"ip": pod.status.pod_ip}
    hostname = hostname_of(service, pod)
    if hostname:
        address["hostname"] = hostname
    if pod.spec.node_name:
        address["nodeName"] = pod.spec.node_name
    address["targetRef"] = pod_reference(pod)
    return address


def _subset(ports: Ports, ready: list[Any], waiting: list[Any]) -> dict[str, Any]:
    subset: dict[str, Any] = {}
    if ready:
        subset["addresses"] = ready
    if waiting:
        subset["notReadyAddresses"] = waiting
    if ports:
        subset["ports"] = [port_json(*port) for port in ports]
    return subset


def port_json(name: str, number: int, protocol: str, app_protocol: str | None) -> dict[str, Any]:
    """An endpoint port as Endpoints write it."""
    port: dict[str, Any] = {"port": number, "protocol": protocol}
    if name:
        port["name"] = name
    if app_protocol:
        port["appProtocol"] = app_protocol
    return port


def _written(view: View, entry: Entry[Service], body: dict[str, Any]) -> Plan:
    cluster, meta = cluster_of(entry.key), entry.value.metadata
    key = object_key(cluster, "", "endpoints", meta.namespace, meta.name)
    found = view.rows(ENDPOINTS).get(key)
    place = (cluster, "", "endpoints", meta.namespace, meta.name)
    if found is None:
        cluster, group, resource, namespace, name = place
        create = Call(cluster, "create", group, resource, namespace, name, body=body, user=USER)
        return Plan((create,))
    known, wanted = found.value.metadata, body["metadata"]
    annotation = wanted.get("annotations", {}).get(OVER_CAPACITY)
    change: dict[str, Any] = {}
    if (orjson.loads(found.body).get("subsets") or []) != body.get("subsets", []):
        change["subsets"] = body.get("subsets")
    if known.labels != wanted["labels"] or known.annotations.get(OVER_CAPACITY) != annotation:
        stale = {label: None for label in known.labels if label not in wanted["labels"]}
        change["metadata"] = {
            "labels": {**stale, **wanted["labels"]},
            "annotations": {OVER_CAPACITY: annotation},
        }
    if not change:
        return NOTHING
    cluster, group, resource, namespace, name = place
    return Plan(
        (
            Call(
                cluster,
                "patch",
                group,
                resource,
                namespace,
                name,
                body=change,
                version=found.version,
                user=USER,
            ),
        )
    )
