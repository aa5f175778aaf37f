"""Clusters through boto3: made, described, listed, deleted; and what is refused."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.unit.aws.eks.world import World
from tests.unit.aws.realm import ACCOUNT, REGION, refusal


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close()


def test_a_new_cluster_is_creating_and_then_active(world: World) -> None:
    made = world.create(tags={"team": "a"})
    assert made["status"] == "CREATING"
    assert made["arn"] == f"arn:aws:eks:{REGION}:{ACCOUNT}:cluster/dev"
    assert "endpoint" not in made and made["certificateAuthority"] == {}
    world.settle()
    world.eks.get_waiter("cluster_active").wait(
        name="dev", WaiterConfig={"Delay": 0, "MaxAttempts": 1}
    )
    told = world.eks.describe_cluster(name="dev")["cluster"]
    assert told["status"] == "ACTIVE"
    assert told["endpoint"] == "https://127.0.0.1:6444"
    assert base64.b64decode(told["certificateAuthority"]["data"]) == b"CA\n"
    assert told["identity"]["oidc"]["issuer"].startswith("https://")
    assert told["kubernetesNetworkConfig"]["serviceIpv4Cidr"] == "10.101.0.0/20"
    assert told["platformVersion"].startswith("eks.")
    assert told["accessConfig"] == {
        "authenticationMode": "CONFIG_MAP",
        "bootstrapClusterCreatorAdminPermissions": True,
    }
    assert told["resourcesVpcConfig"]["publicAccessCidrs"] == ["0.0.0.0/0"]
    assert told["resourcesVpcConfig"]["clusterSecurityGroupId"].startswith("sg-")
    assert told["tags"] == {"team": "a"} and told["health"] == {"issues": []}


def test_the_default_cluster_is_described_and_cannot_be_deleted(world: World) -> None:
    told = world.eks.describe_cluster(name="default")["cluster"]
    assert (told["status"], told["endpoint"]) == ("ACTIVE", "https://127.0.0.1:6443")
    code, message = refusal(world.eks.delete_cluster, name="default")
    assert code == "InvalidRequestException" and "cannot be deleted" in message


def test_each_cluster_has_a_service_range_of_its_own(world: World) -> None:
    first, second = world.create("one"), world.create("two")
    ranges = [made["kubernetesNetworkConfig"]["serviceIpv4Cidr"] for made in (first, second)]
    assert ranges == ["10.101.0.0/20", "10.101.16.0/20"]


def test_the_same_token_answers_the_same_cluster(world: World) -> None:
    first = world.create(clientRequestToken="t")
    assert world.create(clientRequestToken="t")["createdAt"] == first["createdAt"]
    assert refusal(world.create, clientRequestToken="u") == (
        "ResourceInUseException", "Cluster already exists with name: dev",
    )  # fmt: skip


def test_an_unknown_cluster_is_named(world: World) -> None:
    with pytest.raises(ClientError) as caught:
        world.eks.describe_cluster(name="no")
    assert caught.value.response["Error"]["Code"] == "ResourceNotFoundException"
    assert caught.value.response["Error"]["Message"] == "No cluster found for name: no."
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404


@pytest.mark.parametrize("name", ["-a", "a.b", "a/b", "é", "a" * 101])
def test_a_name_outside_the_pattern_is_refused(world: World, name: str) -> None:
    with pytest.raises(ClientError) as caught:
        world.create(name)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert world.eks.list_clusters()["clusters"] == ["default"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"version": "1.99"}, "unsupported Kubernetes version"),
        ({"roleArn": f"arn:aws:iam::{ACCOUNT}:role/no"}, "could not be assumed"),
        ({"roleArn": "nonsense"}, "is not valid"),
        ({"resourcesVpcConfig": {"subnetIds": ["subnet-no", "subnet-nor"]}},
         "The subnet ID 'subnet-no' does not exist"),
        ({"resourcesVpcConfig": {}}, "at least two different AZs"),
        ({"kubernetesNetworkConfig": {"serviceIpv4Cidr": "8.8.0.0/16"}}, "private IP ranges"),
        ({"kubernetesNetworkConfig": {"serviceIpv4Cidr": "10.0.0.0/25"}}, "between /24 and /12"),
        ({"kubernetesNetworkConfig": {"serviceIpv4Cidr": "10.0.0.1/24"}}, "not a valid CIDR"),
        ({"kubernetesNetworkConfig": {"serviceIpv4Cidr": "172.31.0.0/16"}}, "overlaps"),
        ({"kubernetesNetworkConfig": {"serviceIpv4Cidr": "10.100.0.0/20"}}, "overlaps"),
        ({"kubernetesNetworkConfig": {"ipFamily": "ipv6"}}, "ipv6 is not served"),
        ({"computeConfig": {"enabled": True}}, "Auto Mode"),
        ({"accessConfig": {"authenticationMode": "CONFIG_MAP",
                           "bootstrapClusterCreatorAdminPermissions": False}},
         "bootstrapClusterCreatorAdminPermissions must be true"),
        ({"encryptionConfig": [{"resources": ["secrets"], "provider": {"keyArn": "x"}}]},
         "Invalid KMS key ARN"),
        ({"tags": {"aws:x": "y"}}, "reserved"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_and_nothing_is_written(
    world: World, given: dict[str, Any], message: str
) -> None:
    code, said = refusal(world.create, **given)
    assert code == "InvalidParameterException" and message in said
    assert world.eks.list_clusters()["clusters"] == ["default"]


def test_a_role_that_does_not_trust_eks_is_refused(world: World) -> None:
    trust = '{"Statement":[{"Effect":"Allow","Principal":{"Service":"ecs.amazonaws.com"},' \
            '"Action":"sts:AssumeRole"}]}'  # fmt: skip
    other = world.iam.create_role(RoleName="other", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    code, message = refusal(world.create, roleArn=other)
    assert code == "InvalidParameterException" and "trusted entity" in message


def test_subnets_in_one_zone_are_too_few(world: World) -> None:
    code, _ = refusal(world.create, resourcesVpcConfig={"subnetIds": world.subnets[:1]})
    assert code == "InvalidParameterException"


def test_deletion_is_marked_and_protection_forbids_it(world: World) -> None:
    world.create()
    assert refusal(world.eks.delete_cluster, name="dev")[0] == "ResourceInUseException"
    world.settle()
    world.eks.update_cluster_config(name="dev", deletionProtection=True)
    world.settle()
    assert refusal(world.eks.delete_cluster, name="dev")[0] == "InvalidRequestException"
    world.eks.update_cluster_config(name="dev", deletionProtection=False)
    world.settle()
    assert world.eks.delete_cluster(name="dev")["cluster"]["status"] == "DELETING"
    assert world.eks.delete_cluster(name="dev")["cluster"]["status"] == "DELETING"
    world.settle()
    assert refusal(world.eks.describe_cluster, name="dev")[0] == "ResourceNotFoundException"


def test_lists_are_paged(world: World) -> None:
    for name in ("a", "b", "c"):
        world.create(name)
    pages = world.eks.get_paginator("list_clusters").paginate(PaginationConfig={"PageSize": 3})
    assert [page["clusters"] for page in pages] == [["a", "b", "c"], ["default"]]
    assert refusal(world.eks.list_clusters, nextToken="%%")[0] == "InvalidParameterException"


def test_tags_come_and_go(world: World) -> None:
    arn = world.create(tags={"a": "1"})["arn"]
    world.eks.tag_resource(resourceArn=arn, tags={"b": "2"})
    world.eks.untag_resource(resourceArn=arn, tagKeys=["a"])
    assert world.eks.list_tags_for_resource(resourceArn=arn)["tags"] == {"b": "2"}
    assert refusal(world.eks.tag_resource, resourceArn="x", tags={"a": "b"})[0] == (
        "BadRequestException"
    )
    gone = arn.replace("/dev", "/no")
    assert refusal(world.eks.list_tags_for_resource, resourceArn=gone)[0] == "NotFoundException"


def test_a_version_goes_up_by_one(world: World) -> None:
    world.create(version="1.33")
    world.settle()
    for wanted in ("1.33", "1.35", "1.32"):
        assert refusal(world.eks.update_cluster_version, name="dev", version=wanted)[0] == (
            "InvalidParameterException"
        )
    update = world.eks.update_cluster_version(name="dev", version="1.34")["update"]
    assert (update["type"], update["status"]) == ("VersionUpdate", "InProgress")
    assert world.eks.describe_cluster(name="dev")["cluster"]["status"] == "UPDATING"
    assert refusal(world.eks.update_cluster_version, name="dev", version="1.35")[0] == (
        "ResourceInUseException"
    )
    world.settle()
    told = world.eks.describe_update(name="dev", updateId=update["id"])["update"]
    assert told["status"] == "Successful"
    assert world.eks.list_updates(name="dev")["updateIds"] == [update["id"]]
    assert world.eks.describe_cluster(name="dev")["cluster"]["version"] == "1.34"


def test_authentication_modes_go_one_way(world: World) -> None:
    world.create()
    world.settle()

    def to(mode: str) -> None:
        world.eks.update_cluster_config(name="dev", accessConfig={"authenticationMode": mode})
        world.settle()

    assert refusal(to, mode="API")[0] == "InvalidParameterException"
    to("API_AND_CONFIG_MAP")
    assert world.eks.list_access_entries(clusterName="dev")["accessEntries"] == [
        f"arn:aws:iam::{ACCOUNT}:root"
    ]
    to("API")
    code, message = refusal(to, mode="API_AND_CONFIG_MAP")
    assert code == "InvalidParameterException" and "from API to API_AND_CONFIG_MAP" in message


def test_what_changes_nothing_is_no_update(world: World) -> None:
    world.create()
    world.settle()
    call = world.eks.update_cluster_config
    assert refusal(call, name="dev")[0] == "InvalidParameterException"
    code, message = refusal(call, name="dev", resourcesVpcConfig={"endpointPublicAccess": True})
    assert code == "InvalidParameterException" and "already at the desired" in message
    none = {"endpointPublicAccess": False, "endpointPrivateAccess": False}
    assert refusal(call, name="dev", resourcesVpcConfig=none) == (
        "InvalidParameterException", "Private and public endpoint access cannot be false",
    )  # fmt: skip


def test_what_is_not_served_is_refused_by_name_and_lists_are_empty(world: World) -> None:
    world.create()
    assert world.eks.list_nodegroups(clusterName="dev")["nodegroups"] == []
    assert world.eks.list_fargate_profiles(clusterName="dev")["fargateProfileNames"] == []
    assert world.eks.list_addons(clusterName="dev")["addons"] == []
    assert refusal(world.eks.list_addons, clusterName="no")[0] == "ResourceNotFoundException"
    assert refusal(world.eks.describe_nodegroup, clusterName="dev", nodegroupName="n") == (
        "ResourceNotFoundException", "No node group found for name: n.",
    )  # fmt: skip
    code, message = refusal(
        world.eks.create_nodegroup, clusterName="dev", nodegroupName="n", subnets=world.subnets,
        nodeRole=world.role,
    )  # fmt: skip
    assert code == "InvalidRequestException" and "node groups" in message


def test_the_calendar_names_the_default_version(world: World) -> None:
    told = world.eks.describe_cluster_versions(defaultOnly=True)["clusterVersions"]
    assert [one["clusterVersion"] for one in told] == ["1.36"]
