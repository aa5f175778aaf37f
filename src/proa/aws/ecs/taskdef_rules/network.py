"""Port mappings, links, names and resolvers, by network mode."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_address

from proa.aws.ecs import hostports
from proa.aws.ecs.taskdef_rules.common import Document, containers_of, invalid, mode_of

MAX_RANGES = 100  # of container ports, in one container (PortMapping)
_PORT_NAME = re.compile(r"^[a-z0-9_][a-z0-9_-]{0,63}$")
# RFC 1123; Docker accepts no other.
_HOSTNAME = re.compile(r"^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9-]{1,63})*$")
_LINK = re.compile(r"^[A-Za-z0-9_-]{1,255}(:[A-Za-z0-9_-]{1,255})?$")
_NOT_AWSVPC = {
    "hostname": "Hostname is not supported",
    "dnsServers": "DNS servers are not supported",
    "dnsSearchDomains": "DNS search domains are not supported",
    "extraHosts": "Extra hosts are not supported",
}


def rules(request: Document) -> Iterator[str]:
    """What depends on the network mode."""
    mode = mode_of(request)
    for name, container in containers_of(request):
        yield from _names(mode, name, container)
    yield from _links(request, mode)
    yield from _ports(request, mode)


def _names(mode: str, name: str, container: Document) -> Iterator[str]:
    if mode == "awsvpc":
        for member, text in _NOT_AWSVPC.items():
            if container.get(member):
                yield f"{text} on container when networkMode=awsvpc."
    if container.get("hostname") and mode == "host":
        yield "Hostname is not supported on container when networkMode=host."
    if container.get("hostname") and not _HOSTNAME.match(container["hostname"]):
        yield invalid("hostname", name)
    for server in container.get("dnsServers") or []:
        if not _is_address(server):
            yield invalid("dnsServers", name, f"'{server}' is not an IP address.")
    for entry in container.get("extraHosts") or []:
        if not _is_address(entry["ipAddress"]):
            yield invalid("extraHosts", name, f"'{entry['ipAddress']}' is not an IP address.")
        if not _HOSTNAME.match(entry["hostname"]):
            yield invalid("extraHosts", name, f"'{entry['hostname']}' is not a hostname.")


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _links(request: Document, mode: str) -> Iterator[str]:
    known = {name for name, _ in containers_of(request)}
    for name, container in containers_of(request):
        links = container.get("links") or []
        if links and mode != "bridge":
            yield f"Links are not supported when networkMode={mode}."
        for text in links:
            other = text.partition(":")[0]
            if not _LINK.match(text):
                yield invalid("links", name, f"'{text}' is not of the form name or name:alias.")
            elif other not in known or other == name:
                yield invalid("links", name, f"'{other}' is not another container.")


def _ports(request: Document, mode: str) -> Iterator[str]:
    taken: set[tuple[int, str]] = set()
    names: set[str] = set()
    for container, item in containers_of(request):
        mappings = item.get("portMappings") or []
        if mode == "none" and mappings:
            yield "Port mappings are not supported when networkMode=none."
        if sum(bool(mapping.get("containerPortRange")) for mapping in mappings) > MAX_RANGES:
            yield invalid("portMappings", container, f"There may be {MAX_RANGES} port ranges.")
        for mapping in mappings:
            yield from _port(mode, container, mapping, taken)
            yield from _port_name(container, mapping, names)


def _port_name(container: str, mapping: Document, names: set[str]) -> Iterator[str]:
    label = mapping.get("name")
    if label is None:
        if mapping.get("appProtocol"):
            yield invalid("portMappings", container, "appProtocol requires a name.")
        return
    if not _PORT_NAME.match(label):
        yield (
            f"Port mapping name '{label}' is invalid. The name can include up to 64 characters: "
            "lowercase letters, numbers, underscores and hyphens, and can't start with a hyphen."
        )
    if label in names:
        yield f"The port mapping name '{label}' is used more than once."
    if mapping.get("appProtocol") and mapping.get("protocol") == "udp":
        yield invalid("portMappings", container, "appProtocol is not supported with protocol udp.")
    names.add(label)


def _port(
    mode: str, container: str, mapping: Document, taken: set[tuple[int, str]]
) -> Iterator[str]:
    protocol = mapping.get("protocol") or "tcp"
    if mapping.get("containerPortRange"):
        yield from _port_range(container, mapping)
        return
    port = mapping.get("containerPort")
    host = mapping.get("hostPort") or 0
    if port is None or not 1 <= port <= 65_535:
        yield invalid("containerPort", container)
        return
    if not 0 <= host <= 65_535:
        yield invalid("hostPort", container)
    if mode in ("awsvpc", "host") and host not in (0, port):
        yield (
            f"When networkMode={mode}, the host ports and container ports in port mappings "
            "must match."
        )
    shared = port if mode in ("awsvpc", "host") else host
    if shared and (shared, protocol) in taken:
        yield f"Port {shared} is mapped more than once in the task definition."
    taken.add((shared, protocol))


def _port_range(container: str, mapping: Document) -> Iterator[str]:
    if mapping.get("containerPort") or mapping.get("hostPort"):
        yield invalid(
            "portMappings", container,
            "containerPort and hostPort can't be specified with containerPortRange.",
        )  # fmt: skip
    try:
        hostports.port_range(mapping["containerPortRange"])
    except ValueError:
        yield invalid("containerPortRange", container)
