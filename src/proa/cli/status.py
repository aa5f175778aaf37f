"""``proa status``: what runs where, what waits, and what is stored without effect."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from proa.base.config import load_config
from proa.cli.instance import ask_hull


def status(data_dir: Path, *, as_json: bool) -> int:
    """Print tables, or JSON; the exit code is 1 where nothing answers."""
    config = load_config(data_dir)
    answer = ask_hull(config, "/v1/status") if config else None
    if answer is None:
        click.echo(f"proa: nothing answers from {data_dir}: start it with proa up", err=True)
        return 1
    if as_json:
        click.echo(json.dumps(answer, indent=1))
    else:
        _print(answer)
    return 0


def _print(answer: dict[str, Any]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, soft_wrap=True)

    def table(title: str, columns: list[str], rows: list[list[str]]) -> None:
        if not rows:
            return
        made = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        for column in columns:
            made.add_column(column, no_wrap=True)
        for row in rows:
            made.add_row(*row)
        console.print(made)

    table(
        "Hosts",
        ["HOST", "READY", "CPU USED/POOL/PHYSICAL", "MEMORY USED/POOL/PHYSICAL MiB"],
        [
            [
                host["id"],
                "yes" if host["ready"] else "no",
                "/".join(f"{amount:g}" for amount in host["cpu"]),
                "/".join(str(amount) for amount in host["memory_mib"]),
            ]
            for host in answer["hosts"]
        ],
    )
    table(
        "Instances",
        ["INSTANCE", "NAME", "KIND", "CLUSTER", "ZONE"],
        [
            [item["id"], item["name"], item["purchase"], item["cluster"], item["zone"]]
            for item in answer["instances"]
        ],
    )
    table(
        "Sandboxes",
        ["API", "WHERE", "NAME", "OWNER", "STATUS", "ADDRESS", "INSTANCE"],
        [
            [
                item["api"],
                item["where"],
                item["name"],
                item["owner"],
                item["status"],
                item["address"],
                item["instance"],
            ]
            for item in answer["sandboxes"]
        ],
    )
    table(
        "Stored, but nothing acts on it yet",
        ["KIND", "COUNT"],
        [[kind, str(count)] for kind, count in answer["inert"].items()],
    )
    if answer["waiting"]:
        console.print(f"{answer['waiting']} waiting for room")
