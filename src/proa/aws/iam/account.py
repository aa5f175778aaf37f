"""What IAM knows of an account as a whole: its summary, and everybody's policies at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from proa.aws.gateway.desk import Desk, Handler
from proa.aws.gateway.service import Context, Input, Output
from proa.aws.iam.entities import TABLE, shown_role, shown_user
from proa.aws.iam.profiles import shown_profile
from proa.aws.iam.shared import MAX_ATTACHED, page, shown_document
from proa.cloud.identity import (
    POLICIES,
    PROFILES,
    PROVIDERS,
    Entity,
    ManagedPolicy,
    entity_key,
    policy_key,
    profile_key,
    provider_key,
)


def _entities(desk: Desk, context: Context, kind: str) -> list[Entity]:
    scan = desk.view.rows(TABLE[kind]).scan(entity_key(context.account, kind, ""))
    return [entry.value for entry in scan]


def _own_policies(desk: Desk, context: Context) -> list[ManagedPolicy]:
    scan = desk.view.rows(POLICIES).scan(policy_key(context.account, ""))
    return [entry.value for entry in scan]


async def summary(desk: Desk, context: Context, _given: Input) -> Output:
    """GetAccountSummary: what there is, and the quotas that Proa holds to."""
    profiles = desk.view.rows(PROFILES).scan(profile_key(context.account, ""))
    providers = desk.view.rows(PROVIDERS).scan(provider_key(context.account, ""))
    policies = _own_policies(desk, context)
    return {
        "SummaryMap": {
            "Users": len(_entities(desk, context, "user")),
            "Groups": len(_entities(desk, context, "group")),
            "Roles": len(_entities(desk, context, "role")),
            "Policies": len(policies),
            "PolicyVersionsInUse": sum(len(policy.versions) for policy in policies),
            "InstanceProfiles": sum(1 for _ in profiles),
            "Providers": sum(1 for _ in providers),
            "AccountAccessKeysPresent": 1,
            "AccountMFAEnabled": 0,
            "AccessKeysPerUserQuota": 2,
            "AttachedPoliciesPerUserQuota": MAX_ATTACHED["user"],
            "AttachedPoliciesPerRoleQuota": MAX_ATTACHED["role"],
            "AttachedPoliciesPerGroupQuota": MAX_ATTACHED["group"],
            "VersionsPerPolicyQuota": 5,
        }
    }


def _policies_shown(entity: Entity, word: str) -> Output:
    return {
        f"{word}PolicyList": [
            {"PolicyName": name, "PolicyDocument": shown_document(text)}
            for name, text in entity.inline.items()
        ],
        "AttachedManagedPolicies": [
            {"PolicyName": arn.rpartition("/")[2], "PolicyArn": arn} for arn in entity.attached
        ],
    }


def _user(_desk: Desk, user: Entity) -> Output:
    shown = shown_user(user, whole=True) | _policies_shown(user, "User")
    return shown | {"GroupList": list(user.groups)}


def _group(_desk: Desk, group: Entity) -> Output:
    named = {
        "Path": group.path,
        "GroupName": group.name,
        "GroupId": group.id,
        "Arn": group.arn,
        "CreateDate": group.created_at,
    }
    return named | _policies_shown(group, "Group")


def _role(desk: Desk, role: Entity) -> Output:
    shown = shown_role(role, whole=True) | _policies_shown(role, "Role")
    for name in ("Description", "MaxSessionDuration"):
        shown.pop(name)
    profiles = desk.view.rows(PROFILES).by("role", f"{role.account}/{role.name}")
    return shown | {
        "InstanceProfileList": [shown_profile(desk, entry.value) for entry in profiles],
    }


def _policy(_desk: Desk, policy: ManagedPolicy) -> Output:
    return {
        "PolicyName": policy.name,
        "PolicyId": policy.id,
        "Arn": policy.arn,
        "Path": policy.path,
        "DefaultVersionId": policy.default,
        "IsAttachable": True,
        "CreateDate": policy.created_at,
        "UpdateDate": policy.updated_at,
        "PolicyVersionList": [
            {
                "Document": shown_document(version.document),
                "VersionId": version.id,
                "IsDefaultVersion": version.id == policy.default,
                "CreateDate": version.created_at,
            }
            for version in policy.versions
        ],
    }


_PARTS: dict[str, tuple[str, Callable[..., Output]]] = {
    "User": ("UserDetailList", _user),
    "Group": ("GroupDetailList", _group),
    "Role": ("RoleDetailList", _role),
    "LocalManagedPolicy": ("Policies", _policy),
}


async def details(desk: Desk, context: Context, given: Input) -> Output:
    """GetAccountAuthorizationDetails: everything that can be allowed or denied, in pages."""
    wanted = given.get("Filter") or list(_PARTS)
    items: list[tuple[str, str, Any]] = []
    for part in ("User", "Group", "Role"):
        if part in wanted:
            entities = _entities(desk, context, part.lower())
            items += [(f"{part}/{entity.name}", part, entity) for entity in entities]
    if "LocalManagedPolicy" in wanted:
        policies = _own_policies(desk, context)
        items += [(f"Z/{p.name}", "LocalManagedPolicy", p) for p in policies]
    items.sort(key=lambda item: item[0])
    one = page(items, given, "Items", lambda item: item[0], lambda item: item)
    output: Output = {member: [] for member, _show in _PARTS.values()}
    for _name, part, thing in one.pop("Items"):
        member, show = _PARTS[part]
        output[member].append(show(desk, thing))
    return {**output, **one}


async def list_aliases(_desk: Desk, _context: Context, _given: Input) -> Output:
    """ListAccountAliases: accounts have none here."""
    return {"AccountAliases": [], "IsTruncated": False}


HANDLERS: dict[str, Handler[Desk]] = {
    "GetAccountSummary": summary,
    "GetAccountAuthorizationDetails": details,
    "ListAccountAliases": list_aliases,
}
