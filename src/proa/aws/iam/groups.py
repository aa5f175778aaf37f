"""Groups, and which users are in them; a membership is part of the user's record."""

from __future__ import annotations

from typing import Any

import msgspec

from proa.aws.gateway.desk import Change, Desk, Handler, touched
from proa.aws.gateway.service import AwsError, Context, Input, Output
from proa.aws.iam.entities import found, replaced, shown_user
from proa.aws.iam.shared import exists, in_use, no_such, over_limit, page
from proa.cloud.identity import GROUPS, USERS, Entity, encode, entity_key, unique_id
from proa.reconcile.view import Entry
from proa.store.api import Delete, Guard, Put

MAX_GROUPS = 10
MAX_MOVED = 30  # members that a renamed group takes along in one transaction


def _shown(group: Entity) -> Output:
    return {
        "Path": group.path,
        "GroupName": group.name,
        "GroupId": group.id,
        "Arn": group.arn,
        "CreateDate": group.created_at,
    }


def _members(desk: Desk, group: Entity) -> list[Entry[Entity]]:
    return desk.view.rows(USERS).by("group", f"{group.account}/{group.name.lower()}")


async def create(desk: Desk, context: Context, given: Input) -> Output:
    """CreateGroup."""
    name = given["GroupName"]
    id = unique_id("AGPA", desk.chance)
    made = Entity(context.account, "group", name, given.get("Path", "/"), id, context.now)
    key = entity_key(context.account, "group", name)

    def decide() -> Change[Output]:
        if desk.view.rows(GROUPS).get(key) is not None:
            raise exists(f"Group with name {name} already exists.")
        return Change({"Group": _shown(made)}, (Guard(key, 0),), (Put(key, encode(made)),))

    return await desk.carry_out(decide)


async def get(desk: Desk, context: Context, given: Input) -> Output:
    """GetGroup: the group and a page of its users."""
    group = found(desk, context, "group", given["GroupName"]).value
    users = sorted((entry.value for entry in _members(desk, group)), key=lambda user: user.name)
    shown = page(
        users, given, "Users", lambda user: user.name, lambda user: shown_user(user, whole=False)
    )
    return {"Group": _shown(group), **shown}


async def list_all(desk: Desk, context: Context, given: Input) -> Output:
    """ListGroups."""
    prefix = given.get("PathPrefix", "/")
    scan = desk.view.rows(GROUPS).scan(entity_key(context.account, "group", ""))
    groups = [entry.value for entry in scan if entry.value.path.startswith(prefix)]
    groups.sort(key=lambda group: group.name)
    return page(groups, given, "Groups", lambda group: group.name, _shown)


async def list_for_user(desk: Desk, context: Context, given: Input) -> Output:
    """ListGroupsForUser."""
    user = found(desk, context, "user", given["UserName"]).value
    rows = desk.view.rows(GROUPS)
    entries = [rows.get(entity_key(user.account, "group", name)) for name in user.groups]
    groups = sorted((e.value for e in entries if e is not None), key=lambda group: group.name)
    return page(groups, given, "Groups", lambda group: group.name, _shown)


async def delete(desk: Desk, context: Context, given: Input) -> Output:
    """DeleteGroup: only an empty one without policies."""

    def decide() -> Change[Output]:
        entry = found(desk, context, "group", given["GroupName"])
        group = entry.value
        if _members(desk, group):
            raise in_use("Cannot delete entity, must remove users from group first.")
        if group.attached:
            raise in_use("Cannot delete entity, must detach all policies first.")
        if group.inline:
            raise in_use("Cannot delete entity, must delete policies first.")
        return Change({}, (Guard(entry.key, entry.version),), (Delete(entry.key),))

    return await desk.carry_out(decide)


async def update(desk: Desk, context: Context, given: Input) -> Output:
    """UpdateGroup: another name or path; its members come along."""

    def decide() -> Change[Output]:
        entry = found(desk, context, "group", given["GroupName"])
        name = given.get("NewGroupName", entry.value.name)
        path = given.get("NewPath", entry.value.path)
        moved = msgspec.structs.replace(entry.value, name=name, path=path)
        key = entity_key(context.account, "group", name)
        guards = [Guard(entry.key, entry.version)]
        writes: list[Put | Delete] = [Put(key, encode(moved))]
        if key != entry.key:
            if desk.view.rows(GROUPS).get(key) is not None:
                raise exists(f"Group with name {name} already exists.")
            guards.append(Guard(key, 0))
            writes.append(Delete(entry.key))
        members = _members(desk, entry.value) if name != entry.value.name else []
        if len(members) > MAX_MOVED:
            raise over_limit(f"A group of more than {MAX_MOVED} users cannot be renamed.")
        for member in members:
            kept = tuple(name if g == entry.value.name else g for g in member.value.groups)
            guard, put = replaced(member, groups=kept)
            guards.append(guard)
            writes.append(put)
        return Change({}, tuple(guards), tuple(writes))

    return await desk.carry_out(decide)


async def add_user(desk: Desk, context: Context, given: Input) -> Output:
    """AddUserToGroup."""

    def decide() -> Change[Output]:
        group = found(desk, context, "group", given["GroupName"])
        user = found(desk, context, "user", given["UserName"])
        if group.value.name in user.value.groups:
            return Change({})
        if len(user.value.groups) >= MAX_GROUPS:
            raise over_limit(f"Cannot exceed quota for GroupsPerUser: {MAX_GROUPS}")
        guard, put = replaced(user, groups=(*user.value.groups, group.value.name))
        seen, same = touched(group)
        return Change({}, (guard, seen), (put, same))

    return await desk.carry_out(decide)


async def remove_user(desk: Desk, context: Context, given: Input) -> Output:
    """RemoveUserFromGroup."""

    def decide() -> Change[Output]:
        group = found(desk, context, "group", given["GroupName"]).value
        user = found(desk, context, "user", given["UserName"])
        if group.name not in user.value.groups:
            raise no_such(f"User {user.value.name} is not in group {group.name}.")
        kept = tuple(name for name in user.value.groups if name != group.name)
        guard, put = replaced(user, groups=kept)
        return Change({}, (guard,), (put,))

    return await desk.carry_out(decide)


async def update_user(desk: Desk, context: Context, given: Input) -> Output:
    """UpdateUser: another path. A user's name is in its keys' records and in what trusts it, so
    another name is refused."""
    if given.get("NewUserName", given["UserName"]) != given["UserName"]:
        raise AwsError("InvalidInput", "Proa does not rename users.")

    def decide() -> Change[Output]:
        entry = found(desk, context, "user", given["UserName"])
        changes: dict[str, Any] = {"path": given.get("NewPath", entry.value.path)}
        guard, put = replaced(entry, **changes)
        return Change({}, (guard,), (put,))

    return await desk.carry_out(decide)


HANDLERS: dict[str, Handler[Desk]] = {
    "CreateGroup": create,
    "GetGroup": get,
    "ListGroups": list_all,
    "ListGroupsForUser": list_for_user,
    "DeleteGroup": delete,
    "UpdateGroup": update,
    "AddUserToGroup": add_user,
    "RemoveUserFromGroup": remove_user,
    "UpdateUser": update_user,
}
