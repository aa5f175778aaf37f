"""From a task definition to a task that waits for its place: overrides, sizes, subnet, interface.

Called by RunTask, StartTask and the service controller, which write what is planned here in one
transaction with their own records. Nothing here reads the store.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from proa.aws.ecs import fargate, hostports, query
from proa.aws.ecs.keys import cluster_key
from proa.aws.ecs.names import invalid
from proa.aws.ecs.per_definition import PerDefinition
from proa.aws.ecs.ports import LogGroups, Subnet, Vpc
from proa.aws.ecs.records import Task, TaskContainer, TaskDefinition, TaskInterface
from proa.base.chance import Chance
from proa.base.quantity import CPU_PER_ECS_UNIT, MIB
from proa.dispatch.skin import Parts
from proa.model.resources import Port, Resources
from proa.placement.asks import Ask, Strategy, Term

Document = dict[str, Any]
Pairs = tuple[tuple[str, str], ...]
ZONE_ATTRIBUTE = "ecs.availability-zone"
DEFAULT_STRATEGY = (("spread", f"attribute:{ZONE_ATTRIBUTE}"), ("spread", "instanceId"))


def overridden(definition: TaskDefinition, overrides: Document) -> list[Document]:
    """The definition's containers with RunTask's containerOverrides applied.

    Raises InvalidParameterException for an override of a container there is none of."""
    by_name = {item.get("name"): item for item in overrides.get("containerOverrides") or []}
    unknown = sorted(
        str(name)
        for name in by_name
        if name not in {item["name"] for item in definition.containers}
    )
    if unknown:
        raise invalid(
            f"Override for container named {unknown[0]} is not a container in the TaskDefinition."
        )
    return [
        _merge(container, by_name.get(container["name"]) or {})
        for container in definition.containers
    ]


_OVERRIDDEN = (
    "command", "cpu", "memory", "memoryReservation", "environmentFiles", "resourceRequirements",
)  # fmt: skip


def _merge(container: Document, override: Document) -> Document:
    merged = dict(container)
    for member in _OVERRIDDEN:
        if override.get(member) is not None:
            merged[member] = override[member]
    environment = {item["name"]: item.get("value", "") for item in container["environment"]}
    environment.update(
        {item["name"]: item.get("value", "") for item in override.get("environment") or []}
    )
    merged["environment"] = [{"name": name, "value": text} for name, text in environment.items()]
    return merged


def task_limits(definition: TaskDefinition, overrides: Document) -> tuple[int, int]:
    """(CPU units, MiB) at the task level, as overridden; 0 where there is none.

    Raises InvalidParameterException for what is no size."""
    try:
        cpu = fargate.cpu_units(overrides.get("cpu") or definition.document.get("cpu") or "0")
        memory = fargate.memory_mib(
            overrides.get("memory") or definition.document.get("memory") or "0"
        )
    except ValueError:
        raise invalid("Invalid 'cpu' or 'memory' setting for task.") from None
    return cpu, memory


def task_size(definition: TaskDefinition, overrides: Document, launch_type: str) -> tuple[int, int]:
    """(CPU units, MiB) that a task reserves: its own size, or the sum of its containers'.

    Raises InvalidParameterException for an overridden size that Fargate does not offer."""
    containers = overridden(definition, overrides)
    cpu, memory = task_limits(definition, overrides)
    if launch_type == "FARGATE":
        if not fargate.is_size(cpu, memory):
            raise invalid(fargate.NO_CONFIGURATION)
        return cpu, memory
    reserved = [item.get("memoryReservation") or item.get("memory") or 0 for item in containers]
    return cpu or sum(item["cpu"] for item in containers), memory or sum(reserved)


def draft(task: Task, definition: TaskDefinition, chance: Chance) -> Task:
    """``task`` with what follows from its definition filled in; no interface yet.

    The caller sets identity, launch type, overrides, group, owner and times."""
    common = _COMMON.of_task(task, definition)
    return msgspec.structs.replace(
        task,
        family=definition.family,
        revision=definition.revision,
        cpu=common.cpu,
        memory=common.memory,
        network_mode=definition.network_mode,
        storage_gib=common.storage_gib,
        containers=tuple(
            msgspec.structs.replace(item, id=chance.uid()) for item in common.containers
        ),
    )


class _Common(msgspec.Struct, frozen=True):
    """What the tasks of one definition start with; the containers have no ids yet."""

    cpu: str
    memory: str
    storage_gib: int
    containers: tuple[TaskContainer, ...]


def _common(definition: TaskDefinition, launch_type: str, overrides: Document) -> _Common:
    cpu, memory = task_size(definition, overrides, launch_type)
    containers = tuple(
        TaskContainer(
            id="",
            name=item["name"],
            image=item["image"],
            cpu=str(item["cpu"]),
            memory=str(item["memory"]) if item.get("memory") else "",
            memory_reservation=(
                str(item["memoryReservation"]) if item.get("memoryReservation") else ""
            ),
            essential=item["essential"],
            health_checked=is_checked(item),
            restarts=bool((item.get("restartPolicy") or {}).get("enabled")),
        )
        for item in overridden(definition, overrides)
    )
    storage_gib = _storage_gib(definition, overrides) if launch_type == "FARGATE" else 0
    return _Common(str(cpu), str(memory), storage_gib, containers)


_COMMON = PerDefinition(_common)


def _storage_gib(definition: TaskDefinition, overrides: Document) -> int:
    """The disk of a Fargate task; elsewhere tasks share their Instance's."""
    given = overrides.get("ephemeralStorage") or definition.document.get("ephemeralStorage")
    return int((given or {}).get("sizeInGiB") or fargate.STORAGE_GIB)


