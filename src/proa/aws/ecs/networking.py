"""How a task's containers are attached: from network mode to the Sandbox's and containers' own
networks, with names, resolvers and kernel parameters. Pure.

Called by compile_task. In ``awsvpc`` and ``host`` mode all containers share one namespace; in
``bridge`` and ``none`` mode, and with ``disableNetworking``, each has its own. The Sandbox's own
namespace is then that of the first container, so a task of one container needs no other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proa.aws.ecs.records import Task, TaskContainer
from proa.model.sandbox import Dns, Network

Document = dict[str, Any]
Hosts = tuple[tuple[str, tuple[str, ...]], ...]
Sysctls = tuple[tuple[str, str], ...]
SHORT_ID = 12  # characters of an id that serves as a host name (Docker)


def networks(task: Task, containers: Sequence[Document]) -> list[Network | None]:
    """The Sandbox's network, and then each container's own or None where it shares that."""
    if task.network_mode in ("awsvpc", "host"):
        shared = (
            _interface(task, containers) if task.network_mode == "awsvpc" else _host(containers)
        )
        isolated = Network(mode="none", hostname=shared.hostname)
        return [
            shared,
            *(isolated if item.get("disableNetworking") else None for item in containers),
        ]
    records = {item.name: item for item in task.containers}
    own = [_own(task, item, records) for item in containers]
    return [own[0], None, *own[1:]]


def _host(containers: Sequence[Document]) -> Network:
    return Network(mode="host", dns=_dns(containers), hosts=_extra_hosts(containers))


def _interface(task: Task, containers: Sequence[Document]) -> Network:
    """awsvpc: the task's interface, and the resolver of its VPC."""
    interface = task.interface
    assert interface is not None, "a bound awsvpc task has an interface"
    dns = _dns(containers)
    if not dns.servers and interface.dns_server:
        searches = dns.searches or (_domain(interface.private_dns, task.region),)
        dns = Dns((interface.dns_server,), searches)
    return Network(
        mode="vpc",
        vpc=interface.vpc,
        address=interface.address,
        mac=interface.mac,
        hostname=interface.private_dns or task.id[:SHORT_ID],
        dns=dns,
        hosts=_extra_hosts(containers),
    )


def _own(task: Task, item: Document, records: dict[str, TaskContainer]) -> Network:
    """bridge and none: one container's namespace."""
    record = records[item["name"]]
    hostname = item.get("hostname") or record.id.replace("-", "")[:SHORT_ID]
    address = record.address
    if address is None:
        return Network(mode="none", hostname=hostname, hosts=_extra_hosts([item]))
    dns = _dns([item])
    if not dns.servers and address.dns_server:
        dns = Dns((address.dns_server,), dns.searches or (_domain("", task.region),))
    return Network(
        mode="vpc",
        vpc=address.vpc,
        address=address.address,
        mac=address.mac,
        hostname=hostname,
        dns=dns,
        hosts=(*_links(item, records), *_extra_hosts([item])),
    )


def link(text: str) -> tuple[str, str]:
    """(container, alias) of a link: "name:alias" or "name"."""
    name, _, alias = text.partition(":")
    return name, alias or name


def _links(item: Document, records: dict[str, TaskContainer]) -> Hosts:
    """The lines that Docker writes for links: a name and its alias lead to the other container."""
    found = []
    for text in item.get("links") or []:
        name, alias = link(text)
        other = records[name].address
        if other is not None:
            found.append((other.address, tuple(dict.fromkeys((alias, name)))))
    return tuple(found)


def _extra_hosts(containers: Sequence[Document]) -> Hosts:
    return tuple(
        (entry["ipAddress"], (entry["hostname"],))
        for item in containers
        for entry in item.get("extraHosts") or []
    )


def _dns(containers: Sequence[Document]) -> Dns:
    return Dns(
        servers=_joined(containers, "dnsServers"), searches=_joined(containers, "dnsSearchDomains")
    )


def _joined(containers: Sequence[Document], member: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for item in containers for text in item.get(member) or []))


def _domain(private_dns: str, region: str) -> str:
    _, dot, domain = private_dns.partition(".")
    if dot:
        return domain
    return "ec2.internal" if region == "us-east-1" else f"{region}.compute.internal"


def sysctls(
    own: Sequence[Network | None], containers: Sequence[Document]
) -> tuple[Sysctls, list[Sysctls]]:
    """The Sandbox's kernel parameters and each container's own. IPC parameters belong to the
    namespace that all share; ``net.`` ones to the container's network where it has its own. In a
    shared namespace the last container wins (SystemControl, service model)."""
    shared: dict[str, str] = {}
    apart: list[Sysctls] = []
    for item, network in zip(containers, own, strict=True):
        alone: dict[str, str] = {}
        for control in item.get("systemControls") or []:
            name, value = control["namespace"], control["value"]
            (alone if network is not None and name.startswith("net.") else shared)[name] = value
        apart.append(tuple(alone.items()))
    return tuple(shared.items()), apart
