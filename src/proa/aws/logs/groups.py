"""Log groups: create, describe, delete, retention, tags; and ECS's port to them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

import msgspec

from proa.aws.gateway.desk import Change, Handler
from proa.aws.gateway.service import AwsError, Context, Input, Output
from proa.aws.logs.shared import (
    LogsDesk,
    group_entry,
    group_of_arn,
    invalid,
    read_token,
    token_of,
)
from proa.base.chance import Chance
from proa.cloud.logs import (
    GROUPS,
    STREAMS,
    LogGroup,
    encode,
    find_group,
    group_key,
    stream_key,
)
from proa.dispatch.skin import Parts
from proa.reconcile.view import View
from proa.store.api import MAX_OPERATIONS, Delete, Guard, Put

PAGE_SIZE = 50
MAX_TAGS = 50
RETENTION_DAYS = (
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922,
    3288, 3653,
)  # fmt: skip


def new_group(
    account: str, region: str, name: str, now: float, chance: Chance, **members: Any
) -> LogGroup:
    """A group that begins at ``now`` (wall seconds)."""
    return LogGroup(account, region, name, chance.hex(32), int(now * 1000), **members)


def creation(group: LogGroup) -> Parts:
    """What creates a group, guarded by its absence."""
    key = group_key(group.account, group.region, group.name)
    return Parts((Guard(key, 0),), (Put(key, encode(group)),))


class LogGroups:
    """ECS's port: is there a group, and what would create it."""

    def __init__(self, view: View, chance: Chance) -> None:
        self._view, self._chance = view, chance

    def exists(self, account: str, region: str, group: str) -> bool:
        """Whether the group is there."""
        return find_group(self._view, account, region, group) is not None

    def plan_create(self, account: str, region: str, group: str, now: float) -> Parts:
        """What creates the group (``awslogs-create-group``), guarded by its absence."""
        return creation(new_group(account, region, group, now, self._chance))


async def create_log_group(desk: LogsDesk, context: Context, given: Input) -> Output:
    """CreateLogGroup."""
    group = new_group(
        context.account, context.region, given["logGroupName"], context.now, desk.chance,
        log_class=given.get("logGroupClass", "STANDARD"), kms_key=given.get("kmsKeyId", ""),
        protected=given.get("deletionProtectionEnabled", False), tags=given.get("tags", {}),
    )  # fmt: skip

    def decide() -> Change[Output]:
        if find_group(desk.view, context.account, context.region, group.name) is not None:
            raise AwsError(
                "ResourceAlreadyExistsException", "The specified log group already exists"
            )
        parts = creation(group)
        return Change({}, parts.guards, parts.writes)

    return await desk.carry_out(decide)


async def delete_log_group(desk: LogsDesk, context: Context, given: Input) -> Output:
    """DeleteLogGroup: the group, then its streams. Streams of a group that is gone show nowhere,
    and ``service.sweep`` removes what a crash leaves."""

    def decide() -> Change[LogGroup]:
        entry = group_entry(desk, context, given["logGroupName"])
        if entry.value.protected:
            raise AwsError("ValidationException", "Deletion protection is enabled on the log group")
        return Change(entry.value, (Guard(entry.key, entry.version),), (Delete(entry.key),))

    await remove_streams(desk, await desk.carry_out(decide))
    return {}


async def remove_streams(desk: LogsDesk, group: LogGroup) -> None:
    """Delete the streams of a group that is gone, and their events."""
    rows = desk.view.rows(STREAMS)
    while True:
        entries = list(islice(rows.scan(stream_key(group, "")), MAX_OPERATIONS))
        if not entries:
            return
        await desk.delete([entry.key for entry in entries])
        for entry in entries:
            await desk.events.remove(entry.value.id)


def _groups(desk: LogsDesk, context: Context) -> list[LogGroup]:
    scan = desk.view.rows(GROUPS).scan(group_key(context.account, context.region, ""))
    return sorted((entry.value for entry in scan), key=lambda group: group.name)


def _chosen(desk: LogsDesk, context: Context, given: Input) -> list[LogGroup]:
    if "logGroupNamePattern" in given and "logGroupNamePrefix" in given:
        raise invalid("LogGroup name prefix and LogGroup name pattern are mutually exclusive "
                      "parameters.")  # fmt: skip
    prefix, pattern = given.get("logGroupNamePrefix", ""), given.get("logGroupNamePattern", "")
    wanted = given.get("logGroupClass")
    names = {
        group_of_arn(text) if text.startswith("arn:") else text
        for text in given.get("logGroupIdentifiers", [])
    }
    return [
        group
        for group in _groups(desk, context)
        if group.name.startswith(prefix)
        and pattern.lower() in group.name.lower()
        and wanted in (None, group.log_class)
        and (not names or group.name in names)
    ]


