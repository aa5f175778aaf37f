"""RegisterTaskDefinition's rules: every reason for which ECS refuses a task definition.

Each rule is a function from the request to complaints; the first complaint is what the caller
reads, as a ClientException. Texts are AWS's own where they are known. Sources: the service model's
documentation of RegisterTaskDefinition, ContainerDefinition, PortMapping and HealthCheck, and the
developer guide's task definition parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from proa.aws.ecs import fargate
from proa.aws.ecs.names import NAME, client_fault

Document = dict[str, Any]
MAX_CONTAINERS = 10
MAX_BYTES = 64 * 1024
HEALTH_RANGES = {
    "interval": (5, 300),
    "timeout": (2, 60),
    "retries": (1, 10),
    "startPeriod": (0, 300),
}


def check(request: Document) -> None:
    """Raise ClientException for the first rule that the request breaks."""
    for rule in RULES:
        for complaint in rule(request):
            raise client_fault(complaint)


def is_fargate(request: Document) -> bool:
    """Whether the definition must run on Fargate."""
    return "FARGATE" in request.get("requiresCompatibilities", ())


def _names(request: Document) -> Iterator[str]:
    if not NAME.match(request.get("family", "")):
        yield (
            "Family contains invalid characters. Up to 255 letters (uppercase and lowercase), "
            "numbers, hyphens, and underscores are allowed."
        )
    containers = request.get("containerDefinitions") or []
    if not containers:
        yield "Container list cannot be empty."
    if len(containers) > MAX_CONTAINERS:
        yield f"Too many containers: a task definition may have {MAX_CONTAINERS}."
    seen: set[str] = set()
    for container in containers:
        name = container.get("name") or ""
        if not name:
            yield "Container.name should not be null or empty."
        if not NAME.match(name):
            yield f"Container.name contains invalid characters: '{name}'."
        if not container.get("image"):
            yield (
                f"Invalid setting for container '{name}'. "
                "Container.image should not be null or empty."
            )
        if name in seen:
            yield f"Container.name '{name}' is used by more than one container."
        seen.add(name)
    if not any(container.get("essential", True) for container in containers):
        yield "At least one container must be marked essential."


def _task_size(request: Document) -> Iterator[str]:
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
    elif cpu and not 128 <= cpu <= 196_608:
        yield "Invalid 'cpu' setting for task. The valid values are between 128 and 196608."
    elif request.get("memory") and memory < 6:
        yield "Invalid 'memory' setting for task. The minimum is 6 MiB."
    yield from _containers_fit(request, cpu, memory)


def _containers_fit(request: Document, cpu: int, memory: int) -> Iterator[str]:
    containers = request["containerDefinitions"]
    if cpu and sum(item.get("cpu", 0) for item in containers) > cpu:
        yield ("The total CPU of the containers may not be greater than the CPU at the task level.")
    for container in containers:
        name = container["name"]
        hard, soft = container.get("memory"), container.get("memoryReservation")
        if hard is None and soft is None and not memory:
            yield (
                f"Invalid setting for container '{name}'. At least one of 'memory' or "
                "'memoryReservation' must be specified."
            )
        if hard is not None and hard < 6:
            yield f"Invalid 'memory' setting for container '{name}'. The minimum is 6 MiB."
        if soft is not None and soft < 6:
            yield (
                f"Invalid 'memoryReservation' setting for container '{name}'. The minimum is 6 MiB."
            )
        if hard is not None and soft is not None and hard < soft:
            yield (
                f"Invalid setting for container '{name}'. The 'memory' value must be greater than "
                "or equal to 'memoryReservation'."
            )
        if hard is not None and memory and hard > memory:
            yield (
                f"Invalid 'memory' setting for container '{name}'. It may not be greater than the "
                "memory at the task level."
            )
        if container.get("cpu", 0) < 0:
            yield f"Invalid 'cpu' setting for container '{name}'."
    reserved = sum(item.get("memoryReservation") or item.get("memory") or 0 for item in containers)
    if memory and reserved > memory:
        yield "The sum of the containers' memory is greater than the memory at the task level."


def _fargate_platform(request: Document) -> Iterator[str]:
    if not is_fargate(request):
        return
    if request.get("networkMode") != "awsvpc":
        yield "Fargate only supports network mode ‘awsvpc’."
    if request.get("placementConstraints"):
        yield "Fargate task definitions do not support placement constraints."
    if request.get("ipcMode"):
        yield "Fargate task definitions do not support 'ipcMode'."
    if request.get("pidMode") not in (None, "task"):
        yield (
            "Tasks using the Fargate launch type do not support pidMode 'host'. "
            "The supported value for pidMode is 'task'."
        )
    for container in request["containerDefinitions"]:
        name = container["name"]
        log = container.get("logConfiguration")
        if log and log["logDriver"] not in fargate.LOG_DRIVERS:
            yield (
                f"Log driver {log['logDriver']} is not supported on Fargate. "
                f"The supported log drivers are {', '.join(fargate.LOG_DRIVERS)}."
            )
        if log and log["logDriver"] == "awslogs" and not request.get("executionRoleArn"):
            yield (
                "Fargate requires task definition to have execution role ARN to support log "
                "driver awslogs."
            )
        if container.get("privileged"):
            yield "Fargate does not support privileged containers."
        if container.get("links"):
            yield "Links are not supported when networkMode=awsvpc."
        stop = container.get("stopTimeout")
        if stop is not None and not 2 <= stop <= 120:
            yield (
                f"Invalid 'stopTimeout' setting for container '{name}'. The valid values are 2-120."
            )


def _secrets_need_role(request: Document) -> Iterator[str]:
    uses = any(
        container.get("secrets") or container.get("repositoryCredentials")
        for container in request["containerDefinitions"]
    )
    if uses and is_fargate(request) and not request.get("executionRoleArn"):
        yield (
            "Fargate requires task definition to have execution role ARN to support private "
            "registry authentication or secrets."
        )


def _ports(request: Document) -> Iterator[str]:
    mode = request.get("networkMode") or "bridge"
    taken: set[tuple[int, str]] = set()
    names: set[str] = set()
    for container in request["containerDefinitions"]:
        mappings = container.get("portMappings") or []
        if mode == "none" and mappings:
            yield "Port mappings are not supported when networkMode=none."
        for mapping in mappings:
            yield from _port(mode, container["name"], mapping, taken)
            label = mapping.get("name")
            if label and label in names:
                yield f"The port mapping name '{label}' is used more than once."
            names.add(label or "")


def _port(
    mode: str, container: str, mapping: Document, taken: set[tuple[int, str]]
) -> Iterator[str]:
    if mapping.get("containerPortRange"):
        return
    port = mapping.get("containerPort")
    host = mapping.get("hostPort") or 0
    if port is None or not 1 <= port <= 65_535:
        yield f"Invalid 'containerPort' setting for container '{container}'."
        return
    if not 0 <= host <= 65_535:
        yield f"Invalid 'hostPort' setting for container '{container}'."
    if mode in ("awsvpc", "host") and host not in (0, port):
        yield (
            f"When networkMode={mode}, the host ports and container ports in port mappings "
            "must match."
        )
    shared = port if mode in ("awsvpc", "host") else host
    used = (shared, mapping.get("protocol") or "tcp")
    if shared and used in taken:
        yield f"Port {shared} is mapped more than once in the task definition."
    taken.add(used)


def _dependencies(request: Document) -> Iterator[str]:
    containers = {item["name"]: item for item in request["containerDefinitions"]}
    graph: dict[str, list[str]] = {}
    for name, container in containers.items():
        graph[name] = []
        for dependency in container.get("dependsOn") or []:
            other = containers.get(dependency["containerName"])
            if other is None or other is container:
                yield (
                    f"Container '{name}' depends on '{dependency['containerName']}', which is not "
                    "another container of the task definition."
                )
                return
            graph[name].append(other["name"])
            condition = dependency["condition"]
            if condition == "HEALTHY" and not other.get("healthCheck"):
                yield (
                    f"Container '{name}' waits for '{other['name']}' to be HEALTHY, but it has no "
                    "health check."
                )
            if condition in ("COMPLETE", "SUCCESS") and other.get("essential", True):
                yield (
                    f"Container '{name}' waits for '{other['name']}' to {condition}, which an "
                    "essential container may not be waited for."
                )
    if _has_cycle(graph):
        yield "The container dependencies of the task definition form a cycle."


def _has_cycle(graph: dict[str, list[str]]) -> bool:
    """Peel off what waits for nothing that is left; a rest means a cycle."""
    waiting = {name: set(others) for name, others in graph.items()}
    while waiting:
        free = [name for name in waiting if not waiting[name] & waiting.keys()]
        if not free:
            return True
        for name in free:
            del waiting[name]
    return False


def _health_checks(request: Document) -> Iterator[str]:
    for container in request["containerDefinitions"]:
        health = container.get("healthCheck")
        if not health:
            continue
        name, command = container["name"], health.get("command") or []
        if not command or command[0] not in ("CMD", "CMD-SHELL", "NONE"):
            yield (
                f"Invalid health check for container '{name}': the command must start with CMD or "
                "CMD-SHELL."
            )
        if command[0] != "NONE" and len(command) < 2:
            yield f"Invalid health check for container '{name}': the command is empty."
        for field, (low, high) in HEALTH_RANGES.items():
            value = health.get(field)
            if value is not None and not low <= value <= high:
                yield (
                    f"Health check {field} for container '{name}' must be between {low} and {high}."
                )


def _volumes(request: Document) -> Iterator[str]:
    volumes: set[str] = set()
    for volume in request.get("volumes") or []:
        name = volume.get("name") or ""
        if not NAME.match(name):
            yield f"Volume name '{name}' is not valid."
        if name in volumes:
            yield f"Volume '{name}' is defined more than once."
        volumes.add(name)
        if is_fargate(request) and (volume.get("host") or {}).get("sourcePath"):
            yield "Fargate compatible task definitions do not support sourcePath"
    for container in request["containerDefinitions"]:
        for mount in container.get("mountPoints") or []:
            if mount.get("sourceVolume") not in volumes:
                yield f"Unknown volume '{mount.get('sourceVolume')}'."
            if not str(mount.get("containerPath") or "").startswith("/"):
                yield (
                    f"Invalid 'containerPath' for a mount point of container '{container['name']}'."
                )


def _logging(request: Document) -> Iterator[str]:
    for container in request["containerDefinitions"]:
        log = container.get("logConfiguration")
        if not log or log["logDriver"] != "awslogs":
            continue
        options = log.get("options") or {}
        required = ["awslogs-group", "awslogs-region"]
        if is_fargate(request):
            required.append("awslogs-stream-prefix")
        for option in required:
            if not options.get(option):
                yield (
                    f"Log driver awslogs requires options: {', '.join(required)}. "
                    f"'{option}' is missing for container '{container['name']}'."
                )


RULES: tuple[Callable[[Document], Iterator[str]], ...] = (
    _names,
    _task_size,
    _fargate_platform,
    _secrets_need_role,
    _ports,
    _dependencies,
    _health_checks,
    _volumes,
    _logging,
)
