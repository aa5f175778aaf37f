"""RunTask and StartTask: tasks are validated, placed at once, and written with what they own.

A task that finds no room is a failure in the answer and leaves nothing behind. Each of the others
is written at once with what it owns, as many in a transaction as it holds; the client token goes
with the first.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from proa.aws.ecs import binding, capacity, hull, launch, shown, writes
from proa.aws.ecs.keys import task_key, token_key
from proa.aws.ecs.names import arn, invalid, new_task_id
from proa.aws.ecs.operations import instances, launching, overrides, tags
from proa.aws.ecs.operations.base import ATTEMPTS, Ecs
from proa.aws.ecs.ports import NoAddress
from proa.aws.ecs.records import Cluster, Task, TaskDefinition, Token, put
from proa.aws.ecs.tables import TASKS, TOKENS
from proa.aws.gateway.service import AwsError, Context, Input, Output
from proa.base.errors import Conflict
from proa.dispatch.skin import Parts
from proa.model.host import Instance
from proa.placement.asks import Placed, Unplaced
from proa.store.api import Guard

Document = dict[str, Any]
MAX_COUNT, MAX_GROUP, MAX_REFERENCE = 10, 255, 1024
STARTED_BY = re.compile(r"^[A-Za-z0-9_/-]{0,128}$")


@dataclass(slots=True)
class _Batch:
    """What one call is about to write, and what could not be."""

    taken: set[str] = field(default_factory=set)
    tasks: list[Task] = field(default_factory=list)
    parts: list[Parts] = field(default_factory=list)
    failures: list[Document] = field(default_factory=list)


async def run_task(ecs: Ecs, context: Context, request: Input) -> Output:
    """Start up to ten tasks wherever there is room."""
    count = request.get("count")
    count = 1 if count is None else count
    if not 1 <= count <= MAX_COUNT:
        raise invalid(f"count must be between 1 and {MAX_COUNT}")
    return await _attempts(ecs, context, request, "", [""] * count)


async def start_task(ecs: Ecs, context: Context, request: Input) -> Output:
    """Start one task on each of the named container instances."""
    wanted = request["containerInstances"]
    if not 1 <= len(wanted) <= MAX_COUNT:
        raise invalid(f"Container instances must have 1 to {MAX_COUNT} elements.")
    return await _attempts(ecs, context, {**request, "launchType": "EC2"}, "start", wanted)


async def _attempts(
    ecs: Ecs, context: Context, request: Input, kind: str, places: Sequence[str]
) -> Output:
    """Plan and write until every task is written or refused. What is written stays; a lost race
    is decided again for the rest, under the ids that the client token names already."""
    wanted = [(place, new_task_id(ecs.chance)) for place in places]
    written: list[Task] = []
    failures: list[Document] = []
    for _ in range(ATTEMPTS):
        await ecs.fresh()
        cluster = ecs.cluster(context, request).value
        if not written and (before := _earlier(ecs, cluster, request)) is not None:
            return before
        try:
            batch = await _plan(ecs, context, cluster, request, kind, wanted)
        except Conflict:
            continue
        token = () if written else _token(cluster, request, batch.tasks)
        count = await _write(ecs, batch, token)
        written += batch.tasks[:count]
        if count == len(batch.tasks):
            answers = [shown.task(task, with_tags=True) for task in written]
            return {"tasks": answers, "failures": failures + batch.failures}
        if count:
            failures += batch.failures
            left = {task.id for task in batch.tasks[count:]}
            wanted = [item for item in wanted if item[1] in left]
    raise AwsError("ServerException", "Service Unavailable. Please try again later.", 500)


async def _write(ecs: Ecs, batch: _Batch, token: tuple[Parts, ...]) -> int:
    """Commit the planned tasks, the token with the first of them; how many were written before
    a race was lost. The places of the others are given back."""
    done = 0
    while done < len(batch.tasks):
        parts = [*token] if not done else []
        count = 0
        for piece in batch.parts[done:]:
            if count and sum(writes.size(part) for part in (*parts, piece)) > writes.ROOM:
                break
            parts.append(piece)
            count += 1
        try:
            await ecs.commit(writes.transaction(*parts))
        except Conflict:
            for task in batch.tasks[done:]:
                ecs.placer.cancel(task.key)
            break
        done += count
    return done


async def _plan(
    ecs: Ecs,
    context: Context,
    cluster: Cluster,
    request: Input,
    kind: str,
    places: Sequence[tuple[str, str]],
) -> _Batch:
    definition = launching.active_definition(ecs, context, request["taskDefinition"])
    how = launching.launch_of(ecs, cluster, definition, request)
    found = [item for item in instances.container_instances(ecs, cluster) if item.state == "active"]
    if how.launch_type == "EC2" and not found:
        raise invalid("No Container Instances were found in your cluster.")
    batch = _Batch()
    wanted: list[tuple[Task, str]] = []
    running: Counter[str] = Counter()
    for place, id in places:
        pinned = instances.find_instance(ecs, context, cluster, place) if kind else None
        if kind and pinned is None:
            batch.failures.append({"arn": _instance_arn(cluster, place), "reason": "MISSING"})
            continue
        task = _draft(ecs, context, cluster, definition, how, request, id)
        if how.strategy:
            provider = capacity.next_provider(how.strategy, running)
            running[provider] += 1
            task = msgspec.structs.replace(task, capacity_provider=provider)
        zones = [pinned.zone] if pinned else instances.zones_of(found)
        subnets = Counter(item.interface.zone for item, _ in wanted if item.interface)
        task, parts = _with_network(ecs, cluster, task, how, zones, subnets, batch)
        wanted.append((task, pinned.id if pinned else ""))
        batch.parts.append(parts)
    await _place(ecs, context, cluster, definition, wanted, batch)
    return batch


def _instance_arn(cluster: Cluster, text: str) -> str:
    id = text.rpartition("/")[2]
    return arn(cluster.account, cluster.region, "container-instance", cluster.name, id)


def _draft(
    ecs: Ecs,
    context: Context,
    cluster: Cluster,
    definition: TaskDefinition,
    how: launching.Launch,
    request: Input,
    id: str,
) -> Task:
    group = request.get("group") or f"family:{definition.family}"
    _check_labels(request, group)
    task = Task(
        account=cluster.account,
        region=cluster.region,
        cluster=cluster.name,
        id=id,
        family=definition.family,
        revision=definition.revision,
        launch_type=how.launch_type,
        platform_version=how.platform_version,
        group=group,
        started_by=request.get("startedBy") or "",
        overrides=overrides.checked(request, definition, how.launch_type),
        tags=_tags(cluster, definition, request),
        exec_enabled=bool(request.get("enableExecuteCommand")),
        strategy=launching.pairs(how.placement_strategy, "type", "field"),
        constraints=launching.pairs(how.placement_constraints, "type", "expression"),
        prepared=launch.is_prepared(cluster.account, definition, ecs.logs),
        created_at=context.now,
    )
    return launch.draft(task, definition, ecs.chance)


def _check_labels(request: Input, group: str) -> None:
    """Members that only name things (RunTaskRequest)."""
    if group.startswith("service:"):
        raise invalid("Task group names that start with 'service:' are reserved for services.")
    if len(group) > MAX_GROUP:
        raise invalid(f"The group may have {MAX_GROUP} characters.")
    if not STARTED_BY.match(request.get("startedBy") or ""):
        raise invalid(
            "startedBy may have 128 letters (uppercase and lowercase), numbers, hyphens (-), "
            "forward slash (/), and underscores (_)."
        )
    if len(request.get("referenceId") or "") > MAX_REFERENCE:
        raise invalid(f"The referenceId may have {MAX_REFERENCE} characters.")
    if request.get("volumeConfigurations"):
        raise launching.unsupported("volumeConfigurations")


def _tags(
    cluster: Cluster, definition: TaskDefinition, request: Input
) -> tuple[dict[str, str], ...]:
    given = {tag["key"]: tag for tag in tags.checked(request.get("tags"))}
    if request.get("propagateTags") == "SERVICE":
        raise invalid("propagateTags SERVICE is only valid for services.")
    if request.get("propagateTags") == "TASK_DEFINITION":
        given = {**{tag["key"]: tag for tag in definition.tags}, **given}
    if request.get("enableECSManagedTags"):
        key = "aws:ecs:clusterName"
        given[key] = {"key": key, "value": cluster.name}
    return tuple(given.values())


def _with_network(
    ecs: Ecs,
    cluster: Cluster,
    task: Task,
    how: launching.Launch,
    zones: list[str],
    running: Counter[str],
    batch: _Batch,
) -> tuple[Task, Parts]:
    if how.network is None:
        return task, Parts()
    subnets = launching.subnets_of(ecs, cluster, how.network["subnets"])
    usable = zones if how.launch_type == "EC2" else []
    subnet = launch.next_subnet(subnets, running, usable)
    try:
        return launch.with_interface(task, subnet.id, how.network, ecs.vpc, batch.taken, ecs.chance)
    except NoAddress as error:
        raise invalid(str(error)) from error


async def _place(
    ecs: Ecs,
    context: Context,
    cluster: Cluster,
    definition: TaskDefinition,
    wanted: list[tuple[Task, str]],
    batch: _Batch,
) -> None:
    """Keep of the planned tasks those that found a place; the others become failures."""
    asks = [launch.request_of(task, definition, pinned) for task, pinned in wanted]
    decisions = await ecs.placer.try_place(asks)
    planned, batch.parts = batch.parts, []
    try:
        for (task, _), parts, decision in zip(wanted, planned, decisions, strict=True):
            if isinstance(decision, Unplaced):
                batch.failures += hull.failures_of(
                    decision, cluster.account, cluster.region, cluster.name
                )
                continue
            task, placed = _settle(ecs, context, definition, task, decision, batch)
            batch.tasks.append(task)
            # the Instance first: whoever follows the view books the task on one it knows
            batch.parts.append(writes.joined((placed, writes.created(task, task.key), parts)))
    except Exception:
        for ask in asks:
            ecs.placer.cancel(ask.key)
        raise


def _settle(
    ecs: Ecs,
    context: Context,
    definition: TaskDefinition,
    task: Task,
    decision: Placed,
    batch: _Batch,
) -> tuple[Task, Parts]:
    """The task on its Instance. One that needs neither interface nor log group starts at once;
    the others are the provision controller's to start."""
    instance: Instance
    instance, made = hull.made_or_found(ecs.view, decision, context.now)
    task, parts = binding.reserved(
        ecs.view, task, definition, instance, ecs.vpc, batch.taken, context.now
    )
    if task.prepared and task.network_mode != "awsvpc":
        task = binding.started(task)
    return task, writes.joined((made, parts))


