"""What IAM's operations share: errors in IAM's words, paging, tags, documents."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import quote

from proa.aws.gateway.service import AwsError, Input, Output
from proa.cloud.policy import MalformedPolicy, check_identity_policy, check_trust_policy

T = TypeVar("T")
PAGE_SIZE = 100
MAX_TAGS = 50
MAX_INLINE_BYTES = {"role": 10_240, "user": 2_048, "group": 5_120}
MAX_ATTACHED = {"role": 10, "user": 10, "group": 10}


def no_such(message: str) -> AwsError:
    """NoSuchEntity."""
    return AwsError("NoSuchEntity", message)


def exists(message: str) -> AwsError:
    """EntityAlreadyExists."""
    return AwsError("EntityAlreadyExists", message)


def in_use(message: str) -> AwsError:
    """DeleteConflict."""
    return AwsError("DeleteConflict", message)


def over_limit(message: str) -> AwsError:
    """LimitExceeded."""
    return AwsError("LimitExceeded", message)


def page(items: Sequence[T], given: Input, member: str, name_of: Callable[[T], str],
         show: Callable[[T], Any]) -> Output:  # fmt: skip
    """One page of items sorted by name. The marker names the last item given, so that changes
    between pages neither repeat nor hide an item."""
    after = ""
    if "Marker" in given:
        try:
            after = base64.urlsafe_b64decode(given["Marker"].encode()).decode()
        except (binascii.Error, ValueError) as error:
            raise AwsError("ValidationError", "Invalid Marker.") from error
    rest = [item for item in items if name_of(item) > after]
    size = given.get("MaxItems", PAGE_SIZE)
    output: Output = {member: [show(item) for item in rest[:size]], "IsTruncated": False}
    if len(rest) > size:
        output["IsTruncated"] = True
        last = name_of(rest[size - 1])
        output["Marker"] = base64.urlsafe_b64encode(last.encode()).decode()
    return output


def tags_shown(tags: dict[str, str]) -> list[dict[str, str]]:
    """Tags as IAM lists them."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def with_tags(tags: dict[str, str], added: Sequence[dict[str, str]]) -> dict[str, str]:
    """Tags after adding some; keys are unique regardless of case."""
    keys = [tag["Key"].lower() for tag in added]
    if len(set(keys)) != len(keys):
        raise AwsError(
            "InvalidInput",
            "Duplicate tag keys found. Please note that Tag keys are case insensitive.",
        )
    kept = {key: value for key, value in tags.items() if key.lower() not in keys}
    merged = kept | {tag["Key"]: tag["Value"] for tag in added}
    if len(merged) > MAX_TAGS:
        raise over_limit(f"Cannot exceed quota for TagsPerResource: {MAX_TAGS}")
    return merged


def without_tags(tags: dict[str, str], keys: Sequence[str]) -> dict[str, str]:
    """Tags after removing some."""
    gone = {key.lower() for key in keys}
    return {key: value for key, value in tags.items() if key.lower() not in gone}


def shown_document(document: str) -> str:
    """A policy document as IAM returns it: percent-encoded (RFC 3986)."""
    return quote(document, safe="-_.~")


def checked_identity(document: str) -> str:
    """A document that may be attached; raises MalformedPolicyDocument."""
    try:
        check_identity_policy(document)
    except MalformedPolicy as error:
        raise AwsError("MalformedPolicyDocument", str(error)) from error
    return document


def checked_trust(document: str) -> str:
    """A document that may be a role's trust policy; raises MalformedPolicyDocument."""
    try:
        check_trust_policy(document)
    except MalformedPolicy as error:
        raise AwsError("MalformedPolicyDocument", str(error)) from error
    return document
