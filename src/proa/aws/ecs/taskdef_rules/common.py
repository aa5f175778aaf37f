"""What the rules of task definitions share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Document = dict[str, Any]


def is_fargate(request: Document) -> bool:
    """Whether the definition must run on Fargate."""
    return "FARGATE" in (request.get("requiresCompatibilities") or ())


def mode_of(request: Document) -> str:
    """The network mode, as ECS fills it in."""
    return request.get("networkMode") or "bridge"


def containers_of(request: Document) -> Iterator[tuple[str, Document]]:
    """(name, definition) of each container."""
    for container in request["containerDefinitions"]:
        yield container["name"], container


def invalid(member: str, name: str, why: str = "") -> str:
    """ECS's opening words for a container's setting that is not valid."""
    text = f"Invalid '{member}' setting for container '{name}'."
    return f"{text} {why}" if why else text
