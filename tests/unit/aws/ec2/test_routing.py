"""Route tables, gateways, Elastic IP addresses and interfaces, with EC2's own refusals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from proa.cloud.compute import instance_key, local_instance
from proa.cloud.network import ADDRESSES, NETWORK_TABLES
from proa.model.host import Host
from tests.unit.aws.ec2.world import ACCOUNT, REGION, Stage, World, filters, refused

ANYWHERE = "0.0.0.0/0"


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    made.caller.close()


@pytest.fixture
def world(stage: Stage) -> World:
    return World(stage)


class Lab:
    """A VPC with a subnet and an attached gateway."""

    def __init__(self, world: World) -> None:
        self.ec2 = world.ec2
        self.vpc = self.ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        self.subnet = self.subnet_of("10.0.0.0/24")
        self.gateway = self.ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        self.ec2.attach_internet_gateway(InternetGatewayId=self.gateway, VpcId=self.vpc)

    def subnet_of(self, cidr: str) -> str:
        return str(self.ec2.create_subnet(VpcId=self.vpc, CidrBlock=cidr)["Subnet"]["SubnetId"])

    def table(self) -> str:
        made = self.ec2.create_route_table(VpcId=self.vpc)["RouteTable"]
        return str(made["RouteTableId"])

    def main(self) -> dict[str, Any]:
        wanted = filters(vpc_id=self.vpc, **{"association.main": "true"})
        found: dict[str, Any] = self.ec2.describe_route_tables(Filters=wanted)["RouteTables"][0]
        return found

    def nat(self, **given: Any) -> dict[str, Any]:
        made: dict[str, Any] = self.ec2.create_nat_gateway(SubnetId=self.subnet, **given)
        return dict(made["NatGateway"])

    def address(self) -> str:
        return str(self.ec2.allocate_address()["AllocationId"])

    def interface(self, **given: Any) -> dict[str, Any]:
        made = self.ec2.create_network_interface(SubnetId=self.subnet, **given)
        found: dict[str, Any] = made["NetworkInterface"]
        return found


@pytest.fixture
def lab(world: World) -> Lab:
    return Lab(world)


def test_routes_are_added_replaced_and_removed(lab: Lab) -> None:
    table, to = lab.table(), {"DestinationCidrBlock": ANYWHERE}
    lab.ec2.create_route(RouteTableId=table, GatewayId=lab.gateway, **to)
    with refused("RouteAlreadyExists", "0.0.0.0/0 already exists"):
        lab.ec2.create_route(RouteTableId=table, GatewayId=lab.gateway, **to)
    nat = lab.nat(AllocationId=lab.address())["NatGatewayId"]
    lab.ec2.replace_route(RouteTableId=table, NatGatewayId=nat, **to)
    shown = lab.ec2.describe_route_tables(RouteTableIds=[table])["RouteTables"][0]["Routes"]
    assert shown[1]["NatGatewayId"] == nat and "GatewayId" not in shown[1]
    lab.ec2.delete_nat_gateway(NatGatewayId=nat)
    shown = lab.ec2.describe_route_tables(RouteTableIds=[table])["RouteTables"][0]["Routes"]
    assert [one["State"] for one in shown] == ["active", "blackhole"]
    lab.ec2.delete_route(RouteTableId=table, **to)
    with refused("InvalidRoute.NotFound", "no route with destination-cidr-block"):
        lab.ec2.delete_route(RouteTableId=table, **to)
    with refused("InvalidParameterValue", "Use CreateRoute instead"):
        lab.ec2.replace_route(RouteTableId=table, GatewayId=lab.gateway, **to)
    with refused("InvalidParameterValue", "cannot remove local route"):
        lab.ec2.delete_route(RouteTableId=table, DestinationCidrBlock="10.0.0.0/16")


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        ({}, "MissingParameter", "destinationCidrBlock"),
        ({"DestinationCidrBlock": "anywhere"}, "InvalidParameterValue", "not a valid CIDR"),
        ({"DestinationCidrBlock": ANYWHERE}, "MissingParameter", "exactly one target"),
        ({"DestinationCidrBlock": ANYWHERE, "GatewayId": "igw-0", "NatGatewayId": "nat-0"},
         "InvalidParameterCombination", "exactly one target"),
        ({"DestinationCidrBlock": ANYWHERE, "GatewayId": "igw-0"},
         "InvalidInternetGatewayID.NotFound", "igw-0"),
        ({"DestinationCidrBlock": ANYWHERE, "NatGatewayId": "nat-0"}, "NatGatewayNotFound",
         "nat-0"),
        ({"DestinationCidrBlock": ANYWHERE, "TransitGatewayId": "tgw-0"},
         "InvalidParameterValue", "no such targets"),
        ({"DestinationIpv6CidrBlock": "::/0", "GatewayId": "igw-0"}, "InvalidParameterValue",
         "IPv4 only"),
        ({"DestinationCidrBlock": "10.0.4.0/24", "GatewayId": "own"}, "InvalidParameterValue",
         "more specific"),
    ],
)  # fmt: skip
def test_routes_that_lead_nowhere_are_refused(
    lab: Lab, given: dict[str, Any], code: str, words: str
) -> None:
    table = lab.table()
    if given.get("GatewayId") == "own":
        given = {**given, "GatewayId": lab.gateway}
    with refused(code, words):
        lab.ec2.create_route(RouteTableId=table, **given)
    shown = lab.ec2.describe_route_tables(RouteTableIds=[table])["RouteTables"][0]["Routes"]
    assert len(shown) == 1


def test_a_route_to_another_vpcs_gateway_is_refused(world: World, lab: Lab) -> None:
    default = filters(**{"attachment.vpc-id": world.vpc})
    other = lab.ec2.describe_internet_gateways(Filters=default)["InternetGateways"][0]
    with refused("InvalidParameterValue", "belong to different networks"):
        lab.ec2.create_route(
            RouteTableId=lab.table(), DestinationCidrBlock=ANYWHERE,
            GatewayId=other["InternetGatewayId"],
        )  # fmt: skip


def test_a_subnet_has_one_route_table(lab: Lab) -> None:
    first, second = lab.table(), lab.table()
    made = lab.ec2.associate_route_table(RouteTableId=first, SubnetId=lab.subnet)["AssociationId"]
    again = lab.ec2.associate_route_table(RouteTableId=first, SubnetId=lab.subnet)
    assert again["AssociationId"] == made
    with refused("Resource.AlreadyAssociated", "conflicts"):
        lab.ec2.associate_route_table(RouteTableId=second, SubnetId=lab.subnet)
    with refused("DependencyViolation"):
        lab.ec2.delete_route_table(RouteTableId=first)
    moved = lab.ec2.replace_route_table_association(AssociationId=made, RouteTableId=second)
    lab.ec2.delete_route_table(RouteTableId=first)
    with refused("InvalidAssociationID.NotFound"):
        lab.ec2.disassociate_route_table(AssociationId=made)
    lab.ec2.disassociate_route_table(AssociationId=moved["NewAssociationId"])
    lab.ec2.delete_route_table(RouteTableId=second)


def test_the_main_table_is_replaced_but_never_missing(lab: Lab) -> None:
    main, other = lab.main(), lab.table()
    id = main["Associations"][0]["RouteTableAssociationId"]
    with refused("InvalidParameterValue", "cannot disassociate the main"):
        lab.ec2.disassociate_route_table(AssociationId=id)
    with refused("DependencyViolation"):
        lab.ec2.delete_route_table(RouteTableId=main["RouteTableId"])
    lab.ec2.replace_route_table_association(AssociationId=id, RouteTableId=other)
    assert lab.main()["RouteTableId"] == other
    lab.ec2.delete_route_table(RouteTableId=main["RouteTableId"])


def test_a_deleted_subnet_leaves_no_association(lab: Lab) -> None:
    table = lab.table()
    lab.ec2.associate_route_table(RouteTableId=table, SubnetId=lab.subnet)
    lab.ec2.delete_subnet(SubnetId=lab.subnet)
    lab.ec2.delete_route_table(RouteTableId=table)


def test_gateways_are_attached_once(world: World, lab: Lab) -> None:
    other = lab.ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    with refused("InvalidParameterValue", "already has an internet gateway"):
        lab.ec2.attach_internet_gateway(InternetGatewayId=other, VpcId=lab.vpc)
    with refused("Resource.AlreadyAssociated", "already attached"):
        lab.ec2.attach_internet_gateway(InternetGatewayId=lab.gateway, VpcId=world.vpc)
    with refused("Gateway.NotAttached"):
        lab.ec2.detach_internet_gateway(InternetGatewayId=other, VpcId=lab.vpc)
    with refused("DependencyViolation"):
        lab.ec2.delete_internet_gateway(InternetGatewayId=lab.gateway)
    with refused("DependencyViolation"):
        lab.ec2.delete_vpc(VpcId=lab.vpc)
    lab.ec2.delete_internet_gateway(InternetGatewayId=other)


def test_a_nat_gateway_takes_an_address_and_gives_it_back(world: World, lab: Lab) -> None:
    with refused("MissingParameter", "AllocationId"):
        lab.nat()
    with refused("InvalidAllocationID.NotFound"):
        lab.nat(AllocationId="eipalloc-0")
    address = lab.address()
    nat = lab.nat(AllocationId=address)
    assert nat["State"] == "pending"
    with refused("Resource.AlreadyAssociated"):
        lab.nat(AllocationId=address)
    [own] = lab.ec2.describe_network_interfaces(Filters=filters(interface_type="nat_gateway"))[
        "NetworkInterfaces"
    ]
    assert own["Description"] == f"Interface for NAT Gateway {nat['NatGatewayId']}"
    assert own["Association"]["AllocationId"] == address
    for call, given in (
        (lab.ec2.disassociate_address, {"AssociationId": own["Association"]["AssociationId"]}),
        (lab.ec2.detach_network_interface, {"AttachmentId": own["Attachment"]["AttachmentId"]}),
    ):
        with refused("OperationNotPermitted"):
            call(**given)
    with refused("DependencyViolation", "mapped public address"):
        lab.ec2.detach_internet_gateway(InternetGatewayId=lab.gateway, VpcId=lab.vpc)
    lab.ec2.delete_nat_gateway(NatGatewayId=nat["NatGatewayId"])
    with refused("NatGatewayNotFound"):
        lab.ec2.describe_nat_gateways(NatGatewayIds=[nat["NatGatewayId"]])
    lab.ec2.release_address(AllocationId=address)
    assert len(world.shelf.view.rows(ADDRESSES)) == 0


def test_a_private_nat_gateway_needs_no_address(lab: Lab) -> None:
    nat = lab.nat(ConnectivityType="private", PrivateIpAddress="10.0.0.77")
    assert nat["NatGatewayAddresses"][0]["PrivateIp"] == "10.0.0.77"
    with refused("InvalidParameterCombination"):
        lab.nat(ConnectivityType="private", AllocationId=lab.address())


def test_five_addresses_are_given_out(lab: Lab) -> None:
    given = [lab.ec2.allocate_address() for _ in range(5)]
    assert len({one["PublicIp"] for one in given}) == 5
    with refused("AddressLimitExceeded", "maximum number of addresses"):
        lab.ec2.allocate_address()
    lab.ec2.release_address(AllocationId=given[0]["AllocationId"])
    again = lab.ec2.allocate_address(Address=given[0]["PublicIp"])
    assert again["PublicIp"] == given[0]["PublicIp"]
    with refused("InvalidAllocationID.NotFound"):
        lab.ec2.release_address(AllocationId=given[0]["AllocationId"])


def test_an_address_moves_between_interfaces(lab: Lab) -> None:
    address = lab.ec2.allocate_address()
    id, (first, second) = address["AllocationId"], (lab.interface(), lab.interface())
    made = lab.ec2.associate_address(
        AllocationId=id, NetworkInterfaceId=first["NetworkInterfaceId"]
    )
    with refused("InvalidIPAddress.InUse"):
        lab.ec2.release_address(AllocationId=id)
    with refused("Resource.AlreadyAssociated", made["AssociationId"]):
        lab.ec2.associate_address(
            AllocationId=id, NetworkInterfaceId=second["NetworkInterfaceId"],
            AllowReassociation=False,
        )  # fmt: skip
    lab.ec2.associate_address(AllocationId=id, NetworkInterfaceId=second["NetworkInterfaceId"])
    [shown] = lab.ec2.describe_addresses(AllocationIds=[id])["Addresses"]
    assert shown["NetworkInterfaceId"] == second["NetworkInterfaceId"]
    lab.ec2.delete_network_interface(NetworkInterfaceId=second["NetworkInterfaceId"])
    assert "AssociationId" not in lab.ec2.describe_addresses()["Addresses"][0]
    with refused("InvalidAssociationID.NotFound"):
        lab.ec2.disassociate_address(PublicIp=address["PublicIp"])
    with refused("InvalidAddress.NotFound"):
        lab.ec2.describe_addresses(PublicIps=["203.0.113.200"])


def test_an_interface_has_the_address_and_groups_asked_for(lab: Lab) -> None:
    group = lab.ec2.create_security_group(VpcId=lab.vpc, GroupName="g", Description="d")["GroupId"]
    tags = [{"ResourceType": "network-interface", "Tags": [{"Key": "Name", "Value": "x"}]}]
    made = lab.interface(
        PrivateIpAddress="10.0.0.99", Groups=[group], Description="own", TagSpecifications=tags
    )
    [shown] = lab.ec2.describe_network_interfaces(Filters=filters(**{"tag:Name": "x"}))[
        "NetworkInterfaces"
    ]
    assert shown["PrivateIpAddress"] == "10.0.0.99" and shown["Status"] == "available"
    assert [one["GroupId"] for one in shown["Groups"]] == [group]
    id = made["NetworkInterfaceId"]
    lab.ec2.modify_network_interface_attribute(NetworkInterfaceId=id, Description={"Value": "new"})
    lab.ec2.modify_network_interface_attribute(
        NetworkInterfaceId=id, SourceDestCheck={"Value": False}
    )
    told = lab.ec2.describe_network_interface_attribute
    assert told(NetworkInterfaceId=id, Attribute="description")["Description"]["Value"] == "new"
    assert told(NetworkInterfaceId=id, Attribute="sourceDestCheck")["SourceDestCheck"] == {
        "Value": False
    }
    with refused("DependencyViolation"):
        lab.ec2.delete_security_group(GroupId=group)
    default = lab.ec2.describe_security_groups(
        Filters=filters(vpc_id=lab.vpc, group_name="default")
    )
    lab.ec2.modify_network_interface_attribute(
        NetworkInterfaceId=id, Groups=[default["SecurityGroups"][0]["GroupId"]]
    )
    lab.ec2.delete_security_group(GroupId=group)


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"PrivateIpAddress": "10.0.9.9"}, "InvalidParameterValue"),
        ({"PrivateIpAddress": "10.0.0.1"}, "InvalidParameterValue"),
        ({"PrivateIpAddress": "ten"}, "InvalidParameterValue"),
        ({"PrivateIpAddress": "10.0.0.50"}, "InvalidIPAddress.InUse"),
        ({"Groups": ["sg-0"]}, "InvalidGroup.NotFound"),
        ({"Groups": [f"sg-{n}" for n in range(6)]}, "SecurityGroupsPerInterfaceLimitExceeded"),
        ({"InterfaceType": "efa"}, "InvalidParameterValue"),
        ({"SecondaryPrivateIpAddressCount": 2}, "InvalidParameterValue"),
        ({"SubnetId": "subnet-0"}, "InvalidSubnetID.NotFound"),
    ],
)
def test_interfaces_that_cannot_be_are_refused(lab: Lab, given: dict[str, Any], code: str) -> None:
    lab.interface(PrivateIpAddress="10.0.0.50")
    with refused(code):
        lab.ec2.create_network_interface(**{"SubnetId": lab.subnet, **given})


def test_a_full_subnet_gives_no_interface(lab: Lab) -> None:
    small = lab.subnet_of("10.0.1.0/28")
    for _ in range(11):  # sixteen less five that every subnet keeps
        lab.ec2.create_network_interface(SubnetId=small)
    with refused("InsufficientFreeAddressesInSubnet"):
        lab.ec2.create_network_interface(SubnetId=small)
    with refused("DependencyViolation"):
        lab.ec2.delete_subnet(SubnetId=small)


def test_an_interface_is_attached_to_an_instance_and_detached(world: World, lab: Lab) -> None:
    host = Host("h")
    node = local_instance(
        host, f"/aws/{ACCOUNT}/{REGION}/ecs/cluster/default", zone="us-east-1a",
        subnet=world.subnet, address="172.31.0.9", region=REGION, now=1.0,
    )  # fmt: skip
    world.shelf.put(instance_key(node.id), node)
    id = lab.interface()["NetworkInterfaceId"]
    to = {"NetworkInterfaceId": id, "InstanceId": node.id}
    with refused("InvalidInstanceID.NotFound"):
        lab.ec2.attach_network_interface(NetworkInterfaceId=id, InstanceId="i-0", DeviceIndex=1)
    with refused("InvalidParameterValue", "Attachment points"):
        lab.ec2.attach_network_interface(**to, DeviceIndex=0)
    made = lab.ec2.attach_network_interface(**to, DeviceIndex=1)["AttachmentId"]
    with refused("InvalidNetworkInterface.InUse"):
        lab.ec2.attach_network_interface(**to, DeviceIndex=2)
    other = lab.interface()["NetworkInterfaceId"]
    with refused("InvalidParameterValue", "already has an interface attached"):
        lab.ec2.attach_network_interface(
            NetworkInterfaceId=other, InstanceId=node.id, DeviceIndex=1
        )
    with refused("InvalidParameterValue", "currently in use"):
        lab.ec2.delete_network_interface(NetworkInterfaceId=id)
    lab.ec2.detach_network_interface(AttachmentId=made)
    with refused("InvalidAttachmentID.NotFound"):
        lab.ec2.detach_network_interface(AttachmentId=made)
    lab.ec2.delete_network_interface(NetworkInterfaceId=id)


def test_what_a_vpc_leaves_when_it_goes_is_nothing(world: World, lab: Lab) -> None:
    lab.ec2.delete_subnet(SubnetId=lab.subnet)
    lab.ec2.detach_internet_gateway(InternetGatewayId=lab.gateway, VpcId=lab.vpc)
    lab.ec2.delete_internet_gateway(InternetGatewayId=lab.gateway)
    lab.ec2.delete_vpc(VpcId=lab.vpc)
    left = [
        entry.key
        for table in NETWORK_TABLES
        for entry in world.shelf.view.rows(table).scan()
        if lab.vpc in entry.body.decode()
    ]
    assert left == []
