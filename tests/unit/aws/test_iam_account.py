"""Accounts as a whole, service-linked roles, and the last uses of keys, through boto3."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from proa.cloud.identity import KEY_USES, key_use_key
from proa.cloud.key_uses import KeyUses
from tests.unit.aws.realm import ACCOUNT, Realm, refusal

TRUST = json.dumps(
    {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "sts:AssumeRole",
     "Principal": {"Service": "ec2.amazonaws.com"}}}
)  # fmt: skip
ALLOW = json.dumps(
    {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}
)


@pytest.fixture
def realm() -> Iterator[Realm]:
    made = Realm()
    yield made
    made.close()


@pytest.fixture
def iam(realm: Realm) -> Any:
    return realm.client("iam")


def test_summary_and_details_show_everybody(iam: Any) -> None:
    iam.create_group(GroupName="team")
    iam.create_user(UserName="ann")
    iam.add_user_to_group(GroupName="team", UserName="ann")
    iam.put_user_policy(UserName="ann", PolicyName="p", PolicyDocument=ALLOW)
    iam.create_policy(PolicyName="own", PolicyDocument=ALLOW)
    iam.create_role(RoleName="web", AssumeRolePolicyDocument=TRUST)
    iam.create_instance_profile(InstanceProfileName="machines")
    iam.add_role_to_instance_profile(InstanceProfileName="machines", RoleName="web")
    counts = iam.get_account_summary()["SummaryMap"]
    assert [counts[name] for name in ("Users", "Groups", "Roles", "Policies")] == [1, 1, 1, 1]
    shown = iam.get_account_authorization_details()
    user = shown["UserDetailList"][0]
    assert (user["GroupList"], user["UserPolicyList"][0]["PolicyName"]) == (["team"], "p")
    profile = shown["RoleDetailList"][0]["InstanceProfileList"][0]
    assert profile["InstanceProfileName"] == "machines"
    assert shown["Policies"][0]["PolicyVersionList"][0]["IsDefaultVersion"]
    only = iam.get_account_authorization_details(Filter=["Group"])
    assert [group["GroupName"] for group in only["GroupDetailList"]] == ["team"]
    assert only["UserDetailList"] == []


def test_service_linked_role_goes_only_by_its_own_operation(iam: Any) -> None:
    iam.create_service_linked_role(AWSServiceName="ecs.amazonaws.com")
    name = "AWSServiceRoleForECS"
    assert refusal(iam.delete_role, RoleName=name)[0] == "UnmodifiableEntity"
    task = iam.delete_service_linked_role(RoleName=name)["DeletionTaskId"]
    status = iam.get_service_linked_role_deletion_status(DeletionTaskId=task)["Status"]
    assert status == "SUCCEEDED"
    assert refusal(iam.get_role, RoleName=name)[0] == "NoSuchEntity"
    iam.create_role(RoleName="web", AssumeRolePolicyDocument=TRUST)
    assert refusal(iam.delete_service_linked_role, RoleName="web")[0] == "InvalidInput"


def test_instance_profile_carries_tags(iam: Any) -> None:
    iam.create_instance_profile(InstanceProfileName="machines")
    named = {"InstanceProfileName": "machines"}
    iam.tag_instance_profile(**named, Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}])
    iam.untag_instance_profile(**named, TagKeys=["a"])
    assert iam.list_instance_profile_tags(**named)["Tags"] == [{"Key": "b", "Value": "2"}]


def test_user_may_get_another_path_but_no_other_name(iam: Any) -> None:
    iam.create_user(UserName="ann")
    iam.update_user(UserName="ann", NewPath="/team/")
    assert iam.get_user(UserName="ann")["User"]["Arn"].endswith("user/team/ann")
    assert refusal(iam.update_user, UserName="ann", NewUserName="eve")[0] == "InvalidInput"


def test_last_use_of_a_key_is_noted_and_written_down(realm: Realm) -> None:
    uses = KeyUses()
    realm.gateway._uses = uses
    realm.client("sts").get_caller_identity()
    use = uses.of(realm.view, ACCOUNT, realm.root[0])
    assert use is not None and (use.service, use.region) == ("sts", "us-east-1")
    realm.run(uses.flush(realm.store))
    realm.run(realm._seen())
    kept = realm.view.rows(KEY_USES).get(key_use_key(ACCOUNT, realm.root[0]))
    assert kept is not None and kept.value == use
    assert KeyUses().of(realm.view, ACCOUNT, realm.root[0]) == use


def test_key_that_was_never_used_says_so(iam: Any) -> None:
    iam.create_user(UserName="ann")
    key = iam.create_access_key(UserName="ann")["AccessKey"]["AccessKeyId"]
    shown = iam.get_access_key_last_used(AccessKeyId=key)
    assert shown["UserName"] == "ann"
    assert shown["AccessKeyLastUsed"] == {"ServiceName": "N/A", "Region": "N/A"}
    unknown = refusal(iam.get_access_key_last_used, AccessKeyId="AKIANOBODY0000000000")
    assert unknown[0] == "NoSuchEntity"
