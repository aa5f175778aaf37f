"""What Parameter Store accepts: names, hierarchies, values, patterns, policies.

Pure functions that PutParameter asks; each raises AwsError in the service's words. Sources: User
Guide, "Creating Systems Manager parameters" and "Assigning parameter policies"; API reference of
PutParameter.
"""

from __future__ import annotations

import re
from typing import Any

import jsonschema_rs
import orjson

from proa.aws.gateway.service import AwsError
from proa.base.clock import from_iso8601

MAX_LEVELS = 15
MAX_ARN_LENGTH = 1011  # of a name with the ARN's head before it
STANDARD_BYTES, ADVANCED_BYTES = 4096, 8192
MAX_POLICIES = 10
DATA_TYPES = ("text", "aws:ec2:image", "aws:ssm:integration")
_BACKTRACKS = 100_000  # bounds what a pattern may cost
_NAME = re.compile(r"[A-Za-z0-9_.\-/]+")
_IMAGE = re.compile(r"ami-[0-9a-f]{8,17}")
_LABEL = re.compile(r"[A-Za-z0-9_.\-]{1,100}")
_POLICY_MEMBERS = {
    "Expiration": {"Timestamp"},
    "ExpirationNotification": {"Before", "Unit"},
    "NoChangeNotification": {"After", "Unit"},
}


def validation(message: str) -> AwsError:
    """ValidationException."""
    return AwsError("ValidationException", message)


def check_name(name: str, account: str, region: str) -> None:
    """A name that PutParameter may create."""
    first = name.strip("/").partition("/")[0].lower()
    if name.lower().startswith(("/aws/", "/ssm/")) or name.lower() in ("/aws", "/ssm"):
        raise AwsError("AccessDeniedException", f"No access to reserved parameter name: {name}.")
    if first.startswith(("aws", "ssm")) or not _NAME.fullmatch(name):
        raise validation(
            "Parameter name: can't be prefixed with \"aws\" or \"ssm\" (case-insensitive). If "
            "formed as a path, it can consist of sub-paths divided by slash symbol; each sub-path "
            "can be formed as a mix of letters, numbers and the following 3 symbols .-_"
        )  # fmt: skip
    if "/" in name and not name.startswith("/"):
        raise validation("Parameter name must be a fully qualified name.")
    if "//" in name or name.endswith("/"):
        raise validation(f"Parameter name: {name} has an empty sub-path.")
    if name.count("/") > MAX_LEVELS:
        message = "Hierarchies can be maximum 15 levels, separated by slash symbol."
        raise AwsError("HierarchyLevelLimitExceededException", message)
    if len(f"arn:aws:ssm:{region}:{account}:parameter{name}") > MAX_ARN_LENGTH:
        raise validation(f"Parameter name: {name} is too long; {MAX_ARN_LENGTH} are allowed.")


def tier_of(asked: str | None, value: str, policies: str, before: str) -> str:
    """The tier of a new version. ``before`` is the last version's, "" for a new parameter."""
    size = len(value.encode())
    advanced = size > STANDARD_BYTES or bool(policies)
    if asked == "Intelligent-Tiering":
        return "Advanced" if advanced or before == "Advanced" else "Standard"
    if asked == "Standard" and before == "Advanced":
        raise validation(
            "This parameter uses the advanced-parameter tier. You can't downgrade a parameter "
            "from the advanced-parameter tier to the standard-parameter tier. If necessary, you "
            "can delete the advanced parameter and recreate it as a standard parameter."
        )
    return asked or before or "Standard"


def check_value(value: str, type: str, tier: str) -> None:
    """A value of the size that its tier allows."""
    if not value:
        raise validation(
            "1 validation error detected: Value '' at 'value' failed to satisfy constraint: "
            "Member must have length greater than or equal to 1."
        )
    if type == "StringList" and not all(value.split(",")):
        raise validation("Parameter value: a StringList can't hold empty items.")
    size = len(value.encode())
    if tier == "Standard" and size > STANDARD_BYTES:
        raise validation(
            "Standard tier parameters support a maximum parameter value of 4096 characters. To "
            "create a larger parameter value, upgrade the parameter to use the "
            "advanced-parameter tier. For more information, see "
            "https://docs.aws.amazon.com/systems-manager/latest/userguide/"
            "parameter-store-advanced-parameters.html"
        )
    if size > ADVANCED_BYTES:
        raise validation(
            "Advanced tier parameters support a maximum parameter value of 8192 characters."
        )


def check_data_type(data_type: str, type: str, value: str) -> None:
    """A data type that exists, and a value that fits it."""
    if data_type not in DATA_TYPES:
        raise validation(
            f"The following data type is not supported: {data_type} (Data type names are all "
            "lowercase.)"
        )
    if data_type == "aws:ec2:image" and (type != "String" or not _IMAGE.fullmatch(value)):
        raise validation(f"The value {value} is not a valid Amazon Machine Image ID.")


def check_pattern(pattern: str, value: str) -> None:
    """A value that its allowed pattern is found in."""
    if not pattern:
        return
    options = jsonschema_rs.FancyRegexOptions(backtrack_limit=_BACKTRACKS)
    try:
        validator: Any = jsonschema_rs.validator_for(
            {"type": "string", "pattern": pattern}, pattern_options=options
        )
    except jsonschema_rs.ValidationError as error:
        message = f"Invalid allowed pattern: {pattern}"
        raise AwsError("InvalidAllowedPatternException", message) from error
    if not validator.is_valid(value):
        message = f"Parameter value, cannot be validated against allowedPattern: {pattern}"
        raise AwsError("ParameterPatternMismatchException", message)


def expiry_of(policies: str, tier: str) -> float:
    """When a parameter with these policies (JSON) goes; 0 for never."""
    if not policies:
        return 0.0
    if tier == "Standard":
        raise validation("Parameter policies are only supported for advanced-tier parameters.")
    try:
        listed = orjson.loads(policies)
    except orjson.JSONDecodeError as error:
        raise AwsError("InvalidPolicyTypeException", "The policies are not JSON.") from error
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise AwsError("InvalidPolicyTypeException", "The policies must be a list of objects.")
    if len(listed) > MAX_POLICIES:
        message = f"A parameter has at most {MAX_POLICIES} policies."
        raise AwsError("PoliciesLimitExceededException", message)
    expiries = [moment for one in listed if (moment := _policy(one))]
    if len(expiries) > 1:
        message = "A parameter has at most one Expiration policy."
        raise AwsError("IncompatiblePolicyException", message)
    return expiries[0] if expiries else 0.0


def _policy(one: dict[str, Any]) -> float:
    kind, attributes = str(one.get("Type")), one.get("Attributes")
    if kind not in _POLICY_MEMBERS or one.get("Version") != "1.0":
        message = f"The policy type isn't supported: {kind} {one.get('Version')}"
        raise AwsError("InvalidPolicyTypeException", message)
    if not isinstance(attributes, dict) or set(attributes) != _POLICY_MEMBERS[kind]:
        message = f"A policy attribute or its value is invalid: {kind}"
        raise AwsError("InvalidPolicyAttributeException", message)
    if kind != "Expiration":
        return 0.0
    try:
        return from_iso8601(str(attributes["Timestamp"]))
    except ValueError as error:
        message = f"A policy attribute or its value is invalid: {attributes['Timestamp']}"
        raise AwsError("InvalidPolicyAttributeException", message) from error


def is_label(label: str) -> bool:
    """Whether a version may be labelled so (User Guide, "Working with parameter labels")."""
    return bool(_LABEL.fullmatch(label)) and not (
        label[0].isdigit() or label.lower().startswith(("aws", "ssm"))
    )
