"""CloudWatch Logs' filter patterns: terms, JSON conditions, space-delimited fields.

``compile_filter`` makes a predicate over messages. Source: CloudWatch Logs User Guide, "Filter
pattern syntax". Regular expressions (``%…%``) are refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from proa.base.errors import CallerFault

Matcher = Callable[[str], bool]
# A field's values: several where a selector names every element of a list.
Fields = Callable[[str], list[Any]]
Condition = Callable[[Fields], bool]
MAX_DEPTH = 32
_TERM = re.compile(r'([?-]?)(?:"((?:[^"\\]|\\.)*)"|(\S+))')
_TOKEN = re.compile(
    r'\s*(\(|\)|&&|\|\||!=|<=|>=|=|<|>|"(?:[^"\\]|\\.)*"'
    r'|\$(?:[^\s()=!<>&|"\[]|\[[^\]]*\])*|[^\s()=!<>&|"]+)'
)
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+|\*)\]|\[['\"]([^'\"]+)['\"]\]")
_WORD = re.compile(r'"([^"]*)"|\[([^\]]*)\]|(\S+)')
_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    "<": lambda found, wanted: found < wanted,
    ">": lambda found, wanted: found > wanted,
    "<=": lambda found, wanted: found <= wanted,
    ">=": lambda found, wanted: found >= wanted,
}


class InvalidPattern(CallerFault):
    """The pattern cannot be read; the message says why."""


def compile_filter(pattern: str) -> Matcher:
    """The predicate of a pattern; an empty one matches everything. Raises InvalidPattern."""
    text = pattern.strip()
    if not text:
        return lambda _message: True
    if text.startswith("{"):
        return _json_filter(text)
    if text.startswith("["):
        return _field_filter(text)
    if text.startswith("%"):
        raise InvalidPattern("Regular expressions in filter patterns are not supported by Proa")
    return _term_filter(text)


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


def _term_filter(text: str) -> Matcher:
    """Terms: all must appear, ``-`` ones must not; ``?`` ones count (any of them) only where
    there are no others."""
    wanted: list[str] = []
    unwanted: list[str] = []
    optional: list[str] = []
    position = 0
    while position < len(text):
        match = _TERM.match(text, position)
        if match is None:
            raise InvalidPattern("Invalid filter pattern")
        sign, quoted, plain = match.groups()
        term = _unquoted(quoted) if quoted is not None else plain
        {"": wanted, "-": unwanted, "?": optional}[sign].append(term)
        position = match.end()
        while position < len(text) and text[position].isspace():
            position += 1
    if wanted or unwanted:
        return lambda message: (
            all(term in message for term in wanted)
            and not any(term in message for term in unwanted)
        )
    return lambda message: any(term in message for term in optional)


class _Parser:
    """Conditions joined by ``&&`` and ``||``; ``&&`` binds tighter."""

    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._next = 0

    def parse(self) -> Condition:
        condition = self._any(0)
        if self._next != len(self._tokens):
            raise InvalidPattern("Invalid filter pattern")
        return condition

    def _peek(self) -> str:
        return self._tokens[self._next] if self._next < len(self._tokens) else ""

    def _take(self) -> str:
        token = self._peek()
        if not token:
            raise InvalidPattern("Invalid filter pattern")
        self._next += 1
        return token

    def _any(self, depth: int) -> Condition:
        parts = [self._all(depth)]
        while self._peek() == "||":
            self._take()
            parts.append(self._all(depth))
        return lambda fields: any(part(fields) for part in parts)

    def _all(self, depth: int) -> Condition:
        parts = [self._one(depth)]
        while self._peek() == "&&":
            self._take()
            parts.append(self._one(depth))
        return lambda fields: all(part(fields) for part in parts)

    def _one(self, depth: int) -> Condition:
        if self._peek() != "(":
            return self._comparison()
        if depth >= MAX_DEPTH:
            raise InvalidPattern("Invalid filter pattern: too deeply nested")
        self._take()
        condition = self._any(depth + 1)
        if self._take() != ")":
            raise InvalidPattern("Invalid filter pattern")
        return condition

    def _comparison(self) -> Condition:
        field, operator = self._take(), self._take()
        word = operator.upper()
        if word in ("IS", "NOT"):
            return _special(field, word, self._take().upper())
        value = self._take()
        if operator not in ("=", "!=", *_COMPARE):
            raise InvalidPattern("Invalid filter pattern")
        return _test(field, operator, value)


def _tokens(text: str) -> list[str]:
    tokens, position = [], 0
    text = text.rstrip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise InvalidPattern("Invalid filter pattern")
        tokens.append(match.group(1))
        position = match.end()
    return tokens


def _special(field: str, word: str, what: str) -> Condition:
    if (word, what) == ("NOT", "EXISTS"):
        return lambda fields: not fields(field)
    constants = {"NULL": None, "TRUE": True, "FALSE": False}
    if word == "IS" and what in constants:
        wanted = constants[what]
        return lambda fields: any(value is wanted for value in fields(field))
    raise InvalidPattern("Invalid filter pattern")


def _test(field: str, operator: str, text: str) -> Condition:
    quoted = text.startswith('"')
    wanted = _unquoted(text[1:-1]) if quoted else text
    number = None if quoted else _number(wanted)
    if operator in _COMPARE:
        if number is None:
            raise InvalidPattern("Invalid filter pattern: a number is needed")
        limit, compare = number, _COMPARE[operator]

        def numeric(fields: Fields) -> bool:
            found = (_number(value) for value in fields(field))
            return any(value is not None and compare(value, limit) for value in found)

        return numeric
    pattern = re.compile(re.escape(wanted).replace(r"\*", ".*"), re.DOTALL)

    def equal(value: Any) -> bool:
        if number is not None and _number(value) == number:
            return True
        return pattern.fullmatch(_text(value)) is not None

    negated = operator == "!="
    return lambda fields: any(equal(value) != negated for value in fields(field))


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        return float(value)
    except ValueError:
        return None


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(value)


# JSON patterns


def _json_filter(text: str) -> Matcher:
    if not text.endswith("}"):
        raise InvalidPattern("Invalid filter pattern")
    condition = _Parser(text[1:-1]).parse()

    def matches(message: str) -> bool:
        try:
            document = orjson.loads(message)
        except orjson.JSONDecodeError:
            return False
        return condition(lambda path: _select(document, path))

    return matches


def _select(document: Any, path: str) -> list[Any]:
    if not path.startswith("$"):
        return []
    found, position = [document], 1
    while position < len(path):
        step = _STEP.match(path, position)
        if step is None:
            return []
        name, index, quoted = step.groups()
        found = [inner for value in found for inner in _inner(value, name or quoted, index)]
        position = step.end()
    return found


def _inner(value: Any, name: str | None, index: str | None) -> list[Any]:
    if name is not None:
        return [value[name]] if isinstance(value, dict) and name in value else []
    if not isinstance(value, list) or index is None:
        return []
    if index == "*":
        return value
    return [value[int(index)]] if int(index) < len(value) else []


# Space-delimited patterns


def _field_filter(text: str) -> Matcher:
    if not text.endswith("]"):
        raise InvalidPattern("Invalid filter pattern")
    items = [item.strip() for item in text[1:-1].split(",")]
    gap = items.index("...") if "..." in items else -1
    if items.count("...") > 1 or "" in items:
        raise InvalidPattern("Invalid filter pattern")
    names = [_tokens(item)[0] for item in items if item != "..."]
    conditions = [_Parser(item).parse() for item in items if len(_tokens(item)) > 1]

    def matches(message: str) -> bool:
        words = ["".join(filter(None, found)) for found in _WORD.findall(message)]
        if len(words) < len(names) if gap >= 0 else len(words) != len(names):
            return False
        tail = len(names) - gap if gap >= 0 else 0
        named = words if gap < 0 else words[:gap] + words[len(words) - tail :]
        values = dict(zip(names, named, strict=True))
        return all(
            condition(lambda name: [values[name]] if name in values else [])
            for condition in conditions
        )

    return matches
