"""ListSecrets, ListSecretVersionIds, BatchGetSecretValue, and GetRandomPassword.

Filters compare beginnings; ``!`` before a value negates it (API reference, "Filter").
"""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from typing import Any

from proa.aws.gateway.desk import Handler
from proa.aws.gateway.service import AwsError, Context, Input, Output
from proa.aws.secretsmanager.metadata import shown, stages_of
from proa.aws.secretsmanager.records import SECRETS, Secret, is_gone, secret_key
from proa.aws.secretsmanager.shared import (
    SecretsDesk,
    after_token,
    any_secret,
    invalid_parameter,
    named,
    token_of,
)
from proa.aws.secretsmanager.values import read
from proa.base.chance import Chance

_FILTERS: dict[str, Callable[[Secret], Sequence[str]]] = {
    "name": lambda one: (one.name,),
    "description": lambda one: (one.description, *one.description.split()),
    "tag-key": lambda one: tuple(one.tags),
    "tag-value": lambda one: tuple(one.tags.values()),
    "primary-region": lambda _one: (),
    "owning-service": lambda _one: (),
}
_FOLDED = ("description", "all")
_SORTS: dict[str, Callable[[Secret], Any]] = {
    "created-date": lambda one: one.created_at,
    "last-accessed-date": lambda one: one.accessed_at,
    "last-changed-date": lambda one: one.changed_at,
    "name": lambda one: one.name,
}


def _holds(secret: Secret, condition: Input) -> bool:
    """Whether one of a filter's values fits. Raises InvalidParameterException."""
    key, values = condition.get("Key"), condition.get("Values") or ()
    if key == "all":
        fields = [text for read_one in _FILTERS.values() for text in read_one(secret)]
    elif key in _FILTERS:
        fields = list(_FILTERS[key](secret))
    else:
        raise invalid_parameter(f"Invalid filter key: {key}")
    if not values:
        raise invalid_parameter("Invalid filter values for key: " + str(key))
    fold = key in _FOLDED

    def fits(value: str) -> bool:
        wanted = value.removeprefix("!")
        found = any(
            (text.lower() if fold else text).startswith(wanted.lower() if fold else wanted)
            for text in fields
        )
        return found != value.startswith("!")

    return any(fits(value) for value in values)


def _listed(desk: SecretsDesk, context: Context, filters: Sequence[Input]) -> list[Secret]:
    scan = desk.view.rows(SECRETS).scan(secret_key(context.account, context.region, ""))
    return [
        entry.value
        for entry in scan
        if not is_gone(entry.value, context.now)
        and all(_holds(entry.value, condition) for condition in filters)
    ]


def _page(items: list[Any], given: Input, most: int, id_of: Callable[[Any], str]) -> Any:
    """The items after the token's, and the token of the rest."""
    after = after_token(given.get("NextToken"))
    ids = [id_of(item) for item in items]
    if after and after not in ids:
        raise AwsError("InvalidNextTokenException", "Invalid NextToken")
    start = ids.index(after) + 1 if after else 0
    end = start + (given.get("MaxResults") or most)
    return items[start:end], token_of(ids[end - 1]) if end < len(items) else None


async def list_secrets(desk: SecretsDesk, context: Context, given: Input) -> Output:
    """The newest first, unless told otherwise."""
    found = _listed(desk, context, given.get("Filters") or ())
    if not given.get("IncludePlannedDeletion"):
        found = [secret for secret in found if not secret.gone_at]
    found.sort(key=lambda one: one.name)
    falling = given.get("SortOrder", "desc") == "desc"
    found.sort(key=_SORTS[given.get("SortBy", "created-date")], reverse=falling)
    page, token = _page(found, given, 100, lambda one: str(one.id))
    listed = [{**shown(one), "SecretVersionsToStages": stages_of(one) or None} for one in page]
    return {"SecretList": listed, "NextToken": token}


