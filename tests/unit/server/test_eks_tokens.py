"""EKS' tokens, made by botocore as ``aws eks get-token`` makes them, become Kubernetes users."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import botocore.session
import pytest

from proa.aws.sts.presigned import Presigned
from proa.base.config import Config
from proa.cloud import compute
from proa.cloud.identity import Identities
from proa.kube.api.context import Grant, User
from proa.kube.tables import CONFIG_MAPS
from proa.server.core import Core
from proa.server.eks_tokens import EksTokens
from proa.store.api import Put, Transaction
from tests.unit.aws.eks.world import World
from tests.unit.aws.realm import ACCOUNT

LATE_S = 15 * 60 + 5


class Door:
    """A world whose cluster "dev" is asked about tokens."""

    def __init__(self) -> None:
        self.world = world = World((CONFIG_MAPS, compute.INSTANCES))
        realm = world.realm
        core = Core(Config(), realm.store, realm.view, realm.clock, realm.chance)
        presigned = Presigned(realm.view, Identities(realm.view, realm.sealer))
        self.tokens = EksTokens(core, presigned)
        world.create(accessConfig={"authenticationMode": "API_AND_CONFIG_MAP"})

    def user(self, token: str) -> User | None:
        ask = self.tokens.of(self.world.record().uid)

        async def asked() -> User | None:
            return await ask(token)

        return self.world.realm.run(asked())


@pytest.fixture
def door() -> Iterator[Door]:
    made = Door()
    yield made
    made.world.close()


def token(client: Any, cluster: str = "dev", operation: str = "get_caller_identity") -> str:
    def add_header(request: Any, **_kwargs: Any) -> None:
        request.headers["x-k8s-aws-id"] = cluster

    name = client.meta.method_to_api_mapping[operation]
    client.meta.events.register(f"before-sign.sts.{name}", add_header)
    url = client.generate_presigned_url(operation, ExpiresIn=60, HttpMethod="GET")
    return "k8s-aws-v1." + base64.urlsafe_b64encode(url.encode()).decode().rstrip("=")


def test_root_is_a_master_of_every_cluster(door: Door) -> None:
    found = door.user(token(door.world.realm.client("sts")))
    assert found is not None
    assert (found.name, found.groups) == ("kubernetes-admin", ("system:masters",))
    assert found.uid == f"aws-iam-authenticator:{ACCOUNT}:{ACCOUNT}"
    assert found.extra["arn"] == (f"arn:aws:iam::{ACCOUNT}:root",)


def test_a_session_of_a_role_has_what_its_entry_grants(door: Door) -> None:
    world = door.world
    trust = (
        '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"sts:AssumeRole",'
        f'"Principal":{{"AWS":"{ACCOUNT}"}}}}}}'
    )
    made = world.iam.create_role(RoleName="dev", Path="/t/", AssumeRolePolicyDocument=trust)
    arn = made["Role"]["Arn"]
    answer = world.realm.client("sts").assume_role(RoleArn=arn, RoleSessionName="ann")
    mine = token(world.realm.client_of(answer["Credentials"], "sts"))
    assert door.user(mine) is None
    named = {"clusterName": "dev", "principalArn": arn}
    world.eks.create_access_entry(**named, kubernetesGroups=["devs"])
    world.eks.associate_access_policy(
        **named,
        policyArn="arn:aws:eks::aws:cluster-access-policy/AmazonEKSEditPolicy",
        accessScope={"type": "namespace", "namespaces": ["team"]},
    )
    found = door.user(mine)
    assert found is not None
    assert found.name == f"arn:aws:sts::{ACCOUNT}:assumed-role/dev/ann"
    assert (found.groups, found.grants) == (("devs",), (Grant("edit", ("team",)),))
    assert found.extra["sessionName"] == ("ann",)


def test_aws_auth_is_read_as_it_is_now(door: Door) -> None:
    world = door.world
    arn = world.iam.create_user(UserName="ben")["User"]["Arn"]
    key = world.iam.create_access_key(UserName="ben")["AccessKey"]
    mine = token(world.realm.client_of(key, "sts"))
    assert door.user(mine) is None
    where = f"/kube/{world.record().uid}/core/configmaps/kube-system/aws-auth"
    text = f"- userarn: {arn}\\n  username: ben\\n  groups: [a]\\n"
    body = f'{{"metadata":{{"name":"aws-auth"}},"data":{{"mapUsers":"{text}"}}}}'
    world.commit(Transaction((), (Put(where, body.encode()),)))
    found = door.user(mine)
    assert found is not None and (found.name, found.groups) == ("ben", ("a",))


def test_a_token_for_another_cluster_is_nobodys(door: Door) -> None:
    assert door.user(token(door.world.realm.client("sts"), "default")) is None


def test_a_token_ends_after_fifteen_minutes(door: Door) -> None:
    realm = door.world.realm
    mine = token(realm.client("sts"))
    realm.run(realm.clock.sleep(14 * 60))
    assert door.user(mine) is not None
    realm.run(realm.clock.sleep(LATE_S - 14 * 60))
    assert door.user(mine) is None


def _of_url(url: str) -> str:
    return "k8s-aws-v1." + base64.urlsafe_b64encode(url.encode()).decode().rstrip("=")


def _url(of: str) -> str:
    text = of.removeprefix("k8s-aws-v1.")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()


def test_what_is_no_token_is_nobodys(door: Door) -> None:
    good = token(door.world.realm.client("sts"))
    url = _url(good)
    assert door.user(good) is not None
    for bad in (
        "",
        "k8s-aws-v1.",
        "k8s-aws-v1.%%%",
        "k8s-aws-v1." + "é" * 20,
        good.replace("k8s-aws-v1.", "k8s-aws-v2."),
        good[:-8],
        "k8s-aws-v1." + "A" * 40_000,
        _of_url(url.replace("GetCallerIdentity", "GetSessionToken")),
        _of_url(url + "&x=y"),
        _of_url("ftp" + url[url.index(":") :]),
        _of_url(url.replace("X-Amz-Expires=60", "X-Amz-Expires=6000")),
    ):
        assert door.user(bad) is None, bad[:60]


def _signed_for(door: Door, endpoint: str) -> str:
    """A token whose URL is rightly signed, for an endpoint of any name."""
    id, secret = door.world.realm.root
    client = botocore.session.get_session().create_client(
        "sts",
        "us-east-1",
        endpoint_url=endpoint,
        aws_access_key_id=id,
        aws_secret_access_key=secret,
    )
    return token(client)


@pytest.mark.parametrize(
    ("endpoint", "ours"),
    [
        ("https://sts.us-east-1.amazonaws.com", True),
        ("https://sts.amazonaws.com", True),
        ("http://127.0.0.1:4566", True),
        ("http://localhost:4566", True),
        ("https://sts.evil.example", False),
        ("https://sts.us-east-1.amazonaws.com.evil.example", False),
        ("http://127.0.0.1:80", False),
        ("https://s3.amazonaws.com", False),
    ],
)
def test_a_url_is_for_an_endpoint_of_sts_or_of_this_gateway(
    door: Door, endpoint: str, ours: bool
) -> None:
    assert (door.user(_signed_for(door, endpoint)) is not None) == ours
