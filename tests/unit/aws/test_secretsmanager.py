"""Secrets Manager through boto3: versions and stages, deletion, filters, refusals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from proa.aws.each_resource import EachResource
from proa.aws.iam.authorize import Authority
from proa.aws.secretsmanager import records, service
from proa.aws.secretsmanager.shared import SecretsDesk, replacement
from tests.unit.aws.realm import ACCOUNT, REGION, Realm, refusal

FIRST, SECOND, THIRD = (letter * 32 for letter in "abc")
DAY_S = 86_400
GONE = (
    "InvalidRequestException",
    "You can't perform this operation on the secret because it was marked for deletion.",
)
ABSENT = ("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")


def secrets_desk(realm: Realm) -> SecretsDesk:
    chance, allow = realm.chance.child("secrets"), EachResource(Authority(realm.view), {})
    return SecretsDesk(realm.store, realm.view, chance, realm.sealer, allow)


@pytest.fixture(scope="module")
def realm() -> Iterator[Realm]:
    made = Realm(records.TABLES, lambda realm: [service.build(secrets_desk(realm))])
    yield made
    made.close()


@pytest.fixture(scope="module")
def whole_client(realm: Realm) -> Any:
    return realm.client("secretsmanager")


@pytest.fixture
def sm(realm: Realm, whole_client: Any) -> Iterator[Any]:
    """A client of a Secrets Manager that is empty before and after."""
    yield whole_client
    for entry in list(realm.view.rows(records.SECRETS).scan()):
        realm.run(secrets_desk(realm).delete([entry.key]))
    realm.run(service.sweep(secrets_desk(realm), realm.clock.now()))
    assert not len(realm.view.rows(records.VALUES))


def let_windows_end(realm: Realm) -> None:
    """As if the recovery windows of all deleted secrets were over."""
    desk = secrets_desk(realm)
    for entry in list(realm.view.rows(records.SECRETS).scan()):
        over = msgspec.structs.replace(entry.value, gone_at=realm.clock.now())
        realm.run(desk.carry_out(lambda entry=entry, over=over: replacement(entry, over)))


def current(sm: Any, id: str = "s", **more: Any) -> str:
    text: str = sm.get_secret_value(SecretId=id, **more)["SecretString"]
    return text


def test_a_secret_is_found_by_name_by_arn_and_by_an_arn_without_its_end(sm: Any) -> None:
    made = sm.create_secret(Name="app/db-x", SecretString="hunter2", ClientRequestToken=FIRST)
    head = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:app/db-x"
    assert made["ARN"].startswith(head + "-") and len(made["ARN"]) == len(head) + 7
    assert made["VersionId"] == FIRST
    for id in ("app/db-x", made["ARN"], head):
        found = sm.get_secret_value(SecretId=id)
        assert (found["SecretString"], found["VersionStages"]) == ("hunter2", ["AWSCURRENT"])
    for id in ("app/db", head + "-zzzzzz", "arn:aws:secretsmanager:eu-west-1:1:secret:app/db-x"):
        assert refusal(sm.get_secret_value, SecretId=id) == ABSENT


def test_values_are_sealed_at_rest(realm: Realm, sm: Any) -> None:
    sm.create_secret(Name="s", SecretString="hunter2")
    bodies = [entry.body for entry in realm.view.rows(records.VALUES).scan()]
    assert len(bodies) == 1 and b"hunter2" not in bodies[0]


def test_binary_secrets_come_back_as_bytes(sm: Any) -> None:
    sm.create_secret(Name="s", SecretBinary=b"\x00\xff")
    found = sm.get_secret_value(SecretId="s")
    assert found["SecretBinary"] == b"\x00\xff" and "SecretString" not in found


def test_a_secret_may_begin_without_a_value(sm: Any) -> None:
    assert "VersionId" not in sm.create_secret(Name="s")
    code, message = refusal(sm.get_secret_value, SecretId="s")
    assert code == "ResourceNotFoundException" and "staging label: AWSCURRENT" in message
    put = sm.put_secret_value(SecretId="s", SecretString="x", VersionStages=["MINE"])
    assert sorted(put["VersionStages"]) == ["AWSCURRENT", "MINE"]


def test_the_same_token_makes_one_version(sm: Any) -> None:
    for _ in range(2):
        sm.create_secret(Name="s", SecretString="one", ClientRequestToken=FIRST)
    for _ in range(2):
        sm.put_secret_value(SecretId="s", SecretString="two", ClientRequestToken=SECOND)
    assert len(sm.describe_secret(SecretId="s")["VersionIdsToStages"]) == 2
    for call in (sm.put_secret_value, sm.update_secret):
        code, message = refusal(call, SecretId="s", SecretString="other", ClientRequestToken=SECOND)
        assert code == "ResourceExistsException" and SECOND in message
    assert refusal(sm.create_secret, Name="s", SecretString="one", ClientRequestToken=THIRD) == (
        "ResourceExistsException", "The operation failed because the secret s already exists.",
    )  # fmt: skip


def test_new_values_move_current_and_previous(sm: Any) -> None:
    sm.create_secret(Name="s", SecretString="1", ClientRequestToken=FIRST)
    sm.put_secret_value(SecretId="s", SecretString="2", ClientRequestToken=SECOND)
    sm.update_secret(SecretId="s", SecretString="3", ClientRequestToken=THIRD, Description="d")
    assert sm.describe_secret(SecretId="s")["VersionIdsToStages"] == {
        SECOND: ["AWSPREVIOUS"], THIRD: ["AWSCURRENT"]
    }  # fmt: skip
    assert current(sm) == "3" and current(sm, VersionStage="AWSPREVIOUS") == "2"
    assert current(sm, VersionId=FIRST) == "1"
    assert sm.describe_secret(SecretId="s")["Description"] == "d"
    listed = sm.list_secret_version_ids(SecretId="s")["Versions"]
    assert [one["VersionId"] for one in listed] == [THIRD, SECOND]
    every = sm.list_secret_version_ids(SecretId="s", IncludeDeprecated=True, MaxResults=2)
    assert len(every["Versions"]) == 2 and "NextToken" in every
    mixed = refusal(sm.get_secret_value, SecretId="s", VersionId=FIRST, VersionStage="AWSCURRENT")
    assert mixed[0] == "InvalidRequestException"
    assert refusal(sm.get_secret_value, SecretId="s", VersionId="z" * 32)[0] == (
        "ResourceNotFoundException"
    )


def test_a_pending_version_becomes_current_by_its_label(sm: Any) -> None:
    sm.create_secret(Name="s", SecretString="1", ClientRequestToken=FIRST)
    sm.put_secret_value(
        SecretId="s", SecretString="2", ClientRequestToken=SECOND, VersionStages=["AWSPENDING"]
    )
    assert current(sm) == "1"
    move = {"SecretId": "s", "VersionStage": "AWSCURRENT", "MoveToVersionId": SECOND}
    code, message = refusal(sm.update_secret_version_stage, **move)
    assert code == "InvalidParameterException" and FIRST in message
    sm.update_secret_version_stage(**move, RemoveFromVersionId=FIRST)
    assert current(sm) == "2" and current(sm, VersionStage="AWSPREVIOUS") == "1"
    sm.update_secret_version_stage(
        SecretId="s", VersionStage="AWSPENDING", RemoveFromVersionId=SECOND
    )
    for stage, source in (("AWSCURRENT", SECOND), ("AWSPENDING", FIRST)):
        found = refusal(
            sm.update_secret_version_stage, SecretId="s", VersionStage=stage,
            RemoveFromVersionId=source,
        )  # fmt: skip
        assert found[0] == "InvalidParameterException"


def test_a_hundred_versions_are_kept_and_labelled_ones_never_lost(realm: Realm, sm: Any) -> None:
    sm.create_secret(Name="s", SecretString="0", ClientRequestToken=FIRST)
    sm.update_secret_version_stage(SecretId="s", VersionStage="KEEP", MoveToVersionId=FIRST)
    for number in range(1, 103):
        sm.put_secret_value(SecretId="s", SecretString=str(number))
    assert len(realm.view.rows(records.VALUES)) == 100
    assert current(sm, VersionId=FIRST) == "0" and current(sm) == "102"


def test_deletion_waits_and_can_be_taken_back(realm: Realm, sm: Any) -> None:
    sm.create_secret(Name="s", SecretString="x")
    answer = sm.delete_secret(SecretId="s", RecoveryWindowInDays=7)
    assert round(answer["DeletionDate"].timestamp() - realm.clock.now()) in range(
        7 * DAY_S - 60, 7 * DAY_S + 1
    )
    for call, more in (
        (sm.get_secret_value, {}), (sm.put_secret_value, {"SecretString": "y"}),
        (sm.delete_secret, {}), (sm.update_secret, {"Description": "y"}),
        (sm.tag_resource, {"Tags": [{"Key": "a", "Value": "b"}]}),
    ):  # fmt: skip
        assert refusal(call, SecretId="s", **more) == GONE
    assert refusal(sm.create_secret, Name="s")[0] == "InvalidRequestException"
    assert "DeletedDate" in sm.describe_secret(SecretId="s")
    assert not sm.list_secrets()["SecretList"]
    assert len(sm.list_secrets(IncludePlannedDeletion=True)["SecretList"]) == 1
    sm.restore_secret(SecretId="s")
    assert current(sm) == "x"
    sm.delete_secret(SecretId="s")
    let_windows_end(realm)
    assert refusal(sm.restore_secret, SecretId="s") == ABSENT
    sm.create_secret(Name="s", SecretString="new")
    realm.run(service.sweep(secrets_desk(realm), realm.clock.now()))
    assert current(sm) == "new" and len(realm.view.rows(records.VALUES)) == 1


def test_a_forced_deletion_is_at_once_and_may_be_repeated(sm: Any) -> None:
    sm.create_secret(Name="s", SecretString="x")
    for _ in range(2):
        sm.delete_secret(SecretId="s", ForceDeleteWithoutRecovery=True)
    assert refusal(sm.describe_secret, SecretId="s") == ABSENT
    sm.create_secret(Name="s", SecretString="y")
    assert current(sm) == "y"


@pytest.mark.parametrize(
    ("operation", "given", "code", "word"),
    [
        ("create_secret", {"Name": "a b"}, "ValidationException", "Invalid name"),
        ("create_secret", {}, "InvalidParameterException", "name"),
        ("create_secret", {"Name": "x", "SecretString": "a", "SecretBinary": b"b"},
         "InvalidParameterException", "both"),
        ("create_secret", {"Name": "x", "SecretString": "é" * 40_000},
         "InvalidParameterException", "65536"),
        ("create_secret", {"Name": "x", "ClientRequestToken": "short"},
         "InvalidParameterException", "32"),
        ("create_secret", {"Name": "x", "AddReplicaRegions": [{"Region": "eu-west-1"}]},
         "InvalidParameterException", "replicate"),
        ("create_secret", {"Name": "x", "Tags": [{"Key": "aws:x", "Value": ""}]},
         "InvalidParameterException", "reserved"),
        ("put_secret_value", {"SecretId": "there"}, "InvalidRequestException", "provide either"),
        ("delete_secret", {"SecretId": "there", "RecoveryWindowInDays": 6},
         "InvalidParameterException", "between 7 and 30"),
        ("delete_secret", {"SecretId": "there", "RecoveryWindowInDays": 7,
                           "ForceDeleteWithoutRecovery": True},
         "InvalidParameterException", "conjunction"),
        ("delete_secret", {"SecretId": "none"}, *ABSENT),
        ("rotate_secret", {"SecretId": "there"}, "InvalidRequestException", "No Lambda rotation"),
        ("rotate_secret", {"SecretId": "there", "RotationLambdaARN": "arn:aws:lambda:x"},
         "InvalidRequestException", "does not run"),
        ("put_resource_policy", {"SecretId": "there", "ResourcePolicy": "{"},
         "MalformedPolicyDocumentException", "Json"),
        ("list_secrets", {"Filters": [{"Key": "colour", "Values": ["x"]}]},
         "InvalidParameterException", "enum"),
        ("list_secrets", {"NextToken": "x"}, "InvalidNextTokenException", "NextToken"),
        ("batch_get_secret_value", {}, "InvalidParameterException", "not both"),
        ("get_random_password", {"PasswordLength": 3}, "InvalidParameterException", "too short"),
        ("get_random_password", {"PasswordLength": 0}, "InvalidParameterException", "greater"),
        ("get_random_password", {"ExcludeNumbers": True, "ExcludePunctuation": True,
                                 "ExcludeUppercase": True, "ExcludeLowercase": True},
         "InvalidParameterException", "all character types"),
    ],
)  # fmt: skip
def test_what_is_refused(
    sm: Any, operation: str, given: dict[str, Any], code: str, word: str
) -> None:
    sm.create_secret(Name="there", SecretString="x")
    found = refusal(getattr(sm, operation), **given)
    assert found[0] == code and word in found[1]
    assert [one["Name"] for one in sm.list_secrets()["SecretList"]] == ["there"]


def test_secrets_are_listed_by_filters_and_in_pages(realm: Realm, sm: Any) -> None:
    for name, tags in (("app/a", {"team": "blue"}), ("app/b", {}), ("other", {"team": "red"})):
        pairs = [{"Key": key, "Value": value} for key, value in tags.items()]
        sm.create_secret(Name=name, Description=f"the {name} Secret", Tags=pairs)
        realm.run(realm.clock.sleep(1))

    def found(key: str, *values: str, **more: Any) -> list[str]:
        listed = sm.list_secrets(Filters=[{"Key": key, "Values": list(values)}], **more)
        return [one["Name"] for one in listed["SecretList"]]

    assert found("name", "app/") == ["app/b", "app/a"]
    assert found("name", "app/", SortOrder="asc") == ["app/a", "app/b"]
    assert found("name", "!app/") == ["other"]
    assert found("tag-key", "team") == ["other", "app/a"] and found("tag-value", "blue") == [
        "app/a"
    ]
    assert found("description", "secret", "none") == ["other", "app/b", "app/a"]
    assert found("all", "RED") == ["other"]
    pages = sm.get_paginator("list_secrets").paginate(PaginationConfig={"PageSize": 2})
    assert [len(page["SecretList"]) for page in pages] == [2, 1]


def test_several_secrets_are_read_at_once(sm: Any) -> None:
    for name in ("a", "b"):
        sm.create_secret(Name=name, SecretString=name.upper())
    answer = sm.batch_get_secret_value(SecretIdList=["a", "none", "b"])
    assert [one["SecretString"] for one in answer["SecretValues"]] == ["A", "B"]
    assert [(one["SecretId"], one["ErrorCode"]) for one in answer["Errors"]] == [
        ("none", "ResourceNotFoundException")
    ]
    named = sm.batch_get_secret_value(Filters=[{"Key": "name", "Values": ["b"]}])
    assert [one["Name"] for one in named["SecretValues"]] == ["b"]


def test_tags_and_policies_are_kept_with_the_secret(sm: Any) -> None:
    sm.create_secret(Name="s")
    sm.tag_resource(SecretId="s", Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}])
    sm.untag_resource(SecretId="s", TagKeys=["a"])
    assert sm.describe_secret(SecretId="s")["Tags"] == [{"Key": "b", "Value": "2"}]
    public = (
        '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*",'
        '"Action":"secretsmanager:GetSecretValue","Resource":"*"}]}'
    )
    refused = refusal(
        sm.put_resource_policy, SecretId="s", ResourcePolicy=public, BlockPublicPolicy=True
    )
    assert refused[0] == "PublicPolicyException"
    assert sm.validate_resource_policy(ResourcePolicy=public)["PolicyValidationPassed"] is False
    sm.put_resource_policy(SecretId="s", ResourcePolicy=public)
    assert sm.get_resource_policy(SecretId="s")["ResourcePolicy"] == public
    sm.delete_resource_policy(SecretId="s")
    assert "ResourcePolicy" not in sm.get_resource_policy(SecretId="s")


def test_random_passwords_hold_what_is_asked_for(sm: Any) -> None:
    plain = sm.get_random_password()["RandomPassword"]
    assert len(plain) == 32 and any(c.isdigit() for c in plain) and any(c.isupper() for c in plain)
    digits = sm.get_random_password(
        PasswordLength=8, ExcludePunctuation=True, ExcludeUppercase=True, ExcludeLowercase=True,
        ExcludeCharacters="01234",
    )["RandomPassword"]  # fmt: skip
    assert len(digits) == 8 and set(digits) <= set("56789")


def test_a_reading_leaves_its_day(realm: Realm, sm: Any) -> None:
    sm.create_secret(Name="s", SecretString="x")
    assert "LastAccessedDate" not in sm.describe_secret(SecretId="s")
    current(sm)
    seen = sm.describe_secret(SecretId="s")["LastAccessedDate"].timestamp()
    assert seen == realm.clock.now() // DAY_S * DAY_S
    version = next(realm.view.rows(records.SECRETS).scan()).version
    current(sm)
    assert next(realm.view.rows(records.SECRETS).scan()).version == version
