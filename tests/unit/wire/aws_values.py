"""Random values of a botocore shape, and what both sides should make of them.

``Values`` draws plain values by our conventions (instants as seconds, blobs as bytes);
``for_botocore`` turns the seconds into datetimes, and ``plain`` turns what botocore parsed back.
"""

from __future__ import annotations

import random
import string
from datetime import UTC, datetime
from typing import Any

MAX_DEPTH = 5
_SAFE = string.ascii_letters + string.digits
_TEXT = _SAFE + " .:/=+-@_<>&\"'é漢😀%?#\n"


class Values:
    """A stream of values, the same for the same seed."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)

    def draw(self, shape: Any, depth: int = 0) -> Any:
        """A value of the shape."""
        kind = shape.type_name
        if kind == "structure":
            return self._structure(shape, depth)
        if kind == "list":
            items = range(self._random.randint(1, 3))
            return [self.draw(shape.member, depth + 1) for _ in items]
        if kind == "map":
            return {
                self._text(shape.key): self.draw(shape.value, depth + 1)
                for _ in range(self._random.randint(1, 2))
            }
        if kind == "timestamp":
            return float(self._random.randint(0, 2**31))
        if kind == "blob":
            return self._random.randbytes(self._random.randint(1, 9))
        if kind in ("integer", "long"):
            return self._random.randint(-(2**31), 2**31)
        if kind in ("float", "double"):
            return self._random.randint(-1000, 1000) + 0.5
        return self._random.random() < 0.5 if kind == "boolean" else self._text(shape)

    def _text(self, shape: Any) -> str:
        located = shape.serialization.get("location") in ("header", "headers", "uri")
        letters = _SAFE if located else _TEXT
        body = "".join(self._random.choice(letters) for _ in range(self._random.randint(0, 9)))
        return "x" + body + "y"

    def _structure(self, shape: Any, depth: int) -> dict[str, Any]:
        every = [name for name, member in shape.members.items() if not _opaque(member)]
        names = every
        if depth >= MAX_DEPTH:
            names = [name for name in every if _leaf(shape.members[name])] or every[:1]
        if getattr(shape, "is_tagged_union", False):
            names = [self._random.choice(names)] if names else []
        wanted = [
            name
            for name in names
            if name in shape.required_members
            or _bound_to_path(shape.members[name])
            or self._random.random() < 0.7
            or len(names) == 1
        ]
        return {name: self._draw_member(shape.members[name], depth) for name in wanted or names[:1]}

    def _draw_member(self, member: Any, depth: int) -> Any:
        if member.serialization.get("location") in ("header", "headers", "uri", "querystring"):
            return self._located(member)
        return self.draw(member, depth + 1)

    def _located(self, member: Any) -> Any:
        if member.type_name == "list":
            return [self._located(member.member)]
        if member.type_name == "map":
            inner = self._located(member.value)
            return {"k" + self._safe().lower(): inner}
        if member.type_name == "string":
            return self._safe()
        return self.draw(member)

    def _safe(self) -> str:
        return "x" + "".join(self._random.choice(_SAFE) for _ in range(5))


def _opaque(member: Any) -> bool:
    traits = member.serialization
    return bool(
        traits.get("eventstream")
        or traits.get("jsonvalue")
        or getattr(member, "is_document_type", False)
        or member.metadata.get("eventstream")
        or traits.get("location") == "statusCode"
    )


def _leaf(member: Any) -> bool:
    return member.type_name not in ("structure", "list", "map")


def _bound_to_path(member: Any) -> bool:
    return bool(member.serialization.get("location") == "uri")


def for_botocore(value: Any, shape: Any) -> Any:
    """The value as a boto3 user would pass it."""
    if shape.type_name == "structure":
        return {name: for_botocore(item, shape.members[name]) for name, item in value.items()}
    if shape.type_name == "list":
        return [for_botocore(item, shape.member) for item in value]
    if shape.type_name == "map":
        return {key: for_botocore(item, shape.value) for key, item in value.items()}
    return datetime.fromtimestamp(value, UTC) if shape.type_name == "timestamp" else value


def plain(value: Any) -> Any:
    """What botocore parsed, by our conventions."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if key != "ResponseMetadata"}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value.timestamp() if isinstance(value, datetime) else value
