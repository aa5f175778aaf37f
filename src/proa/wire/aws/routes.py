"""REST routes of a service model: from method, path and query to an operation and its labels.

Routes are tried from the most to the least specific: by literal segments, then by required
query keys. Labels arrive percent-decoded; a greedy label (``{Key+}``) takes the rest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
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


def _route(operation: str, method: str, uri: str) -> Route:
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
    keys = tuple(
        (key, value) for key, _, value in (part.partition("=") for part in query.split("&")) if key
    )
    literals = sum(1 for part in path.split("/") if part and not _LABEL.search(part))
    return Route(operation, method, re.compile(text + trailing), tuple(labels), keys, literals)


class Routes:
    """All routes of one service."""

    def __init__(self, model: Model) -> None:
        by_method: dict[str, list[Route]] = {}
        for name, operation in model.operations.items():
            http = operation.get("http")
            if http is None:
                continue
            route = _route(name, http["method"], http["requestUri"])
            by_method.setdefault(route.method, []).append(route)
        for routes in by_method.values():
            routes.sort(key=lambda r: (-r.literals, -len(r.query), len(r.labels), r.operation))
        self._by_method = by_method

    def match(
        self, method: str, path: str, query: Iterable[tuple[str, str]]
    ) -> tuple[str, Mapping[str, str]] | None:
        """The operation and its decoded labels, or None."""
        present = dict(query)
        for route in self._by_method.get(method, ()):
            found = route.pattern.fullmatch(path)
            if found is None or not _has(present, route.query):
                continue
            values = (unquote(group) for group in found.groups())
            return route.operation, dict(zip(route.labels, values, strict=True))
        return None


def _has(present: Mapping[str, str], wanted: tuple[tuple[str, str], ...]) -> bool:
    return all(key in present and value in ("", present[key]) for key, value in wanted)
