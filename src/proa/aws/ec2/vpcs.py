"""VPCs, route tables and internet gateways."""

from __future__ import annotations

from ipaddress import IPv4Network

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
from proa.aws.ec2.kinds import GATEWAY, GROUP, INTERFACE, ROUTES, SUBNET, VPC
from proa.aws.ec2.select import Fields, described, flag
from proa.aws.gateway.service import AwsError, Context, Input, Output
from proa.cloud.network import InternetGateway, Route, RouteTable, Vpc
from proa.cloud.network.bootstrap import default_security_group
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
_ROUTE_FIELDS: Fields[RouteTable] = {
    "vpc-id": lambda one: (one.vpc,),
    "route-table-id": lambda one: (one.id,),
    "association.main": lambda one: flag(bool(one.main_association)),
    "association.route-table-id": lambda one: (one.id,),
    "association.route-table-association-id": lambda one: (
        one.main_association,
        *(id for id, _subnet in one.associations),
    ),
    "association.subnet-id": lambda one: tuple(subnet for _id, subnet in one.associations),
    "route.destination-cidr-block": lambda one: tuple(r.destination for r in one.routes),
    "route.gateway-id": lambda one: tuple(route.gateway for route in one.routes),
    "route.origin": lambda one: tuple(route.origin for route in one.routes),
    "route.state": lambda one: ("active",) if one.routes else (),
}
_GATEWAY_FIELDS: Fields[InternetGateway] = {
    "internet-gateway-id": lambda one: (one.id,),
    "attachment.vpc-id": lambda one: (one.vpc,) if one.vpc else (),
    "attachment.state": lambda one: ("available",) if one.vpc else (),
}


def parse_cidr(text: str, least: int, most: int, code: str) -> IPv4Network:
    """A range with a prefix of ``least`` to ``most`` bits and no host bits set; EC2 cuts host
    bits off. Raises InvalidParameterValue, or ``code`` for a size that is not allowed."""
    try:
        network = IPv4Network(text, strict=False)
        if "/" not in text:
            raise ValueError(text)
    except ValueError as error:
        raise invalid(text, "cidrBlock", "This is not a valid CIDR block.") from error
    if not least <= network.prefixlen <= most:
        raise AwsError(code, f"The CIDR '{text}' is invalid.")
    return network


async def describe_vpcs(ec2: Ec2, context: Context, given: Input) -> Output:
    found, more = described(ec2, context, VPC, given, given.get("VpcIds"), _VPC_FIELDS)
    return {"Vpcs": [shown.vpc(one) for one in found], **more}


async def create_vpc(ec2: Ec2, context: Context, given: Input) -> Output:
    """A VPC comes with a main route table and a default security group."""
    if not given.get("CidrBlock"):
        raise missing("cidrBlock")
    cidr = str(parse_cidr(given["CidrBlock"], 16, 28, "InvalidVpc.Range"))
    default = ec2.planner.default_vpc(context.account, context.region)
    vpc = Vpc(
        id=ec2.new_id("vpc"),
        account=context.account,
        region=context.region,
        cidr=cidr,
        dhcp_options=default.dhcp_options if default else "default",
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
    ]  # fmt: skip
    writes, guards = zip(*made, strict=True)
    await ec2.write(lambda: Decision(None, writes, guards))
    return {"Vpc": {**shown.vpc(vpc), "State": "pending"}}


async def delete_vpc(ec2: Ec2, context: Context, given: Input) -> Output:
    """Together with its main route table and default group; refused while it holds more."""

    def decide() -> Decision[None]:
        entry = ec2.entry(context, VPC, given["VpcId"])
        id = entry.value.id
        groups = [one for one in ec2.entries(context, GROUP) if one.value.vpc == id]
        tables = [one for one in ec2.entries(context, ROUTES) if one.value.vpc == id]
        held = [
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
        return removal([entry, *groups, *tables])

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
    if len(wanted) != 1:
        message = "Exactly one VPC attribute must be specified"
        raise AwsError("InvalidParameterCombination", message)

    def decide() -> Decision[None]:
        entry: Entry[Vpc] = ec2.entry(context, VPC, given["VpcId"])
        put, guard = change(entry, msgspec.structs.replace(entry.value, **wanted))
        return Decision(None, (put,), (guard,))

    await ec2.write(decide)
    return {}


async def describe_route_tables(ec2: Ec2, context: Context, given: Input) -> Output:
    ids = given.get("RouteTableIds")
    found, more = described(ec2, context, ROUTES, given, ids, _ROUTE_FIELDS)
    return {"RouteTables": [shown.route_table(one) for one in found], **more}


async def describe_internet_gateways(ec2: Ec2, context: Context, given: Input) -> Output:
    ids = given.get("InternetGatewayIds")
    found, more = described(ec2, context, GATEWAY, given, ids, _GATEWAY_FIELDS)
    return {"InternetGateways": [shown.internet_gateway(one) for one in found], **more}


OPERATIONS = {
    "DescribeVpcs": describe_vpcs,
    "CreateVpc": create_vpc,
    "DeleteVpc": delete_vpc,
    "DescribeVpcAttribute": describe_vpc_attribute,
    "ModifyVpcAttribute": modify_vpc_attribute,
    "DescribeRouteTables": describe_route_tables,
    "DescribeInternetGateways": describe_internet_gateways,
}
