"""Model patterns (Java's regular expressions) as Python's, for validation.

What cannot be translated faithfully is not enforced: ``compile_pattern`` returns None. Matching
is of the whole value with ASCII classes, as Java's ``matches()`` does it. ``\\p{L}`` and its
kind are expanded from Unicode's own table; beyond the basic plane every character counts as a
letter and as a number, which only ever lets more through.
"""

from __future__ import annotations

import re
import unicodedata
import warnings
from functools import cache
from itertools import repeat

_BASIC_PLANE_END = 0x10000
_RUN = re.compile(b"\x01+")
_ASTRAL = "\\U00010000-\\U0010FFFF"
_PROPERTY = re.compile(r"\\p\{(?:Is)?([A-Za-z]+)\}")
_SURROGATE_RANGE = r"\uD800\uDC00-\uDBFF\uDFFF"
_CLASS_BEFORE_DASH = re.compile(r"(\\[wds])-(?=[^\]])")
_POSIX = {
    "Print": r"\x20-\x7e",
    "Graph": r"\x21-\x7e",
    "Alnum": "A-Za-z0-9",
    "Alpha": "A-Za-z",
    "Digit": "0-9",
    "Lower": "a-z",
    "Upper": "A-Z",
    "Punct": r"!-/:-@\[-`{-~",
    "ASCII": r"\x00-\x7f",
    "Space": r"\s",
    "XDigit": "0-9A-Fa-f",
}


@cache
def _categories() -> list[str]:
    """The general category of each character of the basic plane."""
    return list(map(unicodedata.category, map(chr, range(_BASIC_PLANE_END))))


@cache
def _category(name: str) -> str:
    """The ranges of a general category (``L``, ``Zs``) as the inside of a character class."""
    inside = bytes(map(str.startswith, _categories(), repeat(name)))
    ranges = [f"\\u{run.start():04x}-\\u{run.end() - 1:04x}" for run in _RUN.finditer(inside)]
    return "".join(ranges) + _ASTRAL


def _inside_class(pattern: str, position: int) -> bool:
    depth, index = 0, 0
    while index < position:
        if pattern[index] == "\\":
            index += 2
            continue
        depth = 1 if pattern[index] == "[" else 0 if pattern[index] == "]" else depth
        index += 1
    return depth > 0


def _expand(pattern: str) -> str:
    def replacement(match: re.Match[str]) -> str:
        name = match.group(1)
        inside = _POSIX.get(name) or _category(name)
        return inside if _inside_class(pattern, match.start()) else f"[{inside}]"

    return _PROPERTY.sub(replacement, pattern)


@cache
def compile_pattern(pattern: str) -> re.Pattern[str] | None:
    """The pattern for ``fullmatch``, or None where it is not enforceable."""
    if "&&[" in pattern or "\\P{" in pattern or "[[:" in pattern:
        return None
    text = pattern.replace(_SURROGATE_RANGE, _ASTRAL)
    text = _CLASS_BEFORE_DASH.sub(r"\1\\-", text)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return re.compile(_expand(text), re.ASCII)
    except (re.error, Warning, OverflowError):
        return None
