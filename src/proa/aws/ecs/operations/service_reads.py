"""Services read: DescribeServices, ListServices."""

from __future__ import annotations

from proa.aws.ecs import paging, shown
from proa.aws.ecs.names import arn, invalid, within_cluster
from proa.aws.ecs.operations.base import Ecs
from proa.aws.ecs.records import Service, ServiceEvent
from proa.aws.ecs.tables import EVENTS, TASKS
from proa.aws.gateway.service import Context, Input, Output

MAX_DESCRIBED = 10


def answer(ecs: Ecs, service: Service, with_tags: bool) -> Output:
    """The API's Service structure, with counts and events as of now."""
    tasks = [entry.value for entry in ecs.view.rows(TASKS).by("service", service.key)]
    return shown.service(service, tasks, _events(ecs, service), with_tags)


def _events(ecs: Ecs, service: Service) -> list[ServiceEvent]:
    """The newest events of this life of the service, newest first."""
    entries = ecs.view.rows(EVENTS).scan(service.event_prefix)
    found = [entry.value for entry in entries if entry.value.created_at >= service.created_at]
    return sorted(found, key=lambda event: -event.serial)


async def describe_services(ecs: Ecs, context: Context, request: Input) -> Output:
    """Services by name or ARN; unknown ones are failures with reason MISSING."""
    wanted = request["services"]
    if not wanted:
        raise invalid("Services cannot be empty.")
    if len(wanted) > MAX_DESCRIBED:
        raise invalid(f"Services cannot have more than {MAX_DESCRIBED} elements")
    await ecs.fresh()
    cluster = ecs.cluster(context, request).value
    with_tags = "TAGS" in (request.get("include") or ())
    found, failures = [], []
    for text in wanted:
        name = within_cluster(context, text, "service", cluster.name)
        entry = ecs.service(cluster, name)
        if entry is None:
            missing = arn(cluster.account, cluster.region, "service", cluster.name, name)
            failures.append({"arn": missing, "reason": "MISSING"})
        else:
            found.append(answer(ecs, entry.value, with_tags))
    return {"services": found, "failures": failures}


async def list_services(ecs: Ecs, context: Context, request: Input) -> Output:
    """ARNs of the ACTIVE services."""
    await ecs.fresh()
    cluster = ecs.cluster(context, request).value
    launch_type, scheduling = request.get("launchType"), request.get("schedulingStrategy")
    arns = sorted(
        entry.value.arn
        for entry in ecs.services(cluster)
        if entry.value.status == "ACTIVE"
        and launch_type in (None, entry.value.launch_type)
        and scheduling in (None, entry.value.scheduling)
        and request.get("resourceManagementType") in (None, "CUSTOMER")
    )
    limit = request.get("maxResults") or 10
    page, more = paging.page(arns, request.get("nextToken"), limit)
    return {"serviceArns": page, **({"nextToken": more} if more else {})}
