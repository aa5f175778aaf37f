"""Updates of a cluster: its configuration, its version, and what became of them.

An update is written together with what it changes and finished by the lifecycle of ``server``,
which tells the cluster's API; until then the cluster is UPDATING and takes no other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import orjson

from proa.aws.eks import shown
from proa.aws.eks.access import entry_of_creator
from proa.aws.eks.desk import Eks, page
from proa.aws.eks.errors import in_use, invalid, no_such
from proa.aws.eks.network import (
    check_access,
    checked_cidrs,
    checked_groups,
    checked_subnets,
)
from proa.aws.eks.options import MODES, checked_logging, refuse_unserved
from proa.aws.eks.records import ENTRIES, UPDATES, Cluster, Update, encode, update_prefix
from proa.aws.eks.versions import VERSIONS, follows
from proa.aws.gateway.desk import Change
from proa.aws.gateway.service import Context, Input, Output
from proa.store.api import Delete, Guard, Put

KEPT = 20  # updates of a cluster that are remembered
Params = list[tuple[str, str]]
Part = Callable[[Eks, Context, Cluster, Any], tuple[Cluster, Params]]


async def update_cluster_version(eks: Eks, context: Context, given: Input) -> Output:
    """To the next minor version."""
    wanted = given["version"]

    def change(cluster: Cluster) -> tuple[Cluster, str, Params]:
        if not follows(cluster.version, wanted):
            raise invalid(
                f"Unsupported Kubernetes minor version update from {cluster.version} to {wanted}",
                cluster.name,
            )
        params = [("Version", wanted), ("PlatformVersion", VERSIONS[wanted].platform)]
        return msgspec.structs.replace(cluster, version=wanted), "VersionUpdate", params

    return await _update(eks, context, given, change)


async def update_cluster_config(eks: Eks, context: Context, given: Input) -> Output:
    """One part of the configuration at a time, as EKS wants it."""
    refuse_unserved(given)

    def change(cluster: Cluster) -> tuple[Cluster, str, Params]:
        named = [member for member in _PARTS if given.get(member) is not None]
        if not named:
            raise invalid("No changes needed for the cluster config update", cluster.name)
        if len(named) > 1:
            raise invalid("Only one type of update can be allowed", cluster.name)
        kind, part = _PARTS[named[0]]
        changed, params = part(eks, context, cluster, given[named[0]])
        if changed == cluster:
            listed = ", ".join(f"{name}: {value}" for name, value in params)
            raise invalid(
                f"Cluster is already at the desired configuration with {listed}", cluster.name
            )
        return changed, kind, params

    return await _update(eks, context, given, change)


def _access(
    eks: Eks, context: Context, cluster: Cluster, given: dict[str, Any]
) -> tuple[Cluster, Params]:
    mode = given.get("authenticationMode", cluster.authentication)
    if MODES.index(mode) < MODES.index(cluster.authentication):
        raise invalid(
            f"Unsupported authentication mode update from {cluster.authentication} to {mode}",
            cluster.name,
        )
    if (cluster.authentication, mode) == ("CONFIG_MAP", "API"):
        raise invalid("Unsupported authentication mode update from CONFIG_MAP to API", cluster.name)
    changed = msgspec.structs.replace(cluster, authentication=mode)
    return changed, [("AuthenticationMode", mode)]


def _vpc(
    eks: Eks, context: Context, cluster: Cluster, given: dict[str, Any]
) -> tuple[Cluster, Params]:
    fields: dict[str, Any] = {
        "public_access": given.get("endpointPublicAccess", cluster.public_access),
        "private_access": given.get("endpointPrivateAccess", cluster.private_access),
    }
    check_access(fields["public_access"], fields["private_access"])
    if given.get("publicAccessCidrs"):
        fields["public_cidrs"] = checked_cidrs(given["publicAccessCidrs"])
    if given.get("subnetIds"):
        subnets = checked_subnets(eks, context, given["subnetIds"])
        if subnets[0].vpc != cluster.vpc:
            raise invalid("Subnets specified must be in the cluster's VPC", cluster.name)
        fields["subnets"] = tuple(subnet.id for subnet in subnets)
    if given.get("securityGroupIds") is not None:
        groups = given["securityGroupIds"]
        fields["security_groups"] = checked_groups(eks, context, cluster.vpc, groups)
    changed = msgspec.structs.replace(cluster, **fields)
    return changed, [
        ("EndpointPublicAccess", str(changed.public_access).lower()),
        ("EndpointPrivateAccess", str(changed.private_access).lower()),
        ("PublicAccessCidrs", orjson.dumps(changed.public_cidrs).decode()),
    ]


def _logging(
    eks: Eks, context: Context, cluster: Cluster, given: dict[str, Any]
) -> tuple[Cluster, Params]:
    changed = msgspec.structs.replace(cluster, logging=checked_logging(given, cluster.logging))
    setups = shown.cluster(changed, eks.host)["logging"]
    return changed, [("ClusterLogging", orjson.dumps(setups).decode())]


def _support(
    eks: Eks, context: Context, cluster: Cluster, given: dict[str, Any]
) -> tuple[Cluster, Params]:
    support = given.get("supportType", cluster.support)
    changed = msgspec.structs.replace(cluster, support=support)
    return changed, [("UpgradePolicy", support)]


def _zonal_shift(
    eks: Eks, context: Context, cluster: Cluster, given: dict[str, Any]
) -> tuple[Cluster, Params]:
    shift = bool(given.get("enabled"))
    changed = msgspec.structs.replace(cluster, zonal_shift=shift)
    return changed, [("ZonalShiftConfig", str(shift).lower())]


def _protection(
    eks: Eks, context: Context, cluster: Cluster, given: bool
) -> tuple[Cluster, Params]:
    changed = msgspec.structs.replace(cluster, protected=given)
    return changed, [("DeletionProtection", str(given).lower())]


_PARTS: dict[str, tuple[str, Part]] = {
    "resourcesVpcConfig": ("VpcConfigUpdate", _vpc),
    "logging": ("LoggingUpdate", _logging),
    "accessConfig": ("AccessConfigUpdate", _access),
    "upgradePolicy": ("UpgradePolicyUpdate", _support),
    "zonalShiftConfig": ("ZonalShiftConfigUpdate", _zonal_shift),
    "deletionProtection": ("DeletionProtectionUpdate", _protection),
}


async def _update(
    eks: Eks,
    context: Context,
    given: Input,
    change: Callable[[Cluster], tuple[Cluster, str, Params]],
) -> Output:
    await eks.fresh()
    id, token = eks.chance.uid(), given.get("clientRequestToken") or ""

    def decision() -> Change[Update]:
        entry = eks.cluster(context, given["name"])
        cluster = entry.value
        known = _updates(eks, cluster)
        same = next((one for one in known if token and one.token == token), None)
        if same is not None:
            return Change(same)
        if cluster.status != "ACTIVE":
            raise in_use(
                f"Cannot update because cluster {cluster.name} currently has an update in progress",
                cluster.name,
            )
        changed, kind, params = change(cluster)
        update = Update(
            context.account, context.region, cluster.name, id, kind, context.now, tuple(params),
            token=token,
        )  # fmt: skip
        changed = msgspec.structs.replace(changed, status="UPDATING", update=id)
        forgotten = tuple(Delete(one.key) for one in known[: max(0, len(known) - KEPT + 1)])
        guards = (Guard(entry.key, entry.version), Guard(update.key, 0))
        writes = (Put(entry.key, encode(changed)), Put(update.key, encode(update)))
        return Change(update, guards, (*writes, *forgotten, *_entries(eks, cluster, changed, id)))

    return {"update": shown.update(await eks.carry_out(decision))}


def _entries(eks: Eks, before: Cluster, after: Cluster, id: str) -> tuple[Put, ...]:
    """Where access entries come into force, the creator gets one."""
    if before.authentication != "CONFIG_MAP" or after.authentication == "CONFIG_MAP":
        return ()
    entry = entry_of_creator(after, after.created_at, id)
    if entry is None or eks.view.rows(ENTRIES).get(entry.key) is not None:
        return ()
    return (Put(entry.key, encode(entry)),)


def _updates(eks: Eks, cluster: Cluster) -> list[Update]:
    """A cluster's updates, oldest first."""
    prefix = update_prefix(cluster.account, cluster.region, cluster.name)
    found = [entry.value for entry in eks.view.rows(UPDATES).scan(prefix)]
    return sorted(found, key=lambda one: (one.created_at, one.id))


async def describe_update(eks: Eks, context: Context, given: Input) -> Output:
    """What became of an update."""
    await eks.fresh()
    cluster = eks.cluster(context, given["name"]).value
    for member in ("nodegroupName", "addonName", "capabilityName"):
        if given.get(member):
            raise no_such(f"No {member[:-4]} found for name: {given[member]}.", cluster.name)
    for one in _updates(eks, cluster):
        if one.id == given["updateId"]:
            return {"update": shown.update(one)}
    raise no_such(f"No update found for ID: {given['updateId']}.", cluster.name)


async def list_updates(eks: Eks, context: Context, given: Input) -> Output:
    """The ids of a cluster's updates."""
    await eks.fresh()
    cluster = eks.cluster(context, given["name"]).value
    listed, more = page(sorted(one.id for one in _updates(eks, cluster)), given)
    return {"updateIds": listed, **more}
