"""The policy simulator, groups and OpenID Connect providers through boto3."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from proa.aws.iam.simulate import spans
from tests.unit.aws.realm import ACCOUNT, Realm, refusal

OBJECT = "arn:aws:s3:::b/k"


@pytest.fixture
def realm() -> Iterator[Realm]:
    made = Realm()
    yield made
    made.close()


@pytest.fixture
def iam(realm: Realm) -> Any:
    return realm.client("iam")


def document(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)}, indent=1)


def statement(effect: str = "Allow", **parts: Any) -> dict[str, Any]:
    return {"Effect": effect, "Action": "s3:*", "Resource": "*", **parts}


def decisions(answer: dict[str, Any]) -> list[str]:
    return [result["EvalDecision"] for result in answer["EvaluationResults"]]


def test_custom_policies_are_decided_for_each_action_and_resource(iam: Any) -> None:
    policies = [
        document(statement(Action="s3:GetObject", Resource="arn:aws:s3:::b/*")),
        document(statement("Deny", Action="s3:*", Resource="arn:aws:s3:::b/secret")),
    ]
    answer = iam.simulate_custom_policy(
        PolicyInputList=policies,
        ActionNames=["s3:GetObject", "s3:PutObject"],
        ResourceArns=[OBJECT, "arn:aws:s3:::b/secret"],
    )
    assert decisions(answer) == ["allowed", "explicitDeny", "implicitDeny", "explicitDeny"]
    denied = answer["EvaluationResults"][1]["MatchedStatements"]
    assert [item["SourcePolicyId"] for item in denied] == ["PolicyInputList.2"]
    assert denied[0]["StartPosition"] == {"Line": 4, "Column": 3}
    assert denied[0]["EndPosition"]["Line"] == 8


def test_missing_context_is_named_and_given_context_is_used(iam: Any) -> None:
    policy = document(statement(Condition={"StringEquals": {"aws:RequestedRegion": "eu-west-1"}}))
    call = {"PolicyInputList": [policy], "ActionNames": ["s3:GetObject"]}
    answer = iam.simulate_custom_policy(**call)
    assert decisions(answer) == ["implicitDeny"]
    assert answer["EvaluationResults"][0]["MissingContextValues"] == ["aws:requestedregion"]
    entry = {
        "ContextKeyName": "aws:RequestedRegion",
        "ContextKeyValues": ["eu-west-1"],
        "ContextKeyType": "string",
    }
    assert decisions(iam.simulate_custom_policy(**call, ContextEntries=[entry])) == ["allowed"]
    keys = iam.get_context_keys_for_custom_policy(PolicyInputList=[policy])
    assert keys["ContextKeyNames"] == ["aws:requestedregion"]


def test_principal_is_simulated_with_its_groups_and_its_boundary(iam: Any) -> None:
    arn = iam.create_user(UserName="ann")["User"]["Arn"]
    iam.create_group(GroupName="readers")
    iam.put_group_policy(GroupName="readers", PolicyName="p", PolicyDocument=document(statement()))
    call = {"PolicySourceArn": arn, "ActionNames": ["s3:GetObject"], "ResourceArns": [OBJECT]}
    assert decisions(iam.simulate_principal_policy(**call)) == ["implicitDeny"]
    iam.add_user_to_group(GroupName="readers", UserName="ann")
    answer = iam.simulate_principal_policy(**call)
    assert decisions(answer) == ["allowed"]
    matched = answer["EvaluationResults"][0]["MatchedStatements"]
    assert matched[0]["SourcePolicyId"] == "group_readers_p"
    bound = iam.create_policy(
        PolicyName="only-sqs", PolicyDocument=document(statement(Action="sqs:*"))
    )["Policy"]["Arn"]
    iam.put_user_permissions_boundary(UserName="ann", PermissionsBoundary=bound)
    answer = iam.simulate_principal_policy(**call)
    assert decisions(answer) == ["implicitDeny"]
    detail = answer["EvaluationResults"][0]["PermissionsBoundaryDecisionDetail"]
    assert detail == {"AllowedByPermissionsBoundary": False}


def test_variables_are_the_simulated_users_own(iam: Any) -> None:
    arn = iam.create_user(UserName="ann")["User"]["Arn"]
    mine = document(statement(Resource="arn:aws:s3:::homes/${aws:username}/*"))
    iam.put_user_policy(UserName="ann", PolicyName="home", PolicyDocument=mine)
    answer = iam.simulate_principal_policy(
        PolicySourceArn=arn, ActionNames=["s3:GetObject"],
        ResourceArns=["arn:aws:s3:::homes/ann/x", "arn:aws:s3:::homes/bob/x"],
    )  # fmt: skip
    assert decisions(answer) == ["allowed", "implicitDeny"]


def test_results_are_paged(iam: Any) -> None:
    call = {
        "PolicyInputList": [document(statement())],
        "ActionNames": [f"s3:Get{number}" for number in range(5)],
    }
    first = iam.simulate_custom_policy(**call, MaxItems=3)
    rest = iam.simulate_custom_policy(**call, MaxItems=3, Marker=first["Marker"])
    assert [len(first["EvaluationResults"]), len(rest["EvaluationResults"])] == [3, 2]
    assert not rest["IsTruncated"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"ActionNames": ["GetObject"]}, "InvalidInput"),
        ({"ResourceArns": ["bucket"]}, "InvalidInput"),
        ({"PolicyInputList": ["{"]}, "InvalidInput"),
        ({"CallerArn": "somebody"}, "InvalidInput"),
        ({"ContextEntries": [{"ContextKeyValues": ["x"]}]}, "InvalidInput"),
    ],
)
def test_nonsense_is_refused(iam: Any, change: dict[str, Any], code: str) -> None:
    good = {"PolicyInputList": [document(statement())], "ActionNames": ["s3:GetObject"]}
    assert refusal(iam.simulate_custom_policy, **{**good, **change})[0] == code


def test_unknown_principal_is_refused(iam: Any) -> None:
    arn = f"arn:aws:iam::{ACCOUNT}:user/none"
    code, message = refusal(
        iam.simulate_principal_policy, PolicySourceArn=arn, ActionNames=["s3:GetObject"]
    )
    assert (code, arn in message) == ("NoSuchEntity", True)


def test_spans_are_those_of_the_statements() -> None:
    text = '{"Version": "2012-10-17", "Statement" : [ {"Sid": "}]"} , {"a": [1]} ]}'
    assert [text[start:end] for start, end in spans(text)] == ['{"Sid": "}]"}', '{"a": [1]}']
    alone = '{"Statement": {"Sid": "x"}, "Version": "2012-10-17"}'
    assert [alone[start:end] for start, end in spans(alone)] == ['{"Sid": "x"}']


def test_group_lists_its_users_and_goes_only_when_empty(iam: Any) -> None:
    iam.create_group(GroupName="team", Path="/a/")
    for name in ("bob", "ann"):
        iam.create_user(UserName=name)
        iam.add_user_to_group(GroupName="team", UserName=name)
    assert [user["UserName"] for user in iam.get_group(GroupName="team")["Users"]] == ["ann", "bob"]
    groups = iam.list_groups_for_user(UserName="ann")["Groups"]
    assert groups[0]["Arn"] == f"arn:aws:iam::{ACCOUNT}:group/a/team"
    assert refusal(iam.delete_group, GroupName="team")[0] == "DeleteConflict"
    assert refusal(iam.delete_user, UserName="ann")[0] == "DeleteConflict"
    iam.update_group(GroupName="team", NewGroupName="crew")
    assert [user["UserName"] for user in iam.get_group(GroupName="crew")["Users"]] == ["ann", "bob"]
    assert refusal(iam.get_group, GroupName="team")[0] == "NoSuchEntity"
    for name in ("bob", "ann"):
        iam.remove_user_from_group(GroupName="crew", UserName=name)
    iam.delete_group(GroupName="crew")
    assert iam.list_groups()["Groups"] == []


def test_managed_policy_of_a_group_allows_its_users(realm: Realm, iam: Any) -> None:
    iam.create_group(GroupName="admins")
    policy = "arn:aws:iam::aws:policy/AdministratorAccess"
    iam.attach_group_policy(GroupName="admins", PolicyArn=policy)
    iam.create_user(UserName="ann")
    key = iam.create_access_key(UserName="ann")["AccessKey"]
    hers = realm.client_of(key, "iam")
    assert refusal(hers.list_roles)[0] == "AccessDenied"
    iam.add_user_to_group(GroupName="admins", UserName="ann")
    hers.list_roles()
    holders = iam.list_entities_for_policy(PolicyArn=policy)
    assert [group["GroupName"] for group in holders["PolicyGroups"]] == ["admins"]


def test_oidc_provider_is_kept_by_its_url(iam: Any) -> None:
    arn = iam.create_open_id_connect_provider(
        Url="https://oidc.example.com/id/ABC", ClientIDList=["sts.amazonaws.com"],
        ThumbprintList=["a" * 40],
    )["OpenIDConnectProviderArn"]  # fmt: skip
    assert arn == f"arn:aws:iam::{ACCOUNT}:oidc-provider/oidc.example.com/id/ABC"
    again = refusal(iam.create_open_id_connect_provider, Url="https://oidc.example.com/id/ABC")
    assert again[0] == "EntityAlreadyExists"
    iam.add_client_id_to_open_id_connect_provider(OpenIDConnectProviderArn=arn, ClientID="web")
    shown = iam.get_open_id_connect_provider(OpenIDConnectProviderArn=arn)
    assert shown["ClientIDList"] == ["sts.amazonaws.com", "web"]
    assert shown["Url"] == "oidc.example.com/id/ABC"
    listed = iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]
    assert listed == [{"Arn": arn}]
    iam.delete_open_id_connect_provider(OpenIDConnectProviderArn=arn)
    gone = refusal(iam.get_open_id_connect_provider, OpenIDConnectProviderArn=arn)
    assert gone[0] == "NoSuchEntity"
    plain = refusal(iam.create_open_id_connect_provider, Url="http://oidc.example.com")
    assert plain[0] == "ValidationError"
