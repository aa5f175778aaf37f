"""Tasks that are there: StopTask, DescribeTasks, ListTasks."""

from __future__ import annotations

from collections.abc import Callable

from proa.aws.ecs import paging, shown, status, writes
from proa.aws.ecs.keys import task_key
from proa.aws.ecs.names import arn, container_instance_id, invalid, within_cluster
from proa.aws.ecs.operations.base import Ecs
from proa.aws.ecs.records import Cluster, Task
from proa.aws.ecs.tables import TASKS
from proa.aws.gateway.service import AwsError, Context, Input, Output
from proa.reconcile.view import Entry
from proa.store.api import Transaction

MAX_DESCRIBED = 100
MAX_REASON = 1024


def _find(
    ecs: Ecs, context: Context, cluster: Cluster, text: str
) -> tuple[str, Entry[Task] | None]:
    """(the task's id, its record) for an id or ARN."""
    id = within_cluster(context, text, "task", cluster.name)
    key = task_key(cluster.account, cluster.region, cluster.name, id)
    return id, ecs.view.rows(TASKS).get(key)


async def stop_task(ecs: Ecs, context: Context, request: Input) -> Output:
    """Ask a task to stop; one that is stopping or STOPPED already is answered as it is."""
    reason = request.get("reason") or status.STOPPED_BY_USER
    if len(reason) > MAX_REASON:
        raise invalid(f"The reason may have {MAX_REASON} characters.")

    def decision() -> tuple[Transaction | None, Output]:
        cluster = ecs.cluster(context, request).value
        _, entry = _find(ecs, context, cluster, request["task"])
        if entry is None:
            raise invalid("The referenced task was not found.")
        task = status.asked_to_stop(entry.value, "UserInitiated", reason, context.now)
        if task == entry.value:
            return None, {"task": shown.task(task, with_tags=True)}
        transaction = writes.transaction(writes.task_changed(entry, task, ecs.vpc))
        return transaction, {"task": shown.task(task, with_tags=True)}

    return await ecs.decide(decision)


async def describe_tasks(ecs: Ecs, context: Context, request: Input) -> Output:
    """Tasks by id or ARN; unknown ones are failures with reason MISSING."""
    wanted = request["tasks"]
    if not wanted:
        raise invalid("Tasks cannot be empty.")
    if len(wanted) > MAX_DESCRIBED:
        raise invalid(f"Tasks cannot have more than {MAX_DESCRIBED} elements")
    await ecs.fresh()
    cluster = ecs.cluster(context, request).value
    with_tags = "TAGS" in (request.get("include") or ())
    found, failures = [], []
    for text in wanted:
        id, entry = _find(ecs, context, cluster, text)
        if entry is None:
            missing = arn(cluster.account, cluster.region, "task", cluster.name, id)
            failures.append({"arn": missing, "reason": "MISSING"})
        else:
            found.append(shown.task(entry.value, with_tags))
    return {"tasks": found, "failures": failures}


async def list_tasks(ecs: Ecs, context: Context, request: Input) -> Output:
    """ARNs of tasks whose desired status is RUNNING (by default) and that pass every filter."""
    if request.get("serviceName") and request.get("startedBy"):
        raise invalid("Cannot filter by both serviceName and startedBy.")
    if request.get("daemonName"):
        raise AwsError("UnsupportedFeatureException", "Proa does not support daemons yet.")
    await ecs.fresh()
    cluster = ecs.cluster(context, request).value
    filters = _filters(ecs, context, cluster, request)
    arns = sorted(
        entry.value.arn
        for entry in ecs.tasks(cluster)
        if all(passes(entry.value) for passes in filters)
    )
    page, more = paging.page(arns, request.get("nextToken"), request.get("maxResults"))
    return {"taskArns": page, **({"nextToken": more} if more else {})}


def _filters(
    ecs: Ecs, context: Context, cluster: Cluster, request: Input
) -> list[Callable[[Task], bool]]:
    wanted = request.get("desiredStatus") or "RUNNING"
    found: list[Callable[[Task], bool]] = [lambda task: task.desired_status == wanted]
    if family := request.get("family"):
        found.append(lambda task: task.family == family)
    if started_by := request.get("startedBy"):
        found.append(lambda task: task.started_by == started_by)
    if launch_type := request.get("launchType"):
        found.append(lambda task: task.launch_type == launch_type)
    if text := request.get("serviceName"):
        name = within_cluster(context, text, "service", cluster.name)
        if ecs.service(cluster, name) is None:
            raise AwsError("ServiceNotFoundException", "Service not found.")
        found.append(lambda task: task.service == name)
    if text := request.get("containerInstance"):
        id = within_cluster(context, text, "container-instance", cluster.name)
        found.append(
            lambda task: bool(task.instance) and container_instance_id(task.instance) == id
        )
    return found
