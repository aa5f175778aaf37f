"""Instance profiles: what hands a role to an EC2 instance."""

from __future__ import annotations

from typing import Any

import msgspec

from proa.aws.gateway.desk import Change, Desk, Handler, touched
from proa.aws.gateway.service import Context, Input, Output
from proa.aws.iam.entities import found, shown_role
from proa.aws.iam.shared import (
    exists,
    in_use,
    no_such,
    over_limit,
    page,
    tags_shown,
    with_tags,
    without_tags,
)
from proa.cloud.identity import (
    PROFILES,
    ROLES,
    InstanceProfile,
    encode,
    entity_key,
    profile_key,
    unique_id,
)
from proa.reconcile.view import Entry
from proa.store.api import Delete, Guard, Put


def _found(desk: Desk, context: Context, name: str) -> Entry[InstanceProfile]:
    entry = desk.view.rows(PROFILES).get(profile_key(context.account, name))
    if entry is None:
        raise no_such(f"Instance Profile {name} cannot be found.")
    return entry


def shown_profile(desk: Desk, profile: InstanceProfile) -> Output:
    """A profile as IAM describes it, with its role."""
    rows = desk.view.rows(ROLES)
    roles = [rows.get(entity_key(profile.account, "role", name)) for name in profile.roles]
    return {
        "Path": profile.path,
        "InstanceProfileName": profile.name,
        "InstanceProfileId": profile.id,
        "Arn": profile.arn,
        "CreateDate": profile.created_at,
        "Roles": [shown_role(entry.value, whole=False) for entry in roles if entry is not None],
        "Tags": tags_shown(profile.tags) or None,
    }


def _write(entry: Entry[InstanceProfile], **changes: Any) -> tuple[Guard, Put]:
    changed = msgspec.structs.replace(entry.value, **changes)
    return Guard(entry.key, entry.version), Put(entry.key, encode(changed))


async def create(desk: Desk, context: Context, given: Input) -> Output:
    """CreateInstanceProfile."""
    name = given["InstanceProfileName"]
    made = InstanceProfile(
        context.account, name, given.get("Path", "/"), unique_id("AIPA", desk.chance),
        context.now, tags=with_tags({}, given.get("Tags", [])),
    )  # fmt: skip
    key = profile_key(context.account, name)

    def decide() -> Change[Output]:
        if desk.view.rows(PROFILES).get(key) is not None:
            raise exists(f"Instance Profile {name} already exists.")
        shown = {"InstanceProfile": shown_profile(desk, made)}
        return Change(shown, (Guard(key, 0),), (Put(key, encode(made)),))

    return await desk.carry_out(decide)


async def get(desk: Desk, context: Context, given: Input) -> Output:
    """GetInstanceProfile."""
    entry = _found(desk, context, given["InstanceProfileName"])
    return {"InstanceProfile": shown_profile(desk, entry.value)}


async def list_all(desk: Desk, context: Context, given: Input) -> Output:
    """ListInstanceProfiles."""
    prefix = given.get("PathPrefix", "/")
    scan = desk.view.rows(PROFILES).scan(profile_key(context.account, ""))
    profiles = [entry.value for entry in scan if entry.value.path.startswith(prefix)]
    return _page(desk, profiles, given)


async def list_for_role(desk: Desk, context: Context, given: Input) -> Output:
    """ListInstanceProfilesForRole."""
    role = found(desk, context, "role", given["RoleName"]).value
    entries = desk.view.rows(PROFILES).by("role", f"{role.account}/{role.name}")
    return _page(desk, [entry.value for entry in entries], given)


def _page(desk: Desk, profiles: list[InstanceProfile], given: Input) -> Output:
    profiles.sort(key=lambda profile: profile.name)
    return page(
        profiles, given, "InstanceProfiles", lambda profile: profile.name,
        lambda profile: shown_profile(desk, profile),
    )  # fmt: skip


async def delete(desk: Desk, context: Context, given: Input) -> Output:
    """DeleteInstanceProfile: only one without a role."""

    def decide() -> Change[Output]:
        entry = _found(desk, context, given["InstanceProfileName"])
        if entry.value.roles:
            raise in_use("Cannot delete entity, must remove roles from instance profile first.")
        return Change({}, (Guard(entry.key, entry.version),), (Delete(entry.key),))

    return await desk.carry_out(decide)


async def add_role(desk: Desk, context: Context, given: Input) -> Output:
    """AddRoleToInstanceProfile: at most one."""

    def decide() -> Change[Output]:
        entry = _found(desk, context, given["InstanceProfileName"])
        role = found(desk, context, "role", given["RoleName"])
        if entry.value.roles:
            raise over_limit("Cannot exceed quota for InstanceSessionsPerInstanceProfile: 1")
        guard, put = _write(entry, roles=(role.value.name,))
        seen, same = touched(role)
        return Change({}, (guard, seen), (put, same))

    return await desk.carry_out(decide)


async def remove_role(desk: Desk, context: Context, given: Input) -> Output:
    """RemoveRoleFromInstanceProfile."""

    def decide() -> Change[Output]:
        entry = _found(desk, context, given["InstanceProfileName"])
        role = found(desk, context, "role", given["RoleName"]).value.name
        if role not in entry.value.roles:
            raise no_such(f"Role {role} does not exist in instance profile {entry.value.name}")
        guard, put = _write(entry, roles=())
        return Change({}, (guard,), (put,))

    return await desk.carry_out(decide)


async def tag(desk: Desk, context: Context, given: Input) -> Output:
    """TagInstanceProfile."""

    def decide() -> Change[Output]:
        entry = _found(desk, context, given["InstanceProfileName"])
        guard, put = _write(entry, tags=with_tags(entry.value.tags, given["Tags"]))
        return Change({}, (guard,), (put,))

    return await desk.carry_out(decide)


async def untag(desk: Desk, context: Context, given: Input) -> Output:
    """UntagInstanceProfile."""

    def decide() -> Change[Output]:
        entry = _found(desk, context, given["InstanceProfileName"])
        guard, put = _write(entry, tags=without_tags(entry.value.tags, given["TagKeys"]))
        return Change({}, (guard,), (put,))

    return await desk.carry_out(decide)


async def list_tags(desk: Desk, context: Context, given: Input) -> Output:
    """ListInstanceProfileTags."""
    profile = _found(desk, context, given["InstanceProfileName"]).value
    tags = sorted(tags_shown(profile.tags), key=lambda shown: shown["Key"])
    return page(tags, given, "Tags", lambda shown: shown["Key"], lambda shown: shown)


HANDLERS: dict[str, Handler[Desk]] = {
    "TagInstanceProfile": tag,
    "UntagInstanceProfile": untag,
    "ListInstanceProfileTags": list_tags,
    "CreateInstanceProfile": create,
    "GetInstanceProfile": get,
    "ListInstanceProfiles": list_all,
    "ListInstanceProfilesForRole": list_for_role,
    "DeleteInstanceProfile": delete,
    "AddRoleToInstanceProfile": add_role,
    "RemoveRoleFromInstanceProfile": remove_role,
}
