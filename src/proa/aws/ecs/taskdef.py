"""A task definition between the request and the record: defaults, derived members, the answer.

Called by the task definition operations. What RegisterTaskDefinition answers is the request with
ECS's defaults filled in, plus the launch types it is compatible with and the agent capabilities
it needs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from proa.aws.ecs import fargate, taskdef_rules
from proa.aws.ecs.records import TaskDefinition
from proa.aws.gateway.service import AwsError

Document = dict[str, Any]
_KEPT = (
    "taskRoleArn", "executionRoleArn", "networkMode", "requiresCompatibilities", "pidMode",
    "ipcMode", "proxyConfiguration", "inferenceAccelerators", "ephemeralStorage",
    "runtimePlatform", "enableFaultInjection",
)  # fmt: skip
_API = "com.amazonaws.ecs.capability.docker-remote-api."
_LOGGING = "com.amazonaws.ecs.capability.logging-driver."


def document_of(request: Document) -> Document:
    """The stored structure of a checked request: defaults filled in, sizes in plain numbers."""
    mode = request.get("networkMode")
    document: Document = {
        "family": request["family"],
        "containerDefinitions": [
            _container(container, mode or "bridge") for container in request["containerDefinitions"]
        ],
        "volumes": [_volume(volume) for volume in request.get("volumes") or []],
        "placementConstraints": request.get("placementConstraints") or [],
    }
    document.update({name: request[name] for name in _KEPT if request.get(name) is not None})
    if request.get("cpu"):
        document["cpu"] = str(fargate.cpu_units(request["cpu"]))
    if request.get("memory"):
        document["memory"] = str(fargate.memory_mib(request["memory"]))
    document["compatibilities"] = _compatibilities(request)
    document["requiresAttributes"] = [{"name": name} for name in sorted(set(_needs(document)))]
    return document


def _container(container: Document, mode: str) -> Document:
    filled = {
        "cpu": 0,
        "essential": True,
        "environment": [],
        "mountPoints": [],
        "volumesFrom": [],
        "systemControls": [],
        **{name: value for name, value in container.items() if value is not None},
    }
    filled["portMappings"] = [_port(port, mode) for port in container.get("portMappings") or []]
    if filled.get("healthCheck"):
        filled["healthCheck"] = {
            "interval": 30,
            "timeout": 5,
            "retries": 3,
            **filled["healthCheck"],
        }
    return filled


def _port(mapping: Document, mode: str) -> Document:
    filled = {"protocol": "tcp", **mapping}
    if "containerPortRange" not in mapping:
        same = mapping["containerPort"] if mode in ("awsvpc", "host") else 0
        filled["hostPort"] = mapping.get("hostPort") or same
    return filled


def _volume(volume: Document) -> Document:
    plain = set(volume) == {"name"}
    return {**volume, "host": {}} if plain else dict(volume)


def _compatibilities(request: Document) -> list[str]:
    found = ["EC2"]
    wanted = request.get("requiresCompatibilities") or []
    try:
        taskdef_rules.check({**request, "requiresCompatibilities": ["FARGATE"]})
    except AwsError:
        pass
    else:
        found.append("FARGATE")
    if "EXTERNAL" in wanted:
        found.append("EXTERNAL")
    if "MANAGED_INSTANCES" in wanted:
        found.append("MANAGED_INSTANCES")
    return found


def _needs(document: Document) -> Iterator[str]:
    """Names of the agent capabilities a container instance must have."""
    if document.get("networkMode") == "awsvpc":
        yield "ecs.capability.task-eni"
    if document.get("taskRoleArn"):
        yield "com.amazonaws.ecs.capability.task-iam-role"
        if document.get("networkMode") == "host":
            yield "com.amazonaws.ecs.capability.task-iam-role-network-host"
    if document.get("pidMode") or document.get("ipcMode"):
        yield "ecs.capability.pid-ipc-namespace-sharing"
    for container in document["containerDefinitions"]:
        yield from _container_needs(container, bool(document.get("executionRoleArn")))


def _container_needs(container: Document, execution_role: bool) -> Iterator[str]:
    yield f"{_API}1.18" if container["portMappings"] else f"{_API}1.17"
    log = container.get("logConfiguration")
    if log:
        yield f"{_LOGGING}{log['logDriver']}"
        yield f"{_API}1.19"
        if log["logDriver"] == "awslogs" and execution_role:
            yield "ecs.capability.execution-role-awslogs"
    if ".dkr.ecr." in container["image"]:
        yield "com.amazonaws.ecs.capability.ecr-auth"
        if execution_role:
            yield "ecs.capability.execution-role-ecr-pull"
    if container.get("healthCheck"):
        yield "ecs.capability.container-health-check"
        yield f"{_API}1.24"
    if container.get("dependsOn"):
        yield "ecs.capability.container-ordering"
    if container.get("privileged"):
        yield "com.amazonaws.ecs.capability.privileged-container"
    if container.get("memoryReservation"):
        yield f"{_API}1.21"
    for secret in container.get("secrets") or []:
        manager = ":secretsmanager:" in secret["valueFrom"]
        yield f"ecs.capability.secrets.{'asm' if manager else 'ssm'}.environment-variables"


def shown(definition: TaskDefinition) -> Document:
    """The record as the API's TaskDefinition structure."""
    answer: Document = {
        **definition.document,
        "taskDefinitionArn": definition.arn,
        "revision": definition.revision,
        "status": definition.status,
        "registeredAt": definition.registered_at,
        "registeredBy": definition.registered_by,
    }
    if definition.deregistered_at:
        answer["deregisteredAt"] = definition.deregistered_at
    return answer
