"""The cluster query language, as far as placement's terms can say it.

Called where RunTask, CreateService and ListContainerInstances take an expression. Understood:
``attribute:NAME`` (and the built-in ``ecs.*`` names) with ==, !=, in, !in, exists, !exists, >, <,
joined by ``and``; anything else is the caller's fault, by name, never ignored.
Source: "Cluster query language" of the developer guide.
"""

from __future__ import annotations

import re

from proa.aws.ecs.names import invalid
from proa.placement.asks import Requirement, Term

_AND = re.compile(r"\s+(?:and|&&)\s+", re.IGNORECASE)
_CLAUSE = re.compile(
    r"^attribute:(?P<name>[A-Za-z0-9_./-]+)\s*"
    r"(?P<operator>==|!=|>|<|equals|not_equals|greater_than|less_than|!in|not_in|in|"
    r"!exists|not_exists|exists)\s*(?P<argument>.*)$",
    re.DOTALL,
)
_OPERATORS = {
    "==": "In", "equals": "In", "in": "In", "!=": "NotIn", "not_equals": "NotIn", "!in": "NotIn",
    "not_in": "NotIn", "exists": "Exists", "!exists": "DoesNotExist", "not_exists": "DoesNotExist",
    ">": "Gt", "greater_than": "Gt", "<": "Lt", "less_than": "Lt",
}  # fmt: skip


def parse(expression: str) -> Term:
    """The term that an expression means; raises InvalidParameterException."""
    clauses = [clause.strip() for clause in _AND.split(expression.strip())]
    return Term(tuple(_requirement(clause, expression) for clause in clauses))


def _requirement(clause: str, expression: str) -> Requirement:
    match = _CLAUSE.match(clause.removeprefix("(").removesuffix(")").strip())
    if match is None:
        raise invalid(f"Invalid expression: {expression}")
    operator = _OPERATORS[match["operator"]]
    argument = match["argument"].strip()
    if operator in ("Exists", "DoesNotExist"):
        if argument:
            raise invalid(f"Invalid expression: {expression}")
        return Requirement(match["name"], operator)
    values = _values(argument, listed=match["operator"] in ("in", "!in", "not_in"))
    if not values:
        raise invalid(f"Invalid expression: {expression}")
    return Requirement(match["name"], operator, values)


def _values(argument: str, listed: bool) -> tuple[str, ...]:
    if listed:
        if not (argument.startswith("[") and argument.endswith("]")):
            return ()
        return tuple(
            item.strip().strip("'\"") for item in argument[1:-1].split(",") if item.strip()
        )
    value = argument.strip("'\"")
    return (value,) if value and not re.search(r"\s(?:or|\|\|)\s|[()]", value) else ()


def matches(term: Term, attributes: dict[str, str]) -> bool:
    """Whether a container instance with these attributes satisfies the term."""
    return all(_holds(requirement, attributes) for requirement in term.requirements)


def _holds(requirement: Requirement, attributes: dict[str, str]) -> bool:
    value = attributes.get(requirement.key)
    match requirement.operator:
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "In":
            return value in requirement.values
        case "NotIn":
            return value not in requirement.values
    if value is None or not value.lstrip("-").isdecimal():
        return False
    bound = int(requirement.values[0])
    return int(value) > bound if requirement.operator == "Gt" else int(value) < bound
