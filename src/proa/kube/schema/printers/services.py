"""What kubectl shows of services, endpoints, ingresses and network policies."""

from __future__ import annotations

from proa.kube.schema.printers.common import (
    AGE,
    JSON,
    NAME,
    NONE,
    UNSET,
    Column,
    at,
    first_few,
    labels_text,
    or_none,
    selector_text,
)


def _balancer(obj: JSON) -> list[str]:
    ingress = at(obj, "status.loadBalancer.ingress", ())
    return [item.get("ip") or item.get("hostname", "") for item in ingress]


def _external(service: JSON, now: float) -> str:
    kind, own = at(service, "spec.type"), at(service, "spec.externalIPs", [])
    if kind == "ExternalName":
        return str(at(service, "spec.externalName", ""))
    if kind == "LoadBalancer":
        return ",".join(_balancer(service) + own) or "<pending>"
    return ",".join(own) or NONE


def _service_ports(service: JSON, now: float) -> str:
    return (
        ",".join(
            f"{port.get('port')}"
            + (f":{port['nodePort']}" if port.get("nodePort") else "")
            + f"/{port.get('protocol', 'TCP')}"
            for port in at(service, "spec.ports", ())
        )
        or NONE
    )


def _service_selector(service: JSON, now: float) -> str:
    return labels_text(at(service, "spec.selector"))


def _endpoints(endpoints: JSON, now: float) -> str:
    listed: list[str] = []
    for subset in at(endpoints, "subsets", ()):
        for port in subset.get("ports") or [None]:
            for address in subset.get("addresses", ()):
                ip = address.get("ip", "")
                listed.append(ip if port is None else f"{_joined(ip)}:{port.get('port')}")
    return first_few(listed) or NONE


def _joined(ip: str) -> str:
    return f"[{ip}]" if ":" in ip else ip


def _slice_ports(piece: JSON, now: float) -> str:
    ports: list[JSON] = piece.get("ports") or []
    if not ports:
        return UNSET
    listed = [str(port["port"]) if port.get("port") else port.get("name", "*") for port in ports]
    return first_few(listed)


def _slice_endpoints(piece: JSON, now: float) -> str:
    addresses = [
        address
        for endpoint in piece.get("endpoints") or ()
        for address in endpoint.get("addresses", ())
    ]
    return first_few(addresses) or UNSET


def _hosts(ingress: JSON, now: float) -> str:
    hosts = [rule["host"] for rule in at(ingress, "spec.rules", ()) if rule.get("host")]
    return first_few(hosts) or "*"


def _ingress_address(ingress: JSON, now: float) -> str:
    return ",".join(_balancer(ingress))


def _ingress_ports(ingress: JSON, now: float) -> str:
    return "80, 443" if at(ingress, "spec.tls") else "80"


def _pod_selector(policy: JSON, now: float) -> str:
    return selector_text(at(policy, "spec.podSelector", {}))


def _parameters(ingress_class: JSON, now: float) -> str:
    reference = at(ingress_class, "spec.parameters")
    if not reference:
        return NONE
    group = reference.get("apiGroup")
    kind = f"{reference.get('kind')}.{group}" if group else reference.get("kind")
    return f"{kind}/{reference.get('name')}"


def _cidrs(service_cidr: JSON, now: float) -> str:
    return ",".join(at(service_cidr, "spec.cidrs", ()))


def _parent(address: JSON, now: float) -> str:
    parent = at(address, "spec.parentRef", {})
    parts = (parent.get("resource"), parent.get("namespace"), parent.get("name"))
    return "/".join(part for part in parts if part)


SERVICES: dict[tuple[str, str], list[Column]] = {
    ("", "services"): [
        NAME,
        Column("Type", "spec.type"),
        Column("Cluster-IP", or_none("spec.clusterIP")),
        Column("External-IP", _external),
        Column("Port(s)", _service_ports),
        AGE,
        Column("Selector", _service_selector, 1),
    ],
    ("", "endpoints"): [NAME, Column("Endpoints", _endpoints), AGE],
    ("discovery.k8s.io", "endpointslices"): [
        NAME,
        Column("AddressType", "addressType"),
        Column("Ports", _slice_ports),
        Column("Endpoints", _slice_endpoints),
        AGE,
    ],
    ("networking.k8s.io", "ingresses"): [
        NAME,
        Column("Class", or_none("spec.ingressClassName")),
        Column("Hosts", _hosts),
        Column("Address", _ingress_address),
        Column("Ports", _ingress_ports),
        AGE,
    ],
    ("networking.k8s.io", "ingressclasses"): [
        NAME,
        Column("Controller", "spec.controller"),
        Column("Parameters", _parameters),
        AGE,
    ],
    ("networking.k8s.io", "networkpolicies"): [NAME, Column("Pod-Selector", _pod_selector), AGE],
    ("networking.k8s.io", "servicecidrs"): [NAME, Column("CIDRs", _cidrs), AGE],
    ("networking.k8s.io", "ipaddresses"): [NAME, Column("ParentRef", _parent), AGE],
}
