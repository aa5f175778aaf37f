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
from proa.cloud.network.edges import (
    DHCP_OPTIONS,
    ELASTIC_ADDRESSES,
    KEY_PAIRS,
    NAT_GATEWAYS,
    NETWORK_ACLS,
    VPC_ENDPOINTS,
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
ADDRESS = Kind(
    "elastic-ip",
    "eipalloc",
    ELASTIC_ADDRESSES,
    "InvalidAllocationID.NotFound",
    "The allocation ID '{id}' does not exist",
)
NAT = Kind(
    "natgateway", "nat", NAT_GATEWAYS, "NatGatewayNotFound", "NAT gateway {id} was not found"
)
ENDPOINT = Kind(
    "vpc-endpoint",
    "vpce",
    VPC_ENDPOINTS,
    "InvalidVpcEndpointId.NotFound",
    "The Vpc Endpoint Id '{id}' does not exist",
)
DHCP = Kind(
    "dhcp-options",
    "dopt",
    DHCP_OPTIONS,
    "InvalidDhcpOptionsID.NotFound",
    "The dhcpOption ID '{id}' does not exist",
)
ACL = Kind(
    "network-acl",
    "acl",
    NETWORK_ACLS,
    "InvalidNetworkAclID.NotFound",
    "The networkAcl ID '{id}' does not exist",
)
KEY = Kind(
    "key-pair",
    "key",
    KEY_PAIRS,
    "InvalidKeyPair.NotFound",
    "The key pair '{id}' does not exist",
)
# By the prefix of ids.
KINDS: dict[str, Kind[Any]] = {
    kind.prefix: kind
    for kind in (
        VPC,
        SUBNET,
        GROUP,
        ROUTES,
        GATEWAY,
        INTERFACE,
        ADDRESS,
        NAT,
        ENDPOINT,
        DHCP,
        ACL,
        KEY,
    )
}
