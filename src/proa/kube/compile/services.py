"""Services as virtual addresses and DNS names: pure functions of what a view shows.

Called by the hull's port whenever a Service or EndpointSlice has changed. Rules: "Virtual IPs and
Service Proxies" and the "Kubernetes DNS-Based Service Discovery" specification 1.1.0.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from proa.kube.objects import (
    AffinityConfig,
    Endpoint,
    EndpointPort,
    EndpointSlice,
    Service,
    ServicePort,
)
from proa.kube.tables import ENDPOINT_SLICES, HOST_PORTS, SERVICES, cluster_of
from proa.model.feed import Endpoint as Target
from proa.model.feed import Vip, ZoneRecord
from proa.reconcile.view import Entry, View

DOMAIN = "cluster.local"
Slices = list[EndpointSlice]


class NodePlace(NamedTuple):
    """A node of the cluster, and the address at which it is reached in the network."""

    name: str
    address: str


class Way(NamedTuple):
    """One address and port by which a Service is reached; where ``node`` is set, only the
    endpoints on that node are."""

    address: str
    port: int
    node: str = ""


def vips(view: View, cluster: str, vpc: str, nodes: Sequence[NodePlace] = ()) -> tuple[Vip, ...]:
    """One Vip for each way to each port of every Service of the cluster, in the Services' order,
    and one for each host port of its pods. ``vpc`` is the network in which the addresses hold,
    ``nodes`` are those that are in it."""
    found: list[Vip] = list(_host_port_vips(view, cluster, vpc, nodes))
    for entry in _services(view, cluster):
        service = entry.value
        if not service.spec.cluster_ip or service.headless:
            continue
        slices = _slices(view, entry)
        for port in service.spec.ports:
            for way in _ways(service, port, nodes):
                found.append(
                    Vip(
                        vpc=vpc,
                        address=way.address,
                        port=way.port,
                        protocol=port.protocol.lower(),
                        endpoints=_targets(slices, port, way.node),
                        affinity_s=_affinity_s(service),
                    )
                )
    return tuple(found)


def _ways(service: Service, port: ServicePort, nodes: Sequence[NodePlace]) -> Iterator[Way]:
    """Its own address; its node port at every node; balancers' and external addresses. With
    externalTrafficPolicy Local a node leads to its own pods only."""
    spec = service.spec
    yield Way(spec.cluster_ip, port.port)
    local = spec.external_traffic_policy == "Local"
    places = {node.address: node.name for node in nodes}
    if spec.type in ("NodePort", "LoadBalancer") and port.node_port:
        for node in nodes:
            yield Way(node.address, port.node_port, node.name if local else "")
    outside = list(spec.external_ips)
    if spec.type == "LoadBalancer":
        outside += [ingress.ip for ingress in service.status.load_balancer.ingress if ingress.ip]
    for address in dict.fromkeys(outside):
        yield Way(address, port.port, places.get(address, "") if local else "")


def _host_port_vips(
    view: View, cluster: str, vpc: str, nodes: Sequence[NodePlace]
) -> Iterator[Vip]:
    places = {node.name: node.address for node in nodes}
    for entry in view.rows(HOST_PORTS).by("cluster", cluster):
        pod = entry.value
        here = places.get(pod.node, "")
        for port in pod.ports:
            if here and port.address in ("", here):
                target = Target(pod.address, port.inside)
                yield Vip(vpc, here, port.number, port.protocol, (target,))


def _services(view: View, cluster: str) -> Iterator[Entry[Service]]:
    for entry in view.rows(SERVICES).scan(f"/kube/{cluster}/core/services/"):
        if entry.value.spec.type != "ExternalName":
            yield entry


def _slices(view: View, service: Entry[Service]) -> Slices:
    meta = service.value.metadata
    value = f"{cluster_of(service.key)}/{meta.namespace}/{meta.name}"
    found = view.rows(ENDPOINT_SLICES).by("service", value)
    return [entry.value for entry in found if entry.value.address_type == "IPv4"]


def _affinity_s(service: Service) -> int:
    if service.spec.session_affinity != "ClientIP":
        return 0
    config = service.spec.session_affinity_config or AffinityConfig()
    return config.client_ip.timeout_seconds


def _targets(slices: Slices, port: ServicePort, node: str = "") -> tuple[Target, ...]:
    """Ready endpoints, on ``node`` if one is named; where there are none, those that still serve
    while they end (KEP-1669)."""
    pairs = [
        (endpoint, number)
        for slice in slices
        for number in _numbers(slice, port)
        for endpoint in slice.endpoints
        if node in ("", endpoint.node_name)
    ]
    chosen = [pair for pair in pairs if pair[0].ready]
    if not chosen:
        chosen = [pair for pair in pairs if pair[0].conditions.serving]
    targets = {
        (address, number): Target(address, number)
        for endpoint, number in chosen
        for address in endpoint.addresses[:1]
    }
    return tuple(targets[key] for key in sorted(targets))


def _numbers(slice: EndpointSlice, port: ServicePort) -> list[int]:
    return [
        item.port
        for item in slice.ports
        if item.port is not None and (item.name, item.protocol) == (port.name, port.protocol)
    ]


# Names


def zones(
    view: View, cluster: str, domain: str = DOMAIN, server: str = ""
) -> tuple[ZoneRecord, ...]:
    """Every name of the cluster's Services, sorted by name and type, as its name server at address
    ``server`` gives them."""
    answers: dict[tuple[str, str], dict[str, None]] = {}

    def add(name: str, type: str, values: Iterable[str]) -> None:
        answers.setdefault((name.lower(), type), {}).update(dict.fromkeys(values))

    for entry in view.rows(SERVICES).scan(f"/kube/{cluster}/core/services/"):
        for record in service_records(view, entry, domain):
            add(record.name, record.type, record.values)
    return tuple(
        ZoneRecord(name, type, tuple(sorted(values)), server=server)
        for (name, type), values in sorted(answers.items())
        if values
    )


def service_records(view: View, entry: Entry[Service], domain: str) -> Iterator[ZoneRecord]:
    """The records of one Service."""
    service = entry.value
    base = f"{service.metadata.name}.{service.metadata.namespace}.svc.{domain}"
    if service.spec.type == "ExternalName":
        yield ZoneRecord(base, "CNAME", (service.spec.external_name.rstrip("."),))
    elif service.headless:
        yield from _headless(base, _slices(view, entry), service)
    elif service.spec.cluster_ip:
        yield ZoneRecord(base, "A", (service.spec.cluster_ip,))
        yield ZoneRecord(_reverse(service.spec.cluster_ip), "PTR", (base,))
        for port in service.spec.ports:
            if port.name:
                name = f"_{port.name}._{port.protocol.lower()}.{base}"
                yield ZoneRecord(name, "SRV", (f"0 100 {port.port} {base}",))


def _headless(base: str, slices: Slices, service: Service) -> Iterator[ZoneRecord]:
    """An address an endpoint, and a name an endpoint that other records can point to."""
    publish = service.spec.publish_not_ready_addresses
    for slice in slices:
        for endpoint in slice.endpoints:
            if not (endpoint.ready or publish) or not endpoint.addresses:
                continue
            address = endpoint.addresses[0]
            name = f"{_endpoint_label(endpoint, address)}.{base}"
            yield ZoneRecord(base, "A", (address,))
            yield ZoneRecord(name, "A", (address,))
            if endpoint.hostname:
                yield ZoneRecord(_reverse(address), "PTR", (name,))
            yield from _srv(base, name, slice.ports)


def _srv(base: str, name: str, ports: tuple[EndpointPort, ...]) -> Iterator[ZoneRecord]:
    for port in ports:
        if port.name and port.port is not None:
            srv = f"_{port.name}._{port.protocol.lower()}.{base}"
            yield ZoneRecord(srv, "SRV", (f"0 100 {port.port} {name}",))


def _endpoint_label(endpoint: Endpoint, address: str) -> str:
    return endpoint.hostname or address.replace(".", "-")


def _reverse(address: str) -> str:
    return ".".join(reversed(address.split("."))) + ".in-addr.arpa"
