"""What a task definition may say and no task can be run with here, by name.

RegisterTaskDefinition accepts whatever ECS accepts; RunTask, StartTask, CreateService and
UpdateService refuse a definition that uses one of these, rather than run it as something else.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from proa.aws.ecs import hostports
from proa.aws.ecs.compile import NO_NEW_PRIVILEGES
from proa.aws.ecs.records import TaskDefinition

Document = dict[str, Any]
LOG_DRIVERS = ("awslogs", "json-file")
_TASK = ("proxyConfiguration", "inferenceAccelerators", "trustedExecutionConfiguration")
_CONTAINER = (
    "repositoryCredentials", "firelensConfiguration", "resourceRequirements", "credentialSpecs",
)  # fmt: skip
_VOLUME = (
    "efsVolumeConfiguration", "s3filesVolumeConfiguration", "configuredAtLaunch",
    "fsxWindowsFileServerVolumeConfiguration",
)  # fmt: skip
_LOG_OPTIONS = ("awslogs-datetime-format", "awslogs-multiline-pattern")


def unsupported(definition: TaskDefinition) -> list[str]:
    """Names of the members of a definition that no task can be run with here, sorted."""
    document = definition.document
    found = {name for name in _TASK if document.get(name)}
    for container in definition.containers:
        found.update(_of_container(container))
    for volume in document["volumes"]:
        found.update(_of_volume(volume))
    platform = document.get("runtimePlatform") or {}
    if platform.get("cpuArchitecture") not in (None, "X86_64"):
        found.add(f"cpuArchitecture {platform['cpuArchitecture']}")
    if platform.get("operatingSystemFamily") not in (None, "LINUX"):
        found.add(f"operatingSystemFamily {platform['operatingSystemFamily']}")
    if hostports.count(definition) > hostports.MOST_PORTS:
        found.add(f"more than {hostports.MOST_PORTS} host ports in a task")
    return sorted(found)


def _of_container(container: Document) -> Iterator[str]:
    yield from (name for name in _CONTAINER if container.get(name))
    for option in container.get("dockerSecurityOptions") or []:
        if option != NO_NEW_PRIVILEGES:
            yield f"dockerSecurityOptions {option}"
    log = container.get("logConfiguration")
    if not log:
        return
    if log["logDriver"] not in LOG_DRIVERS:
        yield f"logDriver {log['logDriver']}"
    yield from (name for name in _LOG_OPTIONS if (log.get("options") or {}).get(name))


def _of_volume(volume: Document) -> Iterator[str]:
    yield from (name for name in _VOLUME if volume.get(name))
    docker = volume.get("dockerVolumeConfiguration") or {}
    if docker.get("driver") not in (None, "local"):
        yield f"volume driver {docker['driver']}"
    if docker.get("driverOpts"):
        yield "driverOpts of a Docker volume"
