"""EC2's nouns as its API shows them: records in, members of the service model's shapes out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from proa.cloud.compute import private_name
from proa.cloud.network import (
    Interface,
    InternetGateway,
    Route,
    RouteTable,
    SecurityGroup,
    SecurityGroupRule,
    Subnet,
    Vpc,
)
from proa.cloud.network.edges import ElasticAddress
from proa.cloud.network.records import Tags
from proa.model.host import Instance

Shown = dict[str, Any]
RUNNING = {"Code": 16, "Name": "running"}


def tags(pairs: Tags) -> list[Shown]:
    """A tag list."""
    return [{"Key": key, "Value": value} for key, value in pairs]


def arn(region: str, account: str, resource: str) -> str:
    """The ARN of one of EC2's resources ("subnet/subnet-…")."""
    return f"arn:aws:ec2:{region}:{account}:{resource}"


def vpc(one: Vpc) -> Shown:
    """Shape Vpc."""
    association = {
        "AssociationId": one.cidr_association,
        "CidrBlock": one.cidr,
        "CidrBlockState": {"State": "associated"},
    }
    return {
        "VpcId": one.id,
        "OwnerId": one.account,
        "CidrBlock": one.cidr,
        "CidrBlockAssociationSet": [association],
        "IsDefault": one.is_default,
        "InstanceTenancy": "default",
        "DhcpOptionsId": one.dhcp_options,
        "State": "available",
        "Tags": tags(one.tags),
    }


def subnet(one: Subnet, free: int) -> Shown:
    """Shape Subnet; ``free`` is the number of addresses left."""
    return {
        "SubnetId": one.id,
        "SubnetArn": arn(one.region, one.account, f"subnet/{one.id}"),
        "OwnerId": one.account,
        "VpcId": one.vpc,
        "CidrBlock": one.cidr,
        "AvailableIpAddressCount": free,
        "AvailabilityZone": one.zone,
        "AvailabilityZoneId": one.zone_id,
        "DefaultForAz": one.default_for_zone,
        "MapPublicIpOnLaunch": one.map_public_ip,
        "MapCustomerOwnedIpOnLaunch": False,
        "AssignIpv6AddressOnCreation": False,
        "Ipv6CidrBlockAssociationSet": [],
        "Ipv6Native": False,
        "EnableDns64": False,
        "PrivateDnsNameOptionsOnLaunch": {
            "HostnameType": "ip-name",
            "EnableResourceNameDnsARecord": False,
            "EnableResourceNameDnsAAAARecord": False,
        },
        "State": "available",
        "Tags": tags(one.tags),
    }


def permissions(rules: Iterable[SecurityGroupRule]) -> list[Shown]:
    """IpPermissions: rules of one protocol and port range together, as EC2 groups them."""
    grouped: dict[tuple[str, int, int], Shown] = {}
    for rule in rules:
        key = (rule.protocol, rule.from_port, rule.to_port)
        shown = grouped.get(key)
        if shown is None:
            shown = {"IpProtocol": rule.protocol}
            if rule.protocol != "-1":
                shown |= {"FromPort": rule.from_port, "ToPort": rule.to_port}
            shown |= {"UserIdGroupPairs": [], "IpRanges": [], "Ipv6Ranges": [], "PrefixListIds": []}
            grouped[key] = shown
        member, peer = _peer(rule)
        if rule.description:
            peer["Description"] = rule.description
        shown[member].append(peer)
    return list(grouped.values())


def _peer(rule: SecurityGroupRule) -> tuple[str, Shown]:
    if rule.group:
        return "UserIdGroupPairs", {"GroupId": rule.group, "UserId": rule.group_account}
    if rule.cidr_v6:
        return "Ipv6Ranges", {"CidrIpv6": rule.cidr_v6}
    if rule.prefix_list:
        return "PrefixListIds", {"PrefixListId": rule.prefix_list}
    return "IpRanges", {"CidrIp": rule.cidr}


def security_group(one: SecurityGroup) -> Shown:
    """Shape SecurityGroup."""
    return {
        "GroupId": one.id,
        "GroupName": one.name,
        "Description": one.description,
        "OwnerId": one.account,
        "VpcId": one.vpc,
        "SecurityGroupArn": arn(one.region, one.account, f"security-group/{one.id}"),
        "IpPermissions": permissions(one.ingress),
        "IpPermissionsEgress": permissions(one.egress),
        "Tags": tags(one.tags),
    }


def _rule_peer(rule: SecurityGroupRule) -> Shown:
    found = {
        "CidrIpv4": rule.cidr, "CidrIpv6": rule.cidr_v6, "PrefixListId": rule.prefix_list,
        "Description": rule.description,
    }  # fmt: skip
    return {name: value for name, value in found.items() if value}


def group_rule(group: SecurityGroup, rule: SecurityGroupRule, egress: bool) -> Shown:
    """Shape SecurityGroupRule."""
    shown = {
        "SecurityGroupRuleId": rule.id,
        "SecurityGroupRuleArn": arn(group.region, group.account, f"security-group-rule/{rule.id}"),
        "GroupId": group.id,
        "GroupOwnerId": group.account,
        "IsEgress": egress,
        "IpProtocol": rule.protocol,
        "FromPort": rule.from_port,
        "ToPort": rule.to_port,
        "Tags": tags(rule.tags),
        **_rule_peer(rule),
    }
    if rule.group:
        shown["ReferencedGroupInfo"] = {"GroupId": rule.group, "UserId": rule.group_account}
    return shown


