"""Labels of versions, and tags of parameters."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from proa.aws.gateway.desk import Change, Handler
from proa.aws.gateway.service import AwsError, Context, Input, Output
from proa.aws.ssm.records import Parameter, encode, find_version
from proa.aws.ssm.rules import is_label, validation
from proa.aws.ssm.shared import SsmDesk, find_named, parameter_entry
from proa.reconcile.view import Entry
from proa.store.api import Guard, Put

MAX_TAGS, MAX_LABELS = 50, 10


def _changed(entry: Entry[Parameter], parameter: Parameter) -> tuple[tuple[Guard], tuple[Put]]:
    return (Guard(entry.key, entry.version),), (Put(entry.key, encode(parameter)),)


def _version_entry(desk: SsmDesk, context: Context, given: Input) -> tuple[Entry[Parameter], int]:
    """The parameter and the version that a labelling names; the newest if it names none."""
    entry = parameter_entry(desk, context, given["Name"])
    number = given.get("ParameterVersion") or entry.value.latest
    if find_version(desk.view, entry.value, number) is None:
        raise AwsError(
            "ParameterVersionNotFound",
            f"Systems Manager could not find version {number} of {given['Name']}. Verify the "
            "version and try again.",
        )
    return entry, number


async def label_parameter_version(desk: SsmDesk, context: Context, given: Input) -> Output:
    """A label stands at one version: labelling another moves it."""
    wanted = list(dict.fromkeys(given["Labels"]))
    invalid = [label for label in wanted if not is_label(label)]

    def decide() -> Change[int]:
        entry, number = _version_entry(desk, context, given)
        labels = dict(entry.value.labels)
        labels |= {label: number for label in wanted if label not in invalid}
        if sum(at == number for at in labels.values()) > MAX_LABELS:
            raise AwsError(
                "ParameterVersionLabelLimitExceeded",
                "An error occurred (ParameterVersionLabelLimitExceeded) when calling the "
                "LabelParameterVersion operation: A parameter version can have maximum 10 "
                "labels.Move one or more labels to another version and try again.",
            )
        return Change(number, *_changed(entry, msgspec.structs.replace(entry.value, labels=labels)))

    return {"ParameterVersion": await desk.carry_out(decide), "InvalidLabels": invalid}


async def unlabel_parameter_version(desk: SsmDesk, context: Context, given: Input) -> Output:
    """Labels that do not stand at the version are named, not refused."""
    wanted = list(dict.fromkeys(given["Labels"]))

    def decide() -> Change[list[str]]:
        entry, number = _version_entry(desk, context, given)
        removed = [label for label in wanted if entry.value.labels.get(label) == number]
        kept = {label: at for label, at in entry.value.labels.items() if label not in removed}
        return Change(removed, *_changed(entry, msgspec.structs.replace(entry.value, labels=kept)))

    removed = await desk.carry_out(decide)
    return {
        "RemovedLabels": removed,
        "InvalidLabels": [label for label in wanted if label not in removed],
    }


def checked_tags(old: dict[str, str], pairs: Iterable[dict[str, str]]) -> dict[str, str]:
    """``old`` with the pairs of a request; raises for reserved keys and too many."""
    tags = dict(old)
    for pair in pairs:
        if pair["Key"].lower().startswith("aws:"):
            raise validation("Tag keys can't begin with the reserved prefix aws:")
        tags[pair["Key"]] = pair["Value"]
    if len(tags) > MAX_TAGS:
        message = f"Too many tags: a parameter has at most {MAX_TAGS}."
        raise AwsError("TooManyTagsError", message)
    return tags


def _tagged(desk: SsmDesk, context: Context, given: Input) -> Entry[Parameter]:
    if given["ResourceType"] != "Parameter":
        message = f"{given['ResourceType']} is not a valid resource type: only Parameter is served."
        raise AwsError("InvalidResourceType", message)
    entry = find_named(desk, context, given["ResourceId"])
    if entry is None:
        message = (
            f"The resource ID {given['ResourceId']} is not valid. Verify the ID and try again."
        )
        raise AwsError("InvalidResourceId", message)
    return entry


async def add_tags_to_resource(desk: SsmDesk, context: Context, given: Input) -> Output:
    def decide() -> Change[None]:
        entry = _tagged(desk, context, given)
        tags = checked_tags(entry.value.tags, given["Tags"])
        return Change(None, *_changed(entry, msgspec.structs.replace(entry.value, tags=tags)))

    await desk.carry_out(decide)
    return {}


async def remove_tags_from_resource(desk: SsmDesk, context: Context, given: Input) -> Output:
    def decide() -> Change[None]:
        entry = _tagged(desk, context, given)
        kept = {key: v for key, v in entry.value.tags.items() if key not in given["TagKeys"]}
        return Change(None, *_changed(entry, msgspec.structs.replace(entry.value, tags=kept)))

    await desk.carry_out(decide)
    return {}


async def list_tags_for_resource(desk: SsmDesk, context: Context, given: Input) -> Output:
    tags = sorted(_tagged(desk, context, given).value.tags.items())
    return {"TagList": [{"Key": key, "Value": value} for key, value in tags]}


HANDLERS: dict[str, Handler[SsmDesk]] = {
    "LabelParameterVersion": label_parameter_version,
    "UnlabelParameterVersion": unlabel_parameter_version,
    "AddTagsToResource": add_tags_to_resource,
    "RemoveTagsFromResource": remove_tags_from_resource,
    "ListTagsForResource": list_tags_for_resource,
}
