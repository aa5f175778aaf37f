"""Access entries through boto3, and who a principal is to a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from proa.aws.eks.principals import Grant, Mapped, Principal, mapped
from tests.unit.aws.eks.world import TRUST, World
from tests.unit.aws.realm import ACCOUNT, refusal

ROOT = f"arn:aws:iam::{ACCOUNT}:root"
POLICY = "arn:aws:eks::aws:cluster-access-policy/AmazonEKS{}Policy"
ENTRIES = {"authenticationMode": "API_AND_CONFIG_MAP"}


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close()


@pytest.fixture
def role(world: World) -> str:
    """A role with a path, which its sessions do not tell."""
    made = world.iam.create_role(RoleName="dev", Path="/team/", AssumeRolePolicyDocument=TRUST)
    arn: str = made["Role"]["Arn"]
    return arn


def session(name: str = "me", role: str = "dev") -> Principal:
    arn = f"arn:aws:sts::{ACCOUNT}:assumed-role/{role}/{name}"
    canonical = f"arn:aws:iam::{ACCOUNT}:role/{role}"
    return Principal(ACCOUNT, arn, canonical, "AROA:me", "ASIA", name)


def user(name: str) -> Principal:
    arn = f"arn:aws:iam::{ACCOUNT}:user/{name}"
    return Principal(ACCOUNT, arn, arn, "AIDA", "AKIA")


def who(world: World, principal: Principal, aws_auth: dict[str, str] | None = None) -> Any:
    nodes = {"i-1": "ip-10-0-0-1.ec2.internal"}
    return mapped(
        world.realm.view, world.record(), principal, aws_auth or {}, lambda id: nodes.get(id, "")
    )


def test_an_entry_is_made_described_listed_changed_and_deleted(world: World, role: str) -> None:
    world.create(accessConfig=ENTRIES)
    named = {"clusterName": "dev", "principalArn": role}
    made = world.eks.create_access_entry(**named, kubernetesGroups=["devs"])["accessEntry"]
    assert made["username"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/dev/{{{{SessionName}}}}"
    assert made["accessEntryArn"].startswith(
        f"arn:aws:eks:us-east-1:{ACCOUNT}:access-entry/dev/role/{ACCOUNT}/dev/"
    )
    assert world.eks.list_access_entries(clusterName="dev")["accessEntries"] == [role, ROOT]
    assert refusal(world.eks.create_access_entry, **named)[0] == "ResourceInUseException"
    changed = world.eks.update_access_entry(**named, kubernetesGroups=[], username="fixed")
    assert changed["accessEntry"]["kubernetesGroups"] == []
    assert world.eks.describe_access_entry(**named)["accessEntry"]["username"] == "fixed"
    world.eks.delete_access_entry(**named)
    assert refusal(world.eks.describe_access_entry, **named)[0] == "ResourceNotFoundException"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"principalArn": "nonsense"}, "invalid principal"),
        ({"principalArn": f"arn:aws:iam::{ACCOUNT}:role/no"}, "invalid principal"),
        ({"principalArn": f"arn:aws:sts::{ACCOUNT}:assumed-role/eks/me"}, "invalid principal"),
        ({"kubernetesGroups": ["system:masters"]}, "cannot start with system:"),
        ({"username": "system:admin"}, "cannot start with system:"),
        ({"type": "EC2_LINUX", "username": "x"}, "has no username"),
        ({"type": "NOTHING"}, "NOTHING is invalid"),
    ],
)
def test_bad_entries_are_refused(world: World, given: dict[str, Any], message: str) -> None:
    world.create(accessConfig=ENTRIES)
    wanted = {"clusterName": "dev", "principalArn": world.role, **given}
    code, said = refusal(world.eks.create_access_entry, **wanted)
    assert code == "InvalidParameterException" and message in said


def test_entries_need_a_mode_that_has_them(world: World) -> None:
    world.create()
    code, message = refusal(
        world.eks.create_access_entry, clusterName="dev", principalArn=world.role
    )
    assert code == "InvalidRequestException" and "must be set to one of" in message


def test_policies_are_associated_scoped_and_taken_away(world: World, role: str) -> None:
    world.create(accessConfig=ENTRIES)
    named = {"clusterName": "dev", "principalArn": role}
    world.eks.create_access_entry(**named)
    edit, view = POLICY.format("Edit"), POLICY.format("View")
    told = world.eks.associate_access_policy(
        **named, policyArn=edit, accessScope={"type": "namespace", "namespaces": ["team-*"]}
    )["associatedAccessPolicy"]
    assert told["accessScope"] == {"type": "namespace", "namespaces": ["team-*"]}
    world.eks.associate_access_policy(**named, policyArn=view, accessScope={"type": "cluster"})
    listed = world.eks.list_associated_access_policies(**named)["associatedAccessPolicies"]
    assert [item["policyArn"] for item in listed] == [edit, view]
    assert world.eks.list_access_entries(clusterName="dev", associatedPolicyArn=view)[
        "accessEntries"
    ] == [role]
    assert who(world, session()) == Mapped(
        f"arn:aws:sts::{ACCOUNT}:assumed-role/dev/me",
        (),
        (Grant("edit", ("team-*",)), Grant("view")),
    )
    world.eks.disassociate_access_policy(**named, policyArn=edit)
    assert refusal(world.eks.disassociate_access_policy, **named, policyArn=edit)[0] == (
        "ResourceNotFoundException"
    )
    assert refusal(
        world.eks.associate_access_policy, **named, policyArn="x", accessScope={"type": "cluster"}
    )[0] == ("InvalidParameterException")
    none = {"type": "namespace", "namespaces": []}
    assert refusal(world.eks.associate_access_policy, **named, policyArn=edit, accessScope=none)[
        0
    ] == ("InvalidParameterException")
    assert len(world.eks.list_access_policies()["accessPolicies"]) == 4


def test_root_always_enters_and_strangers_never(world: World) -> None:
    world.create()
    root = Principal(ACCOUNT, ROOT, ROOT, ACCOUNT, "AKIA")
    assert who(world, root) == Mapped("kubernetes-admin", ("system:masters",))
    assert who(world, user("nobody")) is None
    other = f"arn:aws:iam::{'1' * 12}:root"
    assert who(world, Principal("1" * 12, other, other, "", "AKIA")) is None


def test_the_creator_of_a_config_map_cluster_is_its_master(world: World) -> None:
    world.iam.create_user(UserName="maker")
    key = world.iam.create_access_key(UserName="maker")["AccessKey"]
    world.iam.put_user_policy(
        UserName="maker", PolicyName="p",
        PolicyDocument='{"Version":"2012-10-17","Statement":'
        '[{"Effect":"Allow","Action":"*","Resource":"*"}]}',
    )  # fmt: skip
    world.eks = world.realm.client_of(key, "eks")
    world.create()
    assert who(world, user("maker")) == Mapped("kubernetes-admin", ("system:masters",))
    assert who(world, user("other")) is None


def test_aws_auth_maps_roles_users_and_accounts(world: World, role: str) -> None:
    world.create()
    config = {
        "mapRoles": (
            f"- rolearn: arn:aws:iam::{ACCOUNT}:role/Dev\n  username: dev:{{{{SessionName}}}}\n"
            "  groups: [devs, 'system:masters']\n"
            f"- rolearn: arn:aws:iam::{ACCOUNT}:role/node\n"
            "  username: system:node:{{EC2PrivateDNSName}}\n  groups: [system:nodes]\n"
        ),
        "mapUsers": f"- userarn: arn:aws:iam::{ACCOUNT}:user/jo\n  username: jo\n",
        "mapAccounts": "- '222222222222'\n",
    }
    assert who(world, session("a@b"), config) == Mapped("dev:a-b", ("devs", "system:masters"))
    assert who(world, session("i-1", "node"), config) == Mapped(
        "system:node:ip-10-0-0-1.ec2.internal", ("system:nodes",)
    )
    assert who(world, session("i-2", "node"), config) is None
    assert who(world, user("jo"), config) == Mapped("jo")
    foreign = "arn:aws:iam::222222222222:user/x"
    stranger = Principal("222222222222", foreign, foreign, "", "AKIA")
    assert who(world, stranger, config) == Mapped(foreign)


@pytest.mark.parametrize("text", ["{", "just text", "- 1\n- [x]\n", "[" * 5000, "a: &a [*a]", ""])
def test_a_broken_aws_auth_lets_nobody_in(world: World, text: str) -> None:
    world.create()
    assert who(world, user("jo"), {"mapUsers": text, "mapRoles": text}) is None


def test_entries_win_over_the_config_map(world: World, role: str) -> None:
    world.create(accessConfig=ENTRIES)
    world.eks.create_access_entry(clusterName="dev", principalArn=role, username="entry")
    config = {"mapRoles": f"- rolearn: arn:aws:iam::{ACCOUNT}:role/dev\n  username: map\n"}
    assert who(world, session(), config) == Mapped("entry")
