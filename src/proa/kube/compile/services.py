"""Services as virtual addresses and DNS names: pure functions of what a view shows.

Called by the hull's port whenever a Service or EndpointSlice has changed. Rules: "Virtual IPs and
Service Proxies" and the "Kubernetes DNS-Based Service Discovery" specification 1.1.0.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from proa.kube.objects import (
    AffinityConfig,
    Endpoint,
    EndpointPort,
    EndpointSlice,
    Service,
    ServicePort,
)
from proa.kube.tables import ENDPOINT_SLICES, SERVICES, cluster_of
from proa.model.feed import Endpoint as Target
from proa.model.feed import Vip, ZoneRecord
from proa.reconcile.view import Entry, View

DOMAIN = "cluster.local"
Slices = list[EndpointSlice]


def vips(view: View, cluster: str, vpc: str) -> tuple[Vip, ...]:
    """One Vip a port of every Service of the cluster that has an address, in the Services' order.
    ``vpc`` is the network in which the addresses hold."""
    found: list[Vip] = []
    for entry in _services(view, cluster):
        service = entry.value
        if not service.spec.cluster_ip or service.headless:
            continue
        slices = _slices(view, entry)
        for port in service.spec.ports:
            found.append(
                Vip(
                    vpc=vpc,
                    address=service.spec.cluster_ip,
                    port=port.port,
                    protocol=port.protocol.lower(),
                    endpoints=_targets(slices, port),
                    affinity_s=_affinity_s(service),
                )
            )
    return tuple(found)


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


def _targets(slices: Slices, port: ServicePort) -> tuple[Target, ...]:
    """Ready endpoints; where there are none, those that still serve while they end (KEP-1669)."""
    pairs = [
        (endpoint, number)
        for slice in slices
        for number in _numbers(slice, port)
        for endpoint in slice.endpoints
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
