"""``requiresAttributes``: the agent capabilities that a task definition needs of an Instance.

Called when a definition is registered. Names: "Amazon ECS container agent" and the attributes of
the ECS-optimized AMI's agent, as RegisterTaskDefinition lists them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Document = dict[str, Any]
_API = "com.amazonaws.ecs.capability.docker-remote-api."
_LOGGING = "com.amazonaws.ecs.capability.logging-driver."
_CAPABILITY = "com.amazonaws.ecs.capability."


def attributes(document: Document) -> list[Document]:
    """The structure's ``requiresAttributes``, in the order of their names."""
    return [{"name": name} for name in sorted(set(_needs(document)))]


def _needs(document: Document) -> Iterator[str]:
    if document.get("networkMode") == "awsvpc":
        yield "ecs.capability.task-eni"
    if document.get("taskRoleArn"):
        yield f"{_CAPABILITY}task-iam-role"
        if document.get("networkMode") == "host":
            yield f"{_CAPABILITY}task-iam-role-network-host"
    if document.get("cpu") or document.get("memory"):
        yield "ecs.capability.task-cpu-mem-limit"
    if document.get("pidMode") or document.get("ipcMode"):
        yield "ecs.capability.pid-ipc-namespace-sharing"
    if document.get("proxyConfiguration"):
        yield "ecs.capability.aws-appmesh"
    for volume in document["volumes"]:
        yield from _volume_needs(volume)
    for container in document["containerDefinitions"]:
        yield from _container_needs(container)
        yield from _role_needs(container, bool(document.get("executionRoleArn")))


def _volume_needs(volume: Document) -> Iterator[str]:
    docker = volume.get("dockerVolumeConfiguration")
    if docker:
        yield f"ecs.capability.docker-plugin.{docker.get('driver') or 'local'}"
        yield f"{_API}1.25"
    efs = volume.get("efsVolumeConfiguration")
    if efs:
        yield "ecs.capability.efs"
        yield f"{_API}1.25"
        if efs.get("authorizationConfig") or efs.get("transitEncryption") == "ENABLED":
            yield "ecs.capability.efsAuth"


def _container_needs(container: Document) -> Iterator[str]:
    linux = container.get("linuxParameters") or {}
    yield f"{_API}1.18" if container["portMappings"] else f"{_API}1.17"
    if container.get("healthCheck"):
        yield "ecs.capability.container-health-check"
        yield f"{_API}1.24"
    if container.get("dependsOn"):
        yield "ecs.capability.container-ordering"
    if container.get("privileged"):
        yield f"{_CAPABILITY}privileged-container"
    if container.get("memoryReservation"):
        yield f"{_API}1.21"
    if linux.get("initProcessEnabled"):
        yield f"{_API}1.25"
    if linux.get("tmpfs") or linux.get("sharedMemorySize"):
        yield f"{_API}1.22"
    if container.get("environmentFiles"):
        yield "ecs.capability.env-files.s3"
    if container.get("firelensConfiguration"):
        yield f"ecs.capability.firelens.{container['firelensConfiguration']['type']}"
    if any(need["type"] == "GPU" for need in container.get("resourceRequirements") or []):
        yield "ecs.capability.gpu-driver-version"
    if any(port.get("containerPortRange") for port in container["portMappings"]):
        yield "ecs.capability.container-port-range"
    if container.get("restartPolicy", {}).get("enabled"):
        yield "ecs.capability.container-restart-policy"
    for secret in container.get("secrets") or []:
        yield f"ecs.capability.secrets.{_manager(secret)}.environment-variables"


def _role_needs(container: Document, execution_role: bool) -> Iterator[str]:
    log = container.get("logConfiguration")
    if log:
        yield f"{_LOGGING}{log['logDriver']}"
        yield f"{_API}1.19"
        if log["logDriver"] == "awslogs" and execution_role:
            yield "ecs.capability.execution-role-awslogs"
        for secret in log.get("secretOptions") or []:
            yield f"ecs.capability.secrets.{_manager(secret)}.bootstrap.log-driver"
    if ".dkr.ecr." in container["image"]:
        yield f"{_CAPABILITY}ecr-auth"
        if execution_role:
            yield "ecs.capability.execution-role-ecr-pull"
    if container.get("repositoryCredentials"):
        yield "ecs.capability.private-registry-authentication.secretsmanager"


def _manager(secret: Document) -> str:
    return "asm" if ":secretsmanager:" in secret["valueFrom"] else "ssm"
