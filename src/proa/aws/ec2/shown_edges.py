"""What stands at a VPC's edge, as EC2's API shows it."""

from __future__ import annotations

from proa.aws.ec2.shown import Shown, tags
from proa.cloud.network.edges import (
    AclEntry,
    DhcpOptions,
    ElasticAddress,
    KeyPair,
    NatGateway,
    NetworkAcl,
    VpcEndpoint,
)


def address(one: ElasticAddress) -> Shown:
    """Shape Address."""
    shown: Shown = {
        "AllocationId": one.id,
        "PublicIp": one.address,
        "Domain": "vpc",
        "PublicIpv4Pool": "amazon",
        "NetworkBorderGroup": one.region,
        "Tags": tags(one.tags),
    }
    if one.association:
        shown |= {
            "AssociationId": one.association,
            "PrivateIpAddress": one.private_address,
            "NetworkInterfaceOwnerId": one.account,
            "NetworkInterfaceId": one.interface or None,
            "InstanceId": one.instance or None,
        }
    return shown


def nat_gateway(one: NatGateway) -> Shown:
    """Shape NatGateway."""
    own: Shown = {
        "NetworkInterfaceId": one.interface,
        "PrivateIp": one.private_address,
        "IsPrimary": True,
        "Status": "succeeded",
    }
    if one.allocation:
        own |= {
            "AllocationId": one.allocation,
            "PublicIp": one.public_address,
            "AssociationId": one.association,
        }
    return {
        "NatGatewayId": one.id,
        "VpcId": one.vpc,
        "SubnetId": one.subnet,
        "State": "available",
        "CreateTime": one.created_at,
        "ConnectivityType": one.connectivity,
        "NatGatewayAddresses": [own],
        "Tags": tags(one.tags),
    }


def endpoint(one: VpcEndpoint, group_names: dict[str, str]) -> Shown:
    """Shape VpcEndpoint."""
    shown: Shown = {
        "VpcEndpointId": one.id,
        "VpcEndpointType": one.type,
        "VpcId": one.vpc,
        "ServiceName": one.service,
        "State": "available",
        "PolicyDocument": one.policy,
        "RouteTableIds": list(one.route_tables),
        "SubnetIds": list(one.subnets),
        "Groups": [{"GroupId": id, "GroupName": group_names.get(id, "")} for id in one.groups],
        "PrivateDnsEnabled": one.private_dns,
        "RequesterManaged": False,
        "NetworkInterfaceIds": [],
        "DnsEntries": [],
        "CreationTimestamp": one.created_at,
        "OwnerId": one.account,
        "Tags": tags(one.tags),
    }
    if one.type == "Interface":
        shown["IpAddressType"] = "ipv4"
    return shown


def dhcp_options(one: DhcpOptions) -> Shown:
    """Shape DhcpOptions."""
    return {
        "DhcpOptionsId": one.id,
        "OwnerId": one.account,
        "DhcpConfigurations": [
            {"Key": name, "Values": [{"Value": value} for value in values]}
            for name, values in one.options
        ],
        "Tags": tags(one.tags),
    }


def _entry(one: AclEntry) -> Shown:
    shown: Shown = {
        "RuleNumber": one.number,
        "Egress": one.egress,
        "Protocol": one.protocol,
        "RuleAction": "allow" if one.allow else "deny",
        "CidrBlock": one.cidr or None,
        "Ipv6CidrBlock": one.cidr_v6 or None,
    }
    if one.from_port >= 0:
        shown["PortRange"] = {"From": one.from_port, "To": one.to_port}
    if one.protocol == "1":
        shown["IcmpTypeCode"] = {"Type": one.icmp_type, "Code": one.icmp_code}
    return shown


def network_acl(one: NetworkAcl, entries: list[AclEntry], served: list[tuple[str, str]]) -> Shown:
    """Shape NetworkAcl; ``served`` are (association id, subnet id)."""
    return {
        "NetworkAclId": one.id,
        "VpcId": one.vpc,
        "OwnerId": one.account,
        "IsDefault": one.is_default,
        "Entries": [_entry(entry) for entry in entries],
        "Associations": [
            {"NetworkAclAssociationId": id, "NetworkAclId": one.id, "SubnetId": subnet}
            for id, subnet in served
        ],
        "Tags": tags(one.tags),
    }


def key_pair(one: KeyPair, with_public: bool) -> Shown:
    """Shape KeyPairInfo."""
    return {
        "KeyPairId": one.id,
        "KeyName": one.name,
        "KeyType": one.type,
        "KeyFingerprint": one.fingerprint,
        "CreateTime": one.created_at,
        "PublicKey": one.public if with_public else None,
        "Tags": tags(one.tags),
    }
