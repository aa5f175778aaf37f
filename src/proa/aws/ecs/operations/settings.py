"""Account settings: stored and shown. Proa's names are always in the long ARN format.

A principal's own setting wins over the account's default, which wins over ECS's. Only the root
user sets for others. Source: "Account settings" of the developer guide.
"""

from __future__ import annotations

from proa.aws.ecs import paging, writes
from proa.aws.ecs.keys import base_key, setting_key
from proa.aws.ecs.names import invalid
from proa.aws.ecs.operations.base import Ecs
from proa.aws.ecs.records import Setting, put
from proa.aws.ecs.tables import SETTINGS
from proa.aws.gateway.service import AwsError, Context, Input, Output
from proa.dispatch.skin import Parts
from proa.store.api import Delete, Transaction

DEFAULTS = {
    "awsvpcTrunking": "disabled",
    "containerInsights": "disabled",
    "containerInstanceLongArnFormat": "enabled",
    "defaultLogDriverMode": "non-blocking",
    "fargateEventWindows": "disabled",
    "fargateFIPSMode": "disabled",
    "fargateTaskRetirementWaitPeriod": "7",
    "guardDutyActivate": "off",
    "serviceLongArnFormat": "enabled",
    "tagResourceAuthorization": "off",
    "taskLongArnFormat": "enabled",
}
_VALUES = {
    "containerInsights": ("enabled", "disabled", "enhanced"),
    "defaultLogDriverMode": ("blocking", "non-blocking"),
    "fargateTaskRetirementWaitPeriod": ("0", "7", "14"),
    "tagResourceAuthorization": ("on", "off"),
}
_ON_OFF = ("enabled", "disabled")
_LONG = ("containerInstanceLongArnFormat", "serviceLongArnFormat", "taskLongArnFormat")
_MANAGED = ("guardDutyActivate",)  # read-only (Setting.type)


def _check(name: str, value: str) -> None:
    if name in _MANAGED:
        raise invalid(f"The account setting {name} is managed by AWS and cannot be changed.")
    if name not in DEFAULTS or value not in _VALUES.get(name, _ON_OFF):
        raise invalid(f"Invalid value for setting {name}: {value}")
    if name in _LONG and value == "disabled":
        raise invalid(
            f"The {name} account setting cannot be disabled: resource names are in the long format."
        )


def _principal(context: Context, request: Input) -> str:
    """Whom a request is about: the caller, or whom the root user names."""
    given = request.get("principalArn")
    if not given or given == context.principal_arn:
        return context.principal_arn
    if not context.principal_arn.endswith(":root"):
        raise AwsError("ClientException", "You must be the root user to use principalArn.")
    return str(given)


async def put_account_setting(ecs: Ecs, context: Context, request: Input) -> Output:
    """Set one setting for a principal, the caller by default."""
    return await _put(ecs, context, request, _principal(context, request))


async def put_account_setting_default(ecs: Ecs, context: Context, request: Input) -> Output:
    """Set one setting for everybody of the account who has no own."""
    return await _put(ecs, context, request, "")


async def _put(ecs: Ecs, context: Context, request: Input, principal: str) -> Output:
    name, value = request["name"], request["value"]
    _check(name, value)
    key = setting_key(context.account, context.region, principal, name)
    transaction = writes.transaction(Parts((), (put(key, Setting(name, value, principal)),)))
    shown = _shown(name, value, principal or _root(context))

    def decision() -> tuple[Transaction, Output]:
        return transaction, {"setting": shown}

    return await ecs.decide(decision)


async def delete_account_setting(ecs: Ecs, context: Context, request: Input) -> Output:
    """Forget a principal's own setting; the account's default holds for it again."""
    name, principal = request["name"], _principal(context, request)
    key = setting_key(context.account, context.region, principal, name)

    def decision() -> tuple[Transaction | None, Output]:
        entry = ecs.view.rows(SETTINGS).get(key)
        value = _effective(ecs, context, "").get(name, DEFAULTS.get(name, ""))
        answer = {"setting": _shown(name, value, principal)}
        return (Transaction(writes=(Delete(key),)) if entry else None), answer

    return await ecs.decide(decision)


def _root(context: Context) -> str:
    partition = context.principal_arn.split(":")[1]
    return f"arn:{partition}:iam::{context.account}:root"


def _shown(name: str, value: str, principal: str) -> Output:
    kind = "aws_managed" if name in _MANAGED else "user"
    return {"name": name, "value": value, "principalArn": principal, "type": kind}


def _effective(ecs: Ecs, context: Context, principal: str) -> dict[str, str]:
    """What a principal ("" for the account's default) has set itself."""
    prefix = f"{base_key(context.account, context.region)}setting/"
    return {
        entry.value.name: entry.value.value
        for entry in ecs.view.rows(SETTINGS).scan(prefix)
        if entry.value.principal == principal
    }


async def list_account_settings(ecs: Ecs, context: Context, request: Input) -> Output:
    """The principal's settings; with ``effectiveSettings`` also those it never set."""
    if request.get("value") and not request.get("name"):
        raise invalid("You must specify an account setting name to filter by value.")
    await ecs.fresh()
    principal = _principal(context, request)
    found = _effective(ecs, context, principal)
    if request.get("effectiveSettings"):
        found = {**DEFAULTS, **_effective(ecs, context, ""), **found}
    names = sorted(
        name
        for name, value in found.items()
        if request.get("name") in (None, name) and request.get("value") in (None, value)
    )
    page, more = paging.page(
        names, request.get("nextToken"), request.get("maxResults") or None, most=10
    )
    answer: Output = {"settings": [_shown(name, found[name], principal) for name in page]}
    return {**answer, "nextToken": more} if more else answer
