"""Networks that both bows stand on: VPCs, subnets, security groups, interfaces, addresses.

``records`` holds what is stored, ``planner`` the decisions (which address, whose interface),
``bootstrap`` the default VPC of a new account. All of it is synchronous; whoever calls it puts
the guards and writes it returns into a transaction of its own.
"""

from typing import Any

from proa.cloud.network.bootstrap import (
    bootstrap_network,
    simulated_network,
    simulated_vpc,
)
from proa.cloud.network.edges import EDGE_TABLES
from proa.cloud.network.planner import (
    AddressInUse,
    AddressOutside,
    AddressPlan,
    InterfacePlan,
    NetworkPlanner,
    NoFreeAddresses,
    Release,
    UnknownSecurityGroup,
    UnknownSubnet,
    WrongVpc,
    mac_of,
)
from proa.cloud.network.records import (
    ADDRESSES,
    INTERFACES,
    INTERNET_GATEWAYS,
    ROUTE_TABLES,
    SECURITY_GROUPS,
    SUBNETS,
    VPCS,
    HeldAddress,
    Interface,
    InternetGateway,
    Route,
    RouteTable,
    SecurityGroup,
    SecurityGroupRule,
    Subnet,
    Vpc,
    address_key,
    network_key,
)
from proa.reconcile.view import Table

NETWORK_TABLES: tuple[Table[Any], ...] = (
    VPCS,
    SUBNETS,
    SECURITY_GROUPS,
    ROUTE_TABLES,
    INTERNET_GATEWAYS,
    INTERFACES,
    ADDRESSES,
    *EDGE_TABLES,
)

__all__ = [
    "ADDRESSES",
    "INTERFACES",
    "INTERNET_GATEWAYS",
    "NETWORK_TABLES",
    "ROUTE_TABLES",
    "SECURITY_GROUPS",
    "SUBNETS",
    "VPCS",
    "AddressInUse",
    "AddressOutside",
    "AddressPlan",
    "HeldAddress",
    "Interface",
    "InterfacePlan",
    "InternetGateway",
    "NetworkPlanner",
    "NoFreeAddresses",
    "Release",
    "Route",
    "RouteTable",
    "SecurityGroup",
    "SecurityGroupRule",
    "Subnet",
    "UnknownSecurityGroup",
    "UnknownSubnet",
    "Vpc",
    "WrongVpc",
    "address_key",
    "bootstrap_network",
    "mac_of",
    "network_key",
    "simulated_network",
    "simulated_vpc",
]
