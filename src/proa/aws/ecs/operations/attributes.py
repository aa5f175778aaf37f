"""Custom attributes of container instances: PutAttributes, DeleteAttributes, ListAttributes.

Placement constraints and spreads see them beside the built-in ``ecs.`` ones, which nobody can
change. Source: the service model's documentation of Attribute.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from proa.aws.ecs import hull, paging, writes
from proa.aws.ecs.names import arn, container_instance_id, invalid, parse_arn
from proa.aws.ecs.operations import instances
from proa.aws.ecs.operations.base import Ecs
from proa.aws.ecs.operations.instance_states import noted
from proa.aws.ecs.records import Cluster
from proa.aws.gateway.service import AwsError, Context, Input, Output
from proa.model.host import Instance
from proa.store.api import Transaction

MAX_ATTRIBUTES = 10  # in one call, and of one resource
TARGET = "container-instance"
_NAME = re.compile(r"^[A-Za-z0-9_./\\-]{1,128}$")
_VALUE = re.compile(r"^(?! )[A-Za-z0-9_.@/\\: -]{1,128}(?<! )$")
Attributes = dict[str, str]


async def put_attributes(ecs: Ecs, context: Context, request: Input) -> Output:
    """Set attributes, replacing those of the same name."""
    for item in _asked(request):
        value = item.get("value") or ""
        if not _NAME.match(item["name"]) or (value and not _VALUE.match(value)):
            raise invalid(f"Invalid attribute: {item['name']} {value}".strip())
        if item["name"].startswith("ecs."):
            raise invalid(f"Attribute names that start with ecs. are reserved: {item['name']}")

    def change(attributes: Attributes, item: Output) -> None:
        attributes[item["name"]] = item.get("value") or ""
        if len(attributes) > MAX_ATTRIBUTES:
            raise AwsError(
                "AttributeLimitExceededException",
                f"You can apply up to {MAX_ATTRIBUTES} custom attributes for each resource.",
            )

    return await _changed(ecs, context, request, change)


async def delete_attributes(ecs: Ecs, context: Context, request: Input) -> Output:
    """Remove attributes; one that is not there is no error."""

    def change(attributes: Attributes, item: Output) -> None:
        attributes.pop(item["name"], None)

    return await _changed(ecs, context, request, change)


def _asked(request: Input) -> list[Output]:
    given: list[Output] = request["attributes"]
    if not 1 <= len(given) <= MAX_ATTRIBUTES:
        raise invalid(f"attributes must have 1 to {MAX_ATTRIBUTES} elements.")
    return given


async def _changed(
    ecs: Ecs, context: Context, request: Input, change: Callable[[Attributes, Output], None]
) -> Output:
    given = _asked(request)

    def decision() -> tuple[Transaction, Output]:
        cluster = ecs.cluster(context, request).value
        changed: dict[str, Attributes] = {}
        answers = []
        for item in given:
            instance = _target(ecs, context, cluster, item)
            if instance.id not in changed:
                note = hull.note_of(ecs.view, instance.id)
                changed[instance.id] = dict(note.value.attributes) if note else {}
            change(changed[instance.id], item)
            answers.append(_shown(cluster, instance, item["name"], item.get("value") or ""))
        parts = [noted(ecs, cluster, id, attributes=values) for id, values in changed.items()]
        return writes.transaction(*parts), {"attributes": answers}

    return await ecs.decide(decision)


def _target(ecs: Ecs, context: Context, cluster: Cluster, item: Output) -> Instance:
    text = item.get("targetId") or ""
    if not text:
        raise invalid("targetId can not be empty.")
    if parse_arn(text) is None and item.get("targetType") != TARGET:
        raise invalid("targetType is required where targetId is not an ARN.")
    found = instances.find_instance(ecs, context, cluster, text)
    if found is None:
        raise AwsError("TargetNotFoundException", f"The specified target wasn't found: {text}")
    return found


def _shown(cluster: Cluster, instance: Instance, name: str, value: str) -> Output:
    id = container_instance_id(instance.id)
    target = arn(cluster.account, cluster.region, TARGET, cluster.name, id)
    shown: Output = {"name": name, "targetId": target}
    return {**shown, "value": value} if value else shown


async def list_attributes(ecs: Ecs, context: Context, request: Input) -> Output:
    """Attributes of the cluster's container instances, filtered by name and value."""
    name, value = request.get("attributeName"), request.get("attributeValue")
    if value and not name:
        raise invalid("attributeName is required with attributeValue.")
    await ecs.fresh()
    cluster = ecs.cluster(context, request).value
    found = {
        f"{instance.id} {key}": _shown(cluster, instance, key, held)
        for instance in instances.container_instances(ecs, cluster)
        for key, held in hull.attributes_of(ecs.view, instance).items()
        if name in (None, key) and value in (None, held)
    }
    page, more = paging.page(sorted(found), request.get("nextToken"), request.get("maxResults"))
    answer: Output = {"attributes": [found[key] for key in page]}
    return {**answer, "nextToken": more} if more else answer
