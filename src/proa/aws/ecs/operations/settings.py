"""Account settings: stored and shown. Proa's names are always in the long ARN format."""

from __future__ import annotations

from proa.aws.ecs import paging, writes
from proa.aws.ecs.keys import base_key, setting_key
from proa.aws.ecs.names import invalid
from proa.aws.ecs.operations.base import Ecs
from proa.aws.ecs.records import Setting, put
from proa.aws.ecs.tables import SETTINGS
from proa.aws.gateway.service import Context, Input, Output
from proa.dispatch.skin import Parts
from proa.store.api import Transaction

DEFAULTS = {
    "awsvpcTrunking": "disabled",
    "containerInsights": "disabled",
    "containerInstanceLongArnFormat": "enabled",
    "defaultLogDriverMode": "non-blocking",
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
    "guardDutyActivate": ("on", "off"),
    "tagResourceAuthorization": ("on", "off"),
}
_ON_OFF = ("enabled", "disabled")


async def put_account_setting(ecs: Ecs, context: Context, request: Input) -> Output:
    """Set one setting for a principal, the caller by default."""
    name, value = request["name"], request["value"]
    if name not in DEFAULTS or value not in _VALUES.get(name, _ON_OFF):
        raise invalid(f"Invalid value for setting {name}: {value}")
    principal = request.get("principalArn") or context.principal_arn
    key = setting_key(context.account, context.region, principal, name)
    parts = Parts((), (put(key, Setting(name, value, principal)),))
    transaction = writes.transaction(parts)

    def decision() -> tuple[Transaction, Output]:
        return transaction, {
            "setting": {"name": name, "value": value, "principalArn": principal, "type": "user"}
        }

    return await ecs.decide(decision)


async def list_account_settings(ecs: Ecs, context: Context, request: Input) -> Output:
    """The principal's settings; with ``effectiveSettings`` also those it never set."""
    await ecs.fresh()
    principal = request.get("principalArn") or context.principal_arn
    prefix = f"{base_key(context.account, context.region)}setting/"
    own = {
        entry.value.name: entry.value.value
        for entry in ecs.view.rows(SETTINGS).scan(prefix)
        if entry.value.principal == principal
    }
    effective = request.get("effectiveSettings") or request.get("name")
    found = {**DEFAULTS, **own} if effective else own
    names = sorted(
        name
        for name, value in found.items()
        if request.get("name") in (None, name) and request.get("value") in (None, value)
    )
    page, more = paging.page(names, request.get("nextToken"), request.get("maxResults"))
    answer: Output = {
        "settings": [
            {"name": name, "value": found[name], "principalArn": principal, "type": "user"}
            for name in page
        ]
    }
    return {**answer, "nextToken": more} if more else answer
