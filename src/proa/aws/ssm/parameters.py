"""PutParameter, GetParameter, GetParameters, DeleteParameter, DeleteParameters."""

from __future__ import annotations

import msgspec

from proa.aws.gateway.desk import Change, Handler
from proa.aws.gateway.service import AwsError, Context, Input, Output
from proa.aws.ssm import rules
from proa.aws.ssm.records import (
    DEFAULT_KEY,
    PARAMETERS,
    SECURE,
    VERSIONS,
    Parameter,
    Version,
    encode,
    find_version,
    parameter_key,
    put_version,
    version_key,
)
from proa.aws.ssm.shared import SsmDesk, find_named, not_found, parameter_entry, read
from proa.aws.ssm.tags import checked_tags
from proa.reconcile.view import Entry
from proa.store.api import Delete, Guard, Put

MAX_VERSIONS = 100


async def put_parameter(desk: SsmDesk, context: Context, given: Input) -> Output:
    """A new parameter, or with Overwrite a new version of it."""
    name, overwrite = given["Name"], given.get("Overwrite", False)
    if name.startswith("arn:"):
        known = find_named(desk, context, name)
        if known is None:
            raise rules.validation("Parameter name: an ARN can't be given to a new parameter.")
        name = known.value.name
    rules.check_name(name, context.account, context.region)
    tags = checked_tags({}, given.get("Tags") or ())
    if overwrite and given.get("Tags"):
        raise rules.validation(
            "Invalid request: tags and overwrite can't be used together. To create a parameter "
            "with tags, please remove overwrite flag. To update tags for an existing parameter, "
            "please use AddTagsToResource or RemoveTagsFromResource."
        )

    def decide() -> Change[Version]:
        entry = find_named(desk, context, name)
        if entry is None:
            return _creation(desk, context, name, given, tags)
        if not overwrite:
            raise AwsError(
                "ParameterAlreadyExists",
                "The parameter already exists. To overwrite this value, set the overwrite option "
                "in the request to true.",
            )
        return _overwriting(desk, context, entry, given)

    version = await desk.carry_out(decide)
    return {"Version": version.number, "Tier": version.tier}


def _version(
    context: Context, given: Input, id: str, number: int, before: Version | None
) -> Version:
    """The version that a PutParameter asks for. Raises what the rules raise."""
    type = given.get("Type") or (before.type if before else "")
    if not type:
        raise rules.validation("A parameter type is required when you create a parameter.")
    value, policies = given["Value"], given.get("Policies") or ""
    pattern = given.get("AllowedPattern") or (before.pattern if before else "")
    data_type = given.get("DataType") or (before.data_type if before else "text")
    tier = rules.tier_of(given.get("Tier"), value, policies, before.tier if before else "")
    rules.check_value(value, type, tier)
    rules.check_data_type(data_type, type, value)
    rules.check_pattern(pattern, value)
    if type != SECURE and given.get("KeyId"):
        raise rules.validation("KeyId can only be given to a parameter of type SecureString.")
    key_id = given.get("KeyId") or (before.key_id if before else "") or DEFAULT_KEY
    return Version(
        id=id, number=number, type=type, modified_at=context.now,
        modified_by=context.principal_arn, key_id=key_id if type == SECURE else "",
        description=given.get("Description") or (before.description if before else ""),
        pattern=pattern, tier=tier, data_type=data_type,
        policies="" if policies in ("", "[{}]") else policies,
    )  # fmt: skip


def _creation(
    desk: SsmDesk, context: Context, name: str, given: Input, tags: dict[str, str]
) -> Change[Version]:
    id = desk.chance.hex(32)
    version = _version(context, given, id, 1, None)
    parameter = Parameter(
        context.account, context.region, name, id, tags=tags,
        expires_at=rules.expiry_of(version.policies, version.tier),
    )  # fmt: skip
    key = parameter_key(context.account, context.region, name)
    # A parameter whose time is over may still lie there.
    gone = desk.view.rows(PARAMETERS).get(key)
    writes = (Put(key, encode(parameter)), put_version(parameter, version, given["Value"],
                                                       desk.sealer))  # fmt: skip
    return Change(version, (Guard(key, gone.version if gone else 0),), writes)


