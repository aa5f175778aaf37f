"""Tags: TagResource, UntagResource, ListTagsForResource, and the rules every operation shares."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from proa.aws.ecs import hull, writes
from proa.aws.ecs.keys import cluster_key, service_key, task_definition_key, task_key
from proa.aws.ecs.names import invalid, parse_arn
from proa.aws.ecs.operations import instances
from proa.aws.ecs.operations.base import Ecs
from proa.aws.ecs.operations.instance_states import noted
from proa.aws.ecs.records import Tags
from proa.aws.ecs.tables import CLUSTERS, SERVICES, TASK_DEFINITIONS, TASKS
from proa.aws.gateway.service import AwsError, Context, Input, Output
from proa.dispatch.skin import Parts
from proa.reconcile.view import Entry
from proa.store.api import Transaction

MAX_TAGS = 50


def checked(tags: list[dict[str, str]] | None) -> Tags:
    """A request's tags as they are stored. Raises InvalidParameterException for reserved,
    repeated, nameless or too many ones (Tagging your Amazon ECS resources)."""
    found: dict[str, dict[str, str]] = {}
    for tag in tags or []:
        key, value = tag.get("key") or "", tag.get("value") or ""
        if not 1 <= len(key) <= 128 or len(value) > 256:
            raise invalid("Tag keys have 1 to 128 characters, values up to 256.")
        if key.lower().startswith("aws:"):
            raise invalid("Tag keys may not start with the reserved prefix aws:")
        if key in found:
            raise invalid(f"Duplicate tag key: {key}")
        found[key] = {"key": key, "value": value}
    return _bounded(tuple(found.values()))


def _bounded(tags: Tags) -> Tags:
    if len(tags) > MAX_TAGS:
        raise invalid(f"A resource may have {MAX_TAGS} tags.")
    return tags


class Tagged(msgspec.Struct, frozen=True):
    """A resource's tags, and how others are written in their place."""

    tags: Tags
    written: Callable[[Tags], Parts]


def _of_record(entry: Entry[Any]) -> Tagged:
    return Tagged(
        entry.value.tags,
        lambda tags: writes.replaced(entry, msgspec.structs.replace(entry.value, tags=tags)),
    )


def _resource(ecs: Ecs, context: Context, text: str) -> Tagged:
    """What an ARN names. Raises the API's own not-found errors."""
    parsed = parse_arn(text)
    if parsed is None or (parsed.account, parsed.region) != (context.account, context.region):
        raise invalid("Invalid ARN: the resource is not of this account and region")
    place = (context.account, context.region)
    entry: Entry[Any] | None = None
    match parsed.kind, parsed.path:
        case "cluster", (name,):
            entry = ecs.view.rows(CLUSTERS).get(cluster_key(*place, name))
            if entry is None:
                raise AwsError("ClusterNotFoundException", "Cluster not found.")
        case "task-definition", (name,):
            family, _, revision = name.partition(":")
            key = task_definition_key(*place, family, int(revision) if revision.isdecimal() else 0)
            entry = ecs.view.rows(TASK_DEFINITIONS).get(key)
        case "task", (cluster, id):
            entry = ecs.view.rows(TASKS).get(task_key(*place, cluster, id))
        case "service", (cluster, name):
            entry = ecs.view.rows(SERVICES).get(service_key(*place, cluster, name))
        case "container-instance", (cluster, _):
            return _instance(ecs, context, cluster, text)
    if entry is None:
        raise _not_found()
    return _of_record(entry)


def _not_found() -> AwsError:
    return invalid("The specified resource was not found. Verify the ARN and try again.")


def _instance(ecs: Ecs, context: Context, name: str, text: str) -> Tagged:
    cluster = ecs.cluster(context, {"cluster": name}).value
    instance = instances.find_instance(ecs, context, cluster, text)
    if instance is None:
        raise _not_found()
    note = hull.note_of(ecs.view, instance.id)
    return Tagged(
        note.value.tags if note else (),
        lambda tags: noted(ecs, cluster, instance.id, tags=tags),
    )


async def tag_resource(ecs: Ecs, context: Context, request: Input) -> Output:
    """Add tags, or replace the values of those that are there."""
    fresh = checked(request["tags"])

    def decision() -> tuple[Transaction, Output]:
        found = _resource(ecs, context, request["resourceArn"])
        merged = {tag["key"]: tag for tag in (*found.tags, *fresh)}
        return writes.transaction(found.written(_bounded(tuple(merged.values())))), {}

    return await ecs.decide(decision)


async def untag_resource(ecs: Ecs, context: Context, request: Input) -> Output:
    """Remove tags by key; keys that are not there are no error."""

    def decision() -> tuple[Transaction, Output]:
        found = _resource(ecs, context, request["resourceArn"])
        left = tuple(tag for tag in found.tags if tag["key"] not in request["tagKeys"])
        return writes.transaction(found.written(left)), {}

    return await ecs.decide(decision)


async def list_tags_for_resource(ecs: Ecs, context: Context, request: Input) -> Output:
    """A resource's tags in the order they were given."""
    await ecs.fresh()
    return {"tags": list(_resource(ecs, context, request["resourceArn"]).tags)}
