"""Presigned GetCallerIdentity URLs, made by botocore as ``aws eks get-token`` makes them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from proa.aws.sts.presigned import Caller, Presigned
from proa.base.errors import CallerFault
from proa.cloud.identity import Identities
from tests.unit.aws.realm import ACCOUNT, Realm

CLUSTER = {"x-k8s-aws-id": "default"}


@pytest.fixture
def realm() -> Iterator[Realm]:
    made = Realm()
    yield made
    made.close()


def presigned(sts: Any, cluster: str = "default", operation: str = "get_caller_identity") -> str:
    def add_header(request: Any, **_kwargs: Any) -> None:
        request.headers["x-k8s-aws-id"] = cluster

    sts.meta.events.register(f"before-sign.sts.{sts.meta.method_to_api_mapping[operation]}",
                             add_header)  # fmt: skip
    url: str = sts.generate_presigned_url(operation, ExpiresIn=60, HttpMethod="GET")
    return url


def verify(realm: Realm, url: str, headers: dict[str, str] = CLUSTER, later_s: float = 0) -> Caller:
    verifier = Presigned(realm.view, Identities(realm.view, realm.sealer))
    return verifier.verify(url, headers, realm.clock.now() + later_s)


def test_root_is_recognised(realm: Realm) -> None:
    caller = verify(realm, presigned(realm.client("sts")))
    assert caller.arn == caller.canonical_arn == f"arn:aws:iam::{ACCOUNT}:root"
    assert (caller.account, caller.user_id, caller.session_name) == (ACCOUNT, ACCOUNT, "")


def test_session_of_a_role_stands_for_its_role(realm: Realm) -> None:
    trust = (
        '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"sts:AssumeRole",'
        f'"Principal":{{"AWS":"{ACCOUNT}"}}}}}}'
    )
    arn = realm.client("iam").create_role(
        RoleName="admin", AssumeRolePolicyDocument=trust, Path="/team/"
    )["Role"]["Arn"]
    answer = realm.client("sts").assume_role(RoleArn=arn, RoleSessionName="ann")
    caller = verify(realm, presigned(realm.client_of(answer["Credentials"], "sts")))
    assert caller.arn == f"arn:aws:sts::{ACCOUNT}:assumed-role/admin/ann"
    assert caller.canonical_arn == f"arn:aws:iam::{ACCOUNT}:role/admin"
    assert caller.session_name == "ann"
    assert caller.user_id == answer["AssumedRoleUser"]["AssumedRoleId"]


def test_header_of_another_cluster_breaks_the_signature(realm: Realm) -> None:
    url = presigned(realm.client("sts"))
    with pytest.raises(CallerFault, match="SignatureDoesNotMatch"):
        verify(realm, url, {"x-k8s-aws-id": "other"})


def test_header_that_is_not_signed_is_refused(realm: Realm) -> None:
    url: str = realm.client("sts").generate_presigned_url("get_caller_identity", ExpiresIn=60)
    with pytest.raises(CallerFault, match="does not cover x-k8s-aws-id"):
        verify(realm, url)


def test_token_lasts_fifteen_minutes(realm: Realm) -> None:
    url = presigned(realm.client("sts"))
    verify(realm, url, later_s=14 * 60)
    with pytest.raises(CallerFault, match="RequestExpired"):
        verify(realm, url, later_s=16 * 60)


def test_key_that_is_unknown_or_inactive_is_refused(realm: Realm) -> None:
    with pytest.raises(CallerFault, match="InvalidClientTokenId"):
        verify(realm, presigned(realm.client("sts", access_key="AKIANOBODY0000000000")))
    iam = realm.client("iam")
    iam.create_user(UserName="ann")
    key = iam.create_access_key(UserName="ann")["AccessKey"]
    url = presigned(realm.client_of(key, "sts"))
    assert verify(realm, url).arn.endswith(":user/ann")
    iam.update_access_key(UserName="ann", AccessKeyId=key["AccessKeyId"], Status="Inactive")
    with pytest.raises(CallerFault, match="InvalidClientTokenId"):
        verify(realm, url)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("Action=GetCallerIdentity", "Action=GetSessionToken", "another action"),
        ("&X-Amz-Date", "&Policy=x&X-Amz-Date", "unexpected parameter 'policy'"),
        ("&X-Amz-Date", "&action=GetCallerIdentity&X-Amz-Date", "twice"),
        ("/?", "/path?", "unexpected path"),
        ("http://", "ftp://", "no HTTP address"),
        ("127.0.0.1", "sts.amazonaws.com", "SignatureDoesNotMatch"),
        ("%2Fsts%2F", "%2Fecs%2F", "not for sts"),
        ("X-Amz-Signature=", "X-Amz-Signature=0", "SignatureDoesNotMatch"),
    ],
)
def test_altered_url_is_refused(realm: Realm, old: str, new: str, words: str) -> None:
    url = presigned(realm.client("sts"))
    assert old in url
    with pytest.raises(CallerFault, match=words):
        verify(realm, url.replace(old, new, 1))


@pytest.mark.parametrize("text", ["", "x", "http://[::1/?a=b", "http://h/?" + "a" * 20_000])
def test_what_is_no_url_is_refused(realm: Realm, text: str) -> None:
    with pytest.raises(CallerFault):
        verify(realm, text)
