"""CreateCluster: what is asked for, checked against IAM, EC2 and the other clusters."""

from __future__ import annotations

from typing import Any

import msgspec

from proa.aws.eks import ranges, shown
from proa.aws.eks.access import entry_of_creator
from proa.aws.eks.desk import Eks, checked_tags
from proa.aws.eks.errors import in_use, invalid
from proa.aws.eks.network import checked_network, cluster_group
from proa.aws.eks.options import (
    authentication_of,
    checked_encryption,
    checked_logging,
    refuse_unserved,
)
from proa.aws.eks.records import CLUSTERS, DEFAULT, Cluster, cluster_key, encode
from proa.aws.eks.versions import DEFAULT_VERSION, VERSIONS
from proa.aws.gateway.desk import Change, touched
from proa.aws.gateway.service import AwsError, Context, Input, Output
from proa.cloud.identity import ROLES, entity_key, entity_of
from proa.cloud.network import VPCS
from proa.cloud.network.records import network_key
from proa.cloud.policy import Access, decide, parse_policy
from proa.store.api import Exists, Guard, Put

MAX_CLUSTERS = 100  # of an account and region (EKS service quotas)


async def create_cluster(eks: Eks, context: Context, given: Input) -> Output:
    """Write the cluster as CREATING; its API comes up behind this. The same token and name again
    answer the cluster that is there."""
    await eks.fresh()
    seed = eks.chance.hex(8)

    def decision() -> Change[Cluster]:
        key = cluster_key(context.account, context.region, given["name"])
        there = eks.view.rows(CLUSTERS).get(key)
        if there is not None:
            token = given.get("clientRequestToken")
            if token and token == there.value.token:
                return Change(there.value)
            name = given["name"]
            raise in_use(f"Cluster already exists with name: {name}", name)
        return _made(eks, context, given, f"{given['name']}-{seed}")

    made = await eks.carry_out(decision)
    return {"cluster": shown.cluster(made, eks.host)}


def _made(eks: Eks, context: Context, given: Input, uid: str) -> Change[Cluster]:
    refuse_unserved(given)
    held = len(list(eks.view.rows(CLUSTERS).scan(cluster_key(context.account, context.region, ""))))
    if held >= MAX_CLUSTERS:
        raise AwsError("ResourceLimitExceededException", "Cluster limit exceeded for account")
    version = given.get("version") or DEFAULT_VERSION
    if version not in VERSIONS:
        raise invalid("unsupported Kubernetes version")
    _check_role(eks, context, given["roleArn"])
    network = checked_network(eks, context, given["resourcesVpcConfig"])
    access = given.get("accessConfig") or {}
    cluster = Cluster(
        account=context.account,
        region=context.region,
        name=given["name"],
        uid=uid,
        version=version,
        role=given["roleArn"],
        service_cidr=_service_range(eks, network.vpc, given),
        created_at=context.now,
        vpc=network.vpc,
        subnets=network.subnets,
        security_groups=network.groups,
        public_access=network.public_access,
        private_access=network.private_access,
        public_cidrs=network.public_cidrs,
        creator=_creator(eks, context),
        creator_is_admin=access.get("bootstrapClusterCreatorAdminPermissions", True),
        authentication=authentication_of(access),
        logging=checked_logging(given.get("logging"), ()),
        encryption=checked_encryption(given.get("encryptionConfig")),
        support=(given.get("upgradePolicy") or {}).get("supportType", "EXTENDED"),
        zonal_shift=(given.get("zonalShiftConfig") or {}).get("enabled", False),
        protected=given.get("deletionProtection", False),
        tags=checked_tags(given.get("tags")),
        token=given.get("clientRequestToken") or "",
    )
    group = cluster_group(cluster)
    cluster = msgspec.structs.replace(cluster, own_group=group.id)
    entry = entry_of_creator(cluster, context.now, uid)
    entries = (Put(entry.key, encode(entry)),) if entry else ()
    # The first cluster is touched so that no two choose a range over the same picture.
    (first,) = eks.view.rows(CLUSTERS).by("uid", DEFAULT)
    guard, same = touched(first)
    return Change(
        cluster,
        (Guard(cluster.key, 0), guard, Guard(group.key, 0), Exists(_vpc_key(cluster))),
        (Put(cluster.key, encode(cluster)), same, group.put(), *entries),
    )


def _creator(eks: Eks, context: Context) -> str:
    """The principal behind the caller, a role with its path."""
    entity = entity_of(eks.view, context.principal_arn)
    return entity.arn if entity is not None else context.principal_arn


def _vpc_key(cluster: Cluster) -> str:
    return network_key(cluster.account, cluster.region, "vpc", cluster.vpc)


def _service_range(eks: Eks, vpc: str, given: Input) -> str:
    config: dict[str, Any] = given.get("kubernetesNetworkConfig") or {}
    others = [entry.value.service_cidr for entry in eks.view.rows(CLUSTERS).scan()]
    vpcs = {entry.value.id: entry.value.cidr for entry in eks.view.rows(VPCS).scan()}
    wanted = config.get("serviceIpv4Cidr")
    if wanted:
        return ranges.checked(wanted, vpcs[vpc], others)
    return ranges.next_free(eks.first_range, [*others, *vpcs.values(), eks.first_range])


def _check_role(eks: Eks, context: Context, arn: str) -> None:
    """The role must be there and let EKS in."""
    parts = arn.split(":", 5)
    if len(parts) != 6 or not parts[5].startswith("role/") or parts[4] != context.account:
        raise invalid(f"Role with arn: {arn}, is not valid: not a role of this account")
    found = eks.view.rows(ROLES).get(entity_key(parts[4], "role", arn.rpartition("/")[2]))
    asked = Access("sts:AssumeRole", arn, ("Service", "eks.amazonaws.com"))
    if (
        found is None
        or found.value.arn != arn
        or decide(asked, [parse_policy(found.value.trust)]) != "allow"
    ):
        raise invalid(
            f"Role with arn: {arn}, could not be assumed because it does not exist or the trusted "
            "entity is not correct"
        )
