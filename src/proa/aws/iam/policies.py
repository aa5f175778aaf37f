"""Managed policies and their versions, and who they are attached to."""

from __future__ import annotations

from typing import Any

import msgspec

from proa.aws.gateway.desk import Change, Desk, Handler
from proa.aws.gateway.service import AwsError, Context, Input, Output
from proa.aws.iam.shared import (
    checked_identity,
    exists,
    in_use,
    no_such,
    over_limit,
    page,
    shown_document,
    tags_shown,
    with_tags,
    without_tags,
)
from proa.cloud.identity import (
    GROUPS,
    MANAGED_PREFIX,
    POLICIES,
    ROLES,
    USERS,
    Entity,
    ManagedPolicy,
    PolicyVersion,
    aws_managed,
    encode,
    policy_by_arn,
    policy_key,
    unique_id,
)
from proa.reconcile.view import Entry
from proa.store.api import Delete, Guard, Put

MAX_VERSIONS = 5
MAX_DOCUMENT = 6_144


def _holders(desk: Desk, context: Context, arn: str) -> list[Entity]:
    """The account's entities that carry a policy, attached or as a boundary."""
    holders = [entry.value for table in (ROLES, USERS, GROUPS) for entry in
               desk.view.rows(table).by("policy", arn)]  # fmt: skip
    return [entity for entity in holders if entity.account == context.account]


def _shown(desk: Desk, context: Context, policy: ManagedPolicy, *, whole: bool) -> Output:
    holders = _holders(desk, context, policy.arn)
    output: Output = {
        "PolicyName": policy.name,
        "PolicyId": policy.id,
        "Arn": policy.arn,
        "Path": policy.path,
        "DefaultVersionId": policy.default,
        "AttachmentCount": sum(policy.arn in entity.attached for entity in holders),
        "PermissionsBoundaryUsageCount": sum(e.boundary == policy.arn for e in holders),
        "IsAttachable": True,
        "CreateDate": policy.created_at,
        "UpdateDate": policy.updated_at,
    }
    if whole:
        output["Description"] = policy.description or None
        output["Tags"] = tags_shown(policy.tags)
    return output


def _any(desk: Desk, context: Context, arn: str) -> ManagedPolicy:
    policy = policy_by_arn(desk.view, context.account, arn)
    if policy is None:
        raise no_such(f"Policy {arn} was not found.")
    return policy


def _own(desk: Desk, context: Context, arn: str) -> Entry[ManagedPolicy]:
    """An account's own policy, for changing it."""
    if arn.startswith(MANAGED_PREFIX):
        raise AwsError("AccessDenied", f"User: {context.principal_arn} is not authorized to "
                       f"perform this operation on resource: policy {arn}", 403)  # fmt: skip
    _any(desk, context, arn)
    entry = desk.view.rows(POLICIES).get(policy_key(context.account, arn.rpartition("/")[2]))
    assert entry is not None
    return entry


def _replaced(entry: Entry[ManagedPolicy], **changes: Any) -> Change[Output]:
    changed = msgspec.structs.replace(entry.value, **changes)
    return Change({}, (Guard(entry.key, entry.version),), (Put(entry.key, encode(changed)),))


def _checked(document: str) -> str:
    if len("".join(document.split())) > MAX_DOCUMENT:
        raise over_limit(f"Cannot exceed quota for PolicySize: {MAX_DOCUMENT}")
    return checked_identity(document)


async def create_policy(desk: Desk, context: Context, given: Input) -> Output:
    """CreatePolicy."""
    name = given["PolicyName"]
    version = PolicyVersion("v1", _checked(given["PolicyDocument"]), context.now)
    made = ManagedPolicy(
        context.account, name, given.get("Path", "/"), unique_id("ANPA", desk.chance),
        context.now, context.now, (version,), description=given.get("Description", ""),
        tags=with_tags({}, given.get("Tags", [])),
    )  # fmt: skip
    key = policy_key(context.account, name)

    def decide() -> Change[Output]:
        if desk.view.rows(POLICIES).get(key) is not None:
            raise exists(f"A policy called {name} already exists. Duplicate names are not allowed.")
        shown = {"Policy": _shown(desk, context, made, whole=True)}
        return Change(shown, (Guard(key, 0),), (Put(key, encode(made)),))

    return await desk.carry_out(decide)


