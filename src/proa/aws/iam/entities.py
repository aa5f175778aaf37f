"""Roles and users: create, get, list, update, delete, tags.

Both are ``Entity`` records; what differs between the two is in the few functions that show them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from proa.aws.gateway.desk import Change, Desk, Handler
from proa.aws.gateway.service import AwsError, Context, Input, Output
from proa.aws.iam.shared import (
    checked_trust,
    exists,
    in_use,
    no_such,
    page,
    shown_document,
    tags_shown,
    with_tags,
    without_tags,
)
from proa.cloud.identity import (
    ACCESS_KEYS,
    GROUPS,
    PROFILES,
    ROLES,
    USERS,
    Entity,
    encode,
    entity_key,
    entity_of,
    is_root,
    policy_by_arn,
    unique_id,
)
from proa.reconcile.view import Entry, Table
from proa.store.api import Delete, Guard, Put

TABLE: dict[str, Table[Entity]] = {"role": ROLES, "user": USERS, "group": GROUPS}
_LINKED_PATH = "/aws-service-role/"
_ID_PREFIX = {"role": "AROA", "user": "AIDA"}


def found(desk: Desk, context: Context, kind: str, name: str) -> Entry[Entity]:
    """The entity of a name; raises NoSuchEntity."""
    entry = desk.view.rows(TABLE[kind]).get(entity_key(context.account, kind, name))
    if entry is None:
        raise no_such(f"The {kind} with name {name} cannot be found.")
    return entry


def replaced(entry: Entry[Entity], **changes: Any) -> tuple[Guard, Put]:
    """The guard and write of an entity with some members changed."""
    changed = msgspec.structs.replace(entry.value, **changes)
    return Guard(entry.key, entry.version), Put(entry.key, encode(changed))


def shown_role(role: Entity, *, whole: bool) -> Output:
    """A role as IAM describes it; lists leave out its tags and boundary."""
    output: Output = {
        "Path": role.path,
        "RoleName": role.name,
        "RoleId": role.id,
        "Arn": role.arn,
        "CreateDate": role.created_at,
        "AssumeRolePolicyDocument": shown_document(role.trust),
        "Description": role.description or None,
        "MaxSessionDuration": role.max_session_s,
    }
    return output | (_whole(role) | {"RoleLastUsed": {}} if whole else {})


def shown_user(user: Entity, *, whole: bool) -> Output:
    """A user as IAM describes it."""
    output: Output = {
        "Path": user.path,
        "UserName": user.name,
        "UserId": user.id,
        "Arn": user.arn,
        "CreateDate": user.created_at,
    }
    return output | (_whole(user) if whole else {})


def _whole(entity: Entity) -> Output:
    boundary = {"PermissionsBoundaryType": "Policy", "PermissionsBoundaryArn": entity.boundary}
    return {
        "PermissionsBoundary": boundary if entity.boundary else None,
        "Tags": tags_shown(entity.tags) or None,
    }


_SHOW: dict[str, Callable[..., Output]] = {"role": shown_role, "user": shown_user}


async def _create(desk: Desk, context: Context, given: Input, kind: str, **members: Any) -> Output:
    word = kind.capitalize()
    name = given[f"{word}Name"]
    boundary = given.get("PermissionsBoundary", "")
    made = Entity(
        context.account, kind, name, given.get("Path", "/"),
        unique_id(_ID_PREFIX[kind], desk.chance), context.now,
        boundary=boundary, tags=with_tags({}, given.get("Tags", [])), **members,
    )  # fmt: skip
    key = entity_key(context.account, kind, name)

    def decide() -> Change[Output]:
        if desk.view.rows(TABLE[kind]).get(key) is not None:
            raise exists(f"{word} with name {name} already exists.")
        if boundary and policy_by_arn(desk.view, context.account, boundary) is None:
            raise no_such(f"Scope ARN: {boundary} does not exist or is not attachable.")
        shown = _SHOW[kind](made, whole=True)
        shown.pop("RoleLastUsed", None)
        return Change({word: shown}, (Guard(key, 0),), (Put(key, encode(made)),))

    return await desk.carry_out(decide)


async def create_role(desk: Desk, context: Context, given: Input) -> Output:
    """CreateRole."""
    return await _create(
        desk, context, given, "role",
        trust=checked_trust(given["AssumeRolePolicyDocument"]),
        description=given.get("Description", ""),
        max_session_s=given.get("MaxSessionDuration", 3600),
    )  # fmt: skip


async def create_service_linked_role(desk: Desk, context: Context, given: Input) -> Output:
    """CreateServiceLinkedRole: a role that the service's own principal may assume."""
    service = given["AWSServiceName"]
    word = _LINKED_NAMES.get(service)
    if word is None:
        raise AwsError("InvalidInput", f"Service role name for {service} is not known.")
    suffix = f"_{given['CustomSuffix']}" if given.get("CustomSuffix") else ""
    name = f"AWSServiceRoleFor{word}{suffix}"
    trust = (
        '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["sts:AssumeRole"],'
        f'"Principal":{{"Service":["{service}"]}}}}]}}'
    )
    entity = {"RoleName": name, "Path": f"{_LINKED_PATH}{service}/"}
    try:
        return await _create(
            desk, context, entity, "role", trust=trust, description=given.get("Description", "")
        )
    except AwsError as error:
        if error.code != "EntityAlreadyExists":
            raise
        message = f"Service role name {name} has been taken in this account, please try a "
        raise AwsError("InvalidInput", message + "different suffix.") from error


