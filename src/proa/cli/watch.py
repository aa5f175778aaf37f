"""``proa watch``: a live table of workloads, tasks, pods and events under both APIs.

On a terminal the table is redrawn as things change. Elsewhere (a pipe, a CI log) each change is
one line, so that it can be read back and searched. Interrupting it ends it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from proa.base.config import Config, load_config
from proa.cli.instance import ask_hull, wait

PAUSE_S, POLL_S = 0.4, 10.0
Picture = dict[str, Any]


def watch(data_dir: Path, *, as_json: bool, once: bool) -> int:
    """Show changes until interrupted (``once``: the present picture only); the exit code is 1
    where nothing answers, or when Proa stops answering."""
    config = load_config(data_dir)
    first = ask_hull(config, "/v1/overview") if config else None
    if config is None or first is None:
        click.echo(f"proa: nothing answers from {data_dir}: start it with proa up", err=True)
        return 1
    try:
        if as_json:
            return _lines_of_json(config, first, once)
        if once or not sys.stdout.isatty():
            return _lines(config, first, once)
        return _live(config, first)
    except KeyboardInterrupt:
        return 0


def _pictures(config: Config, first: Picture) -> Iterator[Picture]:
    """The present picture, then one for every change; ends when Proa does not answer."""
    yield first
    version = first["version"]
    while True:
        wait(PAUSE_S)
        path = f"/v1/overview?after={version}&timeout={POLL_S}"
        picture = ask_hull(config, path, timeout_s=POLL_S + 5)
        if picture is None:
            return
        if picture["version"] != version:
            version = picture["version"]
            yield picture


def _lines_of_json(config: Config, first: Picture, once: bool) -> int:
    for picture in _pictures(config, first):
        click.echo(json.dumps(picture))
        if once:
            return 0
    return 1


def rows(picture: Picture) -> dict[str, str]:
    """Every row of a picture as one line, by what it is about."""
    lines: dict[str, str] = {}
    for item in picture["workloads"]:
        key = f"{item['kind'].lower()} {item['where']}/{item['name']}"
        lines[key] = f"{item['ready']}/{item['wanted']} {item['state']}".rstrip()
    for item in picture["sandboxes"]:
        kind = "task" if item["api"] == "ecs" else "pod"
        key = f"{kind} {item['where']}/{item['name']}"
        lines[key] = f"{item['status']} {item['address']}".rstrip()
    return lines


def changes(before: Picture, after: Picture) -> list[str]:
    """What is new, changed or gone between two pictures, and the events in between."""
    old, new = rows(before), rows(after)
    lines = [f"{key}: {text}" for key, text in new.items() if old.get(key) != text]
    lines += [f"{key}: gone" for key in old if key not in new]
    seen = {json.dumps(event, sort_keys=True) for event in before["events"]}
    lines += [
        f"event {event['about'] or 'service'}: {event['text']}"
        for event in after["events"]
        if json.dumps(event, sort_keys=True) not in seen
    ]
    return lines


def _lines(config: Config, first: Picture, once: bool) -> int:
    before: Picture = {"workloads": [], "sandboxes": [], "events": []}
    for picture in _pictures(config, first):
        for line in changes(before, picture):
            click.echo(f"{picture['now']} {line}")
        before = picture
        if once:
            return 0
    return 1


def _live(config: Config, first: Picture) -> int:
    from rich.console import Console, Group
    from rich.live import Live
    from rich.table import Table

    console = Console()

    def drawn(picture: Picture) -> Group:
        height = max(console.height - 8, 6)
        workloads = _table(
            Table, ["api", "kind", "where", "name", "ready", "state"],
            [{**item, "ready": f"{item['ready']}/{item['wanted']}"}
             for item in picture["workloads"]],
        )  # fmt: skip
        sandboxes = _table(
            Table, ["api", "where", "name", "owner", "status", "address"],
            picture["sandboxes"][: max(height // 2, 4)],
        )  # fmt: skip
        left = max(height - len(picture["workloads"]) - len(picture["sandboxes"]), 3)
        events = _table(Table, ["at", "kind", "about", "text"], picture["events"][-left:])
        return Group(workloads, sandboxes, events)

    with Live(drawn(first), console=console, auto_refresh=False, screen=True) as live:
        for picture in _pictures(config, first):
            live.update(drawn(picture), refresh=True)
    click.echo("proa: the control plane does not answer any more", err=True)
    return 1


_COLOURS = {
    "RUNNING": "green", "Running": "green", "COMPLETED": "green", "Warning": "yellow",
    "PENDING": "yellow", "Pending": "yellow", "PROVISIONING": "yellow", "FAILED": "red",
    "Failed": "red", "STOPPED": "dim", "Terminating": "dim", "Succeeded": "dim",
}  # fmt: skip


def _table(make: Any, columns: list[str], items: list[dict[str, Any]]) -> Any:
    table = make(box=None, expand=True, header_style="bold")
    for column in columns:
        table.add_column(column.upper(), overflow="ellipsis", no_wrap=True)
    for item in items:
        cells = [str(item[column]) for column in columns]
        table.add_row(*(_coloured(cell) for cell in cells))
    return table


def _coloured(cell: str) -> Any:
    from rich.text import Text

    return Text(cell, style=_COLOURS.get(cell, ""))