async def get_policy(desk: Desk, context: Context, given: Input) -> Output:
    """GetPolicy."""
    policy = _any(desk, context, given["PolicyArn"])
    return {"Policy": _shown(desk, context, policy, whole=True)}


async def list_policies(desk: Desk, context: Context, given: Input) -> Output:
    """ListPolicies by scope, path and use."""
    scope, prefix = given.get("Scope", "All"), given.get("PathPrefix", "/")
    policies: list[ManagedPolicy] = []
    if scope in ("All", "AWS"):
        policies += aws_managed().values()
    if scope in ("All", "Local"):
        scan = desk.view.rows(POLICIES).scan(policy_key(context.account, ""))
        policies += [entry.value for entry in scan]
    chosen = [policy for policy in policies if policy.path.startswith(prefix)]
    if given.get("OnlyAttached"):
        chosen = [policy for policy in chosen if _holders(desk, context, policy.arn)]
    chosen.sort(key=lambda policy: policy.arn)
    return page(
        chosen, given, "Policies", lambda policy: policy.arn,
        lambda policy: _shown(desk, context, policy, whole=False),
    )  # fmt: skip


async def delete_policy(desk: Desk, context: Context, given: Input) -> Output:
    """DeletePolicy: only what is attached to nothing and has one version."""
    arn = given["PolicyArn"]

    def decide() -> Change[Output]:
        entry = _own(desk, context, arn)
        if _holders(desk, context, arn):
            raise in_use("Cannot delete a policy attached to entities.")
        if len(entry.value.versions) > 1:
            raise in_use(
                "This policy has more than one version. Before you delete a policy, you must "
                "delete the policy's versions. The default version is deleted with the policy."
            )
        return Change({}, (Guard(entry.key, entry.version),), (Delete(entry.key),))

    return await desk.carry_out(decide)


def _shown_version(policy: ManagedPolicy, version: PolicyVersion, *, whole: bool) -> Output:
    return {
        "Document": shown_document(version.document) if whole else None,
        "VersionId": version.id,
        "IsDefaultVersion": version.id == policy.default,
        "CreateDate": version.created_at,
    }


async def create_version(desk: Desk, context: Context, given: Input) -> Output:
    """CreatePolicyVersion: at most five are kept."""
    document = _checked(given["PolicyDocument"])

    def decide() -> Change[Output]:
        entry = _own(desk, context, given["PolicyArn"])
        policy = entry.value
        if len(policy.versions) >= MAX_VERSIONS:
            raise over_limit(
                f"A managed policy can have up to {MAX_VERSIONS} versions. Before you create a "
                "new version, you must delete an existing version."
            )
        version = PolicyVersion(f"v{policy.next_version}", document, context.now)
        change = _replaced(
            entry,
            versions=(*policy.versions, version),
            default=version.id if given.get("SetAsDefault") else policy.default,
            next_version=policy.next_version + 1,
            updated_at=context.now,
        )
        shown = _shown_version(policy, version, whole=False)
        shown["IsDefaultVersion"] = bool(given.get("SetAsDefault"))
        return Change({"PolicyVersion": shown}, change.guards, change.writes)

    return await desk.carry_out(decide)


def _version(policy: ManagedPolicy, id: str) -> PolicyVersion:
    version = policy.version(id)
    if version is None:
        raise no_such(f"Policy {policy.arn} version {id} does not exist or is not attachable.")
    return version


async def get_version(desk: Desk, context: Context, given: Input) -> Output:
    """GetPolicyVersion."""
    policy = _any(desk, context, given["PolicyArn"])
    version = _version(policy, given["VersionId"])
    return {"PolicyVersion": _shown_version(policy, version, whole=True)}


