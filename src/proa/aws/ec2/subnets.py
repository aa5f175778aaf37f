"""Subnets."""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Any

import msgspec

from proa.aws.ec2 import shown
from proa.aws.ec2.base import (
    Decision,
    Ec2,
    change,
    creation,
    invalid,
    missing,
    removal,
    specified_tags,
)
from proa.aws.ec2.kinds import ACL, ROUTES, SUBNET, VPC
from proa.aws.ec2.ranges import parse_range
from proa.aws.ec2.select import Fields, described, flag
from proa.aws.gateway.service import AwsError, Context, Input, Output
from proa.cloud.network import ADDRESSES, Subnet
from proa.cloud.network.bootstrap import zone_id, zone_names
from proa.reconcile.view import Entry
from proa.store.api import Guard, Put


def _subnet_fields(ec2: Ec2) -> Fields[Subnet]:
    return {
        "subnet-id": lambda one: (one.id,),
        "subnet-arn": lambda one: (shown.arn(one.region, one.account, f"subnet/{one.id}"),),
        "vpc-id": lambda one: (one.vpc,),
        "availability-zone": lambda one: (one.zone,),
        "availabilityZone": lambda one: (one.zone,),
        "availability-zone-id": lambda one: (one.zone_id,),
        "availabilityZoneId": lambda one: (one.zone_id,),
        "available-ip-address-count": lambda one: (str(ec2.planner.free_count(one)),),
        "cidr-block": lambda one: (one.cidr,),
        "cidr": lambda one: (one.cidr,),
        "cidrBlock": lambda one: (one.cidr,),
        "default-for-az": lambda one: flag(one.default_for_zone),
        "defaultForAz": lambda one: flag(one.default_for_zone),
        "map-public-ip-on-launch": lambda one: flag(one.map_public_ip),
        "ipv6-native": lambda _one: flag(False),
        "state": lambda _one: ("available",),
    }


async def describe_subnets(ec2: Ec2, context: Context, given: Input) -> Output:
    ids = given.get("SubnetIds")
    found, more = described(ec2, context, SUBNET, given, ids, _subnet_fields(ec2))
    return {"Subnets": [shown.subnet(one, ec2.planner.free_count(one)) for one in found], **more}


def _zone_of(context: Context, given: Input) -> str:
    """The zone asked for by name or id; the region's first when neither is given."""
    names = zone_names(context.region)
    wanted, wanted_id = given.get("AvailabilityZone"), given.get("AvailabilityZoneId")
    for name in names:
        if name == wanted or (not wanted and zone_id(name) == wanted_id):
            return name
    if not wanted and not wanted_id:
        return names[0]
    parameter = "availabilityZone" if wanted else "availabilityZoneId"
    listed = ", ".join(names)
    more = f"Subnets can currently only be created in the following availability zones: {listed}."
    raise invalid(wanted or wanted_id, parameter, more)


async def create_subnet(ec2: Ec2, context: Context, given: Input) -> Output:
    """Inside its VPC's range and apart from the VPC's other subnets, /16 to /28."""
    if not given.get("CidrBlock"):
        raise missing("cidrBlock")
    network = parse_range(given["CidrBlock"], 16, 28, "InvalidSubnet.Range")
    zone = _zone_of(context, given)
    subnet = Subnet(
        id=ec2.new_id("subnet"),
        account=context.account,
        region=context.region,
        vpc=given["VpcId"],
        cidr=str(network),
        zone=zone,
        zone_id=zone_id(zone),
        tags=specified_tags(given, "subnet"),
    )

    def decide() -> Decision[None]:
        touched = ec2.touch_vpc(context, given["VpcId"], VPC)
        if not network.subnet_of(IPv4Network(touched.result.value.cidr)):
            raise AwsError("InvalidSubnet.Range", f"The CIDR '{network}' is invalid.")
        for other in ec2.all(context, SUBNET):
            if other.vpc == subnet.vpc and network.overlaps(IPv4Network(other.cidr)):
                message = f"The CIDR '{network}' conflicts with another subnet"
                raise AwsError("InvalidSubnet.Conflict", message)
        put, guard = creation(subnet, SUBNET.name)
        return Decision(None, (*touched.writes, put), (*touched.guards, guard))

    await ec2.write(decide)
    return {"Subnet": shown.subnet(subnet, ec2.planner.free_count(subnet))}


def _without_subnet(ec2: Ec2, context: Context, subnet: Subnet) -> list[tuple[Put, Guard]]:
    """The route tables and ACLs that named a subnet, without it."""
    entries: list[Entry[Any]] = [*ec2.entries(context, ROUTES), *ec2.entries(context, ACL)]
    pairs = []
    for entry in entries:
        kept = tuple(pair for pair in entry.value.associations if pair[1] != subnet.id)
        if kept != entry.value.associations:
            changed = msgspec.structs.replace(entry.value, associations=kept)
            pairs.append(change(entry, changed))
    return pairs


async def delete_subnet(ec2: Ec2, context: Context, given: Input) -> Output:
    """Refused while an address of it is held; its associations go with it."""

    def decide() -> Decision[None]:
        entry = ec2.entry(context, SUBNET, given["SubnetId"])
        if ec2.view.rows(ADDRESSES).by("subnet", entry.value.id):
            message = f"The subnet '{entry.value.id}' has dependencies and cannot be deleted."
            raise AwsError("DependencyViolation", message)
        gone = removal([entry])
        pairs = _without_subnet(ec2, context, entry.value)
        return Decision(
            None,
            (*gone.writes, *(put for put, _guard in pairs)),
            (*gone.guards, *(guard for _put, guard in pairs)),
        )

    await ec2.write(decide)
    return {}


# Attributes that are as they are: a request that leaves them so is granted.
_FIXED = {
    "AssignIpv6AddressOnCreation": False, "EnableDns64": False,
    "EnableResourceNameDnsARecordOnLaunch": False,
    "EnableResourceNameDnsAAAARecordOnLaunch": False, "MapCustomerOwnedIpOnLaunch": False,
}  # fmt: skip


def _check_fixed(given: Input) -> None:
    for name, value in _FIXED.items():
        if name in given and bool((given[name] or {}).get("Value", False)) != value:
            raise invalid("true", name, "Proa has nothing of the kind.")
    if given.get("PrivateDnsHostnameTypeOnLaunch", "ip-name") != "ip-name":
        asked = given["PrivateDnsHostnameTypeOnLaunch"]
        raise invalid(asked, "privateDnsHostnameTypeOnLaunch", "Only ip-name is served.")


async def modify_subnet_attribute(ec2: Ec2, context: Context, given: Input) -> Output:
    """MapPublicIpOnLaunch: the other attributes have no meaning here."""
    _check_fixed(given)
    wanted = given.get("MapPublicIpOnLaunch")
    if wanted is None:
        if set(given) == {"SubnetId"}:
            message = "Exactly one attribute must be specified"
            raise AwsError("InvalidParameterCombination", message)
        ec2.entry(context, SUBNET, given["SubnetId"])
        return {}

    def decide() -> Decision[None]:
        entry = ec2.entry(context, SUBNET, given["SubnetId"])
        value = bool(wanted.get("Value", False))
        put, guard = change(entry, msgspec.structs.replace(entry.value, map_public_ip=value))
        return Decision(None, (put,), (guard,))

    await ec2.write(decide)
    return {}


OPERATIONS = {
    "DescribeSubnets": describe_subnets,
    "CreateSubnet": create_subnet,
    "DeleteSubnet": delete_subnet,
    "ModifySubnetAttribute": modify_subnet_attribute,
}