async def _shown(desk: LogsDesk, group: LogGroup) -> Output:
    stored = 0
    for entry in desk.view.rows(STREAMS).scan(stream_key(group, "")):
        stored += (await desk.events.extent(entry.value.id)).size
    return {
        "logGroupName": group.name,
        "creationTime": group.created_at_ms,
        "retentionInDays": group.retention_days or None,
        "metricFilterCount": 0,
        "arn": f"{group.arn}:*",
        "storedBytes": stored,
        "kmsKeyId": group.kms_key or None,
        "logGroupClass": group.log_class,
        "logGroupArn": group.arn,
        "deletionProtectionEnabled": group.protected,
    }


def _page(groups: list[LogGroup], given: Input) -> tuple[list[LogGroup], str | None]:
    after = read_token(given["nextToken"], str) if "nextToken" in given else ""
    rest = [group for group in groups if group.name > after]
    limit = given.get("limit", PAGE_SIZE)
    more = token_of(rest[limit - 1].name) if len(rest) > limit else None
    return rest[:limit], more


async def describe_log_groups(desk: LogsDesk, context: Context, given: Input) -> Output:
    """DescribeLogGroups."""
    groups, more = _page(_chosen(desk, context, given), given)
    return {"logGroups": [await _shown(desk, group) for group in groups], "nextToken": more}


async def list_log_groups(desk: LogsDesk, context: Context, given: Input) -> Output:
    """ListLogGroups: names and ARNs only."""
    groups, more = _page(_chosen(desk, context, given), given)
    shown = [
        {"logGroupName": group.name, "logGroupArn": group.arn, "logGroupClass": group.log_class}
        for group in groups
    ]
    return {"logGroups": shown, "nextToken": more}


async def _change(
    desk: LogsDesk, context: Context, name: str, change: Callable[[LogGroup], dict[str, Any]]
) -> Output:
    def decide() -> Change[Output]:
        entry = group_entry(desk, context, name)
        changed = msgspec.structs.replace(entry.value, **change(entry.value))
        return Change({}, (Guard(entry.key, entry.version),), (Put(entry.key, encode(changed)),))

    return await desk.carry_out(decide)


async def put_retention_policy(desk: LogsDesk, context: Context, given: Input) -> Output:
    """PutRetentionPolicy."""
    days = given["retentionInDays"]
    if days not in RETENTION_DAYS:
        allowed = ", ".join(str(number) for number in RETENTION_DAYS)
        raise invalid(
            f"1 validation error detected: Value '{days}' at 'retentionInDays' failed to satisfy "
            f"constraint: Member must satisfy enum value set: [{allowed}]"
        )
    return await _change(
        desk, context, given["logGroupName"], lambda _group: {"retention_days": days}
    )


async def delete_retention_policy(desk: LogsDesk, context: Context, given: Input) -> Output:
    """DeleteRetentionPolicy."""
    return await _change(desk, context, given["logGroupName"], lambda _group: {"retention_days": 0})


async def put_protection(desk: LogsDesk, context: Context, given: Input) -> Output:
    """PutLogGroupDeletionProtection."""
    text = given["logGroupIdentifier"]
    name = group_of_arn(text) if text.startswith("arn:") else text
    wanted = given["deletionProtectionEnabled"]
    return await _change(desk, context, name, lambda _group: {"protected": wanted})


def _tagged(group: LogGroup, added: dict[str, str]) -> dict[str, Any]:
    tags = {**group.tags, **added}
    if len(tags) > MAX_TAGS:
        raise AwsError("TooManyTagsException", f"A resource may have up to {MAX_TAGS} tags.")
    return {"tags": tags}


def _untagged(group: LogGroup, keys: list[str]) -> dict[str, Any]:
    return {"tags": {key: value for key, value in group.tags.items() if key not in keys}}


async def tag_resource(desk: LogsDesk, context: Context, given: Input) -> Output:
    """TagResource, and TagLogGroup by name."""
    name = given.get("logGroupName") or group_of_arn(given["resourceArn"])
    return await _change(desk, context, name, lambda group: _tagged(group, given["tags"]))


async def untag_resource(desk: LogsDesk, context: Context, given: Input) -> Output:
    """UntagResource, and UntagLogGroup by name."""
    name = given.get("logGroupName") or group_of_arn(given["resourceArn"])
    keys = given.get("tagKeys") or given.get("tags") or []
    return await _change(desk, context, name, lambda group: _untagged(group, keys))


async def list_tags(desk: LogsDesk, context: Context, given: Input) -> Output:
    """ListTagsForResource, and ListTagsLogGroup by name."""
    name = given.get("logGroupName") or group_of_arn(given["resourceArn"])
    return {"tags": group_entry(desk, context, name).value.tags}


HANDLERS: dict[str, Handler[LogsDesk]] = {
    "CreateLogGroup": create_log_group,
    "DeleteLogGroup": delete_log_group,
    "DescribeLogGroups": describe_log_groups,
    "ListLogGroups": list_log_groups,
    "PutRetentionPolicy": put_retention_policy,
    "DeleteRetentionPolicy": delete_retention_policy,
    "PutLogGroupDeletionProtection": put_protection,
    "TagResource": tag_resource,
    "UntagResource": untag_resource,
    "ListTagsForResource": list_tags,
    "TagLogGroup": tag_resource,
    "UntagLogGroup": untag_resource,
    "ListTagsLogGroup": list_tags,
}