async def list_versions(desk: Desk, context: Context, given: Input) -> Output:
    """ListPolicyVersions, newest first."""
    policy = _any(desk, context, given["PolicyArn"])
    shown = [_shown_version(policy, version, whole=False) for version in policy.versions]
    return {"Versions": shown[::-1], "IsTruncated": False}


async def delete_version(desk: Desk, context: Context, given: Input) -> Output:
    """DeletePolicyVersion: any but the default."""

    def decide() -> Change[Output]:
        entry = _own(desk, context, given["PolicyArn"])
        version = _version(entry.value, given["VersionId"])
        if version.id == entry.value.default:
            raise in_use("Cannot delete the default version of a policy.")
        kept = tuple(item for item in entry.value.versions if item.id != version.id)
        return _replaced(entry, versions=kept, updated_at=context.now)

    return await desk.carry_out(decide)


async def set_default_version(desk: Desk, context: Context, given: Input) -> Output:
    """SetDefaultPolicyVersion."""

    def decide() -> Change[Output]:
        entry = _own(desk, context, given["PolicyArn"])
        version = _version(entry.value, given["VersionId"])
        return _replaced(entry, default=version.id, updated_at=context.now)

    return await desk.carry_out(decide)


async def list_entities(desk: Desk, context: Context, given: Input) -> Output:
    """ListEntitiesForPolicy."""
    _any(desk, context, given["PolicyArn"])
    wanted = given.get("EntityFilter", "")
    holders = _holders(desk, context, given["PolicyArn"])
    usage = given.get("PolicyUsageFilter", "PermissionsPolicy")
    if usage == "PermissionsBoundary":
        holders = [e for e in holders if e.boundary == given["PolicyArn"]]
    else:
        holders = [e for e in holders if given["PolicyArn"] in e.attached]
    roles = [e for e in holders if e.kind == "role" and wanted in ("", "Role")]
    users = [e for e in holders if e.kind == "user" and wanted in ("", "User")]
    groups = [e for e in holders if e.kind == "group" and wanted in ("", "Group")]
    return {
        "PolicyGroups": [{"GroupName": entity.name, "GroupId": entity.id} for entity in groups],
        "PolicyRoles": [{"RoleName": entity.name, "RoleId": entity.id} for entity in roles],
        "PolicyUsers": [{"UserName": entity.name, "UserId": entity.id} for entity in users],
        "IsTruncated": False,
    }


async def tag_policy(desk: Desk, context: Context, given: Input) -> Output:
    """TagPolicy."""

    def decide() -> Change[Output]:
        entry = _own(desk, context, given["PolicyArn"])
        return _replaced(entry, tags=with_tags(entry.value.tags, given["Tags"]))

    return await desk.carry_out(decide)


async def untag_policy(desk: Desk, context: Context, given: Input) -> Output:
    """UntagPolicy."""

    def decide() -> Change[Output]:
        entry = _own(desk, context, given["PolicyArn"])
        return _replaced(entry, tags=without_tags(entry.value.tags, given["TagKeys"]))

    return await desk.carry_out(decide)


async def list_policy_tags(desk: Desk, context: Context, given: Input) -> Output:
    """ListPolicyTags."""
    policy = _any(desk, context, given["PolicyArn"])
    return {"Tags": tags_shown(policy.tags), "IsTruncated": False}


HANDLERS: dict[str, Handler[Desk]] = {
    "CreatePolicy": create_policy,
    "GetPolicy": get_policy,
    "ListPolicies": list_policies,
    "DeletePolicy": delete_policy,
    "CreatePolicyVersion": create_version,
    "GetPolicyVersion": get_version,
    "ListPolicyVersions": list_versions,
    "DeletePolicyVersion": delete_version,
    "SetDefaultPolicyVersion": set_default_version,
    "ListEntitiesForPolicy": list_entities,
    "TagPolicy": tag_policy,
    "UntagPolicy": untag_policy,
    "ListPolicyTags": list_policy_tags,
}
