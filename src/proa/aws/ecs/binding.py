"""Binding: the task as it is once an Instance has taken it.

Called by the hull's port, by RunTask and StartTask (which learn their place at once) and by the
provision controller. A bridge task gets its hidden interface and its dynamic host ports here,
for only now its Instance is known.
"""

from __future__ import annotations

import msgspec

from proa.aws.ecs.ports import NoAddress, Vpc
from proa.aws.ecs.records import Document, Task, TaskDefinition, TaskInterface
from proa.aws.ecs.tables import TASKS
from proa.base.errors import CallerFault
from proa.dispatch.skin import Parts
from proa.model.host import Instance
from proa.reconcile.view import View

# Linux's default ip_local_port_range, from which the agent of ECS picks dynamic host ports.
FIRST_DYNAMIC, LAST_DYNAMIC = 32_768, 60_999
NOTHING = Parts()


def reserved(
    view: View,
    task: Task,
    definition: TaskDefinition,
    instance: Instance,
    vpc: Vpc,
    taken: set[str],
    now: float,
) -> tuple[Task, Parts]:
    """The task with its place: instance, zone, bridge interface and ports, still not started.

    ``taken`` holds addresses and ports chosen in the same transaction, and grows. Raises
    CallerFault when the subnet or the port range is full."""
    task = msgspec.structs.replace(task, instance=instance.id, zone=instance.zone, unplaced=())
    if task.network_mode == "host":
        return _with_bindings(view, task, definition, taken), NOTHING
    if task.network_mode != "bridge":
        return task, NOTHING
    subnet = vpc.default_subnet(task.account, task.region, instance.zone)
    if subnet is None:
        raise CallerFault("there is no default subnet for bridge networking")
    try:
        made, parts = vpc.plan_interface(
            task.account, task.region, subnet.id, (), task.key, False, taken, now
        )
    except NoAddress as error:
        raise CallerFault(str(error)) from error
    interface = TaskInterface(
        id=made.id,
        attachment="",
        subnet=made.subnet,
        zone=made.zone,
        vpc=made.vpc,
        address=made.address,
        mac=made.mac,
        private_dns=made.private_dns,
        dns_server=subnet.dns_server,
        hidden=True,
    )
    bound = msgspec.structs.replace(task, interface=interface)
    return _with_bindings(view, bound, definition, taken), parts


def started(task: Task) -> Task:
    """The task handed to its agent."""
    return msgspec.structs.replace(
        task, last_status="PENDING", prepared=True, unplaced=(), changes=task.changes + 1
    )


def _with_bindings(view: View, task: Task, definition: TaskDefinition, taken: set[str]) -> Task:
    busy = {
        port
        for entry in view.rows(TASKS).by("instance", task.instance)
        for port in bound_ports(entry.value)
    }
    by_name = {item["name"]: item for item in definition.containers}
    containers = tuple(
        msgspec.structs.replace(
            container, bindings=_bindings(by_name[container.name], task.instance, busy, taken)
        )
        for container in task.containers
    )
    return msgspec.structs.replace(task, containers=containers)


def _bindings(
    container: Document, instance: str, busy: set[str], taken: set[str]
) -> tuple[Document, ...]:
    found = []
    for mapping in container["portMappings"]:
        protocol = mapping["protocol"]
        host = mapping.get("hostPort") or _dynamic_port(instance, protocol, busy, taken)
        taken.add(_port(instance, protocol, host))
        found.append(
            {
                "bindIP": "0.0.0.0",
                "containerPort": mapping["containerPort"],
                "hostPort": host,
                "protocol": protocol,
            }
        )
    return tuple(found)


def _dynamic_port(instance: str, protocol: str, busy: set[str], taken: set[str]) -> int:
    """The lowest port nobody has on the Instance; raises CallerFault when all are taken."""
    for number in range(FIRST_DYNAMIC, LAST_DYNAMIC + 1):
        port = _port(instance, protocol, number)
        if port not in busy and port not in taken:
            return number
    raise CallerFault("RESOURCE:PORTS")


def _port(instance: str, protocol: str, number: int) -> str:
    return f"{instance}:{protocol}:{number}"


def bound_ports(task: Task) -> set[str]:
    """The ports a task has on its Instance, as ``taken`` names them."""
    return {
        _port(task.instance, binding["protocol"], binding["hostPort"])
        for container in task.containers
        for binding in container.bindings
    }
