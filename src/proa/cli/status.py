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
    _table(
        ["HOST", "READY", "CPU USED/POOL/PHYSICAL", "MIB USED/POOL/PHYSICAL"],
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
    _table(
        ["INSTANCE", "KIND", "CLUSTER", "ZONE", "NAME"],
        [
            [item["id"], item["purchase"], item["cluster"], item["zone"], item["name"]]
            for item in answer["instances"]
        ],
    )
    columns = ["api", "where", "name", "owner", "status", "address", "instance"]
    _table(
        [name.upper() for name in columns],
        [[item[name] for name in columns] for item in answer["sandboxes"]],
    )
    _table(
        ["STORED, BUT NOTHING ACTS ON IT YET", "COUNT"],
        [[kind, str(count)] for kind, count in answer["inert"].items()],
    )
    if answer["waiting"]:
        click.echo(f"{answer['waiting']} waiting for room")


def _table(columns: list[str], rows: list[list[str]]) -> None:
    """Aligned columns, as kubectl prints them; nothing where there are no rows."""
    if not rows:
        return
    widths = [max(len(row[i]) for row in [columns, *rows]) for i in range(len(columns))]
    for row in [columns, *rows]:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("   ".join(cells).rstrip())
    click.echo()
