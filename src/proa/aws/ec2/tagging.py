"""Tags of every stored noun; the id's prefix says which."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from proa.aws.ec2.base import MAX_TAGS, Decision, Ec2, change, check_tags, too_many_tags
from proa.aws.ec2.group_rules import group_of_rule, listed, with_rule
from proa.aws.ec2.kinds import KINDS
from proa.aws.ec2.select import Fields, matching, page
from proa.aws.gateway.service import AwsError, Context, Input, Output
from proa.cloud.network.records import Tags
from proa.reconcile.view import Entry

MAX_RESOURCES = 1000
AT_ONCE = 40  # in one transaction
Retag = Callable[[Tags], Tags]
Listed = tuple[str, str, str, str]  # resource type, id, key, value


def _entry(ec2: Ec2, context: Context, id: str) -> Entry[Any]:
    """What holds the tags of an id; raises its NotFound."""
    if id.startswith("sgr-"):
        return group_of_rule(ec2, context, id)
    kind = KINDS.get(id.rpartition("-")[0])
    if kind is None:
        raise AwsError("InvalidID", f"The ID '{id}' is not valid")
    return ec2.entry(context, kind, id)


def _tagged(ec2: Ec2, context: Context, id: str, record: Any, change_tags: Retag) -> Any:
    """The record with the changed tags of what ``id`` names: itself, or one of a group's rules."""
    if id == record.id:
        return msgspec.structs.replace(record, tags=change_tags(record.tags))
    rule = next(one for one in (*record.ingress, *record.egress) if one.id == id)
    return with_rule(record, msgspec.structs.replace(rule, tags=change_tags(rule.tags)))


async def _retag(ec2: Ec2, context: Context, ids: list[str], change_tags: Retag) -> Output:
    """Change the tags of all the resources, or of none where one is not there."""
    wanted = list(dict.fromkeys(ids))
    if len(wanted) > MAX_RESOURCES:
        message = f"At most {MAX_RESOURCES} resources can be tagged at once."
        raise AwsError("InvalidParameterValue", message)
    for start in range(0, len(wanted), AT_ONCE):
        await _retag_some(ec2, context, wanted[start : start + AT_ONCE], change_tags, wanted)
    return {}


async def _retag_some(
    ec2: Ec2, context: Context, ids: list[str], change_tags: Retag, every: list[str]
) -> None:
    def decide() -> Decision[None]:
        entries: dict[str, Entry[Any]] = {}
        changed: dict[str, Any] = {}
        for id in every:
            if id not in ids:
                _entry(ec2, context, id)
                continue
            entry = _entry(ec2, context, id)
            entries[entry.key] = entry
            record = changed.get(entry.key, entry.value)
            changed[entry.key] = _tagged(ec2, context, id, record, change_tags)
        pairs = [change(entry, changed[key]) for key, entry in entries.items()]
        return Decision(
            None, tuple(put for put, _guard in pairs), tuple(guard for _put, guard in pairs)
        )

    await ec2.write(decide)


async def create_tags(ec2: Ec2, context: Context, given: Input) -> Output:
    new = dict(check_tags(given["Tags"]))

    def change_tags(old: Tags) -> Tags:
        merged = {**dict(old), **new}
        if len(merged) > MAX_TAGS:
            raise too_many_tags()
        return tuple(sorted(merged.items()))

    return await _retag(ec2, context, given["Resources"], change_tags)


async def delete_tags(ec2: Ec2, context: Context, given: Input) -> Output:
    """No Tags deletes all; a tag with a value is deleted only where it has that value."""
    doomed = given.get("Tags")

    def goes(key: str, value: str) -> bool:
        return doomed is None or any(
            one.get("Key") == key and one.get("Value", value) == value for one in doomed
        )

    def change_tags(old: Tags) -> Tags:
        return tuple((key, value) for key, value in old if not goes(key, value))

    return await _retag(ec2, context, given["Resources"], change_tags)


_FIELDS: Fields[Listed] = {
    "resource-type": lambda one: (one[0],),
    "resource-id": lambda one: (one[1],),
    "key": lambda one: (one[2],),
    "value": lambda one: (one[3],),
}


async def describe_tags(ec2: Ec2, context: Context, given: Input) -> Output:
    tagged = [(kind.name, one) for kind in KINDS.values() for one in ec2.all(context, kind)]
    tagged += [("security-group-rule", rule) for _group, rule, _egress in listed(ec2, context)]
    every: list[Listed] = sorted(
        ((kind, one.id, key, value) for kind, one in tagged for key, value in one.tags),
        key=lambda one: one[1:3],
    )
    kept = matching(every, given, _FIELDS, lambda one: ((one[2], one[3]),))
    found, more = page(kept, given, lambda one: f"{one[1]}\0{one[2]}")
    tags = [
        {"ResourceType": kind, "ResourceId": id, "Key": key, "Value": value}
        for kind, id, key, value in found
    ]
    return {"Tags": tags, **more}


OPERATIONS = {
    "CreateTags": create_tags,
    "DeleteTags": delete_tags,
    "DescribeTags": describe_tags,
}