_LINKED_NAMES = {
    "ecs.amazonaws.com": "ECS",
    "eks.amazonaws.com": "AmazonEKS",
    "eks-nodegroup.amazonaws.com": "AmazonEKSNodegroup",
    "eks-fargate.amazonaws.com": "AmazonEKSForFargate",
    "elasticloadbalancing.amazonaws.com": "ElasticLoadBalancing",
    "autoscaling.amazonaws.com": "AutoScaling",
    "ecs.application-autoscaling.amazonaws.com": "ApplicationAutoScaling_ECSService",
    "spot.amazonaws.com": "EC2Spot",
}


async def delete_role(desk: Desk, context: Context, given: Input) -> Output:
    """DeleteRole: any but a service's own."""
    name = given["RoleName"]
    if found(desk, context, "role", name).value.path.startswith(_LINKED_PATH):
        raise AwsError(
            "UnmodifiableEntity",
            f"Cannot perform the operation on the protected role '{name}' - this role is only "
            "modifiable by AWS",
        )
    return await _deleter("role")(desk, context, given)


async def delete_service_linked_role(desk: Desk, context: Context, given: Input) -> Output:
    """DeleteServiceLinkedRole: done at once; the task's id tells which role it was."""
    name = given["RoleName"]
    entry = found(desk, context, "role", name)
    if not entry.value.path.startswith(_LINKED_PATH):
        raise AwsError("InvalidInput", f"Role {name} is not a service linked role.")
    await _deleter("role")(desk, context, given)
    return {"DeletionTaskId": f"task{entry.value.path}{name}/{context.request_id}"}


async def service_linked_deletion(_desk: Desk, _context: Context, given: Input) -> Output:
    """GetServiceLinkedRoleDeletionStatus."""
    if not given["DeletionTaskId"].startswith(f"task{_LINKED_PATH}"):
        raise no_such(f"Deletion task {given['DeletionTaskId']} cannot be found.")
    return {"Status": "SUCCEEDED"}


async def create_user(desk: Desk, context: Context, given: Input) -> Output:
    """CreateUser."""
    return await _create(desk, context, given, "user")


async def get_role(desk: Desk, context: Context, given: Input) -> Output:
    """GetRole."""
    return {"Role": shown_role(found(desk, context, "role", given["RoleName"]).value, whole=True)}


async def get_user(desk: Desk, context: Context, given: Input) -> Output:
    """GetUser: without a name, the caller."""
    if "UserName" in given:
        entry = found(desk, context, "user", given["UserName"])
        return {"User": shown_user(entry.value, whole=True)}
    if is_root(context.principal_arn):
        root = {"Path": "/", "UserId": context.account, "Arn": context.principal_arn}
        return {"User": {"UserName": "root", **root, "CreateDate": 0.0}}
    caller = entity_of(desk.view, context.principal_arn)
    if caller is None or caller.kind != "user":
        raise AwsError("ValidationError", "Must specify userName when calling with non-User "
                       "credentials")  # fmt: skip
    return {"User": shown_user(caller, whole=True)}


def _lister(kind: str) -> Handler[Desk]:
    word = kind.capitalize()

    async def list_entities(desk: Desk, context: Context, given: Input) -> Output:
        prefix = given.get("PathPrefix", "/")
        scan = desk.view.rows(TABLE[kind]).scan(entity_key(context.account, kind, ""))
        entities = [entry.value for entry in scan if entry.value.path.startswith(prefix)]
        entities.sort(key=lambda entity: entity.name)
        return page(
            entities, given, word + "s", lambda entity: entity.name,
            lambda entity: _SHOW[kind](entity, whole=False),
        )  # fmt: skip

    return list_entities


