"""A task definition between the request and the record: defaults, derived members, the answer.

Called by the task definition operations. What RegisterTaskDefinition answers is the request with
ECS's defaults filled in, plus the launch types it is compatible with and the agent capabilities
it needs.
"""

from __future__ import annotations

from typing import Any

from proa.aws.ecs import capabilities, fargate, taskdef_rules
from proa.aws.ecs.records import TaskDefinition
from proa.aws.gateway.service import AwsError

Document = dict[str, Any]
_KEPT = (
    "taskRoleArn", "executionRoleArn", "networkMode", "requiresCompatibilities", "pidMode",
    "ipcMode", "proxyConfiguration", "inferenceAccelerators", "ephemeralStorage",
    "runtimePlatform", "enableFaultInjection", "trustedExecutionConfiguration",
)  # fmt: skip


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
    document["requiresAttributes"] = capabilities.attributes(document)
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
    """The launch types whose rules the definition keeps; EC2's it has kept to get here."""
    found = ["EC2"]
    if request.get("networkMode") not in ("awsvpc",):
        found.insert(0, "EXTERNAL")
    try:
        taskdef_rules.check({**request, "requiresCompatibilities": ["FARGATE"]})
    except AwsError:
        pass
    else:
        found.append("FARGATE")
    if "MANAGED_INSTANCES" in (request.get("requiresCompatibilities") or []):
        found.append("MANAGED_INSTANCES")
    return found


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
    if definition.delete_requested_at:
        answer["deleteRequestedAt"] = definition.delete_requested_at
    return answer
