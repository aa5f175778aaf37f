"""IAM through boto3: roles, users, policies, instance profiles, access keys."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.aws.realm import ACCOUNT, Realm, refusal

TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "ecs-tasks.amazonaws.com"},
                "Action": "sts:AssumeRole",
            }
        ],
    }
)
READ = json.dumps(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:Get*",
                                             "Resource": "*"}]}
)  # fmt: skip
EXECUTION = "arn:aws:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy"


@pytest.fixture
def realm() -> Iterator[Realm]:
    made = Realm()
    yield made
    made.close()


@pytest.fixture
def iam(realm: Realm) -> Any:
    return realm.client("iam")


def role(iam: Any, name: str = "web", **given: Any) -> dict[str, Any]:
    made: dict[str, Any] = iam.create_role(RoleName=name, AssumeRolePolicyDocument=TRUST, **given)[
        "Role"
    ]
    return made


def test_created_role_is_described_as_iam_describes_it(iam: Any) -> None:
    made = role(iam, Path="/team/", Description="d", Tags=[{"Key": "k", "Value": "v"}])
    assert made["RoleId"].startswith("AROA") and len(made["RoleId"]) == 21
    assert made["Arn"] == f"arn:aws:iam::{ACCOUNT}:role/team/web"
    assert made["AssumeRolePolicyDocument"] == json.loads(TRUST)
    got = iam.get_role(RoleName="WEB")["Role"]
    assert got["Tags"] == [{"Key": "k", "Value": "v"}]
    assert (got["MaxSessionDuration"], got["RoleLastUsed"]) == (3600, {})
    listed = iam.list_roles(PathPrefix="/team/")["Roles"]
    assert [entry["RoleName"] for entry in listed] == ["web"]
    assert "Tags" not in listed[0]


def test_policy_documents_travel_percent_encoded(realm: Realm, iam: Any) -> None:
    role(iam)
    body = realm.caller.seen[-1][1].body.decode()
    assert "<AssumeRolePolicyDocument>%7B%22Version%22%3A%20%222012-10-17%22" in body


def test_role_names_are_unique_regardless_of_case(iam: Any) -> None:
    role(iam)
    assert refusal(iam.create_role, RoleName="Web", AssumeRolePolicyDocument=TRUST) == (
        "EntityAlreadyExists", "Role with name Web already exists.",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("method", "given", "message"),
    [
        ("get_role", {"RoleName": "no"}, "The role with name no cannot be found."),
        ("delete_role", {"RoleName": "no"}, "The role with name no cannot be found."),
        ("get_user", {"UserName": "no"}, "The user with name no cannot be found."),
        ("get_instance_profile", {"InstanceProfileName": "no"},
         "Instance Profile no cannot be found."),
        ("get_policy", {"PolicyArn": f"arn:aws:iam::{ACCOUNT}:policy/no"},
         f"Policy arn:aws:iam::{ACCOUNT}:policy/no was not found."),
    ],
)  # fmt: skip
def test_what_is_not_there_is_named(
    iam: Any, method: str, given: dict[str, str], message: str
) -> None:
    assert refusal(getattr(iam, method), **given) == ("NoSuchEntity", message)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("{", "This policy contains invalid Json"),
        ('{"Version":"2012-10-17"}', "Syntax errors in policy."),
        (READ, "Has prohibited field Resource"),
        ('{"Statement":{"Effect":"Allow","Action":"sts:AssumeRole"}}',
         "Missing required field Principal"),
        ('{"Statement":{"Effect":"Allow","Action":"s3:Get","Principal":"*"}}',
         "AssumeRole policy may only specify STS AssumeRole actions."),
    ],
)  # fmt: skip
def test_malformed_trust_policy_is_refused(iam: Any, document: str, message: str) -> None:
    assert refusal(iam.create_role, RoleName="r", AssumeRolePolicyDocument=document) == (
        "MalformedPolicyDocument", message,
    )  # fmt: skip


def test_seed_flow_of_an_execution_role(iam: Any) -> None:
    role(iam, "ecsTaskExecutionRole")
    iam.attach_role_policy(RoleName="ecsTaskExecutionRole", PolicyArn=EXECUTION)
    attached = iam.list_attached_role_policies(RoleName="ecsTaskExecutionRole")
    assert attached["AttachedPolicies"] == [
        {"PolicyName": "AmazonECSTaskExecutionRolePolicy", "PolicyArn": EXECUTION}
    ]
    assert refusal(iam.delete_role, RoleName="ecsTaskExecutionRole") == (
        "DeleteConflict", "Cannot delete entity, must detach all policies first.",
    )  # fmt: skip
    iam.detach_role_policy(RoleName="ecsTaskExecutionRole", PolicyArn=EXECUTION)
    iam.delete_role(RoleName="ecsTaskExecutionRole")
    assert iam.list_roles()["Roles"] == []


def test_attaching_twice_changes_nothing_and_unknown_policies_are_refused(iam: Any) -> None:
    role(iam)
    for _ in range(2):
        iam.attach_role_policy(RoleName="web", PolicyArn=EXECUTION)
    assert len(iam.list_attached_role_policies(RoleName="web")["AttachedPolicies"]) == 1
    unknown = "arn:aws:iam::aws:policy/NoSuchPolicyHere"
    assert refusal(iam.attach_role_policy, RoleName="web", PolicyArn=unknown) == (
        "NoSuchEntity", f"Policy {unknown} does not exist or is not attachable.",
    )  # fmt: skip
    assert refusal(iam.detach_role_policy, RoleName="web", PolicyArn=unknown)[0] == "NoSuchEntity"


def test_roles_hold_at_most_ten_policies(iam: Any) -> None:
    role(iam)
    for number in range(10):
        made = iam.create_policy(PolicyName=f"p{number}", PolicyDocument=READ)
        iam.attach_role_policy(RoleName="web", PolicyArn=made["Policy"]["Arn"])
    assert refusal(iam.attach_role_policy, RoleName="web", PolicyArn=EXECUTION) == (
        "LimitExceeded", "Cannot exceed quota for PoliciesPerRole: 10",
    )  # fmt: skip


def test_inline_policies_are_kept_and_block_deletion(iam: Any) -> None:
    role(iam)
    iam.put_role_policy(RoleName="web", PolicyName="read", PolicyDocument=READ)
    got = iam.get_role_policy(RoleName="web", PolicyName="read")
    assert got["PolicyDocument"] == json.loads(READ)
    assert iam.list_role_policies(RoleName="web")["PolicyNames"] == ["read"]
    assert refusal(iam.delete_role, RoleName="web")[0] == "DeleteConflict"
    iam.delete_role_policy(RoleName="web", PolicyName="read")
    assert refusal(iam.get_role_policy, RoleName="web", PolicyName="read") == (
        "NoSuchEntity", "The role policy with name read cannot be found.",
    )  # fmt: skip
    iam.delete_role(RoleName="web")
    big = json.dumps({"Statement": [{"Effect": "Allow", "Action": "s3:Get", "Resource": "*",
                                     "Sid": "x" * 11_000}]})  # fmt: skip
    role(iam)
    assert refusal(
        iam.put_role_policy, RoleName="web", PolicyName="p", PolicyDocument=big
    )[0] == "LimitExceeded"  # fmt: skip


def test_lists_are_paged_by_markers_that_survive_changes(iam: Any) -> None:
    for name in ("a", "b", "c", "d"):
        role(iam, name)
    first = iam.list_roles(MaxItems=2)
    assert ([r["RoleName"] for r in first["Roles"]], first["IsTruncated"]) == (["a", "b"], True)
    iam.delete_role(RoleName="b")
    role(iam, "bb")
    rest = iam.list_roles(MaxItems=10, Marker=first["Marker"])
    assert [r["RoleName"] for r in rest["Roles"]] == ["bb", "c", "d"]
    assert rest["IsTruncated"] is False and "Marker" not in rest
    pages = iam.get_paginator("list_roles").paginate(PaginationConfig={"PageSize": 1})
    assert [r["RoleName"] for page in pages for r in page["Roles"]] == ["a", "bb", "c", "d"]


def test_policy_versions_rotate_within_five(iam: Any) -> None:
    arn = iam.create_policy(PolicyName="p", PolicyDocument=READ)["Policy"]["Arn"]
    for number in range(2, 6):
        made = iam.create_policy_version(PolicyArn=arn, PolicyDocument=READ)["PolicyVersion"]
        assert (made["VersionId"], made["IsDefaultVersion"]) == (f"v{number}", False)
    assert refusal(iam.create_policy_version, PolicyArn=arn, PolicyDocument=READ)[0] == (
        "LimitExceeded"
    )
    iam.set_default_policy_version(PolicyArn=arn, VersionId="v3")
    assert iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"] == "v3"
    assert refusal(iam.delete_policy_version, PolicyArn=arn, VersionId="v3")[0] == "DeleteConflict"
    iam.delete_policy_version(PolicyArn=arn, VersionId="v1")
    listed = [v["VersionId"] for v in iam.list_policy_versions(PolicyArn=arn)["Versions"]]
    assert listed == ["v5", "v4", "v3", "v2"]
    assert iam.get_policy_version(PolicyArn=arn, VersionId="v2")["PolicyVersion"]["Document"] == (
        json.loads(READ)
    )
    assert refusal(iam.delete_policy, PolicyArn=arn)[0] == "DeleteConflict"


def test_attached_policy_cannot_be_deleted(iam: Any) -> None:
    arn = iam.create_policy(PolicyName="p", PolicyDocument=READ)["Policy"]["Arn"]
    role(iam)
    iam.attach_role_policy(RoleName="web", PolicyArn=arn)
    assert iam.get_policy(PolicyArn=arn)["Policy"]["AttachmentCount"] == 1
    assert iam.list_entities_for_policy(PolicyArn=arn)["PolicyRoles"][0]["RoleName"] == "web"
    assert refusal(iam.delete_policy, PolicyArn=arn) == (
        "DeleteConflict", "Cannot delete a policy attached to entities.",
    )  # fmt: skip
    iam.detach_role_policy(RoleName="web", PolicyArn=arn)
    iam.delete_policy(PolicyArn=arn)
    assert iam.list_policies(Scope="Local")["Policies"] == []


def test_aws_own_policies_are_there_and_fixed(iam: Any) -> None:
    policy = iam.get_policy(PolicyArn=EXECUTION)["Policy"]
    version = iam.get_policy_version(PolicyArn=EXECUTION, VersionId=policy["DefaultVersionId"])
    actions = version["PolicyVersion"]["Document"]["Statement"][0]["Action"]
    assert "ecr:GetAuthorizationToken" in actions and "logs:PutLogEvents" in actions
    assert refusal(iam.delete_policy, PolicyArn=EXECUTION)[0] == "AccessDenied"
    names = {p["PolicyName"] for p in iam.list_policies(Scope="AWS")["Policies"]}
    assert {"AmazonEKSWorkerNodePolicy", "AdministratorAccess"} <= names


def test_identity_policy_needs_resources(iam: Any) -> None:
    bare = '{"Statement":{"Effect":"Allow","Action":"s3:Get"}}'
    assert refusal(iam.create_policy, PolicyName="p", PolicyDocument=bare) == (
        "MalformedPolicyDocument", "Policy statement must contain resources.",
    )  # fmt: skip


def test_instance_profile_holds_one_role(iam: Any) -> None:
    role(iam)
    role(iam, "other")
    iam.create_instance_profile(InstanceProfileName="nodes")
    iam.add_role_to_instance_profile(InstanceProfileName="nodes", RoleName="web")
    profile = iam.get_instance_profile(InstanceProfileName="nodes")["InstanceProfile"]
    assert profile["Roles"][0]["RoleName"] == "web"
    assert refusal(
        iam.add_role_to_instance_profile, InstanceProfileName="nodes", RoleName="other"
    )[0] == "LimitExceeded"  # fmt: skip
    assert refusal(iam.delete_role, RoleName="web")[0] == "DeleteConflict"
    assert len(iam.list_instance_profiles_for_role(RoleName="web")["InstanceProfiles"]) == 1
    iam.remove_role_from_instance_profile(InstanceProfileName="nodes", RoleName="web")
    iam.delete_instance_profile(InstanceProfileName="nodes")
    iam.delete_role(RoleName="web")


def test_tags_are_unique_regardless_of_case(iam: Any) -> None:
    role(iam, Tags=[{"Key": "Team", "Value": "a"}])
    iam.tag_role(RoleName="web", Tags=[{"Key": "team", "Value": "b"}])
    assert iam.list_role_tags(RoleName="web")["Tags"] == [{"Key": "team", "Value": "b"}]
    iam.untag_role(RoleName="web", TagKeys=["TEAM"])
    assert iam.list_role_tags(RoleName="web")["Tags"] == []
    twice = [{"Key": "a", "Value": "1"}, {"Key": "A", "Value": "2"}]
    assert refusal(iam.tag_role, RoleName="web", Tags=twice)[0] == "InvalidInput"


def test_access_key_works_until_it_is_switched_off(realm: Realm, iam: Any) -> None:
    iam.create_user(UserName="ann")
    key = iam.create_access_key(UserName="ann")["AccessKey"]
    assert key["AccessKeyId"].startswith("AKIA") and len(key["AccessKeyId"]) == 20
    assert len(key["SecretAccessKey"]) == 40
    ann = realm.client_of(key, "sts")
    identity = ann.get_caller_identity()
    assert identity["Arn"] == f"arn:aws:iam::{ACCOUNT}:user/ann"
    assert identity["UserId"].startswith("AIDA")
    iam.update_access_key(UserName="ann", AccessKeyId=key["AccessKeyId"], Status="Inactive")
    assert refusal(ann.get_caller_identity)[0] == "InvalidClientTokenId"
    listed = iam.list_access_keys(UserName="ann")["AccessKeyMetadata"]
    assert [(k["Status"], "SecretAccessKey" in k) for k in listed] == [("Inactive", False)]
    assert refusal(iam.delete_user, UserName="ann")[0] == "DeleteConflict"
    iam.delete_access_key(UserName="ann", AccessKeyId=key["AccessKeyId"])
    iam.delete_user(UserName="ann")


def test_users_have_at_most_two_access_keys(iam: Any) -> None:
    iam.create_user(UserName="ann")
    for _ in range(2):
        iam.create_access_key(UserName="ann")
    assert refusal(iam.create_access_key, UserName="ann") == (
        "LimitExceeded", "Cannot exceed quota for AccessKeysPerUser: 2",
    )  # fmt: skip


def test_secrets_are_not_readable_in_the_store(realm: Realm, iam: Any) -> None:
    iam.create_user(UserName="ann")
    secret = iam.create_access_key(UserName="ann")["AccessKey"]["SecretAccessKey"]
    bodies = [record.body for record in realm.run(realm.store.range("/")).records]
    assert len(bodies) >= 3
    assert all(secret.encode() not in body for body in bodies)
    assert all(realm.root[1].encode() not in body for body in bodies)


def test_service_linked_role_is_made_once(iam: Any) -> None:
    made = iam.create_service_linked_role(AWSServiceName="ecs.amazonaws.com")["Role"]
    assert made["Arn"].endswith(":role/aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS")
    assert refusal(iam.create_service_linked_role, AWSServiceName="ecs.amazonaws.com")[0] == (
        "InvalidInput"
    )


def test_role_can_be_updated(iam: Any) -> None:
    role(iam)
    iam.update_role(RoleName="web", Description="new", MaxSessionDuration=7200)
    trust = TRUST.replace("ecs-tasks", "ec2")
    iam.update_assume_role_policy(RoleName="web", PolicyDocument=trust)
    got = iam.get_role(RoleName="web")["Role"]
    assert (got["Description"], got["MaxSessionDuration"]) == ("new", 7200)
    assert got["AssumeRolePolicyDocument"] == json.loads(trust)