async def list_secret_version_ids(desk: SecretsDesk, context: Context, given: Input) -> Output:
    """The labelled versions, with IncludeDeprecated the others too; the newest first."""
    secret = any_secret(desk, context, given["SecretId"]).value
    versions = [
        {
            "VersionId": id,
            "VersionStages": list(one.stages) or None,
            "LastAccessedDate": one.accessed_at or None,
            "CreatedDate": one.created_at,
        }
        for id, one in reversed(secret.versions.items())
        if one.stages or given.get("IncludeDeprecated")
    ]
    page, token = _page(versions, given, 100, lambda one: str(one["VersionId"]))
    return named(secret, Versions=page, NextToken=token)


async def batch_get_secret_value(desk: SecretsDesk, context: Context, given: Input) -> Output:
    """Current values by a list of ids, whose failures are listed, or by filters."""
    ids, filters = given.get("SecretIdList"), given.get("Filters")
    if bool(ids) == bool(filters):
        raise invalid_parameter("Either 'SecretIdList' or 'Filters' must be provided, but not both")
    token = None
    if filters:
        live = [secret for secret in _listed(desk, context, filters) if not secret.gone_at]
        page, token = _page(live, given, 20, lambda one: str(one.id))
        ids = [secret.arn for secret in page]
    elif "MaxResults" in given or "NextToken" in given:
        raise invalid_parameter("'MaxResults' can only be used with 'Filters'.")
    values, errors = [], []
    for id in ids or ():
        try:
            values.append(_read_allowed(desk, context, id))
        except AwsError as error:
            errors.append({"SecretId": id, "ErrorCode": error.code, "Message": error.message})
    return {"SecretValues": values, "Errors": errors, "NextToken": token}


def _read_allowed(desk: SecretsDesk, context: Context, id: str) -> Output:
    """One of several values: GetSecretValue must be allowed for each."""
    denial = desk.authorize(context, "secretsmanager:GetSecretValue", {"SecretId": id})
    if denial is not None:
        raise AwsError("AccessDeniedException", denial)
    return read(desk, context, id, None, None)


def _alphabets(given: Input) -> list[str]:
    """The kinds of characters of a password, without the excluded ones."""
    excluded = set(given.get("ExcludeCharacters", ""))
    kinds = [
        ("ExcludeLowercase", string.ascii_lowercase), ("ExcludeUppercase", string.ascii_uppercase),
        ("ExcludeNumbers", string.digits), ("ExcludePunctuation", string.punctuation),
    ]  # fmt: skip
    wanted = [letters for member, letters in kinds if not given.get(member, False)]
    if given.get("IncludeSpace"):
        wanted.append(" ")
    left = ("".join(c for c in letters if c not in excluded) for letters in wanted)
    return [letters for letters in left if letters]


def password(given: Input, chance: Chance) -> str:
    """What GetRandomPassword answers. Raises InvalidParameterException."""
    length, kinds = given.get("PasswordLength", 32), _alphabets(given)
    if not kinds:
        raise invalid_parameter(
            "Secrets Manager can't generate a password with all character types excluded."
        )
    each = given.get("RequireEachIncludedType", True)
    if each and length < len(kinds):
        raise invalid_parameter(
            f"The password length {length} is too short for one character of each of the "
            f"{len(kinds)} included types."
        )
    letters = [chance.choice(kind) for kind in kinds] if each else []
    every = "".join(kinds)
    letters += [chance.choice(every) for _ in range(length - len(letters))]
    chance.shuffle(letters)
    return "".join(letters)


async def get_random_password(desk: SecretsDesk, _context: Context, given: Input) -> Output:
    """Stored nowhere."""
    return {"RandomPassword": password(given, desk.chance)}


HANDLERS: dict[str, Handler[SecretsDesk]] = {
    "ListSecrets": list_secrets,
    "ListSecretVersionIds": list_secret_version_ids,
    "BatchGetSecretValue": batch_get_secret_value,
    "GetRandomPassword": get_random_password,
}
