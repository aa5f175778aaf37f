"""Making, tagging and deleting networks and groups, with EC2's own refusals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from proa.cloud.network import Subnet, network_key
from proa.store.api import Put, Transaction
from tests.unit.aws.ec2.world import ACCOUNT, REGION, Stage, World, filters, refused

WEB = [
    {
        "IpProtocol": "tcp", "FromPort": 80, "ToPort": 80,
        "IpRanges": [{"CidrIp": "0.0.0.0/0", "Description": "web"}, {"CidrIp": "10.0.0.0/8"}],
    }
]  # fmt: skip


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    made.caller.close()


@pytest.fixture
def world(stage: Stage) -> World:
    return World(stage)


def group_of(world: World, id: str) -> dict[str, Any]:
    found: dict[str, Any] = world.ec2.describe_security_groups(GroupIds=[id])["SecurityGroups"][0]
    return found


def test_a_new_vpc_has_a_default_group_and_a_main_route_table(world: World) -> None:
    tags = [{"ResourceType": "vpc", "Tags": [{"Key": "Name", "Value": "lab"}]}]
    vpc = world.ec2.create_vpc(CidrBlock="10.0.0.0/16", TagSpecifications=tags)["Vpc"]
    assert vpc["IsDefault"] is False and vpc["Tags"] == [{"Key": "Name", "Value": "lab"}]
    named = world.ec2.describe_vpcs(Filters=[{"Name": "tag:Name", "Values": ["lab"]}])["Vpcs"]
    assert [one["VpcId"] for one in named] == [vpc["VpcId"]]
    groups = world.ec2.describe_security_groups(Filters=filters(vpc_id=vpc["VpcId"]))
    assert [one["GroupName"] for one in groups["SecurityGroups"]] == ["default"]
    tables = world.ec2.describe_route_tables(Filters=filters(vpc_id=vpc["VpcId"]))["RouteTables"]
    assert tables[0]["Associations"][0]["Main"] is True
    world.ec2.delete_vpc(VpcId=vpc["VpcId"])
    assert len(world.ec2.describe_security_groups()["SecurityGroups"]) == 1
    assert len(world.ec2.describe_route_tables()["RouteTables"]) == 1


def test_ranges_that_no_vpc_or_subnet_may_have_are_refused(world: World) -> None:
    with refused("InvalidVpc.Range", "The CIDR '10.0.0.0/8' is invalid"):
        world.ec2.create_vpc(CidrBlock="10.0.0.0/8")
    with refused("InvalidParameterValue", "This is not a valid CIDR block"):
        world.ec2.create_vpc(CidrBlock="10.0.0.0")
    with refused("MissingParameter"):
        world.ec2.create_vpc()
    for outside in ("10.0.0.0/24", "172.31.64.0/29"):
        with refused("InvalidSubnet.Range"):
            world.ec2.create_subnet(VpcId=world.vpc, CidrBlock=outside)
    with refused("InvalidSubnet.Conflict", "conflicts with another subnet"):
        world.ec2.create_subnet(VpcId=world.vpc, CidrBlock="172.31.15.0/24")
    with refused("InvalidVpcID.NotFound"):
        world.ec2.create_subnet(VpcId="vpc-0", CidrBlock="172.31.64.0/24")
    with refused("InvalidParameterValue", "us-east-1a, us-east-1b, us-east-1c"):
        world.ec2.create_subnet(
            VpcId=world.vpc, CidrBlock="172.31.64.0/24", AvailabilityZone="us-east-1z"
        )


def test_two_subnets_made_at_once_cannot_overlap(world: World) -> None:
    def interloper() -> None:
        """What another control plane's CreateSubnet of the same range would write."""
        other = Subnet(
            "subnet-0other", ACCOUNT, REGION, world.vpc, "172.31.64.0/24", "us-east-1a", "use1-az1"
        )
        world.shelf.put(network_key(ACCOUNT, REGION, "subnet", other.id), other)
        key = network_key(ACCOUNT, REGION, "vpc", world.vpc)
        world.shelf.commit(Transaction((), (Put(key, world.shelf.records[key].body),)))

    world.store.before_commit = interloper
    with refused("InvalidSubnet.Conflict"):
        world.ec2.create_subnet(VpcId=world.vpc, CidrBlock="172.31.64.0/24")


