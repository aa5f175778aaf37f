"""What stands at a VPC's edge, as records: public addresses, NAT gateways, endpoints, network
ACLs, DHCP options; and key pairs.

They are stored and shown. Nothing of them acts yet: traffic is routed inside a VPC and leaves it
through the Host (docs/limits.md).
"""

from __future__ import annotations

from typing import Any

import msgspec

from proa.cloud.network.records import (
    ANYWHERE,
    Indexes,
    Tags,
    Vpc,
    network_table,
    of_vpc,
)
from proa.reconcile.view import Table

PUBLIC_PREFIX = "/hull/public/"
LAST_RULE = 32767  # the number of the rule that ends every ACL; it cannot be changed


class ElasticAddress(msgspec.Struct, frozen=True, omit_defaults=True):
    """An Elastic IP address. ``association`` is empty while it is associated with no interface."""

    id: str
    account: str
    region: str
    address: str
    association: str = ""
    interface: str = ""
    private_address: str = ""
    instance: str = ""
    tags: Tags = ()


class NatGateway(msgspec.Struct, frozen=True, omit_defaults=True):
    """A NAT gateway with its interface; ``allocation`` is the Elastic IP address of a public
    one."""

    id: str
    account: str
    region: str
    vpc: str
    subnet: str
    interface: str
    private_address: str
    created_at: float
    connectivity: str = "public"
    allocation: str = ""
    public_address: str = ""
    association: str = ""
    tags: Tags = ()


class VpcEndpoint(msgspec.Struct, frozen=True, omit_defaults=True):
    """A way to one of AWS's services. ``type`` is "Gateway", with route tables, or "Interface",
    with subnets and groups."""

    id: str
    account: str
    region: str
    vpc: str
    service: str
    type: str
    created_at: float
    policy: str = ""
    route_tables: tuple[str, ...] = ()
    subnets: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    private_dns: bool = False
    tags: Tags = ()


class DhcpOptions(msgspec.Struct, frozen=True, omit_defaults=True):
    """DHCP options: (name, values) in the order given."""

    id: str
    account: str
    region: str
    options: tuple[tuple[str, tuple[str, ...]], ...]
    tags: Tags = ()


class AclEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One numbered rule. ``protocol`` is a number or "-1"; ports are -1 where it has none."""

    number: int
    egress: bool
    allow: bool
    protocol: str = "-1"
    cidr: str = ANYWHERE
    cidr_v6: str = ""
    from_port: int = -1
    to_port: int = -1
    icmp_type: int = -1
    icmp_code: int = -1


class NetworkAcl(msgspec.Struct, frozen=True, omit_defaults=True):
    """A network ACL without its last, denying rules. ``associations`` are (association id,
    subnet id); a subnet that none names belongs to its VPC's default ACL."""

    id: str
    account: str
    region: str
    vpc: str
    is_default: bool = False
    entries: tuple[AclEntry, ...] = ()
    associations: tuple[tuple[str, str], ...] = ()
    tags: Tags = ()


class KeyPair(msgspec.Struct, frozen=True, omit_defaults=True):
    """The public half of a key pair; the private one is given out once and kept nowhere."""

    id: str
    account: str
    region: str
    name: str
    type: str  # "rsa" or "ed25519"
    fingerprint: str
    public: str
    created_at: float
    tags: Tags = ()


def default_acl(vpc: Vpc, id: str) -> NetworkAcl:
    """The ACL that comes with a VPC: everything in, everything out."""
    return NetworkAcl(
        id=id, account=vpc.account, region=vpc.region, vpc=vpc.id, is_default=True,
        entries=(AclEntry(100, True, True), AclEntry(100, False, True)),
    )  # fmt: skip


def public_key(address: str) -> str:
    """Where it lies that a public address is taken."""
    return PUBLIC_PREFIX + address


_of_name: Indexes = {"name": lambda _key, one: (f"{one.account}/{one.region}/{one.name}",)}
ELASTIC_ADDRESSES: Table[ElasticAddress] = network_table(
    "elastic-ip", ElasticAddress, {"interface": lambda _key, one: (one.interface,)}
)
NAT_GATEWAYS: Table[NatGateway] = network_table("natgateway", NatGateway, of_vpc)
VPC_ENDPOINTS: Table[VpcEndpoint] = network_table("vpc-endpoint", VpcEndpoint, of_vpc)
DHCP_OPTIONS: Table[DhcpOptions] = network_table("dhcp-options", DhcpOptions)
NETWORK_ACLS: Table[NetworkAcl] = network_table("network-acl", NetworkAcl, of_vpc)
KEY_PAIRS: Table[KeyPair] = network_table("key-pair", KeyPair, _of_name)
EDGE_TABLES: tuple[Table[Any], ...] = (
    ELASTIC_ADDRESSES,
    NAT_GATEWAYS,
    VPC_ENDPOINTS,
    DHCP_OPTIONS,
    NETWORK_ACLS,
    KEY_PAIRS,
)
