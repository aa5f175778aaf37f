"""Condition operators of IAM policies.

A condition holds when its key's values satisfy the operator. Without ``ForAllValues`` or
``ForAnyValue`` one matching value is enough; a negated operator needs that no value matches.
A missing key fails a positive operator and satisfies a negated one or one with ``IfExists``.
Source: IAM User Guide, "IAM JSON policy elements: Condition operators".
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from proa.base.clock import from_iso8601

Context = Mapping[str, tuple[str, ...]]
Fill = Callable[[str], str | None]
# (wanted, found) → whether they match.
Test = Callable[[str, str], bool]


@dataclass(slots=True, frozen=True)
class Condition:
    """One key under one operator. ``operator`` may carry a set prefix and ``IfExists``."""

    operator: str
    key: str
    wanted: tuple[str, ...]


_LITERAL = {"*": "\ue000", "?": "\ue001"}
_MARKED = str.maketrans("*?", "\ue000\ue001")
_PLAIN = str.maketrans("\ue000\ue001", "*?")


def literal(text: str) -> str:
    """Text whose ``*`` and ``?`` mean themselves where ``wildcards`` reads it."""
    return text.translate(_MARKED)


def wildcards(pattern: str) -> str:
    """The regular expression of a pattern with ``*``, ``?`` and ``literal`` parts."""
    text = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    for sign, mark in _LITERAL.items():
        text = text.replace(mark, re.escape(sign))
    return text


@lru_cache(maxsize=2048)
def _like(pattern: str) -> re.Pattern[str]:
    return re.compile(wildcards(pattern), re.DOTALL)


def _arn_like(wanted: str, found: str) -> bool:
    """Each of the six parts of an ARN is matched by itself."""
    left, right = wanted.split(":", 5), found.split(":", 5)
    return len(left) == len(right) == 6 and all(
        _like(pattern).fullmatch(part) is not None
        for pattern, part in zip(left, right, strict=True)
    )


def _number(compare: Callable[[float, float], bool]) -> Test:
    def test(wanted: str, found: str) -> bool:
        try:
            return compare(float(found), float(wanted))
        except ValueError:
            return False

    return test


def _instant(text: str) -> float:
    return float(text) if text.isdecimal() else from_iso8601(text)


def _date(compare: Callable[[float, float], bool]) -> Test:
    def test(wanted: str, found: str) -> bool:
        try:
            return compare(_instant(found), _instant(wanted))
        except ValueError:
            return False

    return test


def _address(wanted: str, found: str) -> bool:
    try:
        return ipaddress.ip_address(found) in ipaddress.ip_network(wanted, strict=False)
    except ValueError:
        return False


_TESTS: Mapping[str, Test] = {
    "StringEquals": lambda wanted, found: wanted == found,
    "StringEqualsIgnoreCase": lambda wanted, found: wanted.lower() == found.lower(),
    "StringLike": lambda wanted, found: _like(wanted).fullmatch(found) is not None,
    "ArnEquals": _arn_like,
    "ArnLike": _arn_like,
    "Bool": lambda wanted, found: wanted.lower() == found.lower(),
    "BinaryEquals": lambda wanted, found: wanted == found,
    "IpAddress": _address,
    "NumericEquals": _number(lambda found, wanted: found == wanted),
    "NumericLessThan": _number(lambda found, wanted: found < wanted),
    "NumericLessThanEquals": _number(lambda found, wanted: found <= wanted),
    "NumericGreaterThan": _number(lambda found, wanted: found > wanted),
    "NumericGreaterThanEquals": _number(lambda found, wanted: found >= wanted),
    "DateEquals": _date(lambda found, wanted: found == wanted),
    "DateLessThan": _date(lambda found, wanted: found < wanted),
    "DateLessThanEquals": _date(lambda found, wanted: found <= wanted),
    "DateGreaterThan": _date(lambda found, wanted: found > wanted),
    "DateGreaterThanEquals": _date(lambda found, wanted: found >= wanted),
}
_NEGATED: Mapping[str, str] = {
    "StringNotEquals": "StringEquals",
    "StringNotEqualsIgnoreCase": "StringEqualsIgnoreCase",
    "StringNotLike": "StringLike",
    "ArnNotEquals": "ArnEquals",
    "ArnNotLike": "ArnLike",
    "NotIpAddress": "IpAddress",
    "NumericNotEquals": "NumericEquals",
    "DateNotEquals": "DateEquals",
}
KNOWN = frozenset(_TESTS) | frozenset(_NEGATED) | {"Null"}
QUANTIFIERS = ("", "ForAllValues", "ForAnyValue")
_BY_PATTERN = ("StringLike", "ArnLike", "ArnEquals")


def holds(condition: Condition, context: Context, fill: Fill) -> bool:
    """Whether a condition holds; ``fill`` puts policy variables into wanted values."""
    quantifier, _, named = condition.operator.rpartition(":")
    operator = named.removesuffix("IfExists")
    found = context.get(condition.key, ())
    if operator == "Null":
        return ("true" in (text.lower() for text in condition.wanted)) == (not found)
    if not found:
        absent_holds = operator in _NEGATED or named != operator
        return quantifier == "ForAllValues" or (absent_holds and quantifier != "ForAnyValue")
    wanted = [text for text in map(fill, condition.wanted) if text is not None]
    positive = _NEGATED.get(operator, operator)
    if positive not in _BY_PATTERN:
        wanted = [text.translate(_PLAIN) for text in wanted]
    test = _TESTS[positive]
    results = [any(test(want, value) for want in wanted) for value in found]
    if operator in _NEGATED:
        results = [not result for result in results]
        return any(results) if quantifier == "ForAnyValue" else all(results)
    return all(results) if quantifier == "ForAllValues" else any(results)
