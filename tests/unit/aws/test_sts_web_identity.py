"""AssumeRoleWithWebIdentity, and what refusals and keys tell, through boto3."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from proa.aws.gateway.desk import Desk
from proa.aws.gateway.service import AwsError, Context
from proa.aws.iam.authorize import Authority, passed_roles
from proa.aws.sts import service as sts
from proa.aws.sts.web_identity import WebIdentities
from proa.base.errors import CallerFault
from proa.base.http import Request
from tests.unit.aws.realm import ACCOUNT, REGION, Realm, refusal

ISSUER = "https://oidc.example.com/id/ABC"
SUBJECT = "system:serviceaccount:default:web"
PROVIDER = f"arn:aws:iam::{ACCOUNT}:oidc-provider/oidc.example.com/id/ABC"


class Issuers:
    """Knows the keys of one issuer."""

    def __init__(self) -> None:
        self.key = ECKey.generate_key("P-256", {"kid": "one"})

    async def keys(self, issuer: str) -> Mapping[str, Any]:
        if issuer != ISSUER:
            raise CallerFault("not known")
        return {"keys": [self.key.as_dict(private=False)]}

    def token(self, now: float, **changes: Any) -> str:
        claims = {
            "iss": ISSUER, "sub": SUBJECT, "aud": ["sts.amazonaws.com"], "exp": int(now) + 600,
        }  # fmt: skip
        return str(jwt.encode({"alg": "ES256", "kid": "one"}, claims | changes, self.key))


class WebRealm(Realm):
    """A realm whose STS knows the issuer."""

    def __init__(self) -> None:
        super().__init__()
        self.issuers = Issuers()
        service = sts.build(self.desk, self.sealer, self.issuers)
        self.gateway._services["sts"] = service


@pytest.fixture
def realm() -> Iterator[WebRealm]:
    made = WebRealm()
    iam = made.client("iam")
    iam.create_open_id_connect_provider(Url=ISSUER, ClientIDList=["sts.amazonaws.com"])
    trust = {
        "Effect": "Allow",
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Principal": {"Federated": PROVIDER},
        "Condition": {"StringEquals": {"oidc.example.com/id/ABC:sub": SUBJECT}},
    }
    document = {"Version": "2012-10-17", "Statement": [trust]}
    iam.create_role(RoleName="web", AssumeRolePolicyDocument=json.dumps(document))
    yield made
    made.close()


def assume(realm: WebRealm, token: str, **given: Any) -> dict[str, Any]:
    role = f"arn:aws:iam::{ACCOUNT}:role/web"
    call = {"RoleArn": role, "RoleSessionName": "s1", "WebIdentityToken": token, **given}
    answer: dict[str, Any] = realm.client("sts").assume_role_with_web_identity(**call)
    return answer


def test_token_of_a_registered_issuer_gives_the_role(realm: WebRealm) -> None:
    answer = assume(realm, realm.issuers.token(realm.clock.now()))
    assert answer["SubjectFromWebIdentityToken"] == SUBJECT
    assert (answer["Provider"], answer["Audience"]) == (PROVIDER, "sts.amazonaws.com")
    request = realm.caller.seen[-1][0]
    assert "authorization" not in request.headers
    session = realm.client_of(answer["Credentials"], "sts").get_caller_identity()
    assert session["Arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/web/s1"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"sub": "system:serviceaccount:default:other"}, "AccessDenied"),
        ({"aud": "another"}, "InvalidIdentityToken"),
        ({"exp": 1_000}, "ExpiredTokenException"),
        ({"exp": None}, "InvalidIdentityToken"),
        ({"nbf": 99_999_999_999}, "InvalidIdentityToken"),
        ({"iss": "https://elsewhere.example.com"}, "InvalidIdentityToken"),
        ({"iss": "oidc.example.com/id/ABC"}, "InvalidIdentityToken"),
        ({"sub": None}, "InvalidIdentityToken"),
    ],
)
def test_token_that_does_not_fit_is_refused(
    realm: WebRealm, changes: dict[str, Any], code: str
) -> None:
    token = realm.issuers.token(realm.clock.now(), **changes)
    assert refusal(lambda: assume(realm, token))[0] == code


def test_token_signed_by_another_key_is_refused(realm: WebRealm) -> None:
    forged = Issuers().token(realm.clock.now())
    code, message = refusal(lambda: assume(realm, forged))
    assert (code, "signature" in message) == ("InvalidIdentityToken", True)


@pytest.mark.parametrize("token", ["x" * 8, "a.b.c.d", "a.%%%%.c", "e30.e30.e30", "e30.W10.e30"])
def test_what_is_no_token_is_refused(realm: WebRealm, token: str) -> None:
    assert refusal(lambda: assume(realm, token))[0] == "InvalidIdentityToken"


def test_unsigned_algorithm_is_refused(realm: WebRealm) -> None:
    header, _, rest = realm.issuers.token(realm.clock.now()).partition(".")
    unsigned = "eyJhbGciOiJub25lIn0." + rest.rpartition(".")[0] + "."
    assert header and refusal(lambda: assume(realm, unsigned))[0] == "InvalidIdentityToken"


def test_issuer_whose_keys_cannot_be_had_is_named(realm: WebRealm) -> None:
    class Silent:
        async def keys(self, issuer: str) -> Mapping[str, Any]:
            raise CallerFault("no route")

    token = realm.issuers.token(realm.clock.now())
    with pytest.raises(AwsError, match=r"Couldn't retrieve verification key.*no route"):
        realm.run(WebIdentities(Silent()).verify(realm.desk, ACCOUNT, token, realm.clock.now()))


def test_key_tells_its_account(realm: WebRealm) -> None:
    client = realm.client("sts")
    assert client.get_access_key_info(AccessKeyId=realm.root[0])["Account"] == ACCOUNT
    unknown = refusal(client.get_access_key_info, AccessKeyId="AKIANOBODY0000000000")
    assert unknown[0] == "ValidationError"


def context_of(desk: Desk, user: str) -> Context:
    arn = f"arn:aws:iam::{ACCOUNT}:user/{user}"
    return Context(ACCOUNT, REGION, arn, "", "r", 0.0, "10.1.2.3")


def test_refusal_of_ec2_can_be_decoded(realm: WebRealm) -> None:
    realm.client("iam").create_user(UserName="ann")
    ask = Authority(realm.view, realm.sealer)
    denial = ask(context_of(realm.desk, "ann"), "ec2:RunInstances", {})
    assert denial is not None
    encoded = denial.partition("Encoded authorization failure message: ")[2]
    decode = realm.client("sts").decode_authorization_message
    said = json.loads(decode(EncodedMessage=encoded)["DecodedMessage"])
    assert (said["allowed"], said["context"]["action"]) == (False, "ec2:RunInstances")
    refused = refusal(decode, EncodedMessage="AAAA" + encoded)
    assert refused[0] == "InvalidAuthorizationMessageException"


def give(realm: Realm, user: str, **statement: Any) -> None:
    document = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", **statement}}
    iam = realm.client("iam")
    iam.put_user_policy(UserName=user, PolicyName="p", PolicyDocument=json.dumps(document))


def test_handing_a_role_to_a_service_needs_pass_role(realm: WebRealm) -> None:
    realm.client("iam").create_user(UserName="ann")
    give(realm, "ann", Action="ecs:*", Resource="*")
    role = f"arn:aws:iam::{ACCOUNT}:role/web"
    given = {"family": "f", "taskRoleArn": role}
    assert list(passed_roles("ecs:RegisterTaskDefinition", given)) == [
        (role, "ecs-tasks.amazonaws.com")
    ]
    ask, context = Authority(realm.view), context_of(realm.desk, "ann")
    denial = ask(context, "ecs:RegisterTaskDefinition", given)
    assert denial is not None and f"iam:PassRole on resource: {role}" in denial
    assert ask(context, "ecs:RegisterTaskDefinition", {"family": "f"}) is None
    to_tasks = {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}}
    give(realm, "ann", Action=["ecs:*", "iam:PassRole"], Resource="*", Condition=to_tasks)
    assert "iam:PassRole" not in str(ask(context, "ecs:RegisterTaskDefinition", given))


def test_source_address_is_a_condition_key(realm: WebRealm) -> None:
    realm.client("iam").create_user(UserName="ann")
    inside = {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}
    give(realm, "ann", Action="sqs:*", Resource="*", Condition=inside)
    ask, context = Authority(realm.view), context_of(realm.desk, "ann")
    assert ask(context, "sqs:ListQueues", {}) is None
    assert ask(replace(context, source_ip="192.0.2.1"), "sqs:ListQueues", {}) is not None


def test_boundary_and_session_policy_are_named_in_refusals(realm: WebRealm) -> None:
    iam = realm.client("iam")
    document = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "sqs:*",
                "Resource": "*"}}  # fmt: skip
    bound = iam.create_policy(PolicyName="b", PolicyDocument=json.dumps(document))["Policy"]["Arn"]
    iam.create_user(UserName="ann", PermissionsBoundary=bound)
    give(realm, "ann", Action="*", Resource="*")
    denial = Authority(realm.view)(context_of(realm.desk, "ann"), "sns:ListTopics", {})
    assert "because no permissions boundary allows the sns:ListTopics action" in str(denial)


@pytest.mark.parametrize(
    ("action", "given", "resource"),
    [
        ("s3:GetObject", {"Bucket": "b", "Key": "a/k"}, "arn:aws:s3:::b/a/k"),
        ("s3:ListBucket", {"Bucket": "b"}, "arn:aws:s3:::b"),
        ("sqs:SendMessage", {"QueueUrl": "http://h/1/q"}, f"arn:aws:sqs:{REGION}:{ACCOUNT}:q"),
        ("dynamodb:PutItem", {"TableName": "t"}, f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/t"),
    ],
)
def test_resources_of_the_long_tail_are_made_of_names(
    realm: WebRealm, action: str, given: dict[str, str], resource: str
) -> None:
    realm.client("iam").create_user(UserName="ann")
    ask, context = Authority(realm.view), context_of(realm.desk, "ann")
    assert f"on resource: {resource} because" in str(ask(context, action, given))
    give(realm, "ann", Action=action, Resource=resource)
    assert ask(context, action, given) is None


def test_user_with_a_path_is_its_whole_arn(realm: WebRealm) -> None:
    iam = realm.client("iam")
    iam.create_user(UserName="ann", Path="/team/")
    iam.create_user(UserName="bob")
    give(realm, "bob", Action="iam:GetUser", Resource=f"arn:aws:iam::{ACCOUNT}:user/team/*")
    ask, context = Authority(realm.view), context_of(realm.desk, "bob")
    assert ask(context, "iam:GetUser", {"UserName": "ann"}) is None
    assert ask(context, "iam:GetUser", {"UserName": "bob"}) is not None


def test_anonymous_call_of_another_operation_is_refused(realm: WebRealm) -> None:
    body = b"Action=GetCallerIdentity&Version=2011-06-15"
    headers = {"host": "h", "content-type": "application/x-www-form-urlencoded"}
    answer = realm.caller.call(Request("POST", "/", headers=headers, body=body))
    assert answer.status == 403
