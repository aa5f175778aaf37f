"""Secrets on their way into containers, and who may read which: both secret stores by policies."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from proa.aws.each_resource import EachResource
from proa.aws.gateway.service import Context
from proa.aws.iam.authorize import Authority
from proa.aws.secretsmanager import records as secret_records
from proa.aws.secretsmanager import service as secrets_service
from proa.aws.secretsmanager import shared as secrets_shared
from proa.aws.ssm import records as parameter_records
from proa.aws.ssm import service as ssm_service
from proa.aws.ssm import shared as ssm_shared
from proa.aws.task_secrets import TaskSecrets
from proa.base.errors import CallerFault
from tests.unit.aws.realm import ACCOUNT, REGION, Realm, refusal

ROLE = f"arn:aws:iam::{ACCOUNT}:role/execution"
PARAMETERS = f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter"
DENIED = "because no identity-based policy allows the"


class Vaults:
    """Both services and ECS's port over one realm; ``db`` is a secret's ARN."""

    db = ""

    def __init__(self) -> None:
        self.realm = Realm((*parameter_records.TABLES, *secret_records.TABLES), self._services)
        self.ssm = self.realm.client("ssm")
        self.secrets = self.realm.client("secretsmanager")
        self.iam = self.realm.client("iam")

    def _services(self, realm: Realm) -> list[Any]:
        resolvers = {
            "ssm": ssm_shared.resources,
            "secretsmanager": partial(secrets_shared.resources, realm.view),
        }
        self.allow = EachResource(Authority(realm.view), resolvers)
        ssm = ssm_shared.SsmDesk(realm.store, realm.view, realm.chance, realm.sealer)
        secrets = secrets_shared.SecretsDesk(
            realm.store, realm.view, realm.chance, realm.sealer, self.allow
        )
        self.port = TaskSecrets(ssm, secrets, realm.clock)
        return [ssm_service.build(ssm), secrets_service.build(secrets)]

    def value(self, reference: str, role: str = ROLE) -> str:
        return self.realm.run(self.port.value(ACCOUNT, REGION, role, reference))

    def failure(self, reference: str, role: str = ROLE) -> str:
        with pytest.raises(CallerFault) as caught:
            self.value(reference, role)
        return str(caught.value)

    def role(self, name: str, service: str, *statements: dict[str, Any]) -> None:
        trust = policy({"Principal": {"Service": service}, "Action": "sts:AssumeRole"})
        self.iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)
        if statements:
            self.iam.put_role_policy(
                RoleName=name, PolicyName="p", PolicyDocument=policy(*statements)
            )


def policy(*statements: dict[str, Any]) -> str:
    whole = [{"Effect": "Allow", **statement} for statement in statements]
    return json.dumps({"Version": "2012-10-17", "Statement": whole})


@pytest.fixture(scope="module")
def vaults() -> Iterator[Vaults]:
    made = Vaults()
    made.ssm.put_parameter(Name="/app/url", Value="u", Type="String")
    made.ssm.put_parameter(Name="/app/key", Value="k", Type="SecureString")
    made.ssm.put_parameter(Name="other", Value="o", Type="String")
    document = json.dumps({"user": "me", "port": 5432})
    db = made.secrets.create_secret(Name="app/db", SecretString=document)
    made.secrets.create_secret(Name="app/binary", SecretBinary=b"\x00")
    made.secrets.create_secret(Name="hidden", SecretString="h")
    made.db = db["ARN"]
    made.role(
        "execution", "ecs-tasks.amazonaws.com",
        {"Action": "ssm:GetParameters", "Resource": f"{PARAMETERS}/app/*"},
        {"Action": "secretsmanager:GetSecretValue", "Resource": [
            db["ARN"], f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:app/binary-??????",
            f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:app/none-??????",
        ]},
    )  # fmt: skip
    made.role("foreign", "lambda.amazonaws.com", {"Action": "*", "Resource": "*"})
    yield made
    made.realm.close()


def test_parameters_are_read_by_name_and_by_arn(vaults: Vaults) -> None:
    assert vaults.value("/app/url") == "u"
    assert vaults.value(f"{PARAMETERS}/app/key") == "k"
    assert vaults.value("/app/key:1", "execution") == "k"


def test_secrets_are_read_whole_or_by_json_key_stage_and_version(vaults: Vaults) -> None:
    arn = vaults.db
    old = vaults.secrets.get_secret_value(SecretId=arn)["VersionId"]
    vaults.secrets.put_secret_value(SecretId=arn, SecretString='{"user":"you","port":5433}')
    assert json.loads(vaults.value(arn))["user"] == "you"
    assert vaults.value(arn[:-7]) == vaults.value(arn)
    assert vaults.value(f"{arn}:user::") == "you"
    assert vaults.value(f"{arn}:port:AWSPREVIOUS:") == "5432"
    assert vaults.value(f"{arn}:user::{old}") == "me"


def test_what_cannot_be_read_is_told_as_ecs_tells_it(vaults: Vaults) -> None:
    arn = vaults.db
    assert vaults.failure("/app/none") == (
        "unable to retrieve secrets from ssm: invalid ssm parameters: /app/none"
    )
    denied = vaults.failure("other")
    assert denied.startswith("unable to retrieve secrets from ssm: service call has been retried")
    assert f"ssm:GetParameters on resource: {PARAMETERS}/other {DENIED}" in denied
    assert "assumed-role/execution/" in denied
    absent = vaults.failure(f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:app/none-abcdef")
    assert "ResourceNotFoundException: Secrets Manager can't find the specified secret" in absent
    hidden = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:hidden"
    assert "AccessDeniedException" in vaults.failure(hidden)
    assert "did not contain json key colour" in vaults.failure(f"{arn}:colour::")
    assert "VersionId: zzz" in vaults.failure(f"{arn}:user::zzz")
    assert "unexpected ARN format" in vaults.failure(f"{arn}:user")
    binary = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:app/binary"
    assert "binary" in vaults.failure(binary)
    vaults.secrets.put_secret_value(SecretId=binary, SecretString="[1]")
    assert "not a JSON object" in vaults.failure(f"{binary}:user::")
    assert "another account" in vaults.failure(f"arn:aws:ssm:{REGION}:111111111111:parameter/x")


def test_the_role_must_be_there_and_trust_ecs(vaults: Vaults) -> None:
    for role in ("", "none", f"arn:aws:iam::{ACCOUNT}:role/foreign"):
        assert "ECS was unable to assume the role" in vaults.failure("/app/url", role)


def test_each_named_resource_must_be_allowed(vaults: Vaults) -> None:
    arn = vaults.db
    vaults.iam.create_user(UserName="u")
    vaults.iam.put_user_policy(
        UserName="u", PolicyName="p",
        PolicyDocument=policy(
            {"Action": "ssm:GetParameter*", "Resource": f"{PARAMETERS}/app/url"},
            {"Action": "secretsmanager:GetSecretValue", "Resource": arn},
            {"Action": "secretsmanager:BatchGetSecretValue", "Resource": "*"},
        ),
    )  # fmt: skip
    key = vaults.iam.create_access_key(UserName="u")["AccessKey"]
    user = vaults.iam.get_user(UserName="u")["User"]["Arn"]
    secrets = vaults.realm.client_of(key, "secretsmanager")
    answer = secrets.batch_get_secret_value(SecretIdList=["app/db", "hidden"])
    assert [one["Name"] for one in answer["SecretValues"]] == ["app/db"]
    assert [one["ErrorCode"] for one in answer["Errors"]] == ["AccessDeniedException"]
    context = Context(ACCOUNT, REGION, user, key["AccessKeyId"], "", vaults.realm.clock.now())

    def denied(action: str, given: dict[str, Any]) -> bool:
        return vaults.allow(context, action, given) is not None

    assert not denied("secretsmanager:GetSecretValue", {"SecretId": "app/db"})
    assert denied("secretsmanager:GetSecretValue", {"SecretId": "hidden"})
    assert not denied("ssm:GetParameters", {"Names": ["/app/url:1"]})
    assert denied("ssm:GetParameters", {"Names": ["/app/url", "/app/key"]})
    assert refusal(secrets.get_secret_value, SecretId="hidden")[0] == "AccessDeniedException"
