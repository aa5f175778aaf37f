"""ECS's tables: how a view decodes its records and by what they are found.

The assembly gives ``TABLES`` to the view; controllers, operations and the hull's port read them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from proa.aws.ecs.keys import cluster_key, task_definition_key
from proa.aws.ecs.records import (
    Cluster,
    Family,
    InstanceNote,
    PortClaim,
    Service,
    ServiceEvent,
    Setting,
    Task,
    TaskDefinition,
    Token,
    stored,
)
from proa.cloud.aws_table import aws_table
from proa.model.host import Instance
from proa.reconcile.view import Table

R = TypeVar("R", bound=msgspec.Struct)


def _table(
    name: str,
    kind: str,
    depth: int,
    record: type[R],
    indexes: Mapping[str, Callable[[str, R], Iterable[str]]] | None = None,
    parts: Mapping[str, tuple[str, ...]] | None = None,
) -> Table[R]:
    return aws_table(f"ecs {name}", ("ecs", kind), stored(record), indexes, parts, depth)


def _waiting(_key: str, task: Task) -> Iterable[str]:
    """``provision``: log groups to look after; ``place``: ready for placement to find it a home."""
    if task.last_status != "PROVISIONING" or task.desired_status != "RUNNING":
        return ()
    if not task.prepared or task.instance:
        return ("provision",)
    return ("place",)


def _attended(_key: str, task: Task) -> Iterable[str]:
    """The service that has to look at the task: not over yet, or how it ended is to be noted."""
    if not task.service or (task.last_status == "STOPPED" and not task.is_unnoted):
        return ()
    return (task.service_key,)


def _over(_key: str, task: Task) -> Iterable[str]:
    """The minute in which it ended: tasks are forgotten together."""
    return (minute_of(task.stopped_at),) if task.last_status == "STOPPED" else ()


def minute_of(instant: float) -> str:
    """A minute's name, which sorts with the others of its century."""
    return str(int(instant // 60))


def _on_instance(_key: str, task: Task) -> Iterable[str]:
    return (task.instance,) if task.instance and task.last_status != "STOPPED" else ()


def _dispatched(_key: str, task: Task) -> Iterable[str]:
    """The Instance whose agent must know of the task: bound, and not yet over."""
    bound = task.instance and task.last_status not in ("PROVISIONING", "STOPPED")
    return (task.instance,) if bound else ()


def _published(_key: str, task: Task) -> Iterable[str]:
    """Bridge tasks with host ports, for the rules that lead to them."""
    bound = task.network_mode == "bridge" and task.last_status not in ("PROVISIONING", "STOPPED")
    return ("yes",) if bound and any(item.bindings for item in task.containers) else ()


# Where a task is, and how far. Its bindings come with its Instance, why it stops with the wish that
# it does, when it has stopped with its status.
_COURSE = ("last_status", "desired_status", "instance", "prepared", "counted")
_NEVER: tuple[str, ...] = ()  # these do not change in a record's life


CLUSTERS = _table("clusters", "cluster", 1, Cluster)
TASK_DEFINITIONS = _table("task definitions", "taskdef", 2, TaskDefinition)
FAMILIES = _table("families", "family", 1, Family)
TASKS = _table(
    "tasks",
    "task",
    2,
    Task,
    {
        "uid": lambda _key, task: (task.id,),
        "cluster": lambda _key, task: (cluster_key(task.account, task.region, task.cluster),),
        "service": lambda _key, task: (task.service_key,) if task.service else (),
        "attended": _attended,
        "definition": lambda _key, task: (
            task_definition_key(task.account, task.region, task.family, task.revision),
        ),
        "instance": _on_instance,
        "dispatched": _dispatched,
        "over": _over,
        "published": _published,
        "waiting": _waiting,
    },
    {
        **dict.fromkeys(("uid", "cluster", "service", "definition"), _NEVER),
        **dict.fromkeys(
            ("attended", "over", "instance", "dispatched", "published", "waiting"), _COURSE
        ),
    },
)
SERVICES = _table(
    "services",
    "service",
    2,
    Service,
    {"cluster": lambda _key, item: (cluster_key(item.account, item.region, item.cluster),)},
    {"cluster": _NEVER},
)
EVENTS = _table("service events", "event", 3, ServiceEvent)
INSTANCE_NOTES = _table(
    "container instances",
    "instance",
    1,
    InstanceNote,
    {"instance": lambda _key, note: (note.instance,)},
)
PORT_CLAIMS = _table("host ports", "port", 3, PortClaim)
TOKENS = _table("client tokens", "token", 2, Token)
SETTINGS = _table("account settings", "setting", 2, Setting)
TABLES: tuple[Table[Any], ...] = (
    CLUSTERS,
    TASK_DEFINITIONS,
    FAMILIES,
    TASKS,
    SERVICES,
    EVENTS,
    INSTANCE_NOTES,
    PORT_CLAIMS,
    TOKENS,
    SETTINGS,
)


def is_container_instance(instance: Instance, cluster: str) -> bool:
    """Whether an Instance shows up as a container instance of the cluster with this key:
    Fargate's Instances are never listed."""
    return instance.cluster == cluster and instance.purchase != "fargate"
