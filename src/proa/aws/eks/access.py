"""Access entries and their access policies.

Rules: "Grant IAM users access to Kubernetes with EKS access entries" and "Associate access
policies with access entries" of the EKS user guide.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from proa.aws.eks import shown
from proa.aws.eks.desk import Eks, checked_tags, page
from proa.aws.eks.errors import in_use, invalid, no_such, refused
from proa.aws.eks.policies import CLUSTER_ADMIN, POLICIES
from proa.aws.eks.records import (
    ENTRIES,
    AccessEntry,
    Association,
    Cluster,
    encode,
    entry_key,
    entry_prefix,
)
from proa.aws.gateway.desk import Change
from proa.aws.gateway.service import Context, Input, Output
from proa.cloud.identity import entity_of
from proa.reconcile.view import Entry
from proa.store.api import Delete, Exists, Guard, Put

MAX_GROUPS, MAX_POLICIES, MAX_NAMESPACES = 100, 20, 100
NODE_TYPES = ("EC2_LINUX", "EC2_WINDOWS", "FARGATE_LINUX")
_NODE_USER = "system:node:{{EC2PrivateDNSName}}"
_PRINCIPAL = re.compile(r"arn:aws:iam::(\d{12}):(root|(?:user|role)/[\w+=,.@/-]+)")
_RESERVED = ("system:", "eks:", "aws:", "amazon:", "iam:")
_NAMESPACE = re.compile(r"[a-z0-9*]([a-z0-9*-]{0,61}[a-z0-9*])?")


def entry_of_creator(cluster: Cluster, now: float, id: str) -> AccessEntry | None:
    """The entry that a cluster's creator gets with it, where the mode has entries."""
    if cluster.authentication == "CONFIG_MAP" or not cluster.creator_is_admin:
        return None
    admin = Association(CLUSTER_ADMIN.arn, (), now, now)
    return AccessEntry(
        account=cluster.account,
        region=cluster.region,
        cluster=cluster.name,
        principal=cluster.creator,
        id=id,
        created_at=now,
        modified_at=now,
        username=_default_username(cluster.creator, "STANDARD"),
        policies=(admin,),
    )


def _default_username(principal: str, type: str) -> str:
    if type != "STANDARD":
        return _NODE_USER
    parts = principal.split(":", 5)
    if not parts[5].startswith("role/"):
        return principal
    name = principal.rpartition("/")[2]
    return f"arn:aws:sts::{parts[4]}:assumed-role/{name}/{{{{SessionName}}}}"


async def create_access_entry(eks: Eks, context: Context, given: Input) -> Output:
    """Let a principal in."""
    await eks.fresh()
    id = eks.chance.uid()

    def decision() -> Change[AccessEntry]:
        cluster = _with_entries(eks, context, given["clusterName"])
        principal, type = given["principalArn"], given.get("type") or "STANDARD"
        _check_principal(eks, context, principal)
        username, groups = _checked_names(given, type)
        made = AccessEntry(
            account=context.account,
            region=context.region,
            cluster=cluster.name,
            principal=principal,
            id=id,
            created_at=context.now,
            modified_at=context.now,
            type=type,
            username=username or _default_username(principal, type),
            groups=groups or (("system:nodes",) if type != "STANDARD" else ()),
            tags=checked_tags(given.get("tags")),
        )
        if eks.view.rows(ENTRIES).get(made.key) is not None:
            raise in_use("The specified access entry resource is already in use on this cluster.")
        guards = (Guard(made.key, 0), Exists(cluster.key))
        return Change(made, guards, (Put(made.key, encode(made)),))

    return {"accessEntry": shown.entry(await eks.carry_out(decision))}


async def describe_access_entry(eks: Eks, context: Context, given: Input) -> Output:
    """One entry."""
    await eks.fresh()
    return {"accessEntry": shown.entry(_entry(eks, context, given).value)}


async def list_access_entries(eks: Eks, context: Context, given: Input) -> Output:
    """The principals that may enter; with ``associatedPolicyArn`` those that have the policy."""
    await eks.fresh()
    cluster = _with_entries(eks, context, given["clusterName"])
    policy = given.get("associatedPolicyArn")
    prefix = entry_prefix(context.account, context.region, cluster.name)
    names = sorted(
        entry.value.principal
        for entry in eks.view.rows(ENTRIES).scan(prefix)
        if not policy or any(item.policy == policy for item in entry.value.policies)
    )
    listed, more = page(names, given)
    return {"accessEntries": listed, **more}


async def update_access_entry(eks: Eks, context: Context, given: Input) -> Output:
    """Other groups or another user name."""

    def change(entry: AccessEntry) -> AccessEntry:
        username, groups = _checked_names(given, entry.type)
        return msgspec.structs.replace(
            entry,
            username=username or entry.username,
            groups=groups if "kubernetesGroups" in given else entry.groups,
            modified_at=context.now,
        )

    return {"accessEntry": shown.entry(await _changed(eks, context, given, change))}


async def delete_access_entry(eks: Eks, context: Context, given: Input) -> Output:
    """The principal may no longer enter."""
    await eks.fresh()

    def decision() -> Change[None]:
        found = _entry(eks, context, given)
        return Change(None, (Guard(found.key, found.version),), (Delete(found.key),))

    await eks.carry_out(decision)
    return {}