def _overwriting(
    desk: SsmDesk, context: Context, entry: Entry[Parameter], given: Input
) -> Change[Version]:
    parameter = entry.value
    last = find_version(desk.view, parameter, parameter.latest)
    assert last is not None, f"{parameter.name} has lost its newest version"
    version = _version(context, given, parameter.id, parameter.latest + 1, last.value)
    oldest = parameter.oldest
    writes: list[Put | Delete] = []
    if version.number - oldest >= MAX_VERSIONS:
        if parameter.labels_of(oldest):
            raise AwsError(
                "ParameterMaxVersionLimitExceeded",
                f"You attempted to create a new version of {parameter.name} by calling the "
                f"PutParameter API with the overwrite flag. Version {oldest}, the oldest version, "
                "can't be deleted because it has a label associated with it. Move the label to "
                "another version of the parameter, and try again.",
            )
        place = (parameter.account, parameter.region)
        writes.append(Delete(version_key(*place, parameter.id, oldest)))
        oldest += 1
    changed = msgspec.structs.replace(
        parameter, latest=version.number, oldest=oldest,
        expires_at=rules.expiry_of(version.policies, version.tier),
    )  # fmt: skip
    writes += [
        Put(entry.key, encode(changed)), put_version(changed, version, given["Value"], desk.sealer),
    ]  # fmt: skip
    return Change(version, (Guard(entry.key, entry.version),), tuple(writes))


async def get_parameter(desk: SsmDesk, context: Context, given: Input) -> Output:
    """By name, ``name:version``, ``name:label`` or ARN."""
    decrypt = given.get("WithDecryption", False)
    return {"Parameter": read(desk, context, given["Name"], decrypt)}


async def get_parameters(desk: SsmDesk, context: Context, given: Input) -> Output:
    """What is there; the names of the rest."""
    found, invalid = [], []
    for reference in dict.fromkeys(given["Names"]):
        try:
            found.append(read(desk, context, reference, given.get("WithDecryption", False)))
        except AwsError:
            invalid.append(reference)
    return {"Parameters": found, "InvalidParameters": invalid}


async def _delete(desk: SsmDesk, context: Context, name: str) -> None:
    """The parameter, then its versions, which show nowhere without it; ``service.sweep`` removes
    what a crash leaves."""

    def decide() -> Change[Parameter]:
        entry = parameter_entry(desk, context, name)
        return Change(entry.value, (Guard(entry.key, entry.version),), (Delete(entry.key),))

    await remove_versions(desk, await desk.carry_out(decide))


async def remove_versions(desk: SsmDesk, parameter: Parameter) -> None:
    """Delete the versions of a parameter that is gone."""
    prefix = version_key(parameter.account, parameter.region, parameter.id, 0).rpartition("/")[0]
    keys = [entry.key for entry in desk.view.rows(VERSIONS).scan(prefix + "/")]
    if keys:
        await desk.delete(keys)


async def delete_parameter(desk: SsmDesk, context: Context, given: Input) -> Output:
    await _delete(desk, context, given["Name"])
    return {}


async def delete_parameters(desk: SsmDesk, context: Context, given: Input) -> Output:
    """Each one that is there; the names of the rest."""
    deleted, invalid = [], []
    for name in dict.fromkeys(given["Names"]):
        try:
            await _delete(desk, context, name)
        except AwsError as error:
            if error.code != not_found(name).code:
                raise
            invalid.append(name)
        else:
            deleted.append(name)
    return {"DeletedParameters": deleted, "InvalidParameters": invalid}


HANDLERS: dict[str, Handler[SsmDesk]] = {
    "PutParameter": put_parameter,
    "GetParameter": get_parameter,
    "GetParameters": get_parameters,
    "DeleteParameter": delete_parameter,
    "DeleteParameters": delete_parameters,
}
