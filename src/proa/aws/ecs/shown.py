"""Tasks and services in the API's own structures. Called by every operation that answers one."""

from __future__ import annotations

from typing import Any

from proa.aws.ecs.fargate import PLATFORM_FAMILY, PLATFORM_VERSION, STORAGE_GIB
from proa.aws.ecs.names import arn, container_instance_id
from proa.aws.ecs.records import PENDING, Deployment, Service, ServiceEvent, Task, TaskContainer

Document = dict[str, Any]
_TIMES = {
    "createdAt": "created_at",
    "pullStartedAt": "pull_started_at",
    "pullStoppedAt": "pull_stopped_at",
    "startedAt": "started_at",
    "connectivityAt": "connected_at",
    "stoppingAt": "stopping_at",
    "executionStoppedAt": "execution_stopped_at",
    "stoppedAt": "stopped_at",
}


def task(record: Task, with_tags: bool = False) -> Document:
    """The API's Task structure."""
    answer: Document = {
        "taskArn": record.arn,
        "clusterArn": arn(record.account, record.region, "cluster", record.cluster),
        "taskDefinitionArn": record.definition_arn,
        "attachments": _attachments(record),
        "attributes": [{"name": "ecs.cpu-architecture", "value": "x86_64"}],
        "containers": [_container(record, item) for item in record.containers],
        "cpu": record.cpu,
        "memory": record.memory,
        "desiredStatus": record.desired_status,
        "lastStatus": record.last_status,
        "enableExecuteCommand": record.exec_enabled,
        "group": record.group,
        "healthStatus": record.health,
        "launchType": record.launch_type,
        "overrides": _overrides(record),
        "tags": list(record.tags) if with_tags else [],
        "version": record.changes,
    }
    for member, field in _TIMES.items():
        if instant := getattr(record, field):
            answer[member] = instant
    if record.connected_at:
        answer["connectivity"] = "CONNECTED"
    answer.update(_where(record))
    optional = {
        "startedBy": record.started_by,
        "stopCode": record.stop_code,
        "stoppedReason": record.stopped_reason,
        "capacityProviderName": record.capacity_provider,
    }
    answer.update({name: value for name, value in optional.items() if value})
    return answer


def _where(record: Task) -> Document:
    found: Document = {}
    if record.zone:
        found["availabilityZone"] = record.zone
    if record.launch_type == "FARGATE":
        found["platformVersion"] = record.platform_version
        found["platformFamily"] = PLATFORM_FAMILY
        found["ephemeralStorage"] = {"sizeInGiB": record.storage_gib or STORAGE_GIB}
        found["fargateEphemeralStorage"] = {"sizeInGiB": record.storage_gib or STORAGE_GIB}
    elif record.instance:
        found["containerInstanceArn"] = arn(
            record.account,
            record.region,
            "container-instance",
            record.cluster,
            container_instance_id(record.instance),
        )
    return found


def _overrides(record: Task) -> Document:
    given = {
        item["name"]: item
        for item in record.overrides.get("containerOverrides") or []
        if item.get("name")
    }
    containers = [given.get(item.name, {"name": item.name}) for item in record.containers]
    return {
        **record.overrides,
        "containerOverrides": containers,
        "inferenceAcceleratorOverrides": [],
    }


def _attachments(record: Task) -> list[Document]:
    interface = record.interface
    if interface is None:
        return []
    details = {
        "subnetId": interface.subnet,
        "networkInterfaceId": interface.id,
        "macAddress": interface.mac,
        "privateDnsName": interface.private_dns,
        "privateIPv4Address": interface.address,
    }
    return [
        {
            "id": interface.attachment,
            "type": "ElasticNetworkInterface",
            "status": interface.status,
            "details": [{"name": name, "value": value} for name, value in details.items() if value],
        }
    ]


