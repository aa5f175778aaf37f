"""The nouns of EC2 that are stored: key names, id prefixes, tables and NotFound errors."""

from __future__ import annotations

from typing import Any

from proa.aws.ec2.base import Kind, vpc_entry_kind
from proa.cloud.network import (
    INTERFACES,
    INTERNET_GATEWAYS,
    ROUTE_TABLES,
    SECURITY_GROUPS,
    SUBNETS,
)

VPC = vpc_entry_kind()
SUBNET = Kind(
    "subnet", "subnet", SUBNETS, "InvalidSubnetID.NotFound", "The subnet ID '{id}' does not exist"
)
GROUP = Kind(
    "security-group",
    "sg",
    SECURITY_GROUPS,
    "InvalidGroup.NotFound",
    "The security group '{id}' does not exist",
)
ROUTES = Kind(
    "route-table",
    "rtb",
    ROUTE_TABLES,
    "InvalidRouteTableID.NotFound",
    "The routeTable ID '{id}' does not exist",
)
GATEWAY = Kind(
    "internet-gateway",
    "igw",
    INTERNET_GATEWAYS,
    "InvalidInternetGatewayID.NotFound",
    "The internetGateway ID '{id}' does not exist",
)
INTERFACE = Kind(
    "network-interface",
    "eni",
    INTERFACES,
    "InvalidNetworkInterfaceID.NotFound",
    "The networkInterface ID '{id}' does not exist",
)
KINDS: dict[str, Kind[Any]] = {
    kind.prefix: kind for kind in (VPC, SUBNET, GROUP, ROUTES, GATEWAY, INTERFACE)
}
