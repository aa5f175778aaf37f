"""Binding: the task as it is once an Instance has taken it.

Called by the hull's port, by RunTask and StartTask (which learn their place at once) and by the
provision controller. A bridge task's containers get their addresses and dynamic host ports here,
for only now its Instance is known. Every host port is claimed by a record of its own, so that two
tasks bound at the same moment never have the same one.
"""

from __future__ import annotations

import zlib

import msgspec

from proa.aws.ecs import hostports
from proa.aws.ecs.keys import port_key
from proa.aws.ecs.ports import NoAddress, Subnet, Vpc
from proa.aws.ecs.records import (
    ContainerAddress,
    Document,
    PortClaim,
    Task,
    TaskContainer,
    TaskDefinition,
    put,
)
from proa.aws.ecs.tables import PORT_CLAIMS
from proa.base.errors import CallerFault
from proa.dispatch.skin import Parts
from proa.model.host import Instance
from proa.reconcile.view import View
from proa.store.api import Delete, Exists, Guard, Put

NO_PORTS = "RESOURCE:PORTS"


def reserved(
    view: View,
    task: Task,
    definition: TaskDefinition,
    instance: Instance,
    vpc: Vpc,
    taken: set[str],
    now: float,
) -> tuple[Task, Parts]:
    """The task with its place: instance, zone, addresses and ports, still not started.

    ``taken`` holds addresses and ports chosen in the same transaction, and grows. Raises
    CallerFault when the subnet or the port range is full."""
    containers, parts = task.containers, Parts()
    if task.network_mode in hostports.MODES:
        binder = _Binder(view, task, definition, instance, vpc, taken)
        if task.network_mode == "bridge":
            containers = binder.with_addresses(containers)
        containers = binder.with_ports(containers)
        parts = Parts(tuple(binder.guards), tuple(binder.writes))
    bound = msgspec.structs.replace(
        task, instance=instance.id, zone=instance.zone, unplaced=(), containers=containers
    )
    return bound, parts


def started(task: Task) -> Task:
    """The task handed to its agent."""
    return msgspec.structs.replace(
        task, last_status="PENDING", prepared=True, unplaced=(), changes=task.changes + 1
    )


Containers = tuple[TaskContainer, ...]


class _Binder:
    """One task being bound: what its containers get, and what that takes."""

    def __init__(
        self, view: View, task: Task, definition: TaskDefinition, instance: Instance, vpc: Vpc,
        taken: set[str],
    ) -> None:  # fmt: skip
        self._view, self._vpc, self._taken = view, vpc, taken
        self._task, self._instance = task, instance
        self._by_name = {item["name"]: item for item in definition.document["containerDefinitions"]}
        self.guards: list[Guard | Exists] = []
        self.writes: list[Put | Delete] = []

    def with_addresses(self, containers: Containers) -> Containers:
        """An address for each container that has a network."""
        task = self._task
        subnet = self._vpc.default_subnet(task.account, task.region, self._instance.zone)
        if subnet is None:
            raise CallerFault("there is no default subnet for bridge networking")
        return tuple([self._addressed(item, subnet) for item in containers])

    def _addressed(self, container: TaskContainer, subnet: Subnet) -> TaskContainer:
        if self._by_name[container.name].get("disableNetworking"):
            return container
        task = self._task
        try:
            made, parts = self._vpc.plan_address(
                task.account, task.region, subnet.id, task.key, self._taken
            )
        except NoAddress as error:
            raise CallerFault(str(error)) from error
        self._add(parts)
        address = ContainerAddress(made.vpc, made.address, made.mac, subnet.dns_server)
        return msgspec.structs.replace(container, address=address)

    def _add(self, parts: Parts) -> None:
        self.guards += parts.guards
        self.writes += parts.writes

    def with_ports(self, containers: Containers) -> Containers:
        """Network bindings for every port mapping, each port claimed."""
        return tuple([self._ported(item) for item in containers])

    def _ported(self, container: TaskContainer) -> TaskContainer:
        mappings = self._by_name[container.name]["portMappings"]
        if not mappings and not container.bindings:
            return container
        bindings = tuple(self._bind(mapping) for mapping in mappings)
        return msgspec.structs.replace(container, bindings=bindings)

    def _bind(self, mapping: Document) -> Document:
        protocol = mapping["protocol"]
        first, last = hostports.span(mapping)
        length = last - first + 1
        host = int(mapping.get("hostPort") or 0)
        if not host:
            host = first if self._task.network_mode == "host" else self._free(protocol, length)
        for number in range(host, host + length):
            self._claim(protocol, number)
        if mapping.get("containerPortRange"):
            return {
                "bindIP": "0.0.0.0",
                "containerPortRange": mapping["containerPortRange"],
                "hostPortRange": f"{host}-{host + length - 1}",
                "protocol": protocol,
            }
        return {
            "bindIP": "0.0.0.0",
            "containerPort": first,
            "hostPort": host,
            "protocol": protocol,
        }

    def _key(self, protocol: str, number: int) -> str:
        task = self._task
        return port_key(task.account, task.region, self._instance.id, protocol, number)

    def _claim(self, protocol: str, number: int) -> None:
        key = self._key(protocol, number)
        self._taken.add(key)
        self.guards.append(Guard(key, 0))
        self.writes.append(put(key, PortClaim(self._task.key)))

    def _free(self, protocol: str, length: int) -> int:
        """The first of ``length`` neighbouring ports that nobody has; raises CallerFault. The
        search begins at a place of the task's own, so that tasks bound together rarely meet."""
        size = hostports.LAST_DYNAMIC - hostports.FIRST_DYNAMIC + 2 - length
        start = zlib.crc32(self._task.id.encode()) % max(1, size)
        rows = self._view.rows(PORT_CLAIMS)
        for offset in range(size):
            first = hostports.FIRST_DYNAMIC + (start + offset) % size
            keys = [self._key(protocol, number) for number in range(first, first + length)]
            if not any(key in self._taken or rows.get(key) is not None for key in keys):
                return first
        raise CallerFault(NO_PORTS)
