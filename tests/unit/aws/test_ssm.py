"""Parameter Store through boto3: versions, labels, hierarchies, filters, refusals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from proa.aws.ssm import records, service
from proa.aws.ssm.shared import SsmDesk
from proa.base.clock import iso8601
from tests.unit.aws.realm import ACCOUNT, REGION, Realm, refusal


def ssm_desk(realm: Realm) -> SsmDesk:
    return SsmDesk(realm.store, realm.view, realm.chance.child("ssm"), realm.sealer)


@pytest.fixture
def realm() -> Iterator[Realm]:
    made = Realm(records.TABLES, lambda realm: [service.build(ssm_desk(realm))])
    yield made
    made.close()


@pytest.fixture
def ssm(realm: Realm) -> Any:
    return realm.client("ssm")


@pytest.fixture(scope="module")
def empty() -> Iterator[Any]:
    """A client of a realm that stays without parameters."""
    made = Realm(records.TABLES, lambda realm: [service.build(ssm_desk(realm))])
    yield made.client("ssm")
    made.close()


def put(ssm: Any, name: str, value: str = "v", type: str = "String", **more: Any) -> Any:
    return ssm.put_parameter(Name=name, Value=value, Type=type, **more)


def names(answer: Any) -> list[str]:
    return [one["Name"] for one in answer["Parameters"]]


def test_a_parameter_is_read_by_name_version_label_and_arn(ssm: Any) -> None:
    assert put(ssm, "/app/db", "one")["Version"] == 1
    assert put(ssm, "/app/db", "two", Overwrite=True)["Version"] == 2
    ssm.label_parameter_version(Name="/app/db", ParameterVersion=1, Labels=["stable"])
    arn = f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/app/db"
    for reference, value in (
        ("/app/db", "two"), ("/app/db:1", "one"), ("/app/db:stable", "one"), (arn, "two"),
        (f"{arn}:1", "one"),
    ):  # fmt: skip
        found = ssm.get_parameter(Name=reference)["Parameter"]
        assert (found["Value"], found["Name"], found["ARN"]) == (value, "/app/db", arn)
    assert ssm.get_parameter(Name="/app/db:stable")["Parameter"]["Selector"] == ":stable"


def test_a_name_without_a_slash_is_found_by_its_arn(ssm: Any) -> None:
    put(ssm, "plain", "x")
    arn = f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/plain"
    assert ssm.get_parameter(Name=arn)["Parameter"]["Name"] == "plain"


def test_a_secure_string_is_sealed_at_rest_and_shown_only_on_request(
    realm: Realm, ssm: Any
) -> None:
    put(ssm, "/secret", "hunter2", "SecureString")
    bodies = [entry.body for entry in realm.view.rows(records.VERSIONS).scan()]
    assert len(bodies) == 1 and b"hunter2" not in bodies[0]
    shown = ssm.get_parameter(Name="/secret")["Parameter"]
    assert "hunter2" not in shown["Value"]
    plain = ssm.get_parameter(Name="/secret", WithDecryption=True)["Parameter"]
    assert plain["Value"] == "hunter2"
    assert ssm.describe_parameters()["Parameters"][0]["KeyId"] == "alias/aws/ssm"


def test_a_parameter_that_is_there_is_not_overwritten_unasked(ssm: Any) -> None:
    put(ssm, "a", "one", Description="first", AllowedPattern="^[a-z]+$")
    assert refusal(ssm.put_parameter, Name="a", Value="b", Type="String")[0] == (
        "ParameterAlreadyExists"
    )
    ssm.put_parameter(Name="a", Value="two", Overwrite=True)  # the type stays
    [shown] = ssm.describe_parameters()["Parameters"]
    assert shown["Description"] == "first" and shown["Type"] == "String" and shown["Version"] == 2
    code, message = refusal(ssm.put_parameter, Name="a", Value="3", Overwrite=True)
    assert code == "ParameterPatternMismatchException" and "^[a-z]+$" in message


@pytest.mark.parametrize(
    ("given", "code", "word"),
    [
        ({"Name": "aws-thing"}, "ValidationException", "can't be prefixed"),
        ({"Name": "/ssmx/y"}, "ValidationException", "can't be prefixed"),
        ({"Name": "/aws/x"}, "AccessDeniedException", "reserved parameter name"),
        ({"Name": "a b"}, "ValidationException", "letters, numbers"),
        ({"Name": "a/b"}, "ValidationException", "fully qualified"),
        ({"Name": "/a//b"}, "ValidationException", "empty sub-path"),
        ({"Name": "/" + "/".join("a" * 16)}, "HierarchyLevelLimitExceededException", "15"),
        ({"Name": "/" + "a" * 1000}, "ValidationException", "too long"),
        ({"Value": ""}, "ValidationException", "greater than or equal to 1"),
        ({"Value": "x" * 4097}, "ValidationException", "Standard tier"),
        ({"Value": "x" * 8193, "Tier": "Advanced"}, "ValidationException", "8192"),
        ({"Type": None}, "ValidationException", "type is required"),
        ({"Type": "Number"}, "ValidationException", "enum value set"),
        ({"Value": "a,,b", "Type": "StringList"}, "ValidationException", "empty items"),
        ({"DataType": "Text"}, "ValidationException", "not supported: Text"),
        ({"DataType": "aws:ec2:image"}, "ValidationException", "Image ID"),
        ({"AllowedPattern": "("}, "InvalidAllowedPatternException", "("),
        ({"AllowedPattern": "((a{100}){100}){100}"}, "InvalidAllowedPatternException", "a{100}"),
        ({"AllowedPattern": "^(a+)+$", "Value": "a" * 64 + "!"},
         "ParameterPatternMismatchException", "validated"),
        ({"KeyId": "alias/x"}, "ValidationException", "SecureString"),
        ({"Policies": "nonsense"}, "ValidationException", "advanced"),
        ({"Policies": "nonsense", "Tier": "Advanced"}, "InvalidPolicyTypeException", "JSON"),
        ({"Tags": [{"Key": "aws:x", "Value": "y"}]}, "ValidationException", "reserved"),
        ({"Tags": [{"Key": str(n), "Value": ""} for n in range(51)]}, "TooManyTagsError", "50"),
    ],
)  # fmt: skip
def test_what_put_parameter_refuses(
    empty: Any, given: dict[str, Any], code: str, word: str
) -> None:
    whole = {"Name": "x", "Value": "v", "Type": "String", **given}
    found = refusal(empty.put_parameter, **{k: v for k, v in whole.items() if v is not None})
    assert found[0] == code and word in found[1]
    assert not empty.describe_parameters()["Parameters"]


def test_tiers_grow_and_do_not_shrink(ssm: Any) -> None:
    assert put(ssm, "a", "x", Tier="Intelligent-Tiering")["Tier"] == "Standard"
    grown = put(ssm, "a", "x" * 5000, Tier="Intelligent-Tiering", Overwrite=True)
    assert grown["Tier"] == "Advanced"
    assert put(ssm, "a", "y", Overwrite=True)["Tier"] == "Advanced"
    code, message = refusal(ssm.put_parameter, Name="a", Value="y", Overwrite=True, Tier="Standard")
    assert code == "ValidationException" and "downgrade" in message


def test_a_hundred_versions_are_kept_and_a_labelled_one_is_not_lost(ssm: Any) -> None:
    for number in range(102):
        put(ssm, "a", str(number), Overwrite=True)
    history = ssm.get_parameter_history(Name="a", MaxResults=50)
    assert history["Parameters"][0]["Version"] == 3 and len(history["Parameters"]) == 50
    rest = ssm.get_parameter_history(Name="a", NextToken=history["NextToken"])
    assert [one["Version"] for one in rest["Parameters"]][-1] == 102 and "NextToken" not in rest
    ssm.label_parameter_version(Name="a", ParameterVersion=3, Labels=["keep"])
    code, message = refusal(ssm.put_parameter, Name="a", Value="x", Overwrite=True)
    assert code == "ParameterMaxVersionLimitExceeded" and "Version 3" in message
    assert refusal(ssm.get_parameter, Name="a:2")[0] == "ParameterVersionNotFound"


def test_what_is_not_there_is_named(ssm: Any) -> None:
    put(ssm, "a")
    answer = ssm.get_parameters(Names=["a", "b", "a:7", "a:nolabel"])
    assert names(answer) == ["a"]
    assert answer["InvalidParameters"] == ["b", "a:7", "a:nolabel"]
    assert refusal(ssm.get_parameter, Name="b")[0] == "ParameterNotFound"
    assert refusal(ssm.delete_parameter, Name="b")[0] == "ParameterNotFound"
    gone = ssm.delete_parameters(Names=["a", "b"])
    assert gone["DeletedParameters"] == ["a"] and gone["InvalidParameters"] == ["b"]
    put(ssm, "a")
    assert len(ssm.get_parameter_history(Name="a")["Parameters"]) == 1


def test_a_hierarchy_is_read_by_path_in_pages(ssm: Any) -> None:
    for number in range(12):
        put(ssm, f"/app/{number:02}")
    put(ssm, "/app/deep/er", type="SecureString")
    put(ssm, "/apple")
    first = ssm.get_parameters_by_path(Path="/app")
    assert len(names(first)) == 10
    rest = ssm.get_parameters_by_path(Path="/app/", NextToken=first["NextToken"])
    assert names(rest) == ["/app/10", "/app/11"]
    everything = ssm.get_paginator("get_parameters_by_path").paginate(Path="/", Recursive=True)
    assert len(everything.build_full_result()["Parameters"]) == 14
    secure = [{"Key": "Type", "Values": ["SecureString"]}]
    found = ssm.get_parameters_by_path(Path="/app", Recursive=True, ParameterFilters=secure)
    assert names(found) == ["/app/deep/er"]
    assert refusal(ssm.get_parameters_by_path, Path="app")[0] == "ValidationException"
    bad = [{"Key": "Name", "Values": ["x"]}]
    assert refusal(ssm.get_parameters_by_path, Path="/", ParameterFilters=bad)[0] == (
        "InvalidFilterKey"
    )
    assert refusal(ssm.get_parameters_by_path, Path="/", NextToken="!")[0] == "InvalidNextToken"


def test_parameters_are_described_by_filters(ssm: Any) -> None:
    put(ssm, "/app/a", Tags=[{"Key": "team", "Value": "blue"}])
    put(ssm, "/app/b", "x" * 5000, Tier="Advanced")
    put(ssm, "other")

    def found(key: str, *values: str, option: str = "") -> list[str]:
        one: dict[str, Any] = {"Key": key, "Values": list(values)}
        if option:
            one["Option"] = option
        return names(ssm.describe_parameters(ParameterFilters=[one]))

    assert found("Name", "/app/a", "other") == ["/app/a", "other"]
    assert found("Name", "app", option="BeginsWith") == ["/app/a", "/app/b"]
    assert found("Name", "the", option="Contains") == ["other"]
    assert found("Path", "/app") == ["/app/a", "/app/b"]
    assert found("Tier", "Advanced") == ["/app/b"]
    assert found("tag:team", "blue") == ["/app/a"] and found("tag:team", "red") == []
    older = ssm.describe_parameters(Filters=[{"Key": "Name", "Values": ["/app"]}])
    assert names(older) == ["/app/a", "/app/b"]
    wrong = [{"Key": "Type", "Option": "Recursive", "Values": ["String"]}]
    assert refusal(ssm.describe_parameters, ParameterFilters=wrong)[0] == "InvalidFilterOption"


def test_labels_move_between_versions_and_odd_ones_are_named(ssm: Any) -> None:
    for value in "ab":
        put(ssm, "p", value, Overwrite=True)
    answer = ssm.label_parameter_version(Name="p", Labels=["live", "9lives", "aws-x"])
    assert answer == {
        "ParameterVersion": 2, "InvalidLabels": ["9lives", "aws-x"],
        "ResponseMetadata": answer["ResponseMetadata"],
    }  # fmt: skip
    ssm.label_parameter_version(Name="p", ParameterVersion=1, Labels=["live"])
    shown = {v["Version"]: v["Labels"] for v in ssm.get_parameter_history(Name="p")["Parameters"]}
    assert shown == {1: ["live"], 2: []}
    wrong = ssm.unlabel_parameter_version(Name="p", ParameterVersion=2, Labels=["live"])
    assert wrong["RemovedLabels"] == [] and wrong["InvalidLabels"] == ["live"]
    many = [f"l{n}" for n in range(10)]
    assert refusal(
        ssm.label_parameter_version, Name="p", ParameterVersion=1, Labels=many
    )[0] == "ParameterVersionLabelLimitExceeded"  # fmt: skip
    assert refusal(ssm.label_parameter_version, Name="p", ParameterVersion=9, Labels=["x"])[0] == (
        "ParameterVersionNotFound"
    )


def test_tags_are_added_removed_and_listed(ssm: Any) -> None:
    put(ssm, "p")
    of = {"ResourceType": "Parameter", "ResourceId": "p"}
    ssm.add_tags_to_resource(**of, Tags=[{"Key": "b", "Value": "2"}, {"Key": "a", "Value": "1"}])
    ssm.remove_tags_from_resource(**of, TagKeys=["b"])
    assert ssm.list_tags_for_resource(**of)["TagList"] == [{"Key": "a", "Value": "1"}]
    assert refusal(ssm.list_tags_for_resource, ResourceType="Parameter", ResourceId="q")[0] == (
        "InvalidResourceId"
    )
    assert refusal(ssm.list_tags_for_resource, ResourceType="Document", ResourceId="p")[0] == (
        "InvalidResourceType"
    )


def test_a_parameter_goes_when_its_expiration_policy_says_so(realm: Realm, ssm: Any) -> None:
    soon = iso8601(realm.clock.now() + 60)
    policy = f'[{{"Type":"Expiration","Version":"1.0","Attributes":{{"Timestamp":"{soon}"}}}}]'
    put(ssm, "p", Tier="Advanced", Policies=policy)
    assert ssm.describe_parameters()["Parameters"][0]["Policies"][0]["PolicyType"] == "Expiration"
    realm.run(realm.clock.sleep(61))
    assert refusal(ssm.get_parameter, Name="p")[0] == "ParameterNotFound"
    assert put(ssm, "p", "again")["Version"] == 1
    realm.run(service.sweep(ssm_desk(realm), realm.clock.now()))
    assert len(realm.view.rows(records.VERSIONS)) == 1
    assert ssm.get_parameter(Name="p")["Parameter"]["Value"] == "again"


def test_public_parameters_name_images(ssm: Any) -> None:
    path = "/aws/service/ecs/optimized-ami/amazon-linux-2023/recommended"
    id = ssm.get_parameter(Name=f"{path}/image_id")["Parameter"]["Value"]
    assert id.startswith("ami-0")
    assert id in ssm.get_parameters(Names=[path])["Parameters"][0]["Value"]
    listed = names(ssm.get_parameters_by_path(Path="/aws/service/ecs", Recursive=True))
    assert f"{path}/image_id" in listed
    assert refusal(ssm.get_parameter, Name="/aws/service/none")[0] == "ParameterNotFound"


def test_another_account_of_policies_decides_by_the_parameters_arn(realm: Realm, ssm: Any) -> None:
    put(ssm, "/app/mine", "m")
    put(ssm, "/other", "o")
    iam = realm.client("iam")
    iam.create_user(UserName="u")
    iam.put_user_policy(
        UserName="u", PolicyName="p",
        PolicyDocument='{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":'
        f'"ssm:GetParameter*","Resource":"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/app/*"}}]}}',
    )  # fmt: skip
    key = iam.create_access_key(UserName="u")["AccessKey"]
    limited = realm.client_of(key, "ssm")
    assert limited.get_parameter(Name="/app/mine")["Parameter"]["Value"] == "m"
    assert refusal(limited.get_parameter, Name="/other")[0] == "AccessDeniedException"
