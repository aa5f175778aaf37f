"""CPU and memory: of the task, of its containers, and of both together."""

from __future__ import annotations

from collections.abc import Iterator

from proa.aws.ecs import fargate
from proa.aws.ecs.taskdef_rules.common import Document, containers_of, invalid, is_fargate

MIN_MEMORY = 6  # MiB; the Docker daemon's minimum (service model, ContainerDefinition.memory)
MIN_CPU, MAX_CPU = 128, 196_608


def rules(request: Document) -> Iterator[str]:
    """The task's size, then the containers' within it."""
    try:
        cpu = fargate.cpu_units(request["cpu"]) if request.get("cpu") else 0
    except ValueError:
        yield "Invalid 'cpu' setting for task."
        return
    try:
        memory = fargate.memory_mib(request["memory"]) if request.get("memory") else 0
    except ValueError:
        yield "Invalid 'memory' setting for task."
        return
    if is_fargate(request):
        if not cpu:
            yield "Fargate requires that 'cpu' be defined at the task level."
        if not memory:
            yield "Fargate requires that 'memory' be defined at the task level."
        if not fargate.is_size(cpu, memory):
            yield fargate.NO_CONFIGURATION
    elif request.get("cpu") and not MIN_CPU <= cpu <= MAX_CPU:
        yield (
            f"Invalid 'cpu' setting for task. The valid values are between {MIN_CPU} and {MAX_CPU}."
        )
    elif request.get("memory") and memory < MIN_MEMORY:
        yield f"Invalid 'memory' setting for task. The minimum is {MIN_MEMORY} MiB."
    yield from _containers_fit(request, cpu, memory)


def _containers_fit(request: Document, cpu: int, memory: int) -> Iterator[str]:
    total_cpu = reserved = 0
    for name, container in containers_of(request):
        yield from _container(name, container, memory)
        total_cpu += container.get("cpu") or 0
        reserved += container.get("memoryReservation") or container.get("memory") or 0
    if cpu and total_cpu > cpu:
        yield "The total CPU of the containers may not be greater than the CPU at the task level."
    if memory and reserved > memory:
        yield "The sum of the containers' memory is greater than the memory at the task level."


def _container(name: str, container: Document, memory: int) -> Iterator[str]:
    hard, soft = container.get("memory"), container.get("memoryReservation")
    if not hard and not soft and not memory:
        yield (
            f"Invalid setting for container '{name}'. At least one of 'memory' or "
            "'memoryReservation' must be specified."
        )
    if hard is not None and hard < MIN_MEMORY:
        yield invalid("memory", name, f"The minimum is {MIN_MEMORY} MiB.")
    if soft is not None and soft < MIN_MEMORY:
        yield invalid("memoryReservation", name, f"The minimum is {MIN_MEMORY} MiB.")
    if hard is not None and soft is not None and hard < soft:
        yield (
            f"Invalid setting for container '{name}'. The 'memory' value must be greater than "
            "or equal to 'memoryReservation'."
        )
    if hard is not None and memory and hard > memory:
        yield invalid("memory", name, "It may not be greater than the memory at the task level.")
    if (container.get("cpu") or 0) < 0:
        yield invalid("cpu", name)