async def _change(
    desk: Desk, context: Context, kind: str, name: str, change: Callable[[Entity], dict[str, Any]]
) -> Output:
    def decide() -> Change[Output]:
        entry = found(desk, context, kind, name)
        guard, put = replaced(entry, **change(entry.value))
        return Change({}, (guard,), (put,))

    return await desk.carry_out(decide)


async def update_role(desk: Desk, context: Context, given: Input) -> Output:
    """UpdateRole: description and session length."""

    def change(role: Entity) -> dict[str, Any]:
        return {
            "description": given.get("Description", role.description),
            "max_session_s": given.get("MaxSessionDuration", role.max_session_s),
        }

    return await _change(desk, context, "role", given["RoleName"], change)


async def update_role_description(desk: Desk, context: Context, given: Input) -> Output:
    """UpdateRoleDescription."""
    await update_role(desk, context, given)
    return await get_role(desk, context, given)


async def update_trust(desk: Desk, context: Context, given: Input) -> Output:
    """UpdateAssumeRolePolicy."""
    trust = checked_trust(given["PolicyDocument"])
    return await _change(desk, context, "role", given["RoleName"], lambda _role: {"trust": trust})


def _deleter(kind: str) -> Handler[Desk]:
    async def delete(desk: Desk, context: Context, given: Input) -> Output:
        def decide() -> Change[Output]:
            entry = found(desk, context, kind, given[f"{kind.capitalize()}Name"])
            _check_unused(desk, entry.value)
            return Change({}, (Guard(entry.key, entry.version),), (Delete(entry.key),))

        return await desk.carry_out(decide)

    return delete


def _check_unused(desk: Desk, entity: Entity) -> None:
    """Raise DeleteConflict while something hangs on the entity."""
    if entity.attached:
        raise in_use("Cannot delete entity, must detach all policies first.")
    if entity.inline:
        raise in_use("Cannot delete entity, must delete policies first.")
    owner = f"{entity.account}/{entity.name.lower()}"
    if entity.kind == "user" and desk.view.rows(ACCESS_KEYS).by("user", owner):
        raise in_use("Cannot delete entity, must delete access keys first.")
    if entity.groups:
        raise in_use("Cannot delete entity, must remove users from group first.")
    profiles = desk.view.rows(PROFILES).by("role", f"{entity.account}/{entity.name}")
    if entity.kind == "role" and profiles:
        raise in_use("Cannot delete entity, must remove roles from instance profile first.")


def _tag_operations(kind: str) -> dict[str, Handler[Desk]]:
    word = kind.capitalize()

    async def tag(desk: Desk, context: Context, given: Input) -> Output:
        return await _change(
            desk, context, kind, given[f"{word}Name"],
            lambda entity: {"tags": with_tags(entity.tags, given["Tags"])},
        )  # fmt: skip

    async def untag(desk: Desk, context: Context, given: Input) -> Output:
        return await _change(
            desk, context, kind, given[f"{word}Name"],
            lambda entity: {"tags": without_tags(entity.tags, given["TagKeys"])},
        )  # fmt: skip

    async def list_tags(desk: Desk, context: Context, given: Input) -> Output:
        entity = found(desk, context, kind, given[f"{word}Name"]).value
        tags = sorted(tags_shown(entity.tags), key=lambda shown: shown["Key"])
        return page(tags, given, "Tags", lambda shown: shown["Key"], lambda shown: shown)

    return {f"Tag{word}": tag, f"Untag{word}": untag, f"List{word}Tags": list_tags}


HANDLERS: dict[str, Handler[Desk]] = {
    "CreateRole": create_role,
    "CreateServiceLinkedRole": create_service_linked_role,
    "DeleteServiceLinkedRole": delete_service_linked_role,
    "GetServiceLinkedRoleDeletionStatus": service_linked_deletion,
    "GetRole": get_role,
    "ListRoles": _lister("role"),
    "UpdateRole": update_role,
    "UpdateRoleDescription": update_role_description,
    "UpdateAssumeRolePolicy": update_trust,
    "DeleteRole": delete_role,
    "CreateUser": create_user,
    "GetUser": get_user,
    "ListUsers": _lister("user"),
    "DeleteUser": _deleter("user"),
    **_tag_operations("role"),
    **_tag_operations("user"),
}
