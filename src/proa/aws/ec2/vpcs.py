"""VPCs and their attributes."""

from __future__ import annotations

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
from proa.aws.ec2.dhcp import default_options
from proa.aws.ec2.kinds import ACL, ENDPOINT, GATEWAY, GROUP, INTERFACE, ROUTES, SUBNET, VPC
from proa.aws.ec2.ranges import parse_range
from proa.aws.ec2.select import Fields, described, flag
from proa.aws.gateway.service import AwsError, Context, Input, Output
from proa.cloud.network import Route, RouteTable, Vpc
from proa.cloud.network.bootstrap import default_security_group
from proa.cloud.network.edges import default_acl
from proa.reconcile.view import Entry

_VPC_FIELDS: Fields[Vpc] = {
    "vpc-id": lambda one: (one.id,),
    "cidr": lambda one: (one.cidr,),
    "cidr-block-association.cidr-block": lambda one: (one.cidr,),
    "cidr-block-association.association-id": lambda one: (one.cidr_association,),
    "cidr-block-association.state": lambda _one: ("associated",),
    "dhcp-options-id": lambda one: (one.dhcp_options,),
    "is-default": lambda one: flag(one.is_default),
    "isDefault": lambda one: flag(one.is_default),
    "state": lambda _one: ("available",),
}


async def describe_vpcs(ec2: Ec2, context: Context, given: Input) -> Output:
    found, more = described(ec2, context, VPC, given, given.get("VpcIds"), _VPC_FIELDS)
    return {"Vpcs": [shown.vpc(one) for one in found], **more}


async def create_vpc(ec2: Ec2, context: Context, given: Input) -> Output:
    """A VPC comes with a main route table, a default security group and a default ACL."""
    if not given.get("CidrBlock"):
        raise missing("cidrBlock")
    cidr = str(parse_range(given["CidrBlock"], 16, 28, "InvalidVpc.Range"))
    tenancy = given.get("InstanceTenancy", "default")
    if tenancy != "default":
        raise invalid(tenancy, "instanceTenancy", "Proa has no dedicated hardware.")
    vpc = Vpc(
        id=ec2.new_id("vpc"),
        account=context.account,
        region=context.region,
        cidr=cidr,
        dhcp_options=default_options(context).id,
        cidr_association=ec2.new_id("vpc-cidr-assoc"),
        tags=specified_tags(given, "vpc"),
    )
    rules = (ec2.new_id("sgr"), ec2.new_id("sgr"))
    group = default_security_group(vpc, ec2.new_id("sg"), rules)
    table = RouteTable(
        id=ec2.new_id("rtb"),
        account=context.account,
        region=context.region,
        vpc=vpc.id,
        main_association=ec2.new_id("rtbassoc"),
        routes=(Route(cidr, "local", "CreateRouteTable"),),
    )
    made = [
        creation(vpc, VPC.name), creation(group, GROUP.name), creation(table, ROUTES.name),
        creation(default_acl(vpc, ec2.new_id("acl")), ACL.name),
    ]  # fmt: skip
    writes, guards = zip(*made, strict=True)
    await ec2.write(lambda: Decision(None, writes, guards))
    return {"Vpc": {**shown.vpc(vpc), "State": "pending"}}


async def delete_vpc(ec2: Ec2, context: Context, given: Input) -> Output:
    """Together with its main route table, default group and ACL; refused while it holds more."""

    def decide() -> Decision[None]:
        entry = ec2.entry(context, VPC, given["VpcId"])
        id = entry.value.id
        groups = [one for one in ec2.entries(context, GROUP) if one.value.vpc == id]
        tables = [one for one in ec2.entries(context, ROUTES) if one.value.vpc == id]
        acls = [one for one in ec2.entries(context, ACL) if one.value.vpc == id]
        held: list[object] = [
            *(one for one in acls if not one.value.is_default),
            *(one for one in ec2.all(context, ENDPOINT) if one.vpc == id),
            *(one for one in ec2.all(context, SUBNET) if one.vpc == id),
            *(one for one in ec2.all(context, INTERFACE) if one.vpc == id),
            *(one for one in ec2.all(context, GATEWAY) if one.vpc == id),
            *(one for one in groups if one.value.name != "default"),
            *(one for one in tables if not one.value.main_association),
        ]
        if held:
            raise AwsError(
                "DependencyViolation", f"The vpc '{id}' has dependencies and cannot be deleted."
            )
        return removal([entry, *groups, *tables, *acls])

    await ec2.write(decide)
    return {}


_ATTRIBUTES = {
    "enableDnsSupport": ("EnableDnsSupport", "dns_support"),
    "enableDnsHostnames": ("EnableDnsHostnames", "dns_hostnames"),
}


async def describe_vpc_attribute(ec2: Ec2, context: Context, given: Input) -> Output:
    vpc = ec2.entry(context, VPC, given["VpcId"]).value
    if given["Attribute"] == "enableNetworkAddressUsageMetrics":
        return {"VpcId": vpc.id, "EnableNetworkAddressUsageMetrics": {"Value": False}}
    if given["Attribute"] not in _ATTRIBUTES:
        raise invalid(given["Attribute"], "attribute", "Unknown VPC attribute specified.")
    member, field = _ATTRIBUTES[given["Attribute"]]
    return {"VpcId": vpc.id, member: {"Value": getattr(vpc, field)}}


async def modify_vpc_attribute(ec2: Ec2, context: Context, given: Input) -> Output:
    wanted = {
        field: bool(given[member]["Value"])
        for member, field in _ATTRIBUTES.values()
        if "Value" in (given.get(member) or {})
    }
    metrics = given.get("EnableNetworkAddressUsageMetrics")
    if metrics is not None and not wanted:
        if metrics.get("Value"):
            raise invalid("true", "enableNetworkAddressUsageMetrics", "Proa keeps none.")
        ec2.entry(context, VPC, given["VpcId"])
        return {}
    if len(wanted) != 1:
        message = "Exactly one VPC attribute must be specified"
        raise AwsError("InvalidParameterCombination", message)

    def decide() -> Decision[None]:
        entry: Entry[Vpc] = ec2.entry(context, VPC, given["VpcId"])
        put, guard = change(entry, msgspec.structs.replace(entry.value, **wanted))
        return Decision(None, (put,), (guard,))

    await ec2.write(decide)
    return {}


OPERATIONS = {
    "DescribeVpcs": describe_vpcs,
    "CreateVpc": create_vpc,
    "DeleteVpc": delete_vpc,
    "DescribeVpcAttribute": describe_vpc_attribute,
    "ModifyVpcAttribute": modify_vpc_attribute,
}
