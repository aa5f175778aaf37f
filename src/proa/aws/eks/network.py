"""Where a cluster lies: its subnets and security groups, and the group of its own."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any

import msgspec

from proa.aws.eks.desk import Eks
from proa.aws.eks.errors import invalid
from proa.aws.eks.records import Cluster
from proa.aws.gateway.service import Context
from proa.cloud.network import NetworkPlanner, SecurityGroup, Subnet, Vpc
from proa.cloud.network.bootstrap import default_security_group, stable_id
from proa.cloud.network.records import encode, network_key
from proa.store.api import Put

MAX_PUBLIC_CIDRS = 40
MAX_SECURITY_GROUPS = 4
_GROUP_DESCRIPTION = (
    "EKS created security group applied to ENI that is attached to EKS Control Plane master "
    "nodes, as well as any managed workloads."
)


@dataclass(slots=True, frozen=True)
class Network:
    """resourcesVpcConfig, checked."""

    vpc: str
    subnets: tuple[str, ...]
    groups: tuple[str, ...]
    public_access: bool
    private_access: bool
    public_cidrs: tuple[str, ...]


def checked_network(eks: Eks, context: Context, given: dict[str, Any]) -> Network:
    """What a new cluster asks for. Raises InvalidParameterException."""
    if given.get("controlPlaneEgressMode", "AWS_MANAGED") != "AWS_MANAGED":
        raise invalid("controlPlaneEgressMode: Proa serves AWS_MANAGED only")
    subnets = checked_subnets(eks, context, given.get("subnetIds") or ())
    vpc = subnets[0].vpc
    groups = checked_groups(eks, context, vpc, given.get("securityGroupIds") or ())
    public = given.get("endpointPublicAccess", True)
    private = given.get("endpointPrivateAccess", False)
    cidrs = checked_cidrs(given.get("publicAccessCidrs"))
    check_access(public, private)
    return Network(vpc, tuple(one.id for one in subnets), groups, public, private, cidrs)


def checked_subnets(eks: Eks, context: Context, ids: list[str] | tuple[str, ...]) -> list[Subnet]:
    """Subnets of one VPC in at least two zones ("Amazon EKS networking requirements")."""
    planner = NetworkPlanner(eks.view)
    found: list[Subnet] = []
    for id in dict.fromkeys(ids):
        subnet = planner.subnet(id)
        if subnet is None or (subnet.account, subnet.region) != (context.account, context.region):
            raise invalid(f"The subnet ID '{id}' does not exist")
        found.append(subnet)
    if len({subnet.vpc for subnet in found}) > 1:
        raise invalid("Subnets specified must be in the same VPC")
    if len({subnet.zone for subnet in found}) < 2:
        raise invalid("Subnets specified must be in at least two different AZs")
    return found


def checked_groups(
    eks: Eks, context: Context, vpc: str, ids: list[str] | tuple[str, ...]
) -> tuple[str, ...]:
    """Security groups of the VPC."""
    planner = NetworkPlanner(eks.view)
    if len(ids) > MAX_SECURITY_GROUPS:
        raise invalid(f"A cluster has at most {MAX_SECURITY_GROUPS} security groups")
    for id in ids:
        group = planner.security_group(id)
        if group is None or (group.account, group.region) != (context.account, context.region):
            raise invalid(f"The security group '{id}' does not exist")
        if group.vpc != vpc:
            raise invalid(f"Security group(s) [{id}] are not in the same VPC as the subnets")
    return tuple(dict.fromkeys(ids))


def checked_cidrs(given: list[str] | None) -> tuple[str, ...]:
    """publicAccessCidrs; everywhere by default."""
    cidrs = given or ["0.0.0.0/0"]
    if len(cidrs) > MAX_PUBLIC_CIDRS:
        raise invalid(f"There may be at most {MAX_PUBLIC_CIDRS} publicAccessCidrs")
    for cidr in cidrs:
        try:
            IPv4Network(cidr)
        except ValueError as error:
            raise invalid(f"The following CIDRs are invalid in publicAccessCidrs: {cidr}") from (
                error
            )
    return tuple(dict.fromkeys(cidrs))


def check_access(public: bool, private: bool) -> None:
    """Somebody must be able to reach the API."""
    if not public and not private:
        raise invalid("Private and public endpoint access cannot be false")


@dataclass(slots=True, frozen=True)
class ClusterGroup:
    """The cluster security group and its key."""

    id: str
    key: str
    record: SecurityGroup

    def put(self) -> Put:
        return Put(self.key, encode(self.record))


def cluster_group(cluster: Cluster) -> ClusterGroup:
    """The group that EKS makes for a cluster: in from itself, out to anywhere."""
    id = stable_id("sg", cluster.uid)
    rules = (stable_id("sgr", cluster.uid, "in"), stable_id("sgr", cluster.uid, "out"))
    vpc = Vpc(cluster.vpc, cluster.account, cluster.region, "")
    made = msgspec.structs.replace(
        default_security_group(vpc, id, rules),
        name=f"eks-cluster-sg-{cluster.name}-{int(id[-8:], 16)}",
        description=_GROUP_DESCRIPTION,
        tags=(
            ("Name", f"eks-cluster-sg-{cluster.name}"),
            (f"kubernetes.io/cluster/{cluster.name}", "owned"),
            ("aws:eks:cluster-name", cluster.name),
        ),
    )
    return ClusterGroup(
        id, network_key(cluster.account, cluster.region, "security-group", id), made
    )
