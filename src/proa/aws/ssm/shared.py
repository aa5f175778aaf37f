"""What Parameter Store's operations share: the desk, look-ups by name, selector and ARN, shapes."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

import orjson

from proa.aws.gateway.desk import Desk
from proa.aws.gateway.service import AwsError, Context, Input, Output
from proa.aws.ssm import public
from proa.aws.ssm.records import (
    SECURE,
    Parameter,
    Version,
    arn_of,
    find_parameter,
    find_version,
    value_of,
)
from proa.aws.ssm.rules import validation
from proa.cloud.secrets import Sealer
from proa.reconcile.view import Entry


@dataclass(slots=True)
class SsmDesk(Desk):
    """A desk with what seals SecureStrings."""

    sealer: Sealer


def not_found(name: str) -> AwsError:
    """ParameterNotFound."""
    return AwsError("ParameterNotFound", f"Parameter {name} not found.")


def parameter_entry(desk: SsmDesk, context: Context, name: str) -> Entry[Parameter]:
    """A parameter of the caller's account and region by its name or ARN; raises
    ParameterNotFound."""
    found = find_named(desk, context, name)
    if found is None:
        raise not_found(name)
    return found


def find_named(desk: SsmDesk, context: Context, name: str) -> Entry[Parameter] | None:
    """A parameter by its name or ARN. An ARN does not show whether the name of a single level
    begins with a slash."""
    place = (context.account, context.region)
    if not name.startswith("arn:"):
        return find_parameter(desk.view, *place, name, context.now)
    head = arn_of(*place, "")
    if not name.startswith(head):
        return None
    rest = name.removeprefix(head)
    return find_parameter(desk.view, *place, f"/{rest}", context.now) or find_parameter(
        desk.view, *place, rest, context.now
    )


def _split(reference: str) -> tuple[str, str]:
    """Name and selector of ``name``, ``name:version``, ``name:label`` or the same of an ARN."""
    if reference.startswith("arn:"):
        parts = reference.split(":", 6)
        name = ":".join(parts[:6])
        return name, parts[6] if len(parts) > 6 else ""
    name, _, selector = reference.partition(":")
    return name, selector


def selected(desk: SsmDesk, context: Context, reference: str) -> tuple[Parameter, Entry[Version]]:
    """The version that a reference selects. Raises ParameterNotFound and
    ParameterVersionNotFound."""
    name, selector = _split(reference)
    parameter = parameter_entry(desk, context, name).value
    number: int | None = parameter.latest
    if selector:
        number = int(selector) if selector.isdecimal() else parameter.labels.get(selector)
    version = find_version(desk.view, parameter, number) if number is not None else None
    if version is None:
        raise AwsError(
            "ParameterVersionNotFound",
            f"Systems Manager could not find version {selector or number} of {name}. Verify the "
            "version and try again.",
        )
    return parameter, version


def read(desk: SsmDesk, context: Context, reference: str, decrypt: bool) -> Output:
    """Shape Parameter of what a reference selects, public parameters included."""
    name, selector = _split(reference)
    found = public.parameter(context.region, name)
    if found is not None and selector in ("", "1"):
        return found
    parameter, entry = selected(desk, context, reference)
    return {
        **shown(desk, parameter, entry, decrypt),
        "Selector": f":{selector}" if selector else None,
    }


def shown(desk: SsmDesk, parameter: Parameter, entry: Entry[Version], decrypt: bool) -> Output:
    """Shape Parameter of one version."""
    version = entry.value
    return {
        "Name": parameter.name,
        "Type": version.type,
        "Value": shown_value(desk, entry, decrypt),
        "Version": version.number,
        "LastModifiedDate": version.modified_at,
        "ARN": parameter.arn,
        "DataType": version.data_type,
    }


def shown_value(desk: SsmDesk, entry: Entry[Version], decrypt: bool) -> str:
    """A version's value; a SecureString's ciphertext unless it is to be decrypted."""
    if entry.value.type == SECURE and not decrypt:
        return base64.b64encode(entry.value.sealed).decode()
    return value_of(entry, desk.sealer)


def described(version: Version) -> Output:
    """The members that DescribeParameters and GetParameterHistory share."""
    policies = [
        {"PolicyText": orjson.dumps(one).decode(), "PolicyType": one["Type"],
         "PolicyStatus": "Pending"}
        for one in (orjson.loads(version.policies) if version.policies else ())
    ]  # fmt: skip
    return {
        "Type": version.type,
        "KeyId": version.key_id or None,
        "LastModifiedDate": version.modified_at,
        "LastModifiedUser": version.modified_by,
        "Description": version.description or None,
        "AllowedPattern": version.pattern or None,
        "Version": version.number,
        "Tier": version.tier,
        "Policies": policies,
        "DataType": version.data_type,
    }


def resources(context: Context, given: Input) -> list[str]:
    """The ARNs of the parameters that a call names, for policies; selectors are no part of them."""
    named = [given.get("Name"), given.get("Path"), given.get("ResourceId"), *given.get("Names", ())]
    return [_arn(context, name) for name in named if name]


def _arn(context: Context, reference: str) -> str:
    name = _split(reference)[0]
    return name if name.startswith("arn:") else arn_of(context.account, context.region, name)


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
        raise AwsError("InvalidNextToken", "The specified token is not valid.") from error


def check_page(limit: int | None, most: int) -> int:
    """How many a page may hold."""
    if limit is not None and not 1 <= limit <= most:
        raise validation(f"MaxResults must be between 1 and {most}.")
    return limit or most