async def associate_access_policy(eks: Eks, context: Context, given: Input) -> Output:
    """Give an entry a policy, or another scope to one it has."""
    policy, namespaces = given["policyArn"], _scope(given["accessScope"])
    if policy not in POLICIES:
        raise invalid(f"The specified policyArn is invalid or not served by Proa: {policy}")

    def change(entry: AccessEntry) -> AccessEntry:
        if entry.type != "STANDARD":
            raise refused(f"Access policies cannot be associated to an entry of type {entry.type}")
        held = next((item for item in entry.policies if item.policy == policy), None)
        since = held.associated_at if held else context.now
        others = tuple(item for item in entry.policies if item.policy != policy)
        if len(others) >= MAX_POLICIES:
            raise invalid(f"An access entry has at most {MAX_POLICIES} access policies")
        mine = Association(policy, namespaces, since, context.now)
        return msgspec.structs.replace(entry, policies=(*others, mine))

    changed = await _changed(eks, context, given, change)
    return {
        "clusterName": changed.cluster,
        "principalArn": changed.principal,
        "associatedAccessPolicy": shown.association(changed.policies[-1]),
    }


async def disassociate_access_policy(eks: Eks, context: Context, given: Input) -> Output:
    """Take a policy away."""
    policy = given["policyArn"]

    def change(entry: AccessEntry) -> AccessEntry:
        kept = tuple(item for item in entry.policies if item.policy != policy)
        if len(kept) == len(entry.policies):
            raise no_such("The specified policyArn is not associated with the access entry.")
        return msgspec.structs.replace(entry, policies=kept)

    await _changed(eks, context, given, change)
    return {}


async def list_associated_access_policies(eks: Eks, context: Context, given: Input) -> Output:
    """The policies of an entry."""
    await eks.fresh()
    entry = _entry(eks, context, given).value
    by_arn = {item.policy: item for item in entry.policies}
    listed, more = page(sorted(by_arn), given)
    return {
        "clusterName": entry.cluster,
        "principalArn": entry.principal,
        "associatedAccessPolicies": [shown.association(by_arn[arn]) for arn in listed],
        **more,
    }


async def list_access_policies(eks: Eks, context: Context, given: Input) -> Output:
    """Every access policy that there is."""
    listed, more = page(sorted(POLICIES), given)
    return {
        "accessPolicies": [{"name": POLICIES[arn].name, "arn": arn} for arn in listed],
        **more,
    }


async def _changed(
    eks: Eks, context: Context, given: Input, change: Callable[[AccessEntry], AccessEntry]
) -> AccessEntry:
    await eks.fresh()

    def decision() -> Change[AccessEntry]:
        found = _entry(eks, context, given)
        made = change(found.value)
        guard = Guard(found.key, found.version)
        return Change(made, (guard,), (Put(found.key, encode(made)),))

    return await eks.carry_out(decision)


def _with_entries(eks: Eks, context: Context, name: str) -> Cluster:
    cluster = eks.cluster(context, name).value
    if cluster.authentication == "CONFIG_MAP":
        raise refused(
            "The cluster's authentication mode must be set to one of [API, API_AND_CONFIG_MAP] "
            "to perform this operation."
        )
    return cluster


def _entry(eks: Eks, context: Context, given: Input) -> Entry[AccessEntry]:
    cluster = _with_entries(eks, context, given["clusterName"])
    key = entry_key(context.account, context.region, cluster.name, given["principalArn"])
    found = eks.view.rows(ENTRIES).get(key)
    if found is None:
        raise no_such(
            "The specified principalArn could not be found. You can view your available access "
            "entries with 'list-access-entries'."
        )
    return found


def _check_principal(eks: Eks, context: Context, arn: str) -> None:
    """A user or role, of another account or one that is there."""
    match = _PRINCIPAL.fullmatch(arn)
    invalid_principal = "The specified principalArn is invalid: invalid principal."
    if match is None:
        raise invalid(invalid_principal)
    if match[1] != context.account or match[2] == "root":
        return
    entity = entity_of(eks.view, arn)
    if entity is None or entity.arn != arn:
        raise invalid(invalid_principal)


def _checked_names(given: Input, type: str) -> tuple[str, tuple[str, ...]]:
    """(user name, groups) as given. Raises InvalidParameterException."""
    username, groups = given.get("username") or "", tuple(given.get("kubernetesGroups") or ())
    if type != "STANDARD":
        if type not in NODE_TYPES:
            raise invalid(f"The access entry type {type} is invalid or not served by Proa")
        if username or groups:
            raise invalid(f"An access entry of type {type} has no username or kubernetesGroups")
    for prefix in _RESERVED:
        if username.startswith(prefix):
            raise invalid(f"The username {username} is invalid, it cannot start with {prefix}")
    for group in groups:
        if not group or group.startswith("system:"):
            raise invalid(
                f"The kubernetes group name {group} is invalid, it cannot start with system:"
            )
    if len(groups) > MAX_GROUPS:
        raise invalid(f"An access entry has at most {MAX_GROUPS} kubernetesGroups")
    return username, tuple(dict.fromkeys(groups))


def _scope(scope: Input) -> tuple[str, ...]:
    """The namespaces of a scope; none for the whole cluster. Raises InvalidParameterException."""
    namespaces = tuple(dict.fromkeys(scope.get("namespaces") or ()))
    kind = scope.get("type")
    if kind == "cluster" and namespaces:
        raise invalid("namespaces can only be given with an access scope of type namespace")
    if kind == "namespace" and not namespaces:
        raise invalid("An access scope of type namespace needs namespaces")
    if kind not in ("cluster", "namespace"):
        raise invalid("The type of an access scope is cluster or namespace")
    if len(namespaces) > MAX_NAMESPACES:
        raise invalid(f"An access scope has at most {MAX_NAMESPACES} namespaces")
    for name in namespaces:
        if not _NAMESPACE.fullmatch(name):
            raise invalid(f"The namespace {name} is invalid")
    return namespaces