def _container(record: Task, item: TaskContainer) -> Document:
    answer: Document = {
        "containerArn": arn(
            record.account, record.region, "container", record.cluster, record.id, item.id
        ),
        "taskArn": record.arn,
        "name": item.name,
        "image": item.image,
        "lastStatus": item.last_status,
        "healthStatus": item.health,
        "cpu": item.cpu,
        "networkBindings": list(item.bindings),
        "networkInterfaces": [],
        "managedAgents": [],
    }
    if record.interface is not None:
        answer["networkInterfaces"] = [
            {
                "attachmentId": record.interface.attachment,
                "privateIpv4Address": record.interface.address,
            }
        ]
    if item.exit_code is not None:
        answer["exitCode"] = item.exit_code
    optional = {
        "memory": item.memory,
        "memoryReservation": item.memory_reservation,
        "reason": item.reason,
        "runtimeId": item.runtime_id,
        "imageDigest": item.image_digest,
    }
    answer.update({name: value for name, value in optional.items() if value})
    return answer


def service(
    record: Service, tasks: list[Task], events: list[ServiceEvent], with_tags: bool
) -> Document:
    """The API's Service structure. ``tasks`` are the service's, ``events`` newest first."""
    answer: Document = {
        "serviceArn": record.arn,
        "serviceName": record.name,
        "clusterArn": arn(record.account, record.region, "cluster", record.cluster),
        "loadBalancers": [],
        "serviceRegistries": [],
        "status": record.status,
        "desiredCount": record.desired_count,
        "runningCount": running(tasks),
        "pendingCount": pending(tasks),
        "taskDefinition": definition_arn(record, record.primary),
        "deploymentConfiguration": record.configuration,
        "deployments": [] if record.status == "INACTIVE" else deployments(record, tasks),
        "events": [
            {"id": item.id, "createdAt": item.created_at, "message": item.message}
            for item in events
        ],
        "createdAt": record.created_at,
        "createdBy": record.created_by,
        "placementConstraints": list(record.placement_constraints),
        "placementStrategy": list(record.placement_strategy),
        "schedulingStrategy": record.scheduling,
        "deploymentController": {"type": "ECS"},
        "enableECSManagedTags": record.managed_tags,
        "propagateTags": record.propagate_tags,
        "enableExecuteCommand": record.exec_enabled,
        "availabilityZoneRebalancing": record.rebalancing,
        "tags": list(record.tags) if with_tags else [],
    }
    if record.health_grace_s is not None:
        answer["healthCheckGracePeriodSeconds"] = record.health_grace_s
    answer.update(
        _launch(record.launch_type, list(record.strategy), record.platform_version, record.network)
    )
    if record.role_arn:
        answer["roleArn"] = record.role_arn
    return answer


def _launch(
    launch_type: str, strategy: list[Document], version: str, network: Document | None
) -> Document:
    found: Document = {}
    if strategy:
        found["capacityProviderStrategy"] = strategy
    else:
        found["launchType"] = launch_type
    if launch_type == "FARGATE":
        found |= {"platformVersion": version or PLATFORM_VERSION, "platformFamily": PLATFORM_FAMILY}
    if network:
        found["networkConfiguration"] = {"awsvpcConfiguration": network}
    return found


def definition_arn(record: Service, deployment: Deployment) -> str:
    """The ARN of the task definition a deployment launches."""
    name = f"{deployment.family}:{deployment.revision}"
    return arn(record.account, record.region, "task-definition", name)


def deployments(record: Service, tasks: list[Task]) -> list[Document]:
    """The deployments, PRIMARY first, each with the counts of its own tasks."""
    found = []
    for item in record.deployments:
        own = [task for task in tasks if task.deployment == item.id]
        wanted = record.desired_count if item.status == "PRIMARY" else running(own) + pending(own)
        document: Document = {
            "id": item.id,
            "status": item.status,
            "taskDefinition": definition_arn(record, item),
            "desiredCount": wanted,
            "pendingCount": pending(own),
            "runningCount": running(own),
            "failedTasks": item.failed_tasks,
            "createdAt": item.created_at,
            "updatedAt": item.updated_at,
            "rolloutState": item.rollout_state,
            "rolloutStateReason": item.rollout_reason,
        }
        found.append(
            document
            | _launch(item.launch_type, list(item.strategy), item.platform_version, item.network)
        )
    return found


def running(tasks: list[Task]) -> int:
    """How many tasks are RUNNING."""
    return sum(task.last_status == "RUNNING" for task in tasks)


def pending(tasks: list[Task]) -> int:
    """How many tasks have yet to run, of those that still should."""
    return sum(task.last_status in PENDING and task.desired_status == "RUNNING" for task in tasks)
