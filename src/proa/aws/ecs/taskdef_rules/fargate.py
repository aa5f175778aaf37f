"""What Fargate does not support ("Task definition differences for Fargate", developer guide).

Also asked with ``requiresCompatibilities`` set to FARGATE to compute ``compatibilities``.
"""

from __future__ import annotations

from collections.abc import Iterator

from proa.aws.ecs.fargate import LOG_DRIVERS
from proa.aws.ecs.taskdef_rules.common import Document, containers_of, invalid, is_fargate

LINUX_UNSUPPORTED = ("devices", "sharedMemorySize", "tmpfs", "maxSwap", "swappiness")
CONTAINER_UNSUPPORTED = ("disableNetworking", "dockerSecurityOptions", "credentialSpecs")
TIMEOUTS = {"startTimeout": (2, 120), "stopTimeout": (2, 120)}
ADDABLE = ("SYS_PTRACE",)


def rules(request: Document) -> Iterator[str]:
    """Everything that keeps a definition from running on Fargate."""
    if not is_fargate(request):
        return
    yield from _task(request)
    for name, container in containers_of(request):
        yield from _roles(request, container)
        yield from _container(name, container)
        yield from _linux(name, container.get("linuxParameters") or {})


def _task(request: Document) -> Iterator[str]:
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
    if request.get("inferenceAccelerators"):
        yield "Fargate task definitions do not support 'inferenceAccelerators'."
    for volume in request.get("volumes") or []:
        if (volume.get("host") or {}).get("sourcePath"):
            yield "Fargate compatible task definitions do not support sourcePath"
        if volume.get("dockerVolumeConfiguration"):
            yield "Fargate compatible task definitions do not support dockerVolumeConfiguration"


def _roles(request: Document, container: Document) -> Iterator[str]:
    if request.get("executionRoleArn"):
        return
    requires = "Fargate requires task definition to have execution role ARN to support"
    log = container.get("logConfiguration")
    if log and log["logDriver"] == "awslogs":
        yield f"{requires} log driver awslogs."
    if ".dkr.ecr." in container["image"]:
        yield f"{requires} ECR images."
    if container.get("repositoryCredentials"):
        yield f"{requires} private registry authentication."


def _container(name: str, container: Document) -> Iterator[str]:
    log = container.get("logConfiguration")
    if log and log["logDriver"] not in LOG_DRIVERS:
        yield (
            f"Log driver {log['logDriver']} is not supported on Fargate. "
            f"The supported log drivers are {', '.join(LOG_DRIVERS)}."
        )
    if container.get("privileged"):
        yield "Fargate does not support privileged containers."
    for member in CONTAINER_UNSUPPORTED:
        if container.get(member):
            yield f"Fargate task definitions do not support '{member}'."
    if container.get("resourceRequirements"):
        yield "Fargate task definitions do not support 'resourceRequirements'."
    for member, (low, high) in TIMEOUTS.items():
        seconds = container.get(member)
        if seconds is not None and not low <= seconds <= high:
            yield invalid(member, name, f"The valid values are {low}-{high}.")


def _linux(name: str, linux: Document) -> Iterator[str]:
    for member in LINUX_UNSUPPORTED:
        if linux.get(member) is not None and linux[member] != []:
            yield f"Fargate compatible task definitions do not support {member}"
    for capability in (linux.get("capabilities") or {}).get("add") or []:
        if capability not in ADDABLE:
            yield (
                f"Invalid 'capabilities' setting for container '{name}'. Tasks launched on "
                f"Fargate only support adding the {ADDABLE[0]} kernel capability."
            )
