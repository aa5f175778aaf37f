"""IAM policies: reading documents and deciding requests, as pure functions.

``parse_policy`` reads a document into statements (raising MalformedPolicy in IAM's words), and
``decide`` answers a request: an explicit deny wins, then some allow is needed. Source: IAM User
Guide, "Policy evaluation logic", "JSON policy elements", "Condition operators".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import orjson

from proa.base.errors import CallerFault
from proa.cloud.conditions import (
    KNOWN,
    QUANTIFIERS,
    Condition,
    Context,
    holds,
    literal,
    wildcards,
)

VERSIONS = ("2012-10-17", "2008-10-17")
MAX_STATEMENTS = 500
_ELEMENTS = frozenset(
    {"Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Principal",
     "NotPrincipal", "Condition"}
)  # fmt: skip
_ACTION = re.compile(r"\*|[A-Za-z0-9-]+:[A-Za-z0-9*?-]*")
_VARIABLE = re.compile(r"\$\{([^}]*)\}")


class MalformedPolicy(CallerFault):
    """The document is no policy."""


@dataclass(slots=True, frozen=True)
class Statement:
    """One statement. Exactly one of ``actions`` and ``not_actions`` is set; likewise resources
    in identity policies. ``principals`` maps a kind (AWS, Service, Federated, ``*``) to names."""

    effect: str
    actions: tuple[str, ...] = ()
    not_actions: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    not_resources: tuple[str, ...] = ()
    principals: Mapping[str, tuple[str, ...]] | None = None
    not_principals: Mapping[str, tuple[str, ...]] | None = None
    conditions: tuple[Condition, ...] = ()
    sid: str = ""


Policy = tuple[Statement, ...]


@dataclass(slots=True, frozen=True)
class Access:
    """A request to decide. ``principal`` names the caller by kind (AWS: ARN; Service: host
    name); ``context`` holds condition keys in lower case."""

    action: str
    resource: str
    principal: tuple[str, str] = ("AWS", "")
    context: Context = field(default_factory=dict)


def _texts(value: Any, element: str) -> tuple[str, ...]:
    items = value if isinstance(value, list) else [value]
    if not items or not all(isinstance(item, str) for item in items):
        raise MalformedPolicy(f"Syntax errors in policy. ({element})")
    return tuple(items)


def _principals(value: Any) -> Mapping[str, tuple[str, ...]]:
    if value == "*":
        return {"*": ("*",)}
    if not isinstance(value, dict) or not value:
        raise MalformedPolicy("Invalid principal in policy")
    known = ("AWS", "Service", "Federated", "CanonicalUser")
    if any(kind not in known for kind in value):
        raise MalformedPolicy("Invalid principal in policy")
    return {kind: _texts(names, "Principal") for kind, names in value.items()}


def _conditions(value: Any) -> tuple[Condition, ...]:
    if not isinstance(value, dict):
        raise MalformedPolicy("Syntax errors in policy. (Condition)")
    found = []
    for operator, keys in value.items():
        quantifier, _, named = operator.rpartition(":")
        if quantifier not in QUANTIFIERS or named.removesuffix("IfExists") not in KNOWN:
            raise MalformedPolicy(f"Invalid Condition type : {operator}.")
        if not isinstance(keys, dict):
            raise MalformedPolicy("Syntax errors in policy. (Condition)")
        for key, wanted in keys.items():
            items = wanted if isinstance(wanted, list) else [wanted]
            texts = tuple(
                ("true" if item else "false") if isinstance(item, bool) else str(item)
                for item in items
            )
            found.append(Condition(operator, key.lower(), texts))
    return tuple(found)


def _statement(value: Any) -> Statement:
    if not isinstance(value, dict):
        raise MalformedPolicy("Syntax errors in policy.")
    unknown = sorted(value.keys() - _ELEMENTS)
    if unknown:
        raise MalformedPolicy(f"Syntax errors in policy. ({unknown[0]})")
    if value.get("Effect") not in ("Allow", "Deny"):
        raise MalformedPolicy("Syntax errors in policy. (Effect)")
    if ("Action" in value) == ("NotAction" in value):
        raise MalformedPolicy("Policy statement must contain actions.")
    read = {
        name: _texts(value[name], name)
        for name in ("Action", "NotAction", "Resource", "NotResource")
        if name in value
    }
    for action in (*read.get("Action", ()), *read.get("NotAction", ())):
        if not _ACTION.fullmatch(action):
            raise MalformedPolicy(
                "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."
            )
    return Statement(
        value["Effect"], read.get("Action", ()), read.get("NotAction", ()),
        read.get("Resource", ()), read.get("NotResource", ()),
        _principals(value["Principal"]) if "Principal" in value else None,
        _principals(value["NotPrincipal"]) if "NotPrincipal" in value else None,
        _conditions(value.get("Condition", {})), str(value.get("Sid", "")),
    )  # fmt: skip


@lru_cache(maxsize=2048)
def parse_policy(document: str) -> Policy:
    """The statements of a document; raises MalformedPolicy."""
    try:
        value = orjson.loads(document)
    except orjson.JSONDecodeError as error:
        raise MalformedPolicy("This policy contains invalid Json") from error
    if not isinstance(value, dict) or "Statement" not in value:
        raise MalformedPolicy("Syntax errors in policy.")
    if value.get("Version", VERSIONS[1]) not in VERSIONS:
        raise MalformedPolicy("The policy must contain a valid version string")
    statements = value["Statement"]
    items = statements if isinstance(statements, list) else [statements]
    if not items or len(items) > MAX_STATEMENTS:
        raise MalformedPolicy("Syntax errors in policy.")
    return tuple(_statement(item) for item in items)


def check_identity_policy(document: str) -> Policy:
    """A policy for attaching to a role or user: resources, no principals."""
    policy = parse_policy(document)
    for statement in policy:
        if statement.principals is not None or statement.not_principals is not None:
            raise MalformedPolicy("Policy document should not specify a principal.")
        if bool(statement.resources) == bool(statement.not_resources):
            raise MalformedPolicy("Policy statement must contain resources.")
        for resource in (*statement.resources, *statement.not_resources):
            if resource != "*" and not resource.startswith(("arn:", "*", "${")):
                raise MalformedPolicy(f'Resource {resource} must be in ARN format or "*".')
    return policy


def check_trust_policy(document: str) -> Policy:
    """A role's trust policy: principals, no resources, actions of STS only."""
    policy = parse_policy(document)
    for statement in policy:
        if statement.resources or statement.not_resources:
            raise MalformedPolicy("Has prohibited field Resource")
        if statement.principals is None and statement.not_principals is None:
            raise MalformedPolicy("Missing required field Principal")
        for action in (*statement.actions, *statement.not_actions):
            if not action.lower().startswith(("sts:", "*")):
                raise MalformedPolicy("AssumeRole policy may only specify STS AssumeRole actions.")
    return policy


