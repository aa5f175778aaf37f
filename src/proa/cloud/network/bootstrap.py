"""The network that every account and region starts with, as in AWS (VPC guide, default VPCs).

``server.assemble`` commits ``bootstrap_network`` once; the same account and region give the
same ids on every machine, so examples and documentation can name them.
"""

from __future__ import annotations

import hashlib
from ipaddress import IPv4Network

import msgspec

from proa.base.config import Config
from proa.cloud.network.records import (
    ANYWHERE,
    InternetGateway,
    Route,
    RouteTable,
    SecurityGroup,
    SecurityGroupRule,
    Subnet,
    Vpc,
    encode,
    network_key,
)
from proa.store.api import Guard, Put, Transaction

ZONE_LETTERS = "abc"
SIMULATED_RANGE = "100.64.0.0/10"  # shared address space (RFC 6598): nobody's own network
_DIRECTIONS = {
    "north": "n", "south": "s", "east": "e", "west": "w", "central": "c", "northeast": "ne",
    "northwest": "nw", "southeast": "se", "southwest": "sw",
}  # fmt: skip


def zone_names(region: str) -> tuple[str, ...]:
    """The three zones of a region: us-east-1a, us-east-1b, us-east-1c."""
    return tuple(region + letter for letter in ZONE_LETTERS)


def zone_id(zone: str) -> str:
    """A zone's account-independent id: us-east-1a is use1-az1."""
    *words, last = zone.split("-")
    short = "".join(_DIRECTIONS.get(word, word) for word in words)
    return f"{short}{last[:-1]}-az{ord(last[-1]) - ord('a') + 1}"


def stable_id(prefix: str, *parts: str) -> str:
    """An EC2-style id that is a function of ``parts``."""
    return f"{prefix}-0{hashlib.sha256('/'.join((prefix, *parts)).encode()).hexdigest()[:16]}"


def default_security_group(vpc: Vpc, id: str, rules: tuple[str, str]) -> SecurityGroup:
    """The group that comes with a VPC: in from itself, out to anywhere; ``rules`` are the ids
    of its two rules."""
    inside = SecurityGroupRule(id=rules[0], group=id, group_account=vpc.account)
    outside = SecurityGroupRule(id=rules[1], cidr=ANYWHERE)
    return SecurityGroup(
        id=id,
        account=vpc.account,
        region=vpc.region,
        vpc=vpc.id,
        name="default",
        description="default VPC security group",
        ingress=(inside,),
        egress=(outside,),
    )


def default_subnet_cidrs(cidr: str) -> tuple[str, ...]:
    """One range for each zone: a sixteenth of the VPC, /20 of a /16."""
    parts = IPv4Network(cidr).subnets(prefixlen_diff=4)
    return tuple(str(part) for part, _zone in zip(parts, ZONE_LETTERS, strict=False))


def bootstrap_network(account: str, region: str, config: Config) -> Transaction:
    """The default VPC with its subnets, group, gateway and routes; guarded so that it is done
    only once, whatever is deleted later: a Conflict means that it has been."""
    place = (account, region)
    vpc = Vpc(
        id=stable_id("vpc", *place),
        account=account,
        region=region,
        cidr=config.vpc_cidr,
        is_default=True,
        dhcp_options=stable_id("dopt", *place),
        dns_hostnames=True,
        cidr_association=stable_id("vpc-cidr-assoc", *place),
    )
    rules = (stable_id("sgr", *place, "in"), stable_id("sgr", *place, "out"))
    gateway = InternetGateway(stable_id("igw", *place), account, region, vpc.id)
    routes = (
        Route(config.vpc_cidr, "local", "CreateRouteTable"),
        Route(ANYWHERE, gateway.id),
    )
    table = RouteTable(
        id=stable_id("rtb", *place),
        account=account,
        region=region,
        vpc=vpc.id,
        main_association=stable_id("rtbassoc", *place),
        routes=routes,
    )
    group = default_security_group(vpc, stable_id("sg", *place), rules)
    records: list[tuple[str, str, msgspec.Struct]] = [
        ("vpc", vpc.id, vpc),
        ("internet-gateway", gateway.id, gateway),
        ("route-table", table.id, table),
        ("security-group", group.id, group),
    ]
    for zone, cidr in zip(zone_names(region), default_subnet_cidrs(config.vpc_cidr), strict=True):
        subnet = Subnet(
            id=stable_id("subnet", *place, zone),
            account=account,
            region=region,
            vpc=vpc.id,
            cidr=cidr,
            zone=zone,
            zone_id=zone_id(zone),
            default_for_zone=True,
            map_public_ip=True,
        )
        records.append(("subnet", subnet.id, subnet))
    done = network_key(account, region, "bootstrap", "network")
    once = (Guard(done, 0), Guard(network_key(account, region, "vpc", vpc.id), 0))
    writes = tuple(
        Put(network_key(account, region, kind, id), encode(record)) for kind, id, record in records
    )
    return Transaction(once, (Put(done, b"{}"), *writes))


def simulated_vpc(account: str, region: str) -> str:
    """The id of a region's VPC of simulated Hosts, whether or not it is there."""
    return stable_id("vpc", account, region, "simulated")


def simulated_network(account: str, region: str) -> Transaction:
    """Where simulated Hosts and their Sandboxes get addresses: a VPC with a subnet of a quarter
    million addresses in each zone, far more than a VPC may have (/16), which nothing routes.
    Guarded as ``bootstrap_network``."""
    place = (account, region, "simulated")
    tags = (("Name", "simulated"),)
    vpc = Vpc(
        id=simulated_vpc(account, region),
        account=account,
        region=region,
        cidr=SIMULATED_RANGE,
        dhcp_options=stable_id("dopt", account, region),
        cidr_association=stable_id("vpc-cidr-assoc", *place),
        tags=tags,
        simulated=True,
    )
    table = RouteTable(
        id=stable_id("rtb", *place),
        account=account,
        region=region,
        vpc=vpc.id,
        main_association=stable_id("rtbassoc", *place),
        routes=(Route(SIMULATED_RANGE, "local", "CreateRouteTable"),),
    )
    rules = (stable_id("sgr", *place, "in"), stable_id("sgr", *place, "out"))
    group = default_security_group(vpc, stable_id("sg", *place), rules)
    records: list[tuple[str, str, msgspec.Struct]] = [
        ("vpc", vpc.id, vpc),
        ("route-table", table.id, table),
        ("security-group", group.id, group),
    ]
    parts = IPv4Network(SIMULATED_RANGE).subnets(prefixlen_diff=4)
    for zone, part in zip(zone_names(region), parts, strict=False):
        subnet = Subnet(
            id=stable_id("subnet", *place, zone),
            account=account,
            region=region,
            vpc=vpc.id,
            cidr=str(part),
            zone=zone,
            zone_id=zone_id(zone),
            tags=tags,
        )
        records.append(("subnet", subnet.id, subnet))
    guard = Guard(network_key(account, region, "vpc", vpc.id), 0)
    return Transaction(
        (guard,),
        tuple(Put(network_key(account, region, kind, id), encode(it)) for kind, id, it in records),
    )
