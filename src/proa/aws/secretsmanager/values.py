"""CreateSecret, PutSecretValue, UpdateSecret, UpdateSecretVersionStage, GetSecretValue.

A ClientRequestToken is the id of the version that it makes: the same token with the same value
is the same request again, with another value it is refused.
"""

from __future__ import annotations

import re
from contextlib import suppress

import msgspec

from proa.aws.gateway.desk import Change, Handler
from proa.aws.gateway.service import AwsError, Context, Input, Output
from proa.aws.secretsmanager import versions
from proa.aws.secretsmanager.metadata import checked_tags
from proa.aws.secretsmanager.records import (
    CURRENT,
    SECRETS,
    Secret,
    encode,
    find_secret,
    put_value,
    secret_key,
    value_key,
    value_of,
)
from proa.aws.secretsmanager.shared import (
    SecretsDesk,
    invalid_parameter,
    invalid_request,
    live_secret,
    named,
    replacement,
)
from proa.base.errors import Conflict
from proa.reconcile.view import Entry
from proa.store.api import Delete, Guard, Put

MAX_BYTES = 65_536
DAY_S = 86_400
_NAME = re.compile(r"[A-Za-z0-9/_+=.@!-]{1,512}")
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
Given = tuple[bytes, bool]


def _value(given: Input) -> Given | None:
    """The value of a request, and whether it is binary."""
    text, binary = given.get("SecretString"), given.get("SecretBinary")
    if text is not None and binary is not None:
        raise invalid_parameter(
            "You can't specify both a binary secret value and a string secret value in the same "
            "secret."
        )
    value = text.encode() if text is not None else binary
    if value is None:
        return None
    if len(value) > MAX_BYTES:
        raise invalid_parameter(f"The secret value can't be longer than {MAX_BYTES} bytes.")
    return value, text is None


def _refuse_elsewhere(given: Input) -> None:
    if given.get("AddReplicaRegions") or given.get("CrossAccountPrimaryARN"):
        raise invalid_parameter("Proa does not replicate secrets to other regions or accounts.")
    if given.get("Type"):
        raise invalid_parameter("Proa does not manage external secrets.")


def _is_repeated(desk: SecretsDesk, secret: Secret, id: str, value: Given | None) -> bool:
    """Whether this very version is there already. Raises ResourceExistsException for a token
    that made another value."""
    if id not in secret.versions:
        return False
    if value is not None and value_of(desk.view, secret, id, desk.sealer) == value:
        return True
    raise AwsError(
        "ResourceExistsException",
        f"You can't use ClientRequestToken {id} because that value is already in use for a "
        f"version of secret {secret.arn}.",
    )


async def create_secret(desk: SecretsDesk, context: Context, given: Input) -> Output:
    """A secret, with a first version if a value is given."""
    _refuse_elsewhere(given)
    name, value = given["Name"], _value(given)
    if not _NAME.fullmatch(name):
        raise AwsError(
            "ValidationException",
            "Invalid name. Must be a valid name containing alphanumeric characters, or any of "
            "the following: -/_+=.@!",
        )
    id = given.get("ClientRequestToken") or desk.chance.uid()
    made = Secret(
        account=context.account, region=context.region, name=name,
        suffix="".join(desk.chance.choice(_LETTERS) for _ in range(6)), id=desk.chance.hex(32),
        created_at=context.now, changed_at=context.now, description=given.get("Description", ""),
        kms_key=given.get("KmsKeyId", ""), tags=checked_tags({}, given.get("Tags") or ()),
    )  # fmt: skip

    def decide() -> Change[Secret]:
        place = (context.account, context.region)
        there = find_secret(desk.view, *place, name, context.now)
        if there is not None:
            return Change(_already_there(desk, there.value, id, value))
        key = secret_key(*place, name)
        gone = desk.view.rows(SECRETS).get(key)  # deleted, and not swept yet
        guards = (Guard(key, gone.version if gone else 0),)
        if value is None:
            return Change(made, guards, (Put(key, encode(made)),))
        secret, _dropped = versions.added(made, id, (CURRENT,), context.now)
        stored = put_value(secret, id, *value, desk.sealer)
        return Change(secret, guards, (Put(key, encode(secret)), stored))

    secret = await desk.carry_out(decide)
    return named(secret, VersionId=id if value else None)


def _already_there(desk: SecretsDesk, secret: Secret, id: str, value: Given | None) -> Secret:
    if secret.gone_at:
        raise invalid_request(
            "You can't create this secret because a secret with this name is already scheduled "
            "for deletion."
        )
    if value is not None and _is_repeated(desk, secret, id, value):
        return secret
    raise AwsError(
        "ResourceExistsException",
        f"The operation failed because the secret {secret.name} already exists.",
    )


def _new_version(
    desk: SecretsDesk, entry: Entry[Secret], secret: Secret, id: str, stages: tuple[str, ...],
    value: Given, now: float,
) -> Change[Secret]:  # fmt: skip
    changed, dropped = versions.added(secret, id, stages, now)
    gone = (Delete(value_key(secret, one)) for one in dropped)
    return replacement(entry, changed, put_value(changed, id, *value, desk.sealer), *gone)