def _digest(request: Input) -> str:
    """A digest of all that a repeated call must repeat."""
    told = {name: value for name, value in request.items() if name != "clientToken"}
    return hashlib.sha256(msgspec.json.encode(told, order="deterministic")).hexdigest()


def _token(cluster: Cluster, request: Input, tasks: Sequence[Task]) -> tuple[Parts, ...]:
    token = request.get("clientToken")
    if not token or not tasks:
        return ()
    key = token_key(cluster.account, cluster.region, cluster.name, token)
    record = Token(_digest(request), tuple(task.arn for task in tasks), tasks[0].created_at)
    return (Parts((Guard(key, 0),), (put(key, record),)),)


def _earlier(ecs: Ecs, cluster: Cluster, request: Input) -> Output | None:
    """The answer to a call that was made before with the same client token.

    Raises ConflictException when that call asked for something else."""
    token = request.get("clientToken")
    if not token:
        return None
    if len(token) > 64 or not all(33 <= ord(letter) <= 126 for letter in token):
        raise invalid("clientToken must have 1 to 64 printable characters.")
    entry = ecs.view.rows(TOKENS).get(
        token_key(cluster.account, cluster.region, cluster.name, token)
    )
    if entry is None:
        return None
    if entry.value.digest != _digest(request):
        raise AwsError(
            "ConflictException",
            "The provided clientToken is already in use with a different RunTask request.",
            fields={"resourceIds": list(entry.value.arns)},
        )
    rows = ecs.view.rows(TASKS)
    keys = [
        task_key(cluster.account, cluster.region, cluster.name, text.rpartition("/")[2])
        for text in entry.value.arns
    ]
    found = [row.value for key in keys if (row := rows.get(key)) is not None]
    return {"tasks": [shown.task(task, with_tags=True) for task in found], "failures": []}