def revoked_rule(group: SecurityGroup, rule: SecurityGroupRule, egress: bool) -> Shown:
    """Shape RevokedSecurityGroupRule."""
    shown = {
        "SecurityGroupRuleId": rule.id,
        "GroupId": group.id,
        "IsEgress": egress,
        "IpProtocol": rule.protocol,
        "FromPort": rule.from_port,
        "ToPort": rule.to_port,
        **_rule_peer(rule),
    }
    if rule.group:
        shown["ReferencedGroupId"] = rule.group
    return shown


def _destination(route: Route) -> str:
    prefix_list = route.destination.startswith("pl-")
    return "DestinationPrefixListId" if prefix_list else "DestinationCidrBlock"


def _target(route: Route) -> str:
    members = {"nat": "NatGatewayId", "eni": "NetworkInterfaceId"}
    return members.get(route.gateway.partition("-")[0], "GatewayId")


def route_table(one: RouteTable, there: Callable[[str], bool]) -> Shown:
    """Shape RouteTable; ``there`` says whether a route's target is."""
    state = {"State": "associated"}
    associations = [
        {
            "Main": False,
            "RouteTableAssociationId": id,
            "RouteTableId": one.id,
            "SubnetId": subnet_id,
            "AssociationState": state,
        }
        for id, subnet_id in one.associations
    ]
    if one.main_association:
        main = {
            "Main": True,
            "RouteTableAssociationId": one.main_association,
            "RouteTableId": one.id,
            "AssociationState": state,
        }
        associations.insert(0, main)
    routes = [
        {
            _destination(route): route.destination,
            _target(route): route.gateway,
            "Origin": route.origin,
            "State": "active" if there(route.gateway) else "blackhole",
        }
        for route in one.routes
    ]
    return {
        "RouteTableId": one.id,
        "VpcId": one.vpc,
        "OwnerId": one.account,
        "Associations": associations,
        "Routes": routes,
        "PropagatingVgws": [],
        "Tags": tags(one.tags),
    }


def internet_gateway(one: InternetGateway) -> Shown:
    """Shape InternetGateway."""
    attachments = [{"VpcId": one.vpc, "State": "available"}] if one.vpc else []
    return {
        "InternetGatewayId": one.id,
        "OwnerId": one.account,
        "Attachments": attachments,
        "Tags": tags(one.tags),
    }


def _association(public: ElasticAddress) -> Shown:
    return {
        "PublicIp": public.address,
        "PublicDnsName": "",
        "AllocationId": public.id,
        "AssociationId": public.association,
        "IpOwnerId": public.account,
    }


def interface(
    one: Interface, group_names: dict[str, str], public: ElasticAddress | None = None
) -> Shown:
    """Shape NetworkInterface; ``public`` is the Elastic IP address at it."""
    name = private_name(one.address, one.region)
    own: Shown = {"Primary": True, "PrivateIpAddress": one.address, "PrivateDnsName": name}
    shown: Shown = {
        "NetworkInterfaceId": one.id,
        "InterfaceType": one.kind,
        "OwnerId": one.account,
        "RequesterId": one.account if one.holder else None,
        "VpcId": one.vpc,
        "SubnetId": one.subnet,
        "AvailabilityZone": one.zone,
        "PrivateIpAddress": one.address,
        "PrivateDnsName": name,
        "PrivateIpAddresses": [own],
        "Ipv6Addresses": [],
        "MacAddress": one.mac,
        "Description": one.description,
        "Groups": [
            {"GroupId": group, "GroupName": group_names.get(group, "")} for group in one.groups
        ],
        "RequesterManaged": bool(one.holder),
        "SourceDestCheck": one.source_dest_check,
        "Status": "in-use" if one.attachment else "available",
        "TagSet": tags(one.tags),
    }
    if public is not None:
        shown["Association"] = own["Association"] = _association(public)
    if one.attachment:
        shown["Attachment"] = {
            "AttachmentId": one.attachment,
            "AttachTime": one.attached_at or one.created_at,
            "DeleteOnTermination": one.delete_on_termination,
            "DeviceIndex": one.device,
            "InstanceId": one.instance or None,
            "InstanceOwnerId": one.account,
            "Status": "attached",
        }
    return shown


def instance(one: Instance, vpc_id: str, region: str) -> Shown:
    """Shape Instance."""
    shown: Shown = {
        "InstanceId": one.id,
        "InstanceType": one.type,
        "LaunchTime": one.created_at,
        "State": RUNNING,
        "Placement": {"AvailabilityZone": one.zone, "Tenancy": "default"},
        "PrivateIpAddress": one.address,
        "PrivateDnsName": one.name or private_name(one.address, region),
        "SubnetId": one.subnet,
        "VpcId": vpc_id,
        "Architecture": "x86_64",
        "Monitoring": {"State": "disabled"},
        "Tags": [],
    }
    if one.purchase == "spot":
        shown["InstanceLifecycle"] = "spot"
    return shown
