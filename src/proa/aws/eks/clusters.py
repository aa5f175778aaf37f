"""Clusters that are there: described, listed, deleted, tagged."""

from __future__ import annotations

import msgspec

from proa.aws.eks import shown
from proa.aws.eks.desk import Eks, checked_tags, page
from proa.aws.eks.errors import in_use, refused
from proa.aws.eks.records import CLUSTERS, DEFAULT, ENTRIES, AccessEntry, Cluster, base_key, encode
from proa.aws.gateway.desk import Change
from proa.aws.gateway.service import AwsError, Context, Input, Output
from proa.reconcile.view import Entry
from proa.store.api import Guard, Put


async def describe_cluster(eks: Eks, context: Context, given: Input) -> Output:
    """One cluster."""
    await eks.fresh()
    return {"cluster": shown.cluster(eks.cluster(context, given["name"]).value, eks.host)}


async def list_clusters(eks: Eks, context: Context, given: Input) -> Output:
    """The names of the caller's clusters in the region."""
    await eks.fresh()
    prefix = f"{base_key(context.account, context.region)}cluster/"
    names = sorted(entry.value.name for entry in eks.view.rows(CLUSTERS).scan(prefix))
    listed, more = page(names, given)
    return {"clusters": listed, **more}


async def delete_cluster(eks: Eks, context: Context, given: Input) -> Output:
    """Mark a cluster as DELETING; what it holds goes behind this, the record last."""
    await eks.fresh()

    def decision() -> Change[Cluster]:
        entry = eks.cluster(context, given["name"])
        cluster = entry.value
        if cluster.status == "DELETING":
            return Change(cluster)
        if cluster.uid == DEFAULT:
            raise refused(
                "The cluster default belongs to this Proa and ends with it: it cannot be deleted",
                cluster.name,
            )
        if cluster.protected:
            raise refused(
                f"Cluster {cluster.name} has deletion protection enabled and cannot be deleted",
                cluster.name,
            )
        if cluster.status != "ACTIVE":
            raise in_use(
                f"Cannot delete because cluster {cluster.name} currently has an update in progress",
                cluster.name,
            )
        gone = msgspec.structs.replace(cluster, status="DELETING")
        guard = Guard(entry.key, entry.version)
        return Change(gone, (guard,), (Put(entry.key, encode(gone)),))

    return {"cluster": shown.cluster(await eks.carry_out(decision), eks.host)}


async def tag_resource(eks: Eks, context: Context, given: Input) -> Output:
    """Add tags to a cluster or an access entry."""
    await eks.fresh()

    def decision() -> Change[None]:
        entry = _tagged(eks, context, given["resourceArn"])
        tags = checked_tags(given["tags"], entry.value.tags)
        return _with_tags(entry, tags)

    await eks.carry_out(decision)
    return {}


async def untag_resource(eks: Eks, context: Context, given: Input) -> Output:
    """Take tags away."""
    await eks.fresh()

    def decision() -> Change[None]:
        entry = _tagged(eks, context, given["resourceArn"])
        gone = set(given["tagKeys"])
        return _with_tags(entry, {k: v for k, v in entry.value.tags.items() if k not in gone})

    await eks.carry_out(decision)
    return {}


async def list_tags_for_resource(eks: Eks, context: Context, given: Input) -> Output:
    """The tags of a cluster or an access entry."""
    await eks.fresh()
    return {"tags": _tagged(eks, context, given["resourceArn"]).value.tags}


def _with_tags(entry: Entry[Cluster] | Entry[AccessEntry], tags: dict[str, str]) -> Change[None]:
    changed = msgspec.structs.replace(entry.value, tags=tags)
    return Change(None, (Guard(entry.key, entry.version),), (Put(entry.key, encode(changed)),))


def _tagged(eks: Eks, context: Context, arn: str) -> Entry[Cluster] | Entry[AccessEntry]:
    parts = arn.split(":", 5)
    if len(parts) != 6 or parts[2] != "eks" or "/" not in parts[5]:
        raise AwsError("BadRequestException", f"Invalid ARN: {arn}")
    kind, _, name = parts[5].partition("/")
    place = (parts[4], parts[3]) == (context.account, context.region)
    if kind == "cluster" and place:
        for entry in eks.view.rows(CLUSTERS).scan(base_key(context.account, context.region)):
            if entry.value.name == name:
                return entry
    if kind == "access-entry" and place:
        for found in eks.view.rows(ENTRIES).scan(base_key(context.account, context.region)):
            if found.value.arn == arn:
                return found
    raise AwsError("NotFoundException", f"Resource not found: {arn}")
