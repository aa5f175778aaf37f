"""Network ACLs, DHCP options, endpoints, key pairs, rules by id, and the catalogue."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from proa.aws.ssm.public import parameter, paths
from proa.cloud.network.edges import KEY_PAIRS
from tests.unit.aws.ec2.world import Stage, World, filters, refused

PUBLIC = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJlVnwLmNZTZzIrgrFZJ7F8QpM7K9r0SC6tPoCJ5XbiN me@here"


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    made.caller.close()


@pytest.fixture
def world(stage: Stage) -> World:
    return World(stage)


@pytest.fixture
def ec2(world: World) -> Any:
    return world.ec2


def acl_of(world: World, vpc: str) -> dict[str, Any]:
    found = world.ec2.describe_network_acls(Filters=filters(vpc_id=vpc, default="true"))
    [acl] = found["NetworkAcls"]
    return dict(acl)


def test_every_vpc_has_a_default_acl_that_serves_all_its_subnets(world: World, ec2: Any) -> None:
    acl = acl_of(world, world.vpc)  # of a VPC that was made without one
    assert acl["IsDefault"] and len(acl["Associations"]) == 3
    assert [(one["RuleNumber"], one["RuleAction"]) for one in acl["Entries"]] == [
        (100, "allow"), (32767, "deny"), (100, "allow"), (32767, "deny"),
    ]  # fmt: skip
    id = acl["NetworkAclId"]
    ec2.delete_network_acl_entry(NetworkAclId=id, RuleNumber=100, Egress=False)
    assert len(acl_of(world, world.vpc)["Entries"]) == 3
    with refused("InvalidParameterValue", "cannot delete default"):
        ec2.delete_network_acl(NetworkAclId=id)


def test_a_subnet_moves_to_another_acl_and_back(world: World, ec2: Any) -> None:
    own = ec2.create_network_acl(VpcId=world.vpc)["NetworkAcl"]
    assert len(own["Entries"]) == 2 and own["Associations"] == []
    default = acl_of(world, world.vpc)
    [there] = [one for one in default["Associations"] if one["SubnetId"] == world.subnet]
    moved = ec2.replace_network_acl_association(
        AssociationId=there["NetworkAclAssociationId"], NetworkAclId=own["NetworkAclId"]
    )["NewAssociationId"]
    [shown] = ec2.describe_network_acls(Filters=filters(**{"association.subnet-id": world.subnet}))[
        "NetworkAcls"
    ]
    assert shown["NetworkAclId"] == own["NetworkAclId"]
    assert len(acl_of(world, world.vpc)["Associations"]) == 2
    with refused("DependencyViolation"):
        ec2.delete_network_acl(NetworkAclId=own["NetworkAclId"])
    ec2.replace_network_acl_association(AssociationId=moved, NetworkAclId=default["NetworkAclId"])
    ec2.delete_network_acl(NetworkAclId=own["NetworkAclId"])
    with refused("InvalidNetworkAclID.NotFound"):
        ec2.describe_network_acls(NetworkAclIds=[own["NetworkAclId"]])


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"RuleNumber": 32767}, "InvalidParameterValue"),
        ({"RuleAction": "maybe"}, "InvalidParameterValue"),
        ({"Protocol": "tcp"}, "MissingParameter"),
        ({"Protocol": "tcp", "PortRange": {"From": 9, "To": 8}}, "InvalidParameterValue"),
        ({"Protocol": "carrier-pigeon"}, "InvalidParameterValue"),
        ({"CidrBlock": None}, "MissingParameter"),
        ({"CidrBlock": "0.0.0.0"}, "InvalidParameterValue"),
        ({"RuleNumber": 100}, "NetworkAclEntryAlreadyExists"),
    ],
)
def test_acl_entries_that_mean_nothing_are_refused(
    world: World, ec2: Any, change: dict[str, Any], code: str
) -> None:
    id = acl_of(world, world.vpc)["NetworkAclId"]
    given = {
        "NetworkAclId": id, "RuleNumber": 200, "Egress": False, "Protocol": "-1",
        "RuleAction": "deny", "CidrBlock": "10.0.0.0/8", **change,
    }  # fmt: skip
    with refused(code):
        ec2.create_network_acl_entry(**{k: v for k, v in given.items() if v is not None})
    with refused("InvalidNetworkAclEntry.NotFound"):
        ec2.delete_network_acl_entry(NetworkAclId=id, RuleNumber=200, Egress=False)
    assert len(acl_of(world, world.vpc)["Entries"]) == 4


def test_dhcp_options_are_kept_and_given_to_vpcs(world: World, ec2: Any) -> None:
    own = ec2.describe_vpcs()["Vpcs"][0]["DhcpOptionsId"]
    [shown] = ec2.describe_dhcp_options(DhcpOptionsIds=[own])["DhcpOptions"]
    assert shown["DhcpConfigurations"][0]["Values"] == [{"Value": "ec2.internal"}]
    with refused("InvalidParameterValue", "Unknown DHCP option"):
        ec2.create_dhcp_options(DhcpConfigurations=[{"Key": "colour", "Values": ["blue"]}])
    made = ec2.create_dhcp_options(
        DhcpConfigurations=[{"Key": "ntp-servers", "Values": ["10.0.0.1", "10.0.0.2"]}]
    )["DhcpOptions"]["DhcpOptionsId"]
    ec2.associate_dhcp_options(DhcpOptionsId=made, VpcId=world.vpc)
    with refused("DependencyViolation"):
        ec2.delete_dhcp_options(DhcpOptionsId=made)
    ec2.associate_dhcp_options(DhcpOptionsId="default", VpcId=world.vpc)
    assert ec2.describe_vpcs()["Vpcs"][0]["DhcpOptionsId"] == own
    ec2.delete_dhcp_options(DhcpOptionsId=made)
    with refused("InvalidDhcpOptionsID.NotFound"):
        ec2.associate_dhcp_options(DhcpOptionsId=made, VpcId=world.vpc)


def test_a_gateway_endpoint_stands_in_its_route_tables(world: World, ec2: Any) -> None:
    table = ec2.describe_route_tables()["RouteTables"][0]["RouteTableId"]
    service = "com.amazonaws.us-east-1.s3"
    id = ec2.create_vpc_endpoint(VpcId=world.vpc, ServiceName=service)["VpcEndpoint"][
        "VpcEndpointId"
    ]

    def targets() -> list[str]:
        routes = ec2.describe_route_tables(RouteTableIds=[table])["RouteTables"][0]["Routes"]
        return [one["GatewayId"] for one in routes if "DestinationPrefixListId" in one]

    assert targets() == []
    ec2.modify_vpc_endpoint(VpcEndpointId=id, AddRouteTableIds=[table])
    assert targets() == [id]
    with refused("RouteAlreadyExists"):
        ec2.create_vpc_endpoint(VpcId=world.vpc, ServiceName=service, RouteTableIds=[table])
    answer = ec2.delete_vpc_endpoints(VpcEndpointIds=[id, "vpce-0"])
    assert [one["ResourceId"] for one in answer["Unsuccessful"]] == ["vpce-0"]
    assert targets() == []
    with refused("InvalidServiceName"):
        ec2.create_vpc_endpoint(VpcId=world.vpc, ServiceName="com.amazonaws.us-east-1.nothing")
    with refused("InvalidParameter", "Gateway"):
        ec2.create_vpc_endpoint(VpcId=world.vpc, ServiceName="com.amazonaws.us-east-1.ecs")
    lists = ec2.describe_prefix_lists(Filters=filters(prefix_list_name=service))["PrefixLists"]
    assert lists[0]["PrefixListId"].startswith("pl-")
    services = ec2.describe_vpc_endpoint_services(Filters=filters(service_type="Gateway"))
    assert len(services["ServiceDetails"]) == 2


def test_an_interface_endpoint_keeps_what_it_was_given(world: World, ec2: Any) -> None:
    made = ec2.create_vpc_endpoint(
        VpcId=world.vpc, ServiceName="com.amazonaws.us-east-1.ecr.api", SubnetIds=[world.subnet],
        VpcEndpointType="Interface", PrivateDnsEnabled=True,
    )["VpcEndpoint"]  # fmt: skip
    assert made["SubnetIds"] == [world.subnet] and made["Groups"][0]["GroupName"] == "default"
    found = ec2.describe_vpc_endpoints(Filters=filters(vpc_endpoint_type="Interface"))
    assert [one["VpcEndpointId"] for one in found["VpcEndpoints"]] == [made["VpcEndpointId"]]
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    with refused("InvalidParameterValue", "does not belong"):
        ec2.create_vpc_endpoint(
            VpcId=vpc, ServiceName="com.amazonaws.us-east-1.ecs", SubnetIds=[world.subnet],
            VpcEndpointType="Interface",
        )  # fmt: skip


def test_a_key_pair_is_given_out_once(world: World, ec2: Any) -> None:
    rsa = ec2.create_key_pair(KeyName="one")
    key = serialization.load_pem_private_key(rsa["KeyMaterial"].encode(), None)
    assert key.public_key() is not None and rsa["KeyFingerprint"].count(":") == 19
    kept = [entry.body for entry in world.shelf.view.rows(KEY_PAIRS).scan()]
    assert len(kept) == 1 and b"PRIVATE" not in kept[0]
    with refused("InvalidKeyPair.Duplicate", "'one' already exists"):
        ec2.import_key_pair(KeyName="one", PublicKeyMaterial=PUBLIC.encode())
    ec2.import_key_pair(KeyName="two", PublicKeyMaterial=PUBLIC.encode())
    [shown] = ec2.describe_key_pairs(KeyNames=["two"], IncludePublicKey=True)["KeyPairs"]
    assert shown["KeyType"] == "ed25519" and shown["PublicKey"] == PUBLIC.rpartition(" ")[0]
    ec2.delete_key_pair(KeyName="one")
    ec2.delete_key_pair(KeyName="one")
    with refused("InvalidKeyPair.NotFound", "'one' does not exist"):
        ec2.describe_key_pairs(KeyNames=["one"])
    ec2.create_key_pair(KeyName="one", KeyType="ed25519")
    with refused("InvalidKey.Format"):
        ec2.import_key_pair(KeyName="three", PublicKeyMaterial=b"nonsense")


def test_rules_are_changed_described_and_tagged_by_their_ids(world: World, ec2: Any) -> None:
    group = ec2.create_security_group(GroupName="g", Description="d")["GroupId"]
    permission = {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80}
    made = ec2.authorize_security_group_ingress(
        GroupId=group, IpPermissions=[{**permission, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}]
    )["SecurityGroupRules"][0]["SecurityGroupRuleId"]
    ec2.create_tags(Resources=[made, group], Tags=[{"Key": "a", "Value": "b"}])
    new = {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "ReferencedGroupId": group,
           "Description": "https"}  # fmt: skip
    ec2.modify_security_group_rules(
        GroupId=group,
        SecurityGroupRules=[{"SecurityGroupRuleId": made, "SecurityGroupRule": new}],
    )
    [rule] = ec2.describe_security_group_rules(Filters=filters(**{"tag:a": "b"}))[
        "SecurityGroupRules"
    ]
    assert (rule["FromPort"], rule["Description"]) == (443, "https")
    assert rule["ReferencedGroupInfo"]["GroupId"] == group and "CidrIpv4" not in rule
    with refused("InvalidParameterCombination", "exactly one of the peers"):
        ec2.modify_security_group_rules(
            GroupId=group,
            SecurityGroupRules=[
                {"SecurityGroupRuleId": made, "SecurityGroupRule": {"IpProtocol": "tcp"}}
            ],
        )
    ec2.update_security_group_rule_descriptions_ingress(
        GroupId=group,
        SecurityGroupRuleDescriptions=[{"SecurityGroupRuleId": made, "Description": "tls"}],
    )
    ec2.update_security_group_rule_descriptions_egress(
        GroupId=group,
        IpPermissions=[{"IpProtocol": "-1",
                        "IpRanges": [{"CidrIp": "0.0.0.0/0", "Description": "out"}]}],
    )  # fmt: skip
    told = [
        one.get("Description")
        for one in ec2.describe_security_group_rules(Filters=filters(group_id=group))[
            "SecurityGroupRules"
        ]
    ]
    assert sorted(map(str, told)) == ["out", "tls"]
    tags = ec2.describe_tags(Filters=filters(resource_type="security-group-rule"))["Tags"]
    assert [one["ResourceId"] for one in tags] == [made]
    with refused("InvalidSecurityGroupRuleId.NotFound"):
        ec2.create_tags(Resources=["sgr-0"], Tags=[{"Key": "a", "Value": "b"}])


def test_the_catalogue_knows_common_types_and_where_they_are(ec2: Any) -> None:
    [small] = ec2.describe_instance_types(InstanceTypes=["t3.small"])["InstanceTypes"]
    assert (small["VCpuInfo"]["DefaultVCpus"], small["MemoryInfo"]["SizeInMiB"]) == (2, 2048)
    with refused("InvalidInstanceType", "[t3.huge]"):
        ec2.describe_instance_types(InstanceTypes=["t3.small", "t3.huge"])
    arm = ec2.get_paginator("describe_instance_types").paginate(
        Filters=filters(**{"processor-info.supported-architecture": "arm64",
                           "instance-type": "m7g.*"}),
        PaginationConfig={"PageSize": 5},
    )  # fmt: skip
    found = [one["InstanceType"] for page in arm for one in page["InstanceTypes"]]
    assert len(found) == 8 and found == sorted(found)
    offers = ec2.describe_instance_type_offerings(
        LocationType="availability-zone", Filters=filters(instance_type="m5.large")
    )["InstanceTypeOfferings"]
    assert [one["Location"][-1] for one in offers] == ["a", "b", "c"]


def test_images_are_those_that_public_parameters_name(ec2: Any) -> None:
    for path in paths():
        found = parameter("us-east-1", path)
        assert found is not None
        if found["Value"].startswith("ami-"):
            assert ec2.describe_images(ImageIds=[found["Value"]])["Images"]
    newest = ec2.describe_images(Owners=["amazon"], Filters=filters(name="al2023-ami-2023*x86_64"))
    assert len(newest["Images"]) == 1
    assert ec2.describe_images(Owners=["self"])["Images"] == []
    with refused("InvalidAMIID.NotFound", "ami-0"):
        ec2.describe_images(ImageIds=["ami-0"])
