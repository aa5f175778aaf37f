"""What the examples ask EC2 for, by filters, ids and pages."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from proa.model.host import Instance
from tests.unit.aws.ec2.world import ACCOUNT, Stage, World, filters, refused


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    made.caller.close()


@pytest.fixture
def world(stage: Stage) -> World:
    return World(stage)


def test_the_first_default_subnet_is_in_the_first_zone(world: World) -> None:
    subnets = world.ec2.describe_subnets(Filters=filters(default_for_az="true"))["Subnets"]
    assert len(subnets) == 3
    zones = {one["AvailabilityZone"]: one for one in subnets}
    first = zones["us-east-1a"]
    assert first["CidrBlock"] == "172.31.0.0/20" and first["AvailabilityZoneId"] == "use1-az1"
    assert first["AvailableIpAddressCount"] == 4091 and first["MapPublicIpOnLaunch"] is True
    assert first["SubnetArn"] == f"arn:aws:ec2:us-east-1:{ACCOUNT}:subnet/{first['SubnetId']}"


def test_several_filters_must_all_match_and_values_may_have_wildcards(world: World) -> None:
    def ids(**wanted: object) -> int:
        return len(world.ec2.describe_subnets(Filters=filters(**wanted))["Subnets"])

    assert ids(vpc_id=world.vpc) == 3
    assert ids(vpc_id=world.vpc, availability_zone="us-east-1b") == 1
    assert ids(availability_zone=["us-east-1a", "us-east-1c"]) == 2
    assert ids(availability_zone="us-east-1?") == 3
    assert ids(cidr_block="172.31.1*") == 1
    assert ids(availability_zone="us-east-1\\*") == 0
    assert ids(default_for_az="false") == 0


def test_an_unknown_filter_is_refused(world: World) -> None:
    with refused("InvalidParameterValue", "The filter 'colour' is invalid"):
        world.ec2.describe_vpcs(Filters=filters(colour="red"))


def test_the_default_group_is_found_by_name_id_and_filter(world: World) -> None:
    groups = world.ec2.describe_security_groups
    named = groups(GroupNames=["default"])["SecurityGroups"][0]
    assert groups(GroupIds=[named["GroupId"]])["SecurityGroups"] == [named]
    by_filter = groups(Filters=filters(vpc_id=world.vpc, group_name="def*"))
    assert by_filter["SecurityGroups"] == [named]
    assert named["IpPermissions"][0]["UserIdGroupPairs"][0]["GroupId"] == named["GroupId"]
    assert named["IpPermissionsEgress"] == [
        {
            "IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}],
            "UserIdGroupPairs": [], "Ipv6Ranges": [], "PrefixListIds": [],
        }
    ]  # fmt: skip
    with refused("InvalidGroup.NotFound", "does not exist in default VPC"):
        groups(GroupNames=["absent"])


@pytest.mark.parametrize(
    ("operation", "parameter", "id", "code"),
    [
        ("describe_vpcs", "VpcIds", "vpc-00000000", "InvalidVpcID.NotFound"),
        ("describe_subnets", "SubnetIds", "subnet-00000000", "InvalidSubnetID.NotFound"),
        ("describe_security_groups", "GroupIds", "sg-00000000", "InvalidGroup.NotFound"),
        ("describe_route_tables", "RouteTableIds", "rtb-0", "InvalidRouteTableID.NotFound"),
        ("describe_instances", "InstanceIds", "i-0", "InvalidInstanceID.NotFound"),
        (
            "describe_internet_gateways", "InternetGatewayIds", "igw-0",
            "InvalidInternetGatewayID.NotFound",
        ),
        (
            "describe_network_interfaces", "NetworkInterfaceIds", "eni-0",
            "InvalidNetworkInterfaceID.NotFound",
        ),
    ],
)  # fmt: skip
def test_an_id_that_nothing_has_is_not_found(
    world: World, operation: str, parameter: str, id: str, code: str
) -> None:
    with refused(code, id):
        getattr(world.ec2, operation)(**{parameter: [id]})


def test_another_accounts_or_regions_things_are_not_seen(world: World) -> None:
    elsewhere = world.caller.client("ec2", region="eu-west-1")
    assert elsewhere.describe_vpcs()["Vpcs"] == []
    with refused("InvalidSubnetID.NotFound"):
        elsewhere.describe_subnets(SubnetIds=[world.subnet])


def test_pages_hold_everything_once(world: World) -> None:
    for number in range(12):
        world.ec2.create_subnet(VpcId=world.vpc, CidrBlock=f"172.31.{48 + number}.0/24")
    pages = list(world.ec2.get_paginator("describe_subnets").paginate(MaxResults=5))
    ids = [one["SubnetId"] for page in pages for one in page["Subnets"]]
    assert [len(page["Subnets"]) for page in pages] == [5, 5, 5]
    assert len(set(ids)) == 15
    with refused("InvalidParameterValue", "maxResults"):
        world.ec2.describe_subnets(MaxResults=1)
    with refused("InvalidNextToken"):
        world.ec2.describe_subnets(NextToken="Ā")
    with refused("InvalidParameterCombination"):
        world.ec2.describe_subnets(SubnetIds=[world.subnet], MaxResults=5)


def test_an_interface_shows_its_holder_address_and_groups_but_no_public_address(
    world: World,
) -> None:
    id = world.holds(world.subnet)
    shown = world.ec2.describe_network_interfaces(NetworkInterfaceIds=[id])["NetworkInterfaces"][0]
    assert shown["SubnetId"] == world.subnet and shown["Status"] == "in-use"
    assert shown["PrivateIpAddress"].startswith("172.31.") and "Association" not in shown
    assert shown["PrivateDnsName"].endswith(".ec2.internal")
    assert shown["Groups"][0]["GroupName"] == "default"
    found = world.ec2.describe_network_interfaces(
        Filters=filters(private_ip_address=shown["PrivateIpAddress"], subnet_id=world.subnet)
    )
    assert [one["NetworkInterfaceId"] for one in found["NetworkInterfaces"]] == [id]


def test_instances_of_the_hull_are_shown_and_fargates_are_not(world: World) -> None:
    for id, purchase in (("i-0aa", "on-demand"), ("i-0bb", "fargate")):
        one = Instance(
            id=id, host="h", cluster="/aws/x", purchase=purchase, subnet=world.subnet,
            address="172.31.0.10", created_at=1_700_000_000.0,
        )  # fmt: skip
        world.shelf.put(f"/hull/instances/{id}", one)
    reservations = world.ec2.describe_instances(
        Filters=filters(instance_state_name="running", vpc_id=world.vpc)
    )["Reservations"]
    (instance,) = [one for each in reservations for one in each["Instances"]]
    assert instance["InstanceId"] == "i-0aa" and instance["State"]["Name"] == "running"
    assert instance["LaunchTime"].year == 2023 and instance["VpcId"] == world.vpc


def test_routes_and_gateway_lead_from_the_default_vpc_to_the_world(world: World) -> None:
    gateways = world.ec2.describe_internet_gateways(
        Filters=[{"Name": "attachment.vpc-id", "Values": [world.vpc]}]
    )["InternetGateways"]
    tables = world.ec2.describe_route_tables(
        Filters=[{"Name": "association.main", "Values": ["true"]}]
    )["RouteTables"]
    routes = {one["DestinationCidrBlock"]: one["GatewayId"] for one in tables[0]["Routes"]}
    assert routes == {
        "172.31.0.0/16": "local", "0.0.0.0/0": gateways[0]["InternetGatewayId"],
    }  # fmt: skip


def test_zones_regions_and_limits_are_told(world: World) -> None:
    zones = world.ec2.describe_availability_zones()["AvailabilityZones"]
    assert [one["ZoneName"] for one in zones] == ["us-east-1a", "us-east-1b", "us-east-1c"]
    one = world.ec2.describe_availability_zones(ZoneIds=["use1-az2"])["AvailabilityZones"]
    assert [zone["ZoneName"] for zone in one] == ["us-east-1b"]
    with refused("InvalidParameterValue", "us-east-1z"):
        world.ec2.describe_availability_zones(ZoneNames=["us-east-1z"])
    regions = {one["RegionName"] for one in world.ec2.describe_regions()["Regions"]}
    assert {"us-east-1", "eu-central-1"} <= regions
    attributes = world.ec2.describe_account_attributes(AttributeNames=["default-vpc"])
    value = attributes["AccountAttributes"][0]["AttributeValues"][0]["AttributeValue"]
    assert value == world.vpc


def test_a_dry_run_changes_nothing_and_says_that_it_would_have_worked(world: World) -> None:
    with refused("DryRunOperation"):
        world.ec2.create_vpc(CidrBlock="10.0.0.0/16", DryRun=True)
    assert len(world.ec2.describe_vpcs()["Vpcs"]) == 1
