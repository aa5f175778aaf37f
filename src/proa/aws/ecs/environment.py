"""A container's environment: what AWS sets, its files, its own variables, its secrets.

Called by compile_task; the hull's port reads files and secrets beforehand. The order is the
developer guide's ("Passing environment variables to a container"): a variable of the definition
wins over one of a file; of several files the first that names a variable wins.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from proa.aws.ecs.records import Task

Document = dict[str, Any]
MAX_FILES = 10
NO_SECRET = (
    "ResourceInitializationError: unable to pull secrets or registry auth: execution resource "
    "retrieval failed: "
)
NO_FILE = (
    "ResourceInitializationError: failed to download env files: file download command: non empty "
    "error stream: "
)


class Unresolved(str):
    """Why a secret or a file could not be read; stands where its value would."""


def of_container(
    task: Task, item: Document, resolve: Mapping[str, str]
) -> tuple[tuple[tuple[str, str], ...], str]:
    """(variables, why the container cannot be made). ``resolve`` holds the text of each secret
    and file by its reference."""
    values = {"AWS_EXECUTION_ENV": f"AWS_ECS_{task.launch_type}"}
    if task.launch_type == "FARGATE":
        values |= {"AWS_REGION": task.region, "AWS_DEFAULT_REGION": task.region}
    blocked: list[str] = []
    from_files: dict[str, str] = {}
    for file in item.get("environmentFiles") or []:
        text = resolve.get(file["value"])
        if text is None or isinstance(text, Unresolved):
            blocked.append(NO_FILE + (text or file["value"]))
            continue
        for name, value in parsed(text):
            from_files.setdefault(name, value)
    values |= from_files
    values |= {entry["name"]: entry.get("value", "") for entry in item["environment"]}
    for secret in item.get("secrets") or []:
        text = resolve.get(secret["valueFrom"])
        if text is None or isinstance(text, Unresolved):
            blocked.append(NO_SECRET + (text or secret["valueFrom"]))
            continue
        values[secret["name"]] = text
    return tuple(values.items()), blocked[0] if blocked else ""


def parsed(text: str) -> Iterator[tuple[str, str]]:
    """The variables of an environment file: NAME=value a line, as it stands, quotes and spaces
    included; comments and lines without a name or a value say nothing."""
    for line in text.splitlines():
        if line.lstrip().startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if equals and name.strip() and value:
            yield name.strip(), value


def references(containers: Sequence[Document], member: str, key: str) -> list[str]:
    """What the containers' ``secrets`` or ``environmentFiles`` refer to, once, in order."""
    return list(
        dict.fromkeys(entry[key] for item in containers for entry in item.get(member) or [])
    )
