"""What RunTask and StartTask may override, and its rules.

Sources: TaskOverride, ContainerOverride and EphemeralStorage of the service model. Called once a
request, before anything is placed.
"""

from __future__ import annotations

from typing import Any

import msgspec

from proa.aws.ecs import launch
from proa.aws.ecs.names import invalid
from proa.aws.ecs.records import TaskDefinition
from proa.aws.ecs.taskdef_rules.containers import environment_rules
from proa.aws.ecs.taskdef_rules.sizes import MIN_MEMORY
from proa.aws.ecs.taskdef_rules.task import STORAGE_GIB
from proa.aws.gateway.service import AwsError, Input

Document = dict[str, Any]
MAX_CHARACTERS = 8192
_MEMORY = ("memory", "memoryReservation")


def checked(request: Input, definition: TaskDefinition, launch_type: str) -> Document:
    """The overrides of a request. Raises InvalidParameterException for what ECS would refuse,
    UnsupportedFeatureException for accelerators, which no Instance here has."""
    overrides: Document = request.get("overrides") or {}
    if len(msgspec.json.encode(overrides).decode()) > MAX_CHARACTERS:
        raise invalid(f"Container Overrides length must be at most {MAX_CHARACTERS}")
    seen: set[str] = set()
    for item in overrides.get("containerOverrides") or []:
        _check_container(item, seen)
    if overrides.get("inferenceAcceleratorOverrides"):
        raise AwsError(
            "UnsupportedFeatureException",
            "Proa does not support inferenceAcceleratorOverrides yet.",
        )
    storage = overrides.get("ephemeralStorage")
    low, high = STORAGE_GIB
    if storage and launch_type != "FARGATE":
        raise invalid("Ephemeral storage override is only supported for tasks hosted on Fargate.")
    if storage and not low <= storage["sizeInGiB"] <= high:
        raise invalid(f"Ephemeral storage override must be between {low} and {high} GiB.")
    _check_sizes(definition, overrides)
    return overrides


def _check_container(item: Document, seen: set[str]) -> None:
    settings = {name: value for name, value in item.items() if value not in (None, [])}
    if not settings:
        return
    name = item.get("name")
    if not name:
        raise invalid("Container override must specify the name of a container.")
    if name in seen:
        raise invalid(f"Container {name} is overridden more than once.")
    seen.add(name)
    if (item.get("cpu") or 0) < 0:
        raise invalid(f"Invalid 'cpu' override for container '{name}'.")
    for member in _MEMORY:
        if item.get(member) is not None and item[member] < MIN_MEMORY:
            raise invalid(
                f"Invalid '{member}' override for container '{name}'. "
                f"The minimum is {MIN_MEMORY} MiB."
            )
    for complaint in environment_rules(name, item):
        raise invalid(complaint)
    if item.get("resourceRequirements"):
        raise AwsError(
            "UnsupportedFeatureException", "Proa does not support resourceRequirements yet."
        )


def _check_sizes(definition: TaskDefinition, overrides: Document) -> None:
    """Overridden containers must fit into the task as overridden."""
    task = launch.task_limits(definition, overrides)
    for container in launch.overridden(definition, overrides):
        hard, soft = container.get("memory"), container.get("memoryReservation")
        if hard and soft and hard < soft:
            raise invalid(
                f"Invalid override for container '{container['name']}'. The 'memory' value must "
                "be greater than or equal to 'memoryReservation'."
            )
        if hard and task[1] and hard > task[1]:
            raise invalid(
                f"Invalid 'memory' override for container '{container['name']}'. It may not be "
                "greater than the memory at the task level."
            )
    total = sum(container["cpu"] for container in launch.overridden(definition, overrides))
    if task[0] and total > task[0]:
        raise invalid(
            "The total CPU of the containers may not be greater than the CPU at the task level."
        )
