"""REST routes of a service model: from method, path and query to an operation and its labels.

Routes are tried from the most to the least specific: by literal segments, then by required
query keys. Labels arrive percent-decoded; a greedy label (``{Key+}``) takes the rest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from proa.wire.aws.model import Model

_LABEL = re.compile(r"\{([^}+]+)(\+?)\}")


@dataclass(slots=True, frozen=True)
class Route:
    """One operation's place: a pattern over the raw path, and query keys that must be there."""

    operation: str
    method: str
    pattern: re.Pattern[str]
    labels: tuple[str, ...]
    query: tuple[tuple[str, str], ...]
    literals: int
    deprecated: bool


def _required_query(model: Model, operation: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Query keys that an operation's required members are bound to (S3's ``uploadId``)."""
    if "input" not in operation:
        return []
    shape = model.shape(operation["input"])
    members = ((name, shape.members[name]) for name in sorted(shape.required))
    return [
        (model.shape(ref).wire_name(name), "")
        for name, ref in members
        if ref.get("location") == "querystring"
    ]


def _route(name: str, operation: Mapping[str, Any], bound: list[tuple[str, str]]) -> Route:
    method, uri = operation["http"]["method"], operation["http"]["requestUri"]
    path, _, query = uri.partition("?")
    labels: list[str] = []

    def capture(match: re.Match[str]) -> str:
        labels.append(match.group(1))
        return "(.+)" if match.group(2) else "([^/]+)"

    pieces, position = [], 0
    for match in _LABEL.finditer(path):
        pieces.append(re.escape(path[position : match.start()]) + capture(match))
        position = match.end()
    pieces.append(re.escape(path[position:]))
    text = "".join(pieces)
    trailing = "" if text.endswith("/") else "/?"
    parts = (part.partition("=") for part in query.split("&"))
    keys = (*((key, value) for key, _, value in parts if key), *bound)
    literals = sum(1 for part in path.split("/") if part and not _LABEL.search(part))
    deprecated = bool(operation.get("deprecated"))
    pattern = re.compile(text + trailing)
    return Route(name, method, pattern, tuple(labels), keys, literals, deprecated)


class Routes:
    """All routes of one service."""

    def __init__(self, model: Model) -> None:
        by_method: dict[str, list[Route]] = {}
        for name, operation in model.operations.items():
            if "http" not in operation:
                continue
            bound = _required_query(model, operation) if model.service == "s3" else []
            route = _route(name, operation, bound)
            by_method.setdefault(route.method, []).append(route)
        for routes in by_method.values():
            routes.sort(
                key=lambda r: (
                    -r.literals, -len(r.query), len(r.labels), r.deprecated, r.operation
                )
            )  # fmt: skip
        self._by_method = by_method

    def find(self, method: str, path: str, query: Iterable[tuple[str, str]]) -> Route | None:
        """The most specific route of a request, or None."""
        present = dict(query)
        for route in self._by_method.get(method, ()):
            if route.pattern.fullmatch(path) is not None and _has(present, route.query):
                return route
        return None

    def match(
        self, method: str, path: str, query: Iterable[tuple[str, str]]
    ) -> tuple[str, Mapping[str, str]] | None:
        """The operation and its decoded labels, or None."""
        route = self.find(method, path, query)
        if route is None:
            return None
        found = route.pattern.fullmatch(path)
        assert found is not None
        values = (unquote(group) for group in found.groups())
        return route.operation, dict(zip(route.labels, values, strict=True))


def _has(present: Mapping[str, str], wanted: tuple[tuple[str, str], ...]) -> bool:
    return all(key in present and value in ("", present[key]) for key, value in wanted)