def is_checked(container: Document) -> bool:
    """Whether a container definition has a health check that does something."""
    health = container.get("healthCheck") or {"command": ["NONE"]}
    return bool(health["command"][0] != "NONE")


def log_groups(definition: TaskDefinition) -> list[tuple[str, str, bool]]:
    """(region, group, create) of every awslogs container, without repetitions, in order."""
    found: dict[tuple[str, str], bool] = {}
    for container in definition.containers:
        log = container.get("logConfiguration")
        if not log or log["logDriver"] != "awslogs":
            continue
        options = log.get("options") or {}
        place = (options["awslogs-region"], options["awslogs-group"])
        create = options.get("awslogs-create-group", "").lower() == "true"
        found[place] = found.get(place, False) or create
    return [(region, group, create) for (region, group), create in found.items()]


def is_prepared(account: str, definition: TaskDefinition, groups: LogGroups) -> bool:
    """Whether every log group the definition names is there already."""
    return all(groups.exists(account, region, group) for region, group, _ in log_groups(definition))


def with_interface(
    task: Task, subnet: str, network: Document, vpc: Vpc, taken: set[str], chance: Chance
) -> tuple[Task, Parts]:
    """The task with an interface in ``subnet``, and what creates the interface.

    Raises NoAddress when the subnet is full."""
    found = vpc.subnet(task.account, task.region, subnet)
    assert found is not None, "the subnet was checked with the request"
    public = network.get("assignPublicIp") == "ENABLED"
    groups = tuple(network.get("securityGroups") or ())
    made, parts = vpc.plan_interface(
        task.account, task.region, subnet, groups, task.key, public, taken, task.created_at
    )
    interface = TaskInterface(
        id=made.id,
        attachment=chance.uid(),
        subnet=made.subnet,
        zone=made.zone,
        vpc=made.vpc,
        address=made.address,
        mac=made.mac,
        private_dns=made.private_dns,
        public_address=made.public_address,
        dns_server=found.dns_server,
        status="ATTACHING",
    )
    zone = made.zone if task.launch_type == "FARGATE" else task.zone
    return msgspec.structs.replace(task, interface=interface, zone=zone), parts


def next_subnet(
    subnets: Sequence[Subnet], running: Mapping[str, int], zones: Sequence[str]
) -> Subnet:
    """The subnet for one more task: in the zone with fewest of its siblings, ties in the order
    given. ``zones``, if any, are the only ones with container instances to land on."""
    usable = [subnet for subnet in subnets if not zones or subnet.zone in zones] or list(subnets)
    return min(usable, key=lambda subnet: running.get(subnet.zone, 0))


def reserve_of(task: Task) -> Resources:
    """What the task books: CPU units and MiB in the hull's units, and itself."""
    return _size(task.cpu, task.memory)


@lru_cache(maxsize=1000)
def _size(cpu: str, memory: str) -> Resources:
    return Resources(
        cpu=int(cpu or 0) * CPU_PER_ECS_UNIT, memory=int(memory or 0) * MIB, sandboxes=1
    )


def request_of(task: Task, definition: TaskDefinition, instance: str = "") -> Ask:
    """The placement wish of a task. ``instance`` pins it (StartTask)."""
    is_fargate = task.launch_type == "FARGATE"
    declared, ports = _ASKED.of(definition)
    cluster = cluster_key(task.account, task.region, task.cluster)
    zone = task.zone if is_fargate or task.interface is None else task.interface.zone
    return Ask(
        uid=task.id,
        key=task.key,
        cluster=cluster,
        reserve=reserve_of(task),
        ports=tuple(hostports.taken_ports(task)) or ports,
        namespace=cluster,
        strategies=() if is_fargate else _strategies(task.strategy or DEFAULT_STRATEGY),
        constraints=_members((*declared, *task.constraints)),
        group=f"{cluster}/{task.group}",
        distinct=any(kind == "distinctInstance" for kind, _ in task.constraints),
        fargate=is_fargate,
        zone=zone if not instance else "",
        pinned=instance,
    )


def _asked(definition: TaskDefinition) -> tuple[Pairs, tuple[Port, ...]]:
    """The constraints and the host ports that a definition names."""
    own = definition.document.get("placementConstraints") or []
    declared = tuple((item["type"], item.get("expression") or "") for item in own)
    return declared, hostports.fixed(definition)


_ASKED = PerDefinition(lambda definition, *_: _asked(definition))


@lru_cache(maxsize=1000)
def _members(constraints: Pairs) -> tuple[Term, ...]:
    return tuple(query.parse(text) for kind, text in constraints if kind == "memberOf")


@lru_cache(maxsize=1000)
def _strategies(given: Pairs) -> tuple[Strategy, ...]:
    return tuple(_strategy(kind, field) for kind, field in given)


def _strategy(kind: str, field: str) -> Strategy:
    return Strategy(kind, field.removeprefix("attribute:") if kind == "spread" else field.lower())