async def put_secret_value(desk: SecretsDesk, context: Context, given: Input) -> Output:
    """A new version, at AWSCURRENT unless VersionStages say otherwise."""
    value = _value(given)
    if value is None:
        raise invalid_request("You must provide either SecretString or SecretBinary.")
    id = given.get("ClientRequestToken") or desk.chance.uid()
    stages = tuple(given.get("VersionStages") or (CURRENT,))

    def decide() -> Change[Secret]:
        entry = live_secret(desk, context, given["SecretId"])
        if _is_repeated(desk, entry.value, id, value):
            return Change(entry.value)
        return _new_version(desk, entry, entry.value, id, stages, value, context.now)

    secret = await desk.carry_out(decide)
    shown = list(secret.versions[id].stages)
    return named(secret, VersionId=id, VersionStages=shown or None)


async def update_secret(desk: SecretsDesk, context: Context, given: Input) -> Output:
    """Description, key, and with a value a new version at AWSCURRENT."""
    _refuse_elsewhere(given)
    value = _value(given)
    id = given.get("ClientRequestToken") or desk.chance.uid()
    members = {"Description": "description", "KmsKeyId": "kms_key"}
    fields = {field: given[name] for name, field in members.items() if name in given}

    def decide() -> Change[Secret]:
        entry = live_secret(desk, context, given["SecretId"])
        secret = msgspec.structs.replace(entry.value, changed_at=context.now, **fields)
        if value is None or _is_repeated(desk, entry.value, id, value):
            return replacement(entry, secret)
        return _new_version(desk, entry, secret, id, (CURRENT,), value, context.now)

    secret = await desk.carry_out(decide)
    return named(secret, VersionId=id if value else None)


async def update_secret_version_stage(desk: SecretsDesk, context: Context, given: Input) -> Output:
    """Move a staging label, or take it away."""

    def decide() -> Change[Secret]:
        entry = live_secret(desk, context, given["SecretId"])
        secret = versions.restaged(
            entry.value, given["VersionStage"], given.get("RemoveFromVersionId"),
            given.get("MoveToVersionId"),
        )  # fmt: skip
        return replacement(entry, msgspec.structs.replace(secret, changed_at=context.now))

    return named(await desk.carry_out(decide))


def chosen_version(secret: Secret, id: str | None, stage: str | None) -> str:
    """The id of the version that a reading is about. Raises ResourceNotFoundException,
    InvalidRequestException."""
    if id is not None:
        if id not in secret.versions:
            raise _no_value(f"VersionId: {id}")
        if stage is not None and stage not in secret.versions[id].stages:
            raise invalid_request(
                "You provided a VersionStage that is not associated to the provided VersionId."
            )
        return id
    found = secret.at_stage(stage or CURRENT)
    if found is None:
        raise _no_value(f"staging label: {stage or CURRENT}")
    return found


def _no_value(what: str) -> AwsError:
    return AwsError(
        "ResourceNotFoundException",
        f"Secrets Manager can't find the specified secret value for {what}",
    )


def read(
    desk: SecretsDesk, context: Context, identifier: str, id: str | None, stage: str | None
) -> Output:
    """The answer of GetSecretValue."""
    secret = live_secret(desk, context, identifier).value
    version = chosen_version(secret, id, stage)
    value, binary = value_of(desk.view, secret, version, desk.sealer)
    return named(
        secret,
        VersionId=version,
        SecretBinary=value if binary else None,
        SecretString=None if binary else value.decode(),
        VersionStages=list(secret.versions[version].stages) or None,
        CreatedDate=secret.versions[version].created_at,
    )


async def note_reading(desk: SecretsDesk, context: Context, identifier: str, version: str) -> None:
    """LastAccessedDate, which has days only: one write a day for each version that is read."""
    today = context.now // DAY_S * DAY_S

    def decide() -> Change[Secret]:
        entry = live_secret(desk, context, identifier)
        secret, read_one = entry.value, entry.value.versions.get(version)
        if read_one is None or read_one.accessed_at >= today:
            return Change(secret)
        noted = msgspec.structs.replace(read_one, accessed_at=today)
        return replacement(
            entry,
            msgspec.structs.replace(
                secret, versions={**secret.versions, version: noted}, accessed_at=today
            ),
        )

    await desk.carry_out(decide)


async def get_secret_value(desk: SecretsDesk, context: Context, given: Input) -> Output:
    """By VersionId, VersionStage, or the current version."""
    identifier = given["SecretId"]
    answer = read(desk, context, identifier, given.get("VersionId"), given.get("VersionStage"))
    with suppress(Conflict):  # somebody else notes or changes it: the reading stands
        await note_reading(desk, context, identifier, answer["VersionId"])
    return answer


HANDLERS: dict[str, Handler[SecretsDesk]] = {
    "CreateSecret": create_secret,
    "PutSecretValue": put_secret_value,
    "UpdateSecret": update_secret,
    "UpdateSecretVersionStage": update_secret_version_stage,
    "GetSecretValue": get_secret_value,
}