@lru_cache(maxsize=8192)
def _wildcard(pattern: str, fold: bool) -> re.Pattern[str]:
    return re.compile(wildcards(pattern), re.DOTALL | (re.IGNORECASE if fold else 0))


def matches(pattern: str, text: str, *, fold: bool = False) -> bool:
    """Whether ``*`` and ``?`` wildcards match the whole text; ``fold`` ignores case."""
    return pattern == "*" or _wildcard(pattern, fold).fullmatch(text) is not None


def _filled(pattern: str, context: Context) -> str | None:
    """The pattern with its policy variables; None where a variable has no single value. What
    stands for a variable is text: its wildcards are ``literal``."""
    if "${" not in pattern:
        return pattern
    missing = False

    def value(match: re.Match[str]) -> str:
        nonlocal missing
        name, _, default = match.group(1).partition(",")
        if name in ("*", "?", "$"):
            return literal(name)
        values = context.get(name.strip().lower(), ())
        if len(values) == 1:
            return literal(values[0])
        missing = missing or not default
        return default.strip(" '")

    filled = _VARIABLE.sub(value, pattern)
    return None if missing else filled


def _names_action(statement: Statement, action: str) -> bool:
    if statement.not_actions:
        return not any(matches(item, action, fold=True) for item in statement.not_actions)
    return any(matches(item, action, fold=True) for item in statement.actions)


