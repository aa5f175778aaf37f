"""Secret values for containers of ECS tasks: ECS's port ``Secrets`` over both secret stores.

The assembly hands a ``TaskSecrets`` to ``EcsSkin``. It reads what a container definition's
``valueFrom`` names, as the task's execution role: the role must trust ECS tasks and allow the
call. Failures are worded as the ECS agent words them (its ``ssmsecret`` and ``asmsecret`` task
resources), without the head that the caller puts before them.
"""

from __future__ import annotations

from typing import Any

import orjson

from proa.aws.gateway.service import AwsError, Context
from proa.aws.secretsmanager import values
from proa.aws.secretsmanager.shared import SecretsDesk
from proa.aws.ssm import shared as parameters
from proa.aws.ssm.shared import SsmDesk
from proa.base.clock import Clock
from proa.base.errors import CallerFault
from proa.cloud.identity import entity_by_arn
from proa.cloud.policy import Access, decide, parse_policy

TASKS = "ecs-tasks.amazonaws.com"
SESSION = "ecs-task-start"
MAX_ARN_FIELDS = 10  # arn:aws:secretsmanager:region:account:secret:name:key:stage:version


class TaskSecrets:
    """``proa.aws.ecs.ports.Secrets``."""

    def __init__(self, ssm: SsmDesk, secrets: SecretsDesk, clock: Clock) -> None:
        self._ssm, self._secrets, self._clock = ssm, secrets, clock

    async def value(self, account: str, region: str, role: str, value_from: str) -> str:
        """The text that ``value_from`` names, read as the role of this ARN. Raises CallerFault."""
        fields = value_from.split(":")
        if fields[0] == "arn" and len(fields) > 5:
            region = fields[3] or region
            if fields[4] not in ("", account):
                raise CallerFault(f"{value_from} belongs to another account")
        principal = self._assumed(account, role)
        context = Context(account, region, principal, "", "", self._clock.now())
        if ":secretsmanager:" in value_from:
            return self._of_secret(context, value_from)
        return self._of_parameter(context, value_from)

    def _assumed(self, account: str, role: str) -> str:
        """The ARN of the session that ECS has of the execution role."""
        if not role.startswith("arn:"):
            role = f"arn:aws:iam::{account}:role/{role}"
        found = entity_by_arn(self._ssm.view, role)
        access = Access("sts:AssumeRole", role, ("Service", TASKS))
        if (
            found is None
            or found.account != account
            or decide(access, [parse_policy(found.trust)]) != "allow"
        ):
            raise CallerFault(
                f"ECS was unable to assume the role '{role}' that was provided for this task. "
                "Please verify that the role being passed has the proper trust relationship and "
                "permissions and that your IAM user has permissions to pass this role."
            )
        return f"arn:aws:sts::{account}:assumed-role/{found.name}/{SESSION}"

    def _of_parameter(self, context: Context, reference: str) -> str:
        head = "unable to retrieve secrets from ssm: "
        denial = self._secrets.authorize(context, "ssm:GetParameters", {"Names": [reference]})
        if denial is not None:
            raise CallerFault(f"{head}{_retried('AccessDeniedException', denial)}")
        try:
            return str(parameters.read(self._ssm, context, reference, True)["Value"])
        except AwsError as error:
            raise CallerFault(f"{head}invalid ssm parameters: {reference}") from error

    def _of_secret(self, context: Context, reference: str) -> str:
        head = "unable to retrieve secret from asm: "
        fields = reference.split(":")
        arn, (key, stage, version) = ":".join(fields[:7]), _selector(fields)
        failed = f"{head}service call has been retried 1 time(s): failed to fetch secret {arn} " \
            "from secrets manager: "  # fmt: skip
        action = "secretsmanager:GetSecretValue"
        denial = self._secrets.authorize(context, action, {"SecretId": arn})
        if denial is not None:
            raise CallerFault(f"{failed}AccessDeniedException: {denial}")
        try:
            answer = values.read(self._secrets, context, arn, version or None, stage or None)
        except AwsError as error:
            raise CallerFault(f"{failed}{error.code}: {error.message}") from error
        text = answer["SecretString"]
        if text is None:
            raise CallerFault(f"{failed}the secret {arn} holds binary data, not text")
        return _member(str(text), key, failed) if key else str(text)


def _retried(code: str, message: str) -> str:
    return f"service call has been retried 1 time(s): {code}: {message}"


def _selector(fields: list[str]) -> tuple[str, str, str]:
    """JSON key, version stage and version id after a secret's ARN. Raises CallerFault."""
    if len(fields) > MAX_ARN_FIELDS or (7 < len(fields) < MAX_ARN_FIELDS):
        raise CallerFault(
            "unexpected ARN format with parameters when trying to retrieve ASM secret: "
            f"{':'.join(fields)} (expected arn:…:secret:name:json-key:version-stage:version-id)"
        )
    key, stage, version = [*fields[7:], "", "", ""][:3]
    return key, stage, version


def _member(text: str, key: str, failed: str) -> str:
    """The member of a secret that is a JSON object; numbers and lists as their JSON text."""
    try:
        document: Any = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise CallerFault(f"{failed}the secret is not a JSON object") from error
    if not isinstance(document, dict):
        raise CallerFault(f"{failed}the secret is not a JSON object")
    if key not in document:
        raise CallerFault(
            f"{failed}retrieved secret from Secrets Manager did not contain json key {key}"
        )
    value = document[key]
    return value if isinstance(value, str) else orjson.dumps(value).decode()
