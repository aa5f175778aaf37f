"""Services: CreateService, UpdateService, DeleteService. They only write what is wanted; the
service controller starts and stops the tasks."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from proa.aws.ecs import shown, writes
from proa.aws.ecs.keys import token_key
from proa.aws.ecs.names import NAME, invalid, new_deployment_id, within_cluster
from proa.aws.ecs.operations import launching, tags
from proa.aws.ecs.operations.base import Ecs
from proa.aws.ecs.operations.launching import unsupported
from proa.aws.ecs.operations.service_reads import answer
from proa.aws.ecs.records import Cluster, Deployment, Service, TaskDefinition, Token, put
from proa.aws.ecs.tables import TOKENS
from proa.aws.gateway.service import AwsError, Context, Input, Output
from proa.dispatch.skin import Parts
from proa.reconcile.view import Entry
from proa.store.api import Guard, Transaction

Document = dict[str, Any]
MAX_DESIRED = 5_000
_DEFAULTS: Document = {
    "deploymentCircuitBreaker": {"enable": False, "rollback": False},
    "maximumPercent": 200,
    "minimumHealthyPercent": 100,
    "strategy": "ROLLING",
    "bakeTimeInMinutes": 0,
}
# Members of CreateService and UpdateService that need what is not built yet.
_LATER = (
    "loadBalancers",
    "serviceRegistries",
    "volumeConfigurations",
    "vpcLatticeConfigurations",
    "gatewayConnectors",
    "role",
)


def _refuse_later(request: Input) -> None:
    for member in _LATER:
        if request.get(member):
            raise unsupported(member)
    if (request.get("serviceConnectConfiguration") or {}).get("enabled"):
        raise unsupported("serviceConnectConfiguration")
    controller = (request.get("deploymentController") or {}).get("type", "ECS")
    if controller != "ECS":
        raise unsupported(f"deployment controller {controller}")
    if request.get("schedulingStrategy") == "DAEMON":
        raise unsupported("scheduling strategy DAEMON")


def _configuration(given: Document | None, current: Document) -> Document:
    """The deployment configuration, with what the request leaves out as it was."""
    merged = {
        **current,
        **{name: value for name, value in (given or {}).items() if value is not None},
    }
    if merged["strategy"] != "ROLLING" or merged.get("lifecycleHooks"):
        raise unsupported(f"deployment strategy {merged['strategy']} with lifecycle hooks")
    if (merged.get("alarms") or {}).get("enable"):
        raise unsupported("deployment alarms")
    low, high = merged["minimumHealthyPercent"], merged["maximumPercent"]
    if not 0 <= low <= 100:
        raise invalid("minimumHealthyPercent must be between 0 and 100.")
    if not 100 <= high <= 200:
        raise invalid("maximumPercent must be between 100 and 200.")
    if low == 100 and high == 100:
        raise invalid(
            "Both maximumPercent and minimumHealthyPercent cannot be 100 as this will block "
            "deployments."
        )
    return merged


def _desired(request: Input, otherwise: int) -> int:
    count = request.get("desiredCount")
    count = otherwise if count is None else count
    if not 0 <= count <= MAX_DESIRED:
        raise invalid(f"desiredCount must be between 0 and {MAX_DESIRED}.")
    return int(count)


def _deployment(
    ecs: Ecs, context: Context, definition: TaskDefinition, how: launching.Launch
) -> Deployment:
    id = new_deployment_id(ecs.chance)
    return Deployment(
        id=id,
        family=definition.family,
        revision=definition.revision,
        created_at=context.now,
        updated_at=context.now,
        launch_type=how.launch_type,
        strategy=how.strategy,
        platform_version=how.platform_version,
        network=how.network,
        rollout_reason=f"ECS deployment {id} in progress.",
    )


def _draft(ecs: Ecs, context: Context, cluster: Cluster, request: Input) -> Service:
    name = request["serviceName"]
    if not NAME.match(name):
        raise invalid("Service name contains invalid characters.")
    if not request.get("taskDefinition"):
        raise invalid("TaskDefinition can not be blank.")
    definition = launching.active_definition(ecs, context, request["taskDefinition"])
    how = launching.launch_of(ecs, cluster, definition, request)
    return Service(
        account=cluster.account,
        region=cluster.region,
        cluster=cluster.name,
        name=name,
        desired_count=_desired(request, 0),
        deployments=(_deployment(ecs, context, definition, how),),
        created_at=context.now,
        created_by=context.principal_arn,
        configuration=_configuration(request.get("deploymentConfiguration"), _DEFAULTS),
        launch_type=how.launch_type,
        strategy=how.strategy,
        platform_version=how.platform_version,
        network=how.network,
        placement_strategy=how.placement_strategy,
        placement_constraints=how.placement_constraints,
        health_grace_s=request.get("healthCheckGracePeriodSeconds"),
        managed_tags=bool(request.get("enableECSManagedTags")),
        propagate_tags=request.get("propagateTags") or "NONE",
        exec_enabled=bool(request.get("enableExecuteCommand")),
        rebalancing=request.get("availabilityZoneRebalancing") or "DISABLED",
        tags=tags.checked(request.get("tags")),
    )


async def create_service(ecs: Ecs, context: Context, request: Input) -> Output:
    """A service that keeps ``desiredCount`` tasks. The same call again is answered alike; another
    call for an ACTIVE name is refused."""
    _refuse_later(request)

    def decision() -> tuple[Transaction | None, Output]:
        cluster = ecs.cluster(context, request).value
        service = _draft(ecs, context, cluster, request)
        entry = ecs.service(cluster, service.name)
        if entry is not None and entry.value.status == "ACTIVE":
            if not _same(entry.value, service) or not _same_token(ecs, cluster, request):
                raise invalid("Creation of service was not idempotent.")
            return None, {"service": answer(ecs, entry.value, with_tags=True)}
        if entry is not None and entry.value.status == "DRAINING":
            raise invalid("Unable to Start a service that is still Draining.")
        if entry is not None:
            service = msgspec.structs.replace(service, event_count=entry.value.event_count)
        parts = writes.replaced(entry, service) if entry else writes.created(service, service.key)
        document = shown.service(service, [], [], with_tags=True)
        token = _token(ecs, cluster, request, service)
        return writes.transaction(parts, token), {"service": document}

    return await ecs.decide(decision)


def _same(one: Service, other: Service) -> bool:
    """Whether two services ask for the same, whatever became of them since."""
    return _wish(one) == _wish(other)


def _wish(service: Service) -> tuple[object, ...]:
    first = service.primary
    return (
        service.desired_count,
        (first.family, first.revision),
        service.configuration,
        service.launch_type,
        service.strategy,
        service.network,
        service.placement_strategy,
        service.placement_constraints,
        service.propagate_tags,
        service.exec_enabled,
    )


def _token_key(cluster: Cluster, request: Input) -> str:
    scope = f"service:{cluster.name}"
    return token_key(cluster.account, cluster.region, scope, request["clientToken"])


def _digest(request: Input) -> str:
    return hashlib.sha256(msgspec.json.encode(request, order="deterministic")).hexdigest()


def _same_token(ecs: Ecs, cluster: Cluster, request: Input) -> bool:
    if not request.get("clientToken"):
        return True
    entry = ecs.view.rows(TOKENS).get(_token_key(cluster, request))
    return entry is None or entry.value.digest == _digest(request)


def _token(ecs: Ecs, cluster: Cluster, request: Input, service: Service) -> Parts:
    if not request.get("clientToken"):
        return Parts()
    key = _token_key(cluster, request)
    entry = ecs.view.rows(TOKENS).get(key)
    record = Token(_digest(request), (service.arn,), service.created_at)
    return Parts((Guard(key, entry.version if entry else 0),), (put(key, record),))


def _existing(ecs: Ecs, context: Context, cluster: Cluster, request: Input) -> Entry[Service]:
    name = within_cluster(context, request["service"], "service", cluster.name)
    entry = ecs.service(cluster, name)
    if entry is None:
        raise AwsError("ServiceNotFoundException", "Service not found.")
    return entry


async def update_service(ecs: Ecs, context: Context, request: Input) -> Output:
    """Change what a service wants. A new task definition, network or platform version, or
    ``forceNewDeployment``, starts a deployment; everything else applies to the one there is."""
    _refuse_later(request)

    def decision() -> tuple[Transaction | None, Output]:
        cluster = ecs.cluster(context, request).value
        entry = _existing(ecs, context, cluster, request)
        if entry.value.status != "ACTIVE":
            raise AwsError("ServiceNotActiveException", "Service was not ACTIVE.")
        service = _updated(ecs, context, cluster, entry.value, request)
        document = answer(ecs, service, with_tags=True)
        return writes.transaction(writes.replaced(entry, service)), {"service": document}

    return await ecs.decide(decision)


def _updated(
    ecs: Ecs, context: Context, cluster: Cluster, service: Service, request: Input
) -> Service:
    before = service.primary
    text = request.get("taskDefinition") or shown.definition_arn(service, before)
    family, revision = before.family, before.revision
    if request.get("taskDefinition") or request.get("forceNewDeployment"):
        definition = launching.active_definition(ecs, context, text)
    else:
        entry = ecs.definition(context, family, revision)
        assert entry is not None, "task definitions in use are never deleted"
        definition = entry.value
    current = launching.Launch(
        launch_type=service.launch_type,
        strategy=service.strategy,
        platform_version=service.platform_version,
        network=service.network,
        placement_strategy=service.placement_strategy,
        placement_constraints=service.placement_constraints,
    )
    how = launching.launch_of(ecs, cluster, definition, request, current)
    fresh = _deployment(ecs, context, definition, how)
    renewed = (
        bool(request.get("forceNewDeployment"))
        or (definition.family, definition.revision) != (family, revision)
        or how.network != service.network
        or how.platform_version != service.platform_version
    )
    return msgspec.structs.replace(
        service,
        desired_count=_desired(request, service.desired_count),
        deployments=_renewed(service, fresh) if renewed else service.deployments,
        configuration=_configuration(request.get("deploymentConfiguration"), service.configuration),
        launch_type=how.launch_type,
        strategy=how.strategy,
        platform_version=how.platform_version,
        network=how.network,
        placement_strategy=how.placement_strategy,
        placement_constraints=how.placement_constraints,
        health_grace_s=_given(request, "healthCheckGracePeriodSeconds", service.health_grace_s),
        managed_tags=_given(request, "enableECSManagedTags", service.managed_tags),
        propagate_tags=_given(request, "propagateTags", service.propagate_tags),
        exec_enabled=_given(request, "enableExecuteCommand", service.exec_enabled),
        rebalancing=_given(request, "availabilityZoneRebalancing", service.rebalancing),
        steady=False,
    )


def _given(request: Input, member: str, otherwise: Any) -> Any:
    value = request.get(member)
    return otherwise if value is None else value


def _renewed(service: Service, fresh: Deployment) -> tuple[Deployment, ...]:
    older = tuple(
        msgspec.structs.replace(item, status="ACTIVE", updated_at=fresh.created_at)
        for item in service.deployments
    )
    return (fresh, *older)


async def delete_service(ecs: Ecs, context: Context, request: Input) -> Output:
    """Drain a service: its tasks are stopped, then it is INACTIVE."""

    def decision() -> tuple[Transaction | None, Output]:
        cluster = ecs.cluster(context, request).value
        entry = _existing(ecs, context, cluster, request)
        service = entry.value
        if service.status == "INACTIVE":
            raise AwsError("ServiceNotFoundException", "Service not found.")
        if service.status == "DRAINING":
            return None, {"service": answer(ecs, service, with_tags=True)}
        if service.desired_count > 0 and not request.get("force"):
            raise invalid("The service cannot be stopped while it is scaled above 0.")
        draining = msgspec.structs.replace(
            service, status="DRAINING", desired_count=0, steady=False
        )
        document = answer(ecs, draining, with_tags=True)
        return writes.transaction(writes.replaced(entry, draining)), {"service": document}

    return await ecs.decide(decision)
