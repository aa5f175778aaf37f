"""Clusters: CreateCluster, DeleteCluster, DescribeClusters, ListClusters."""

from __future__ import annotations

import msgspec

from proa.aws.ecs import paging, writes
from proa.aws.ecs.capacity import checked_strategy
from proa.aws.ecs.fargate import CAPACITY_PROVIDERS
from proa.aws.ecs.keys import base_key, cluster_key
from proa.aws.ecs.names import DEFAULT_CLUSTER, NAME, arn, cluster_name, invalid
from proa.aws.ecs.operations import tags
from proa.aws.ecs.operations.base import Ecs
from proa.aws.ecs.records import PENDING, Cluster
from proa.aws.ecs.tables import CLUSTERS, is_container_instance
from proa.aws.gateway.service import AwsError, Context, Input, Output
from proa.cloud import compute
from proa.store.api import Transaction

MAX_DESCRIBED = 100


async def create_cluster(ecs: Ecs, context: Context, request: Input) -> Output:
    """Make a cluster; one that is ACTIVE already is answered as it is."""
    name = request.get("clusterName") or DEFAULT_CLUSTER
    if not NAME.match(name):
        raise invalid("Cluster name contains invalid characters.")
    providers = tuple(request.get("capacityProviders") or ())
    unknown = [provider for provider in providers if provider not in CAPACITY_PROVIDERS]
    if unknown:
        raise invalid("The specified capacity provider does not exist. " + unknown[0])
    strategy = checked_strategy(request.get("defaultCapacityProviderStrategy") or [], providers)
    cluster = Cluster(
        account=context.account,
        region=context.region,
        name=name,
        created_at=context.now,
        settings=tuple(request.get("settings") or ()),
        configuration=request.get("configuration"),
        capacity_providers=providers,
        default_strategy=strategy,
        service_connect=request.get("serviceConnectDefaults"),
        tags=tags.checked(request.get("tags")),
    )

    def decision() -> tuple[Transaction | None, Output]:
        entry = ecs.view.rows(CLUSTERS).get(cluster.key)
        if entry is not None and entry.value.status == "ACTIVE":
            return None, {"cluster": _shown(ecs, entry.value, ("SETTINGS", "TAGS"))}
        parts = writes.replaced(entry, cluster) if entry else writes.created(cluster, cluster.key)
        return writes.transaction(parts), {"cluster": _shown(ecs, cluster, ("SETTINGS", "TAGS"))}

    return await ecs.decide(decision)


async def delete_cluster(ecs: Ecs, context: Context, request: Input) -> Output:
    """Make an empty cluster INACTIVE. Raises ClusterContains…Exception for one in use."""

    def decision() -> tuple[Transaction | None, Output]:
        entry = ecs.cluster(context, request)
        cluster = entry.value
        if any(item.value.status != "INACTIVE" for item in ecs.services(cluster)):
            raise AwsError(
                "ClusterContainsServicesException",
                "The Cluster cannot be deleted while Services are active.",
            )
        if any(item.value.last_status != "STOPPED" for item in ecs.tasks(cluster)):
            raise AwsError(
                "ClusterContainsTasksException",
                "The Cluster cannot be deleted while Tasks are active.",
            )
        if _instance_count(ecs, cluster):
            raise AwsError(
                "ClusterContainsContainerInstancesException",
                "The Cluster cannot be deleted while Container Instances are active or draining.",
            )
        gone = msgspec.structs.replace(cluster, status="INACTIVE")
        answer = {"cluster": _shown(ecs, gone, ())}
        return writes.transaction(writes.replaced(entry, gone)), answer

    return await ecs.decide(decision)


async def describe_clusters(ecs: Ecs, context: Context, request: Input) -> Output:
    """Clusters by name or ARN; unknown ones are failures with reason MISSING."""
    wanted = request.get("clusters") or [DEFAULT_CLUSTER]
    if len(wanted) > MAX_DESCRIBED:
        raise invalid(f"Clusters cannot have more than {MAX_DESCRIBED} elements")
    await ecs.fresh()
    found, failures = [], []
    for text in wanted:
        name = cluster_name(context, text)
        entry = ecs.view.rows(CLUSTERS).get(cluster_key(context.account, context.region, name))
        if entry is None:
            missing = arn(context.account, context.region, "cluster", name)
            failures.append({"arn": missing, "reason": "MISSING"})
        else:
            found.append(_shown(ecs, entry.value, request.get("include") or ()))
    return {"clusters": found, "failures": failures}


async def list_clusters(ecs: Ecs, context: Context, request: Input) -> Output:
    """ARNs of the ACTIVE clusters."""
    await ecs.fresh()
    prefix = f"{base_key(context.account, context.region)}cluster/"
    arns = sorted(
        entry.value.arn
        for entry in ecs.view.rows(CLUSTERS).scan(prefix)
        if entry.value.status == "ACTIVE"
    )
    page, more = paging.page(arns, request.get("nextToken"), request.get("maxResults"))
    return {"clusterArns": page, **({"nextToken": more} if more else {})}


def _instance_count(ecs: Ecs, cluster: Cluster) -> int:
    entries = ecs.view.rows(compute.INSTANCES).by("cluster", cluster.key)
    return sum(is_container_instance(entry.value, cluster.key) for entry in entries)


def _shown(ecs: Ecs, cluster: Cluster, include: object) -> Output:
    tasks = [entry.value for entry in ecs.tasks(cluster)]
    running = [task for task in tasks if task.last_status == "RUNNING"]
    pending = [task for task in tasks if task.last_status in PENDING]
    services = [entry.value for entry in ecs.services(cluster) if entry.value.status == "ACTIVE"]
    included = list(include) if isinstance(include, list | tuple) else []
    answer: Output = {
        "clusterArn": cluster.arn,
        "clusterName": cluster.name,
        "status": cluster.status,
        "registeredContainerInstancesCount": _instance_count(ecs, cluster),
        "runningTasksCount": len(running),
        "pendingTasksCount": len(pending),
        "activeServicesCount": len(services),
        "statistics": [],
        "tags": list(cluster.tags) if "TAGS" in included else [],
        "settings": [],
        "capacityProviders": list(cluster.capacity_providers),
        "defaultCapacityProviderStrategy": list(cluster.default_strategy),
    }
    if "SETTINGS" in included:
        answer["settings"] = list(cluster.settings) or [
            {"name": "containerInsights", "value": "disabled"}
        ]
    if "CONFIGURATIONS" in included and cluster.configuration:
        answer["configuration"] = cluster.configuration
    if "STATISTICS" in included:
        counts = {
            "runningEC2TasksCount": sum(task.launch_type == "EC2" for task in running),
            "runningFargateTasksCount": sum(task.launch_type == "FARGATE" for task in running),
            "pendingEC2TasksCount": sum(task.launch_type == "EC2" for task in pending),
            "pendingFargateTasksCount": sum(task.launch_type == "FARGATE" for task in pending),
            "activeEC2ServiceCount": sum(item.launch_type == "EC2" for item in services),
            "activeFargateServiceCount": sum(item.launch_type == "FARGATE" for item in services),
        }
        answer["statistics"] = [
            {"name": name, "value": str(count)} for name, count in counts.items()
        ]
    if cluster.service_connect:
        answer["serviceConnectDefaults"] = cluster.service_connect
    return answer
