"""Container instances: the hull's Instances that belong to a cluster, as ECS shows them.

The shared local Instance of a cluster shows what is left of it after every task of the cluster;
what the other orchestrator holds of the same machine is the Pool's matter, not the API's.
"""

from __future__ import annotations

from collections.abc import Sequence

from proa.aws.ecs import hostports, hull, launch, paging, query
from proa.aws.ecs.names import arn, container_instance_id, invalid, within_cluster
from proa.aws.ecs.operations.base import Ecs
from proa.aws.ecs.records import PENDING, Cluster, InstanceNote, Task
from proa.aws.ecs.tables import TASKS, is_container_instance
from proa.aws.gateway.service import Context, Input, Output
from proa.base.quantity import CPU_PER_ECS_UNIT, MIB
from proa.cloud import compute
from proa.model.host import Instance
from proa.model.resources import Resources

MAX_DESCRIBED = 100
RESERVED_TCP = ("22", "2376", "2375", "51678", "51679")
_ATTRIBUTES = (
    "com.amazonaws.ecs.capability.docker-remote-api.1.19",
    "com.amazonaws.ecs.capability.docker-remote-api.1.24",
    "com.amazonaws.ecs.capability.logging-driver.awslogs",
    "com.amazonaws.ecs.capability.logging-driver.json-file",
    "com.amazonaws.ecs.capability.privileged-container",
    "ecs.capability.container-health-check",
    "ecs.capability.container-ordering",
    "ecs.capability.execution-role-awslogs",
    "ecs.capability.task-eni",
)


def container_instances(ecs: Ecs, cluster: Cluster) -> list[Instance]:
    """The cluster's container instances, in key order."""
    entries = ecs.view.rows(compute.INSTANCES).by("cluster", cluster.key)
    return [item.value for item in entries if is_container_instance(item.value, cluster.key)]


def find_instance(ecs: Ecs, context: Context, cluster: Cluster, text: str) -> Instance | None:
    """The container instance of an id or ARN."""
    id = within_cluster(context, text, "container-instance", cluster.name)
    found = container_instances(ecs, cluster)
    return next((item for item in found if container_instance_id(item.id) == id), None)


async def describe_container_instances(ecs: Ecs, context: Context, request: Input) -> Output:
    """Container instances by id or ARN; unknown ones are failures with reason MISSING."""
    wanted = request["containerInstances"]
    if not wanted or len(wanted) > MAX_DESCRIBED:
        raise invalid(f"Container instances must have 1 to {MAX_DESCRIBED} elements.")
    await ecs.fresh()
    cluster = ecs.cluster(context, request).value
    found, failures = [], []
    for text in wanted:
        instance = find_instance(ecs, context, cluster, text)
        if instance is None:
            id = within_cluster(context, text, "container-instance", cluster.name)
            failures.append({"arn": instance_arn(cluster, id), "reason": "MISSING"})
        else:
            found.append(shown(ecs, cluster, instance, request.get("include") or ()))
    return {"containerInstances": found, "failures": failures}


async def list_container_instances(ecs: Ecs, context: Context, request: Input) -> Output:
    """ARNs of container instances with a status and an expression that holds for them."""
    await ecs.fresh()
    cluster = ecs.cluster(context, request).value
    term = query.parse(request["filter"]) if request.get("filter") else None
    status = request.get("status")
    arns = sorted(
        instance_arn(cluster, container_instance_id(instance.id))
        for instance in container_instances(ecs, cluster)
        if status in (None, _status(instance))
        and (term is None or query.matches(term, hull.attributes_of(ecs.view, instance)))
    )
    page, more = paging.page(arns, request.get("nextToken"), request.get("maxResults"))
    return {"containerInstanceArns": page, **({"nextToken": more} if more else {})}


def instance_arn(cluster: Cluster, id: str) -> str:
    """The ARN of a container instance by its id."""
    return arn(cluster.account, cluster.region, "container-instance", cluster.name, id)


def _status(instance: Instance) -> str:
    return instance.state.upper()


def shown(ecs: Ecs, cluster: Cluster, instance: Instance, include: Sequence[str] = ()) -> Output:
    """The API's ContainerInstance structure."""
    tasks = [entry.value for entry in ecs.view.rows(TASKS).by("instance", instance.id)]
    used = Resources()
    for task in tasks:
        used = used.plus(launch.reserve_of(task))
    entry = hull.note_of(ecs.view, instance.id)
    note = entry.value if entry else InstanceNote(instance.id)
    attributes: list[Output] = [{"name": name} for name in _ATTRIBUTES]
    attributes += [
        {"name": name, "value": value} if value else {"name": name}
        for name, value in hull.attributes_of(ecs.view, instance).items()
    ]
    answer: Output = {
        "containerInstanceArn": instance_arn(cluster, container_instance_id(instance.id)),
        "ec2InstanceId": instance.id,
        "version": note.changes,
        "versionInfo": {"agentVersion": "1.0.0"},
        "status": _status(instance),
        "agentConnected": True,
        "runningTasksCount": sum(task.last_status == "RUNNING" for task in tasks),
        "pendingTasksCount": sum(task.last_status in PENDING for task in tasks),
        "registeredResources": _resources(instance.capacity, ()),
        "remainingResources": _resources(instance.capacity.minus(used), tasks),
        "attributes": attributes,
        "registeredAt": instance.created_at,
        "attachments": [],
        "tags": list(note.tags) if "TAGS" in include else [],
    }
    if "CONTAINER_INSTANCE_HEALTH" in include:
        check = {"type": "CONTAINER_RUNTIME", "status": "OK"}
        answer["healthStatus"] = {"overallStatus": "OK", "details": [check]}
    return answer


def _resources(amount: Resources, tasks: Sequence[Task]) -> list[Output]:
    ports = [port for task in tasks for port in hostports.taken_ports(task)]

    def taken(protocol: str) -> list[str]:
        numbers = sorted({port.number for port in ports if port.protocol == protocol})
        return [str(number) for number in numbers]

    return [
        {"name": "CPU", "type": "INTEGER", "integerValue": amount.cpu // CPU_PER_ECS_UNIT},
        {"name": "MEMORY", "type": "INTEGER", "integerValue": amount.memory // MIB},
        {"name": "PORTS", "type": "STRINGSET", "stringSetValue": [*RESERVED_TCP, *taken("tcp")]},
        {"name": "PORTS_UDP", "type": "STRINGSET", "stringSetValue": taken("udp")},
    ]


def zones_of(instances: list[Instance]) -> list[str]:
    """The zones that container instances stand in."""
    return sorted({item.zone for item in instances if item.state == "active"})
