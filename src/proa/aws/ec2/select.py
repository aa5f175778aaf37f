"""Choosing what a Describe operation shows: ids, filters and pages, the same for every noun.

Filter values may hold ``*`` and ``?``; the values of one filter are alternatives, several
filters must all match (EC2 API reference, "Filtering").
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TypeVar

from proa.aws.ec2.base import Ec2, Kind, P
from proa.aws.gateway.service import AwsError, Context, Input
from proa.cloud.network.records import Tags

T = TypeVar("T")
Fields = Mapping[str, Callable[[T], Iterable[str]]]
MAX_FILTER_VALUES = 200
LEAST_RESULTS, MOST_RESULTS = 5, 1000


@lru_cache(maxsize=1024)
def _pattern(text: str) -> re.Pattern[str]:
    """A filter value as an expression; a backslash makes the next character literal."""
    parts: list[str] = []
    literal = False
    for character in text:
        if literal or character not in "*?\\":
            parts.append(re.escape(character))
            literal = False
        elif character == "\\":
            literal = True
        else:
            parts.append(".*" if character == "*" else ".")
    return re.compile("".join(parts), re.DOTALL)


def flag(value: bool) -> tuple[str]:
    """A yes or no as filters spell it."""
    return ("true" if value else "false",)


def tag_fields(tags: Tags) -> Callable[[str], Iterable[str] | None]:
    """The values of tag filters; None for other filters."""

    def values(name: str) -> Iterable[str] | None:
        if name.startswith("tag:"):
            return [value for key, value in tags if key == name[4:]]
        if name == "tag-key":
            return [key for key, _value in tags]
        return None

    return values


def matching(
    items: Iterable[T], given: Input, fields: Fields[T], tags: Callable[[T], Tags]
) -> list[T]:
    """The items that pass the request's Filters; raises for a filter nobody knows."""
    kept = list(items)
    for condition in given.get("Filters") or ():
        name, wanted = str(condition.get("Name", "")), condition.get("Values") or ()
        if name not in fields and name != "tag-key" and not name.startswith("tag:"):
            raise AwsError("InvalidParameterValue", f"The filter '{name}' is invalid")
        if len(wanted) > MAX_FILTER_VALUES:
            raise AwsError(
                "FilterLimitExceeded", "The maximum number of filter values was exceeded"
            )
        patterns = [_pattern(str(value)) for value in wanted]
        if not patterns:
            raise AwsError("InvalidParameterValue", f"The filter '{name}' has no values")
        read = fields.get(name)
        kept = [
            item
            for item in kept
            if any(
                pattern.fullmatch(value)
                for value in (read(item) if read else tag_fields(tags(item))(name) or ())
                for pattern in patterns
            )
        ]
    return kept


def chosen(ec2: Ec2, context: Context, kind: Kind[P], ids: Sequence[str] | None) -> list[P]:
    """The records of these ids in their order, or all; raises the kind's NotFound."""
    if not ids:
        return ec2.all(context, kind)
    return [ec2.entry(context, kind, id).value for id in dict.fromkeys(ids)]


def described(
    ec2: Ec2,
    context: Context,
    kind: Kind[P],
    given: Input,
    ids: Sequence[str] | None,
    fields: Fields[P],
) -> tuple[list[P], dict[str, str]]:
    """One page of the records that ids and filters choose, and its NextToken member."""
    if ids and given.get("MaxResults"):
        raise AwsError(
            "InvalidParameterCombination",
            "The parameter maxResults cannot be used with a list of ids",
        )
    found = chosen(ec2, context, kind, ids)
    common: Fields[P] = {"owner-id": lambda item: (item.account,), **fields}
    return page(matching(found, given, common, lambda item: item.tags), given, lambda i: i.id)


def page(
    items: Sequence[T], given: Input, id_of: Callable[[T], str]
) -> tuple[list[T], dict[str, str]]:
    """The part of ``items``, which are in order of their ids, that this request may see."""
    token, limit = given.get("NextToken"), given.get("MaxResults")
    if limit is not None and not LEAST_RESULTS <= limit <= MOST_RESULTS:
        raise AwsError(
            "InvalidParameterValue",
            f"Value ( {limit} ) for parameter maxResults is invalid. "
            f"Expecting a value between {LEAST_RESULTS} and {MOST_RESULTS}.",
        )
    rest = list(items)
    if token:
        try:
            after = base64.b64decode(token.encode(), b"-_", validate=True).decode()
        except (binascii.Error, UnicodeError) as error:
            raise AwsError("InvalidNextToken", f"The token '{token}' is invalid") from error
        rest = [item for item in rest if id_of(item) > after]
    shown = rest[: limit or MOST_RESULTS]
    if len(shown) == len(rest):
        return shown, {}
    return shown, {"NextToken": base64.urlsafe_b64encode(id_of(shown[-1]).encode()).decode()}