def test_a_subnet_lives_until_its_last_address_is_free(world: World) -> None:
    made = world.ec2.create_subnet(
        VpcId=world.vpc, CidrBlock="172.31.64.0/24", AvailabilityZone="us-east-1b"
    )["Subnet"]
    assert made["AvailableIpAddressCount"] == 251 and made["DefaultForAz"] is False
    interface = world.holds(made["SubnetId"])
    with refused("DependencyViolation", "has dependencies"):
        world.ec2.delete_subnet(SubnetId=made["SubnetId"])
    found = world.planner.interface(interface)
    assert found is not None
    world.shelf.apply(world.planner.release_interface(found))
    world.ec2.delete_subnet(SubnetId=made["SubnetId"])
    with refused("InvalidSubnetID.NotFound"):
        world.ec2.delete_subnet(SubnetId=made["SubnetId"])


def test_a_vpc_that_holds_anything_is_not_deleted(world: World) -> None:
    vpc = world.ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnet = world.ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24")["Subnet"]["SubnetId"]
    with refused("DependencyViolation"):
        world.ec2.delete_vpc(VpcId=vpc)
    world.ec2.delete_subnet(SubnetId=subnet)
    group = world.ec2.create_security_group(GroupName="g", Description="d", VpcId=vpc)["GroupId"]
    with refused("DependencyViolation"):
        world.ec2.delete_vpc(VpcId=vpc)
    world.ec2.delete_security_group(GroupId=group)
    world.ec2.delete_vpc(VpcId=vpc)


def test_attributes_of_vpcs_and_subnets_change(world: World) -> None:
    world.ec2.modify_vpc_attribute(VpcId=world.vpc, EnableDnsHostnames={"Value": False})
    told = world.ec2.describe_vpc_attribute(VpcId=world.vpc, Attribute="enableDnsHostnames")
    assert told["EnableDnsHostnames"] == {"Value": False}
    world.ec2.modify_subnet_attribute(SubnetId=world.subnet, MapPublicIpOnLaunch={"Value": False})
    (shown,) = world.ec2.describe_subnets(SubnetIds=[world.subnet])["Subnets"]
    assert shown["MapPublicIpOnLaunch"] is False


def test_group_names_are_unique_in_a_vpc_and_some_are_reserved(world: World) -> None:
    create = world.ec2.create_security_group
    made = create(GroupName="web", Description="d")
    with refused("InvalidGroup.Duplicate", "already exists for VPC"):
        create(GroupName="web", Description="d")
    with refused("InvalidGroup.Reserved"):
        create(GroupName="default", Description="d")
    with refused("InvalidParameterValue", "sg-*"):
        create(GroupName="sg-web", Description="d")
    other = world.ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    assert create(GroupName="web", Description="d", VpcId=other)["GroupId"] != made["GroupId"]


def test_rules_are_grouped_when_shown_and_numbered_when_listed(world: World) -> None:
    id = world.ec2.create_security_group(GroupName="web", Description="d")["GroupId"]
    made = world.ec2.authorize_security_group_ingress(GroupId=id, IpPermissions=WEB)
    assert [one["CidrIpv4"] for one in made["SecurityGroupRules"]] == ["0.0.0.0/0", "10.0.0.0/8"]
    (permission,) = group_of(world, id)["IpPermissions"]
    assert permission["IpRanges"] == WEB[0]["IpRanges"] and permission["FromPort"] == 80
    rules = world.ec2.describe_security_group_rules(Filters=filters(group_id=id))
    assert sorted(one["IsEgress"] for one in rules["SecurityGroupRules"]) == [False, False, True]


def test_a_rule_exists_once_and_is_revoked_once(world: World) -> None:
    id = world.ec2.create_security_group(GroupName="web", Description="d")["GroupId"]
    for _ in range(2):
        world.ec2.authorize_security_group_ingress(GroupId=id, IpPermissions=WEB)
        with refused("InvalidPermission.Duplicate", "0.0.0.0/0, TCP, from port: 80, to port: 80"):
            world.ec2.authorize_security_group_ingress(
                GroupId=id, IpProtocol="6", FromPort=80, ToPort=80, CidrIp="0.0.0.0/0"
            )
        gone = world.ec2.revoke_security_group_ingress(GroupId=id, IpPermissions=WEB)
        assert len(gone["RevokedSecurityGroupRules"]) == 2
    with refused("InvalidPermission.NotFound"):
        world.ec2.revoke_security_group_ingress(GroupId=id, IpPermissions=WEB)
    (out,) = world.ec2.describe_security_group_rules(Filters=filters(group_id=id))[
        "SecurityGroupRules"
    ]
    world.ec2.revoke_security_group_egress(
        GroupId=id, SecurityGroupRuleIds=[out["SecurityGroupRuleId"]]
    )
    assert group_of(world, id)["IpPermissionsEgress"] == []


