"""ECS's tables: how a view decodes its records and by what they are found.

The assembly gives ``TABLES`` to the view; controllers, operations and the hull's port read them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
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
)
from proa.model.host import Instance
from proa.reconcile.view import Table

R = TypeVar("R", bound=msgspec.Struct)


def _decoder(kind: type[R]) -> Callable[[bytes], R]:
    decoder = msgspec.json.Decoder(kind)

    def decode(body: bytes) -> R:
        try:
            return decoder.decode(body)
        except msgspec.DecodeError as error:
            raise ValueError(str(error)) from error

    return decode


def _is(kind: str, parts: int) -> Callable[[str], bool]:
    """Keys ``/aws/<account>/<region>/ecs/<kind>/…`` with this many parts after the kind."""

    def matches(key: str) -> bool:
        pieces = key.split("/")
        return len(pieces) == 6 + parts and pieces[4] == "ecs" and pieces[5] == kind

    return matches


def _waiting(_key: str, task: Task) -> Iterable[str]:
    """``provision``: log groups to look after; ``place``: ready for placement to find it a home."""
    if task.last_status != "PROVISIONING" or task.desired_status != "RUNNING":
        return ()
    if not task.prepared or task.instance:
        return ("provision",)
    return ("place",)


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


CLUSTERS = Table("ecs clusters", "/aws/", _decoder(Cluster), _is("cluster", 1))
TASK_DEFINITIONS = Table(
    "ecs task definitions", "/aws/", _decoder(TaskDefinition), _is("taskdef", 2)
)
FAMILIES = Table("ecs families", "/aws/", _decoder(Family), _is("family", 1))
TASKS = Table(
    "ecs tasks",
    "/aws/",
    _decoder(Task),
    _is("task", 2),
    {
        "uid": lambda _key, task: (task.id,),
        "cluster": lambda _key, task: (cluster_key(task.account, task.region, task.cluster),),
        "service": lambda _key, task: (task.service_key,) if task.service else (),
        "definition": lambda _key, task: (
            task_definition_key(task.account, task.region, task.family, task.revision),
        ),
        "instance": _on_instance,
        "dispatched": _dispatched,
        "published": _published,
        "waiting": _waiting,
    },
)
SERVICES = Table(
    "ecs services",
    "/aws/",
    _decoder(Service),
    _is("service", 2),
    {"cluster": lambda _key, item: (cluster_key(item.account, item.region, item.cluster),)},
)
EVENTS = Table("ecs service events", "/aws/", _decoder(ServiceEvent), _is("event", 3))
INSTANCE_NOTES = Table(
    "ecs container instances",
    "/aws/",
    _decoder(InstanceNote),
    _is("instance", 1),
    {"instance": lambda _key, note: (note.instance,)},
)
PORT_CLAIMS = Table("ecs host ports", "/aws/", _decoder(PortClaim), _is("port", 3))
TOKENS = Table("ecs client tokens", "/aws/", _decoder(Token), _is("token", 2))
SETTINGS = Table("ecs account settings", "/aws/", _decoder(Setting), _is("setting", 2))
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
