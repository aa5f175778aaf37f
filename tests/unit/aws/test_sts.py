"""STS and authorisation through boto3."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from proa.aws.gateway.service import AwsError, Context
from proa.aws.iam.authorize import resources_of
from proa.aws.sts.sessions import Sessions
from proa.cloud.identity import SESSIONS, Identities, ensure_root
from tests.unit.aws.realm import ACCOUNT, REGION, Realm, refusal

ROOT = f"arn:aws:iam::{ACCOUNT}:root"


@pytest.fixture
def realm() -> Iterator[Realm]:
    made = Realm()
    yield made
    made.close()


def document(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def trusting(principal: Any, **condition: Any) -> str:
    statement = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}
    return document(statement | ({"Condition": condition} if condition else {}))


def allow(action: str, resource: str = "*") -> str:
    return document({"Effect": "Allow", "Action": action, "Resource": resource})


def user(realm: Realm, name: str, *policies: str) -> dict[str, Any]:
    iam = realm.client("iam")
    iam.create_user(UserName=name)
    for number, policy in enumerate(policies):
        iam.put_user_policy(UserName=name, PolicyName=f"p{number}", PolicyDocument=policy)
    key: dict[str, Any] = iam.create_access_key(UserName=name)["AccessKey"]
    return key


def role(realm: Realm, trust: str, *policies: str, name: str = "web") -> str:
    iam = realm.client("iam")
    arn: str = iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    for number, policy in enumerate(policies):
        iam.put_role_policy(RoleName=name, PolicyName=f"p{number}", PolicyDocument=policy)
    return arn


def test_root_is_who_it_is(realm: Realm) -> None:
    identity = realm.client("sts").get_caller_identity()
    assert (identity["UserId"], identity["Account"], identity["Arn"]) == (ACCOUNT, ACCOUNT, ROOT)


def test_assumed_role_acts_under_its_session(realm: Realm) -> None:
    arn = role(realm, trusting({"AWS": ROOT}), allow("iam:GetRole"))
    answer = realm.client("sts").assume_role(RoleArn=arn, RoleSessionName="s1")
    assert answer["AssumedRoleUser"]["Arn"] == (f"arn:aws:sts::{ACCOUNT}:assumed-role/web/s1")
    credentials = answer["Credentials"]
    assert credentials["AccessKeyId"].startswith("ASIA")
    lasts = credentials["Expiration"].timestamp() - realm.clock.now()
    assert lasts == pytest.approx(3600, abs=2)
    session = realm.client_of(credentials, "sts").get_caller_identity()
    assert session["Arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/web/s1"
    assert session["UserId"] == answer["AssumedRoleUser"]["AssumedRoleId"]
    iam = realm.client_of(credentials, "iam")
    assert iam.get_role(RoleName="web")["Role"]["Arn"] == arn
    assert refusal(iam.list_roles) == (
        "AccessDenied",
        f"User: arn:aws:sts::{ACCOUNT}:assumed-role/web/s1 is not authorized to perform: "
        "iam:ListRoles on resource: * because no identity-based policy allows the iam:ListRoles "
        "action",
    )


def test_session_without_its_token_is_refused(realm: Realm) -> None:
    arn = role(realm, trusting({"AWS": ROOT}))
    credentials = realm.client("sts").assume_role(RoleArn=arn, RoleSessionName="s1")["Credentials"]
    credentials.pop("SessionToken")
    client = realm.client_of(credentials, "sts")
    assert refusal(client.get_caller_identity)[0] == "InvalidClientTokenId"


def test_trust_policy_decides_who_gets_in(realm: Realm) -> None:
    ann, bob = user(realm, "ann"), user(realm, "bob")
    arn = role(realm, trusting({"AWS": f"arn:aws:iam::{ACCOUNT}:user/ann"}))
    realm.client_of(ann, "sts").assume_role(RoleArn=arn, RoleSessionName="s1")
    assert refusal(
        realm.client_of(bob, "sts").assume_role, RoleArn=arn, RoleSessionName="s1"
    ) == (
        "AccessDenied",
        f"User: arn:aws:iam::{ACCOUNT}:user/bob is not authorized to perform: sts:AssumeRole on "
        f"resource: {arn}",
    )  # fmt: skip


def test_trusting_the_account_leaves_it_to_the_callers_policies(realm: Realm) -> None:
    arn = role(realm, trusting({"AWS": ROOT}))
    plain, allowed = user(realm, "plain"), user(realm, "allowed", allow("sts:AssumeRole", arn))
    given = {"RoleArn": arn, "RoleSessionName": "s1"}
    assert refusal(realm.client_of(plain, "sts").assume_role, **given)[0] == "AccessDenied"
    realm.client_of(allowed, "sts").assume_role(**given)


def test_external_id_condition_is_held(realm: Realm) -> None:
    arn = role(realm, trusting({"AWS": ROOT}, StringEquals={"sts:ExternalId": "42x"}))
    sts = realm.client("sts")
    assert refusal(sts.assume_role, RoleArn=arn, RoleSessionName="s1")[0] == "AccessDenied"
    sts.assume_role(RoleArn=arn, RoleSessionName="s1", ExternalId="42x")


def test_unknown_role_is_refused_like_a_closed_one(realm: Realm) -> None:
    arn = f"arn:aws:iam::{ACCOUNT}:role/none"
    refused = refusal(realm.client("sts").assume_role, RoleArn=arn, RoleSessionName="s1")
    assert refused[0] == "AccessDenied"


def test_session_may_not_outlast_what_the_role_allows(realm: Realm) -> None:
    arn = role(realm, trusting({"AWS": ROOT}))
    assert refusal(
        realm.client("sts").assume_role, RoleArn=arn, RoleSessionName="s1", DurationSeconds=7200
    ) == (
        "ValidationError",
        "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
    )


def test_session_policy_only_narrows(realm: Realm) -> None:
    arn = role(realm, trusting({"AWS": ROOT}), allow("iam:*"))
    credentials = realm.client("sts").assume_role(
        RoleArn=arn, RoleSessionName="s1", Policy=allow("iam:ListRoles")
    )["Credentials"]
    iam = realm.client_of(credentials, "iam")
    assert len(iam.list_roles()["Roles"]) == 1
    assert refusal(iam.list_users)[0] == "AccessDenied"


def test_permissions_boundary_only_narrows(realm: Realm) -> None:
    root = realm.client("iam")
    edge = root.create_policy(PolicyName="edge", PolicyDocument=allow("iam:ListRoles"))
    key = user(realm, "ann", allow("iam:*"))
    root.put_user_permissions_boundary(UserName="ann", PermissionsBoundary=edge["Policy"]["Arn"])
    iam = realm.client_of(key, "iam")
    iam.list_roles()
    assert refusal(iam.list_users)[0] == "AccessDenied"


def test_explicit_deny_beats_allow(realm: Realm) -> None:
    deny = document({"Effect": "Deny", "Action": "iam:Delete*", "Resource": "*"})
    iam = realm.client_of(user(realm, "ann", allow("*"), deny), "iam")
    iam.create_role(RoleName="r", AssumeRolePolicyDocument=trusting({"AWS": ROOT}))
    code, message = refusal(iam.delete_role, RoleName="r")
    assert code == "AccessDenied"
    assert message.endswith("with an explicit deny in an identity-based policy")


def test_resource_of_a_policy_is_held_against_the_name_in_the_call(realm: Realm) -> None:
    mine = f"arn:aws:iam::{ACCOUNT}:role/mine-*"
    iam = realm.client_of(user(realm, "ann", allow("iam:CreateRole", mine)), "iam")
    trust = trusting({"AWS": ROOT})
    iam.create_role(RoleName="mine-1", AssumeRolePolicyDocument=trust)
    refused = refusal(iam.create_role, RoleName="theirs", AssumeRolePolicyDocument=trust)
    assert f"on resource: arn:aws:iam::{ACCOUNT}:role/theirs because" in refused[1]


def test_session_token_acts_as_its_user(realm: Realm) -> None:
    key = user(realm, "ann", allow("iam:ListRoles"))
    sts = realm.client_of(key, "sts")
    credentials = sts.get_session_token(DurationSeconds=900)["Credentials"]
    arn = f"arn:aws:iam::{ACCOUNT}:user/ann"
    session = realm.client_of(credentials, "sts")
    assert session.get_caller_identity()["Arn"] == arn
    realm.client_of(credentials, "iam").list_roles()
    assert refusal(session.get_session_token)[0] == "AccessDenied"


def test_expired_session_says_so(realm: Realm) -> None:
    arn = role(realm, trusting({"AWS": ROOT}))
    credentials = realm.client("sts").assume_role(RoleArn=arn, RoleSessionName="s1")["Credentials"]
    realm.clock.epoch += 3601
    found = Identities(realm.view, realm.sealer).lookup(credentials["AccessKeyId"])
    assert found is not None and found.expires_at <= realm.clock.now()


def test_expired_sessions_are_swept_when_new_ones_are_made(realm: Realm) -> None:
    arn = role(realm, trusting({"Service": "ecs-tasks.amazonaws.com"}))
    sessions = Sessions(realm.desk, realm.sealer)
    now = realm.clock.now()

    def issue(at: float) -> None:
        realm.run(sessions.assume_for_service(arn, "ecs-tasks.amazonaws.com", "t", 900, at))

    for _ in range(10):
        issue(now)
    for _ in range(40):
        issue(now + 1000)
    left = [entry.value.created_at for entry in realm.view.rows(SESSIONS).scan()]
    assert left.count(now) < 3
    assert left.count(now + 1000) == 40


def test_role_is_only_for_the_services_it_trusts(realm: Realm) -> None:
    arn = role(realm, trusting({"Service": "ecs-tasks.amazonaws.com"}))
    sessions = Sessions(realm.desk, realm.sealer)
    now = realm.clock.now()
    issued = realm.run(
        sessions.assume_for_service(arn, "ecs-tasks.amazonaws.com", "task", 3600, now)
    )
    assert issued.principal_arn == f"arn:aws:sts::{ACCOUNT}:assumed-role/web/task"
    with pytest.raises(AwsError) as caught:
        realm.run(sessions.assume_for_service(arn, "lambda.amazonaws.com", "task", 3600, now))
    assert caught.value.code == "AccessDenied"


def test_resources_are_made_of_the_names_in_a_call() -> None:
    context = Context(ACCOUNT, REGION, ROOT, "AKIA", "r", 0.0)
    ecs = f"arn:aws:ecs:{REGION}:{ACCOUNT}"
    assert resources_of(context, "ecs:RunTask", {"taskDefinition": "web:3"}) == [
        f"{ecs}:task-definition/web:3"
    ]
    assert resources_of(context, "ecs:UpdateService", {"cluster": "c", "service": "s"}) == [
        f"{ecs}:cluster/c", f"{ecs}:service/c/s",
    ]  # fmt: skip
    assert resources_of(context, "ecs:StopTask", {"task": f"{ecs}:task/default/1"}) == [
        f"{ecs}:task/default/1"
    ]
    assert resources_of(context, "ssm:GetParameters", {"Names": ["/a", "b"]}) == [
        f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/a",
        f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/b",
    ]
    assert resources_of(context, "ec2:DescribeVpcs", {}) == ["*"]
    other = replace(context, region="eu-west-3")
    assert resources_of(other, "logs:PutLogEvents", {"logGroupName": "/g"}) == [
        f"arn:aws:logs:eu-west-3:{ACCOUNT}:log-group:/g:*"
    ]


def test_root_key_is_made_once_and_found_again(realm: Realm) -> None:
    again = realm.run(
        ensure_root(realm.store, realm.sealer, realm.chance, ACCOUNT, realm.clock.now())
    )
    assert again == realm.root
    other = realm.run(
        ensure_root(realm.store, realm.sealer, realm.chance, "111111111111", realm.clock.now())
    )
    assert other != realm.root