@pytest.mark.parametrize(
    ("permission", "words"),
    [
        ({"IpProtocol": "carrier-pigeon"}, "Unknown protocol"),
        ({"IpProtocol": "tcp", "FromPort": 90, "ToPort": 80}, "Invalid TCP/UDP port range (90:80)"),
        ({"IpProtocol": "tcp"}, "Must specify both from and to ports"),
        ({"IpProtocol": "-1", "IpRanges": [{"CidrIp": "1.2.3"}]}, "CIDR block 1.2.3 is malformed"),
    ],
)
def test_impossible_rules_are_refused(world: World, permission: dict[str, Any], words: str) -> None:
    asked = {"IpRanges": [{"CidrIp": "0.0.0.0/0"}], **permission}
    id = world.ec2.create_security_group(GroupName="web", Description="d")["GroupId"]
    with refused("InvalidParameterValue", words):
        world.ec2.authorize_security_group_ingress(GroupId=id, IpPermissions=[asked])


def test_a_group_has_at_most_sixty_rules_a_direction(world: World) -> None:
    id = world.ec2.create_security_group(GroupName="web", Description="d")["GroupId"]
    ranges = [{"CidrIp": f"10.{number}.0.0/16"} for number in range(60)]
    full = [{"IpProtocol": "-1", "IpRanges": ranges}]
    world.ec2.authorize_security_group_ingress(GroupId=id, IpPermissions=full)
    with refused("RulesPerSecurityGroupLimitExceeded"):
        world.ec2.authorize_security_group_ingress(GroupId=id, IpPermissions=WEB)


def test_a_group_in_use_or_named_by_another_is_not_deleted(world: World) -> None:
    one = world.ec2.create_security_group(GroupName="one", Description="d")["GroupId"]
    two = world.ec2.create_security_group(GroupName="two", Description="d")["GroupId"]
    pair = [{"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": one}]}]
    world.ec2.authorize_security_group_ingress(GroupId=two, IpPermissions=pair)
    world.holds(world.subnet, (two,))
    for used in (one, two):
        with refused("DependencyViolation", "has a dependent object"):
            world.ec2.delete_security_group(GroupId=used)
    world.ec2.revoke_security_group_ingress(GroupId=two, IpPermissions=pair)
    world.ec2.delete_security_group(GroupName="one")
    (default,) = world.ec2.describe_security_groups(GroupNames=["default"])["SecurityGroups"]
    with refused("CannotDelete"):
        world.ec2.delete_security_group(GroupId=default["GroupId"])


def test_tags_are_put_on_all_named_resources_or_none(world: World) -> None:
    resources = [world.vpc, world.subnet]
    tags = [{"Key": "team", "Value": "a"}, {"Key": "stage", "Value": "lab"}]
    world.ec2.create_tags(Resources=resources, Tags=tags)
    listed = world.ec2.describe_tags(Filters=filters(key="team"))["Tags"]
    assert {(one["ResourceId"], one["ResourceType"]) for one in listed} == {
        (world.vpc, "vpc"), (world.subnet, "subnet"),
    }  # fmt: skip
    with refused("InvalidSubnetID.NotFound"):
        world.ec2.create_tags(Resources=[world.vpc, "subnet-0"], Tags=[{"Key": "x", "Value": ""}])
    with refused("InvalidID"):
        world.ec2.create_tags(Resources=["teapot-1"], Tags=tags)
    with refused("InvalidParameterValue", "reserved"):
        world.ec2.create_tags(Resources=resources, Tags=[{"Key": "aws:x", "Value": ""}])
    assert len(world.ec2.describe_tags()["Tags"]) == 4
    world.ec2.delete_tags(Resources=resources, Tags=[{"Key": "team", "Value": "other"}])
    assert len(world.ec2.describe_tags()["Tags"]) == 4
    world.ec2.delete_tags(Resources=resources, Tags=[{"Key": "team"}])
    assert {one["Key"] for one in world.ec2.describe_tags()["Tags"]} == {"stage"}
    world.ec2.delete_tags(Resources=resources)
    assert world.ec2.describe_tags()["Tags"] == []
    too_many = [{"Key": f"k{number}", "Value": ""} for number in range(51)]
    with refused("TagLimitExceeded"):
        world.ec2.create_tags(Resources=resources, Tags=too_many)


def test_many_resources_are_tagged_or_none(world: World) -> None:
    vpc = world.ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    ids = [
        world.ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{n}.0/24")["Subnet"]["SubnetId"]
        for n in range(60)
    ]
    tag = [{"Key": "many", "Value": "yes"}]
    with refused("InvalidSubnetID.NotFound"):
        world.ec2.create_tags(Resources=[*ids, "subnet-0"], Tags=tag)
    assert world.ec2.describe_tags(Filters=filters(key="many"))["Tags"] == []
    world.ec2.create_tags(Resources=ids, Tags=tag)
    assert len(world.ec2.describe_tags(Filters=filters(key="many"))["Tags"]) == 60
