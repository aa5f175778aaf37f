"""What is stored of networks, and the tables that views keep of it.

Records of EC2's nouns lie under ``/aws/<account>/<region>/ec2/<kind>/<id>``; every address in
use is a key of its own under ``/hull/net/<vpc>/<address>``, so that a guard of absence makes
booking it twice impossible, whoever books: a task's interface, a pod, an Instance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

from proa.cloud.aws_table import aws_table
from proa.reconcile.view import Table

T = TypeVar("T")
Tags = tuple[tuple[str, str], ...]
ADDRESS_PREFIX = "/hull/net/"
ANYWHERE = "0.0.0.0/0"


class Vpc(msgspec.Struct, frozen=True, omit_defaults=True):
    """A virtual private cloud: one routed address space. Several may overlap. A ``simulated`` one
    only lends its addresses: no Host routes it."""

    id: str
    account: str
    region: str
    cidr: str
    is_default: bool = False
    dhcp_options: str = ""
    dns_support: bool = True
    dns_hostnames: bool = False
    cidr_association: str = ""
    tags: Tags = ()
    simulated: bool = False


class Subnet(msgspec.Struct, frozen=True, omit_defaults=True):
    """A range of a VPC's addresses in one zone."""

    id: str
    account: str
    region: str
    vpc: str
    cidr: str
    zone: str
    zone_id: str
    default_for_zone: bool = False
    map_public_ip: bool = False
    tags: Tags = ()


class SecurityGroupRule(msgspec.Struct, frozen=True, omit_defaults=True):
    """One rule with one peer: exactly one of ``cidr``, ``cidr_v6``, ``group``, ``prefix_list``.
    ``protocol`` is "tcp", "udp", "icmp", "icmpv6", a number or "-1" (all); ports are -1 where
    the protocol has none."""

    id: str
    protocol: str = "-1"
    from_port: int = -1
    to_port: int = -1
    cidr: str = ""
    cidr_v6: str = ""
    group: str = ""
    group_account: str = ""
    prefix_list: str = ""
    description: str = ""
    tags: Tags = ()

    def same_as(self, other: SecurityGroupRule) -> bool:
        """Whether both allow the same (EC2 compares all but id, description and tags)."""
        blank = {"id": "", "description": "", "tags": (), "group_account": ""}
        return msgspec.structs.replace(self, **blank) == msgspec.structs.replace(other, **blank)


class SecurityGroup(msgspec.Struct, frozen=True, omit_defaults=True):
    """A named set of allow rules for the interfaces that carry it."""

    id: str
    account: str
    region: str
    vpc: str
    name: str
    description: str
    ingress: tuple[SecurityGroupRule, ...] = ()
    egress: tuple[SecurityGroupRule, ...] = ()
    tags: Tags = ()


class Route(msgspec.Struct, frozen=True, omit_defaults=True):
    """A destination (a range, or a prefix list's pl-…) and what leads to it: "local", igw-…,
    nat-…, eni-…, vpce-…"""

    destination: str
    gateway: str
    origin: str = "CreateRoute"


class RouteTable(msgspec.Struct, frozen=True, omit_defaults=True):
    """Routes of the subnets associated with it; the main one serves all the others.
    ``associations`` are (association id, subnet id)."""

    id: str
    account: str
    region: str
    vpc: str
    main_association: str = ""  # empty: not the main table of its VPC
    associations: tuple[tuple[str, str], ...] = ()
    routes: tuple[Route, ...] = ()
    tags: Tags = ()


class InternetGateway(msgspec.Struct, frozen=True, omit_defaults=True):
    """The VPC's way out; ``vpc`` is empty while it is attached to none."""

    id: str
    account: str
    region: str
    vpc: str = ""
    tags: Tags = ()


class Interface(msgspec.Struct, frozen=True, omit_defaults=True):
    """An elastic network interface. ``holder`` is the store key of the task or gateway it was
    made for, "" for a user's own. ``public_ip`` says that one was asked for; there are no public
    addresses to give. ``kind`` is EC2's interface type; ``instance`` and ``device`` say where a
    user's interface is attached."""

    id: str
    account: str
    region: str
    vpc: str
    subnet: str
    zone: str
    address: str
    mac: str
    groups: tuple[str, ...] = ()
    description: str = ""
    holder: str = ""
    attachment: str = ""
    public_ip: bool = False
    created_at: float = 0.0
    tags: Tags = ()
    kind: str = "interface"
    instance: str = ""
    device: int = 1
    attached_at: float = 0.0
    delete_on_termination: bool = False
    source_dest_check: bool = True


class HeldAddress(msgspec.Struct, frozen=True, omit_defaults=True):
    """An address in use: by the record under key ``holder``, through ``interface`` if any."""

    vpc: str
    subnet: str
    address: str
    holder: str
    interface: str = ""


encode = msgspec.json.Encoder().encode


def network_key(account: str, region: str, kind: str, id: str) -> str:
    """Where one of EC2's records lies; ``kind`` is "vpc", "subnet", "security-group" …"""
    return f"/aws/{account}/{region}/ec2/{kind}/{id}"


def address_key(vpc: str, address: str) -> str:
    """Where the booking of one address lies."""
    return f"{ADDRESS_PREFIX}{vpc}/{address}"


Indexes = Mapping[str, Callable[[str, Any], tuple[str, ...]]]


def network_table(kind: str, record: type[T], indexes: Indexes | None = None) -> Table[T]:
    """The table of one of EC2's nouns, whose records have an id, an account and a region."""
    decoder = msgspec.json.Decoder(record)
    by_id: Indexes = {
        "id": lambda _key, value: (value.id,),
        "place": lambda _key, value: (f"{value.account}/{value.region}",),
    }
    every = {**by_id, **(indexes or {})}
    return aws_table(f"ec2-{kind}", ("ec2", kind), decoder.decode, every)


of_vpc: Indexes = {"vpc": lambda _key, value: (value.vpc,)}

VPCS: Table[Vpc] = network_table("vpc", Vpc)
SUBNETS: Table[Subnet] = network_table("subnet", Subnet, of_vpc)
SECURITY_GROUPS: Table[SecurityGroup] = network_table("security-group", SecurityGroup, of_vpc)
ROUTE_TABLES: Table[RouteTable] = network_table("route-table", RouteTable, of_vpc)
INTERNET_GATEWAYS: Table[InternetGateway] = network_table(
    "internet-gateway", InternetGateway, of_vpc
)
INTERFACES: Table[Interface] = network_table(
    "network-interface",
    Interface,
    {
        **of_vpc,
        "subnet": lambda _key, value: (value.subnet,),
        "holder": lambda _key, value: (value.holder,) if value.holder else (),
        "group": lambda _key, value: value.groups,
    },
)
ADDRESSES: Table[HeldAddress] = Table(
    "held-addresses",
    ADDRESS_PREFIX,
    msgspec.json.Decoder(HeldAddress).decode,
    indexes={
        "vpc": lambda _key, value: (value.vpc,),
        "subnet": lambda _key, value: (value.subnet,),
        "holder": lambda _key, value: (value.holder,),
    },
    by_parent=True,
)
