"""What belongs to a secret besides its values: its life, its tags, its policy, its rotation."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from proa.aws.gateway.desk import Change, Handler
from proa.aws.gateway.service import AwsError, Context, Input, Output
from proa.aws.secretsmanager.records import VALUES, Secret, arn_head, find_secret, value_key
from proa.aws.secretsmanager.shared import (
    MAX_TAGS,
    SecretsDesk,
    altered,
    any_secret,
    invalid_parameter,
    invalid_request,
    live_secret,
    named,
    replacement,
)
from proa.cloud.policy import MalformedPolicy, Policy, parse_policy
from proa.store.api import Delete, Guard

DAY_S = 86_400
LEAST_DAYS, MOST_DAYS = 7, 30


def checked_tags(old: dict[str, str], pairs: Iterable[dict[str, str]]) -> dict[str, str]:
    """``old`` with the pairs of a request; raises for reserved keys and too many."""
    tags = dict(old)
    for pair in pairs:
        key = pair.get("Key")
        if not key:
            raise invalid_parameter("You must specify a key for every tag.")
        if key.lower().startswith("aws:"):
            raise invalid_parameter("Tag keys can't begin with the reserved prefix aws:")
        tags[key] = pair.get("Value", "")
    if len(tags) > MAX_TAGS:
        message = f"The number of tags exceeds the limit of {MAX_TAGS}."
        raise AwsError("LimitExceededException", message)
    return tags


def shown(secret: Secret) -> Output:
    """The members that DescribeSecret and ListSecrets share."""
    return named(
        secret,
        Description=secret.description or None,
        KmsKeyId=secret.kms_key or None,
        LastChangedDate=secret.changed_at,
        LastAccessedDate=secret.accessed_at or None,
        DeletedDate=secret.gone_at or None,
        Tags=[{"Key": key, "Value": value} for key, value in sorted(secret.tags.items())],
        CreatedDate=secret.created_at,
    )


def stages_of(secret: Secret) -> dict[str, list[str]]:
    """The labelled versions."""
    return {id: list(one.stages) for id, one in secret.versions.items() if one.stages}


async def describe_secret(desk: SecretsDesk, context: Context, given: Input) -> Output:
    """Of secrets that are marked for deletion too."""
    secret = any_secret(desk, context, given["SecretId"]).value
    return {**shown(secret), "VersionIdsToStages": stages_of(secret) or None}


async def delete_secret(desk: SecretsDesk, context: Context, given: Input) -> Output:
    """Marked for deletion in 7 to 30 days, or gone at once if forced."""
    days, force = given.get("RecoveryWindowInDays"), given.get("ForceDeleteWithoutRecovery", False)
    if force and days is not None:
        raise invalid_parameter(
            "You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays."
        )
    if days is not None and not LEAST_DAYS <= days <= MOST_DAYS:
        raise invalid_parameter(
            "The RecoveryWindowInDays value must be between 7 and 30 days (inclusive)."
        )
    if force:
        return await _delete_now(desk, context, given["SecretId"])
    moment = context.now + (days or MOST_DAYS) * DAY_S
    secret = await altered(
        desk, context, given["SecretId"], lambda one: msgspec.structs.replace(one, gone_at=moment)
    )
    return named(secret, DeletionDate=moment)


async def _delete_now(desk: SecretsDesk, context: Context, identifier: str) -> Output:
    """The secret, then its values, which nothing reads without it; ``service.sweep`` removes
    what a crash leaves. It is no error that there is no such secret."""

    def decide() -> Change[Secret | None]:
        entry = find_secret(desk.view, context.account, context.region, identifier, context.now)
        if entry is None:
            return Change(None)
        return Change(entry.value, (Guard(entry.key, entry.version),), (Delete(entry.key),))

    secret = await desk.carry_out(decide)
    if secret is None:
        name = identifier.rpartition(":secret:")[2]
        arn = arn_head(context.account, context.region) + name
        return {"ARN": arn, "Name": name, "DeletionDate": context.now}
    await remove_values(desk, secret)
    return named(secret, DeletionDate=context.now)


async def remove_values(desk: SecretsDesk, secret: Secret) -> None:
    """Delete the values of a secret that is gone."""
    keys = [entry.key for entry in desk.view.rows(VALUES).scan(value_key(secret, ""))]
    if keys:
        await desk.delete(keys)


async def restore_secret(desk: SecretsDesk, context: Context, given: Input) -> Output:
    """Take the mark of deletion away."""

    def decide() -> Change[Secret]:
        entry = any_secret(desk, context, given["SecretId"])
        return replacement(entry, msgspec.structs.replace(entry.value, gone_at=0.0))

    return named(await desk.carry_out(decide))


async def tag_resource(desk: SecretsDesk, context: Context, given: Input) -> Output:
    await altered(
        desk, context, given["SecretId"],
        lambda one: msgspec.structs.replace(one, tags=checked_tags(one.tags, given["Tags"])),
    )  # fmt: skip
    return {}


async def untag_resource(desk: SecretsDesk, context: Context, given: Input) -> Output:
    def kept(secret: Secret) -> Secret:
        tags = {key: text for key, text in secret.tags.items() if key not in given["TagKeys"]}
        return msgspec.structs.replace(secret, tags=tags)

    await altered(desk, context, given["SecretId"], kept)
    return {}


async def rotate_secret(desk: SecretsDesk, context: Context, given: Input) -> Output:
    """Refused: no function would be run."""
    live_secret(desk, context, given["SecretId"])
    if given.get("RotationLambdaARN"):
        raise invalid_request(
            "Proa does not run rotation functions: put the new value with PutSecretValue."
        )
    raise invalid_request("No Lambda rotation function ARN is associated with this secret.")


async def cancel_rotate_secret(desk: SecretsDesk, context: Context, given: Input) -> Output:
    """Rotation is never on, so that there is nothing to turn off."""
    return named(live_secret(desk, context, given["SecretId"]).value)


def _policy(document: str) -> Policy:
    try:
        policy = parse_policy(document)
    except MalformedPolicy as error:
        raise AwsError("MalformedPolicyDocumentException", str(error)) from error
    if any(one.principals is None and one.not_principals is None for one in policy):
        message = "This resource policy contains a statement without a principal."
        raise AwsError("MalformedPolicyDocumentException", message)
    return policy


def _is_public(policy: Policy) -> bool:
    return any(
        one.effect == "Allow"
        and not one.conditions
        and any("*" in names for names in (one.principals or {}).values())
        for one in policy
    )


async def put_resource_policy(desk: SecretsDesk, context: Context, given: Input) -> Output:
    """Stored, and shown; see docs/limits.md."""
    policy = _policy(given["ResourcePolicy"])
    if given.get("BlockPublicPolicy") and _is_public(policy):
        message = "The resource policy grants broad access to the secret."
        raise AwsError("PublicPolicyException", message)
    secret = await altered(
        desk, context, given["SecretId"],
        lambda one: msgspec.structs.replace(one, policy=given["ResourcePolicy"]),
    )  # fmt: skip
    return named(secret)


async def get_resource_policy(desk: SecretsDesk, context: Context, given: Input) -> Output:
    secret = live_secret(desk, context, given["SecretId"]).value
    return named(secret, ResourcePolicy=secret.policy or None)


async def delete_resource_policy(desk: SecretsDesk, context: Context, given: Input) -> Output:
    secret = await altered(
        desk, context, given["SecretId"], lambda one: msgspec.structs.replace(one, policy="")
    )
    return named(secret)


async def validate_resource_policy(desk: SecretsDesk, context: Context, given: Input) -> Output:
    """What PutResourcePolicy would say, and whether the policy is public."""
    if given.get("SecretId"):
        live_secret(desk, context, given["SecretId"])
    errors = []
    if _is_public(_policy(given["ResourcePolicy"])):
        message = "The resource policy grants broad access to the secret."
        errors.append({"CheckName": "BlockPublicPolicy", "ErrorMessage": message})
    return {"PolicyValidationPassed": not errors, "ValidationErrors": errors}


HANDLERS: dict[str, Handler[SecretsDesk]] = {
    "DescribeSecret": describe_secret,
    "DeleteSecret": delete_secret,
    "RestoreSecret": restore_secret,
    "TagResource": tag_resource,
    "UntagResource": untag_resource,
    "RotateSecret": rotate_secret,
    "CancelRotateSecret": cancel_rotate_secret,
    "PutResourcePolicy": put_resource_policy,
    "GetResourcePolicy": get_resource_policy,
    "DeleteResourcePolicy": delete_resource_policy,
    "ValidateResourcePolicy": validate_resource_policy,
}
