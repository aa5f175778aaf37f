"""What the operations of Secrets Manager share: the desk, look-ups, errors, writes, tokens."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from proa.aws.gateway.auth import Authorizer
from proa.aws.gateway.desk import Change, Desk
from proa.aws.gateway.service import AwsError, Context, Input, Output
from proa.aws.secretsmanager.records import Secret, arn_head, encode, find_secret
from proa.aws.secretsmanager.versions import invalid_parameter
from proa.cloud.secrets import Sealer
from proa.reconcile.view import Entry, View
from proa.store.api import Delete, Guard, Put

MAX_TAGS = 50
__all__ = ["invalid_parameter"]


@dataclass(slots=True)
class SecretsDesk(Desk):
    """A desk with what seals values, and who may read them: one call may name several secrets."""

    sealer: Sealer
    authorize: Authorizer


def invalid_request(message: str) -> AwsError:
    """InvalidRequestException."""
    return AwsError("InvalidRequestException", message)


def any_secret(desk: SecretsDesk, context: Context, identifier: str) -> Entry[Secret]:
    """A secret, marked for deletion or not; raises ResourceNotFoundException."""
    entry = find_secret(desk.view, context.account, context.region, identifier, context.now)
    if entry is None:
        raise AwsError(
            "ResourceNotFoundException", "Secrets Manager can't find the specified secret."
        )
    return entry


def live_secret(desk: SecretsDesk, context: Context, identifier: str) -> Entry[Secret]:
    """A secret that may be worked with; raises InvalidRequestException for one that is marked
    for deletion."""
    entry = any_secret(desk, context, identifier)
    if entry.value.gone_at:
        raise invalid_request(
            "You can't perform this operation on the secret because it was marked for deletion."
        )
    return entry


def resources(view: View, context: Context, given: Input) -> list[str]:
    """The whole ARNs of the secrets that a call names, for policies; of one that is not there,
    the ARN that it would have."""
    if "SecretId" not in given:
        name = given.get("Name")
        return [arn_head(context.account, context.region) + name] if name else []
    found = find_secret(view, context.account, context.region, given["SecretId"], context.now)
    if found is not None:
        return [found.value.arn]
    if given["SecretId"].startswith("arn:"):
        return [given["SecretId"]]
    return [f"{arn_head(context.account, context.region)}{given['SecretId']}-??????"]


def replacement(entry: Entry[Secret], secret: Secret, *more: Put | Delete) -> Change[Secret]:
    """What puts a secret in the place of what was read."""
    guards = (Guard(entry.key, entry.version),)
    return Change(secret, guards, (Put(entry.key, encode(secret)), *more))


async def altered(
    desk: SecretsDesk, context: Context, identifier: str, alter: Callable[[Secret], Secret]
) -> Secret:
    """A live secret as ``alter`` makes it, stored."""

    def decide() -> Change[Secret]:
        entry = live_secret(desk, context, identifier)
        return replacement(entry, alter(entry.value))

    return await desk.carry_out(decide)


def named(secret: Secret, **more: Any) -> Output:
    """ARN and name, which most answers begin with."""
    return {"ARN": secret.arn, "Name": secret.name, **more}


def token_of(last: str) -> str:
    """The token of the page after the one that ends with ``last``."""
    return base64.urlsafe_b64encode(last.encode()).decode()


def after_token(token: str | None) -> str:
    """What the last page ended with; "" for the first page."""
    if not token:
        return ""
    try:
        return base64.b64decode(token.encode(), b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise AwsError("InvalidNextTokenException", "Invalid NextToken") from error
