"""Host ports: what a task definition wants of an Instance, and what a bound task has there.

Called by binding (which chooses), by writes (which gives back), by placement's asks and by the
answers of DescribeTasks and DescribeContainerInstances. A network binding is kept as the API
shows it: one port, or ranges of equal length on both sides.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from proa.aws.ecs.records import Task, TaskDefinition
from proa.model.resources import Port

Document = dict[str, Any]
# Linux's default ip_local_port_range, from which the agent of ECS picks dynamic host ports.
FIRST_DYNAMIC, LAST_DYNAMIC = 32_768, 60_999
MOST_PORTS = 30  # a task's host ports are claimed, and given back, in one transaction each
MODES = ("bridge", "host")


def port_range(text: str) -> tuple[int, int]:
    """(first, last) of "8000-8010"; raises ValueError for anything else."""
    first, dash, last = text.partition("-")
    if not dash or not first.isdecimal() or not last.isdecimal():
        raise ValueError(f"not a port range: {text}")
    low, high = int(first), int(last)
    if not 1 <= low <= high <= 65_535:
        raise ValueError(f"not a port range: {text}")
    return low, high


def span(mapping: Document) -> tuple[int, int]:
    """(first, last) container port of a port mapping."""
    if mapping.get("containerPortRange"):
        return port_range(mapping["containerPortRange"])
    port = int(mapping["containerPort"])
    return port, port


def count(definition: TaskDefinition) -> int:
    """How many host ports a task of the definition takes."""
    if definition.network_mode not in MODES:
        return 0
    spans = [
        span(item) for container in definition.containers for item in container["portMappings"]
    ]
    return sum(last - first + 1 for first, last in spans)


def fixed(definition: TaskDefinition) -> tuple[Port, ...]:
    """The host ports that are known before the task has an Instance."""
    if definition.network_mode not in MODES:
        return ()
    found = []
    for container in definition.containers:
        for mapping in container["portMappings"]:
            if mapping.get("hostPort"):
                found.append(Port(mapping["hostPort"], mapping["protocol"]))
            elif mapping.get("containerPortRange") and definition.network_mode == "host":
                first, last = span(mapping)
                found += [Port(number, mapping["protocol"]) for number in range(first, last + 1)]
    return tuple(found)


def pairs(binding: Document) -> Iterator[tuple[int, int]]:
    """(host port, container port) of each port of a network binding."""
    if binding.get("hostPortRange"):
        host, last = port_range(binding["hostPortRange"])
        container, _ = port_range(binding["containerPortRange"])
        for offset in range(last - host + 1):
            yield host + offset, container + offset
    else:
        yield binding["hostPort"], binding["containerPort"]


def taken_ports(task: Task) -> list[Port]:
    """The host ports that a bound task has."""
    return [
        Port(host, binding["protocol"])
        for container in task.containers
        for binding in container.bindings
        for host, _ in pairs(binding)
    ]
