"""The networks that tools make, from end to end: CDK's and Terraform's calls, made and undone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import botocore.exceptions
import pytest

from tests.live import Proa

RANGE = "10.42.0.0/16"


@pytest.fixture(scope="module")
def ec2(proa: Proa) -> Any:
    return proa.boto("ec2")


def tagged(kind: str, name: str) -> list[dict[str, Any]]:
    return [{"ResourceType": kind, "Tags": [{"Key": "Name", "Value": name}]}]


def of(**wanted: str) -> list[dict[str, Any]]:
    return [{"Name": name.replace("_", "-"), "Values": [v]} for name, v in wanted.items()]


def code_of(call: Callable[..., Any], **given: Any) -> str:
    with pytest.raises(botocore.exceptions.ClientError) as raised:
        call(**given)
    return str(raised.value.response["Error"]["Code"])


class Layout:
    """A VPC over three zones: public and private subnets, a way out, NAT in the first zones."""

    def __init__(self, ec2: Any, gateways: int) -> None:
        self.ec2 = ec2
        self.vpc = ec2.create_vpc(CidrBlock=RANGE, TagSpecifications=tagged("vpc", "lab"))["Vpc"][
            "VpcId"
        ]
        ec2.get_waiter("vpc_available").wait(VpcIds=[self.vpc])
        for attribute in ("EnableDnsHostnames", "EnableDnsSupport"):
            ec2.modify_vpc_attribute(VpcId=self.vpc, **{attribute: {"Value": True}})
        zones = ec2.describe_availability_zones(Filters=of(state="available"))
        names = [zone["ZoneName"] for zone in zones["AvailabilityZones"]]
        self.public = [self._subnet(n, zone, True) for n, zone in enumerate(names)]
        self.private = [self._subnet(n + 8, zone, False) for n, zone in enumerate(names)]
        self.gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        ec2.attach_internet_gateway(InternetGatewayId=self.gateway, VpcId=self.vpc)
        self.tables: list[str] = []
        self.associations: list[str] = []
        out = self._table("public", self.public)
        ec2.create_route(RouteTableId=out, DestinationCidrBlock="0.0.0.0/0", GatewayId=self.gateway)
        self.nats: list[str] = []
        self.addresses: list[str] = []
        for subnet in self.public[:gateways]:
            self._nat(subnet)
        for number, subnet in enumerate(self.private):
            table = self._table(f"private-{number}", [subnet])
            nat = self.nats[number % gateways]
            ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", NatGatewayId=nat)

    def _subnet(self, number: int, zone: str, public: bool) -> str:
        made = self.ec2.create_subnet(
            VpcId=self.vpc, CidrBlock=f"10.42.{number * 16}.0/20", AvailabilityZone=zone,
            TagSpecifications=tagged("subnet", f"{zone}-{'public' if public else 'private'}"),
        )  # fmt: skip
        id = str(made["Subnet"]["SubnetId"])
        if public:
            self.ec2.modify_subnet_attribute(SubnetId=id, MapPublicIpOnLaunch={"Value": True})
        return id

    def _table(self, name: str, subnets: list[str]) -> str:
        table = self.ec2.create_route_table(
            VpcId=self.vpc, TagSpecifications=tagged("route-table", name)
        )["RouteTable"]["RouteTableId"]
        for subnet in subnets:
            made = self.ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
            self.associations.append(made["AssociationId"])
        self.tables.append(table)
        return str(table)

    def _nat(self, subnet: str) -> None:
        address = self.ec2.allocate_address(Domain="vpc")["AllocationId"]
        nat = self.ec2.create_nat_gateway(SubnetId=subnet, AllocationId=address)["NatGateway"]
        self.addresses.append(address)
        self.nats.append(nat["NatGatewayId"])
        self.ec2.get_waiter("nat_gateway_available").wait(NatGatewayIds=[nat["NatGatewayId"]])

    def undo(self) -> None:
        """In the order that tools go."""
        ec2 = self.ec2
        for id in self.nats:
            ec2.delete_nat_gateway(NatGatewayId=id)
            ec2.get_waiter("nat_gateway_deleted").wait(NatGatewayIds=[id])
        for id in self.addresses:
            ec2.release_address(AllocationId=id)
        for id in self.associations:
            ec2.disassociate_route_table(AssociationId=id)
        for id in self.tables:
            ec2.delete_route_table(RouteTableId=id)
        for id in (*self.public, *self.private):
            ec2.delete_subnet(SubnetId=id)
        ec2.detach_internet_gateway(InternetGatewayId=self.gateway, VpcId=self.vpc)
        ec2.delete_internet_gateway(InternetGatewayId=self.gateway)
        ec2.delete_vpc(VpcId=self.vpc)


def test_the_network_that_cdk_makes_stands_and_is_undone(ec2: Any) -> None:
    layout = Layout(ec2, gateways=2)
    with_default = of(vpc_id=layout.vpc, group_name="default")
    group = ec2.describe_security_groups(Filters=with_default)["SecurityGroups"][0]["GroupId"]
    for side in ("ingress", "egress"):  # CDK's and Terraform's "no rules in the default group"
        rules = ec2.describe_security_group_rules(
            Filters=[*of(group_id=group), *of(is_egress=str(side == "egress").lower())]
        )["SecurityGroupRules"]
        getattr(ec2, f"revoke_security_group_{side}")(
            GroupId=group, SecurityGroupRuleIds=[rule["SecurityGroupRuleId"] for rule in rules]
        )
    gateway = ec2.describe_nat_gateways(Filters=of(vpc_id=layout.vpc))["NatGateways"][0]
    assert gateway["NatGatewayAddresses"][0]["PublicIp"].startswith("203.0.113.")
    tables = ec2.describe_route_tables(Filters=of(vpc_id=layout.vpc))["RouteTables"]
    assert len(tables) == 5  # the main one, the public one, three private ones
    ways_out = [
        route
        for table in tables
        for route in table["Routes"]
        if route.get("DestinationCidrBlock") == "0.0.0.0/0"
    ]
    assert sorted(bool(route.get("NatGatewayId")) for route in ways_out) == [
        False,
        True,
        True,
        True,
    ]
    assert {route["State"] for route in ways_out} == {"active"}
    for call, given in (
        (ec2.delete_vpc, {"VpcId": layout.vpc}),
        (ec2.delete_subnet, {"SubnetId": layout.public[0]}),
        (ec2.detach_internet_gateway,
         {"InternetGatewayId": layout.gateway, "VpcId": layout.vpc}),
        (ec2.delete_route_table, {"RouteTableId": layout.tables[0]}),
    ):  # fmt: skip
        assert code_of(call, **given) == "DependencyViolation"
    assert (
        code_of(ec2.release_address, AllocationId=layout.addresses[0]) == "InvalidIPAddress.InUse"
    )
    layout.undo()
    assert code_of(ec2.describe_vpcs, VpcIds=[layout.vpc]) == "InvalidVpcID.NotFound"
    for describe, member in (
        (ec2.describe_subnets, "Subnets"), (ec2.describe_route_tables, "RouteTables"),
        (ec2.describe_security_groups, "SecurityGroups"),
        (ec2.describe_network_acls, "NetworkAcls"),
        (ec2.describe_network_interfaces, "NetworkInterfaces"),
    ):  # fmt: skip
        assert describe(Filters=of(vpc_id=layout.vpc))[member] == []
    assert ec2.describe_addresses()["Addresses"] == []


def test_terraforms_module_adopts_the_defaults_of_its_vpc(ec2: Any) -> None:
    """What terraform-aws-modules/vpc asks and changes of default ACL, table and group."""
    vpc = ec2.create_vpc(CidrBlock=RANGE, InstanceTenancy="default")["Vpc"]["VpcId"]
    for name in ("enableDnsHostnames", "enableDnsSupport", "enableNetworkAddressUsageMetrics"):
        ec2.describe_vpc_attribute(VpcId=vpc, Attribute=name)
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.42.0.0/24")["Subnet"]["SubnetId"]
    acl = ec2.describe_network_acls(Filters=of(vpc_id=vpc, default="true"))["NetworkAcls"][0]
    assert [one["SubnetId"] for one in acl["Associations"]] == [subnet]
    id = acl["NetworkAclId"]
    for entry in acl["Entries"]:
        if entry["RuleNumber"] < 32767:
            ec2.delete_network_acl_entry(
                NetworkAclId=id, RuleNumber=entry["RuleNumber"], Egress=entry["Egress"]
            )
    for egress in (True, False):
        ec2.create_network_acl_entry(
            NetworkAclId=id, RuleNumber=100, Egress=egress, Protocol="-1", RuleAction="allow",
            CidrBlock="0.0.0.0/0", PortRange={"From": 0, "To": 0},
        )  # fmt: skip
    entries = ec2.describe_network_acls(NetworkAclIds=[id])["NetworkAcls"][0]["Entries"]
    assert [one["RuleNumber"] for one in entries] == [100, 32767, 100, 32767]
    main = ec2.describe_route_tables(Filters=of(vpc_id=vpc, **{"association.main": "true"}))
    table = main["RouteTables"][0]["RouteTableId"]
    ec2.create_tags(Resources=[id, table], Tags=[{"Key": "Name", "Value": "adopted"}])
    found = ec2.describe_tags(Filters=of(value="adopted"))["Tags"]
    assert sorted(one["ResourceType"] for one in found) == ["network-acl", "route-table"]
    dhcp = ec2.create_dhcp_options(
        DhcpConfigurations=[{"Key": "domain-name", "Values": ["lab.internal"]}]
    )["DhcpOptions"]["DhcpOptionsId"]
    ec2.associate_dhcp_options(DhcpOptionsId=dhcp, VpcId=vpc)
    assert code_of(ec2.delete_dhcp_options, DhcpOptionsId=dhcp) == "DependencyViolation"
    endpoint = ec2.create_vpc_endpoint(
        VpcId=vpc, ServiceName="com.amazonaws.us-east-1.s3", RouteTableIds=[table]
    )["VpcEndpoint"]["VpcEndpointId"]
    routes = ec2.describe_route_tables(RouteTableIds=[table])["RouteTables"][0]["Routes"]
    assert [one.get("GatewayId") for one in routes] == ["local", endpoint]
    ec2.delete_vpc_endpoints(VpcEndpointIds=[endpoint])
    ec2.delete_subnet(SubnetId=subnet)
    ec2.delete_vpc(VpcId=vpc)
    ec2.delete_dhcp_options(DhcpOptionsId=dhcp)


def test_the_cli_shows_instances_and_makes_keys(proa: Proa) -> None:
    instances = proa.aws(
        "ec2 describe-instances --query Reservations[].Instances[].[InstanceId,State.Name]"
    )
    assert instances and all(state == "running" for _id, state in instances)
    key = proa.aws("ec2 create-key-pair --key-name cli --key-type ed25519")
    assert "BEGIN OPENSSH PRIVATE KEY" in key["KeyMaterial"]
    proa.boto("ec2").delete_key_pair(KeyName="cli")
    dry = proa.run("aws ec2 create-vpc --cidr-block 10.9.0.0/16 --dry-run", ok=False)
    assert "(DryRunOperation)" in dry.stderr


def test_a_node_of_the_hull_takes_an_interface_and_an_address(ec2: Any) -> None:
    instance = ec2.describe_instances()["Reservations"][0]["Instances"][0]
    made = ec2.create_network_interface(SubnetId=instance["SubnetId"], Description="second")
    id = made["NetworkInterface"]["NetworkInterfaceId"]
    attachment = ec2.attach_network_interface(
        NetworkInterfaceId=id, InstanceId=instance["InstanceId"], DeviceIndex=1
    )["AttachmentId"]
    address = ec2.allocate_address()
    ec2.associate_address(AllocationId=address["AllocationId"], NetworkInterfaceId=id)
    [shown] = ec2.describe_network_interfaces(
        Filters=of(**{"attachment.instance-id": instance["InstanceId"]})
    )["NetworkInterfaces"]
    assert shown["Association"]["PublicIp"] == address["PublicIp"] and shown["Status"] == "in-use"
    assert code_of(ec2.delete_network_interface, NetworkInterfaceId=id) == "InvalidParameterValue"
    ec2.detach_network_interface(AttachmentId=attachment)
    ec2.delete_network_interface(NetworkInterfaceId=id)
    ec2.release_address(AllocationId=address["AllocationId"])