def _names_resource(statement: Statement, access: Access) -> bool:
    wanted = statement.not_resources or statement.resources
    if not wanted:
        return True  # a trust policy: the resource is the role itself
    filled = [_filled(item, access.context) for item in wanted]
    found = any(item is not None and matches(item, access.resource) for item in filled)
    if statement.not_resources and statement.effect == "Allow" and None in filled:
        return False  # what it excludes is not known
    return found != bool(statement.not_resources)


def _is_principal(wanted: Mapping[str, tuple[str, ...]], principal: tuple[str, str]) -> bool:
    if "*" in wanted:
        return True
    kind, name = principal
    for item in wanted.get(kind, ()):
        if item in ("*", name):
            return True
        if kind == "AWS" and name:
            account = name.split(":")[4]
            if item in (account, f"arn:aws:iam::{account}:root") or item == role_of_session(name):
                return True
    return False


def role_of_session(arn: str) -> str:
    """The role's ARN (without its path) of an assumed-role session's ARN, else ""."""
    parts = arn.split(":", 5)
    if len(parts) == 6 and parts[2] == "sts" and parts[5].startswith("assumed-role/"):
        return f"arn:aws:iam::{parts[4]}:role/{parts[5].split('/')[1]}"
    return ""


def _applies(statement: Statement, access: Access) -> bool:
    if statement.principals is not None and not _is_principal(
        statement.principals, access.principal
    ):
        return False
    if statement.not_principals is not None and _is_principal(
        statement.not_principals, access.principal
    ):
        return False
    return (
        _names_action(statement, access.action)
        and _names_resource(statement, access)
        and all(
            holds(condition, access.context, lambda text: _filled(text, access.context))
            for condition in statement.conditions
        )
    )


@dataclass(slots=True, frozen=True)
class Decision:
    """``effect`` is ``allow``, ``deny`` (some statement denies it), or ``none`` (nothing allows
    it). ``matched`` are the places (policy, statement) of the statements that made it so."""

    effect: str
    matched: tuple[tuple[int, int], ...] = ()


def evaluate(access: Access, policies: Sequence[Policy]) -> Decision:
    """Decide, and say by which statements: the denying ones where there are any."""
    found: dict[str, list[tuple[int, int]]] = {"Allow": [], "Deny": []}
    for number, policy in enumerate(policies):
        for place, statement in enumerate(policy):
            if _applies(statement, access):
                found[statement.effect].append((number, place))
    if found["Deny"]:
        return Decision("deny", tuple(found["Deny"]))
    return Decision("allow" if found["Allow"] else "none", tuple(found["Allow"]))


def decide(access: Access, policies: Sequence[Policy]) -> str:
    """The effect alone: ``allow``, ``deny`` or ``none``."""
    return evaluate(access, policies).effect


def context_keys(policies: Sequence[Policy]) -> set[str]:
    """The condition keys, in lower case, that policies ask for, in conditions or variables."""
    found: set[str] = set()
    for statement in (statement for policy in policies for statement in policy):
        texts = [*statement.resources, *statement.not_resources]
        for condition in statement.conditions:
            found.add(condition.key)
            texts += condition.wanted
        for text in texts:
            names = (name.partition(",")[0].strip() for name in _VARIABLE.findall(text))
            found.update(name.lower() for name in names if name not in ("*", "?", "$"))
    return found
