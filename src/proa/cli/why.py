"""``proa why``: what a task, pod, node or service waits for or why it ended, and what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import click

from proa.base.config import load_config
from proa.cli.instance import ask_hull


def why(data_dir: Path, subject: str, *, namespace: str, as_json: bool) -> int:
    """Print the reports; the exit code is 1 where nothing is so named or nothing answers."""
    config = load_config(data_dir)
    query = urlencode({"subject": subject, "namespace": namespace})
    reports = ask_hull(config, f"/v1/why?{query}") if config else None
    if reports is None:
        click.echo(f"proa: nothing answers from {data_dir}: start it with proa up", err=True)
        return 1
    if as_json:
        click.echo(json.dumps(reports, indent=1))
        return 0 if reports else 1
    if not reports:
        click.echo(f"proa: no task, pod, node or service is called {subject!r}", err=True)
        return 1
    for number, report in enumerate(reports):
        if number:
            click.echo()
        _print(report)
    return 0


def _print(report: dict[str, Any]) -> None:
    click.echo(f"{report['kind']} {report['name']}: {report['state']}")
    for line in report["because"]:
        click.echo(f"  because  {line}")
    if not report["because"]:
        click.echo("  nothing keeps it waiting")
    for line in report["facts"]:
        click.echo(f"  fact     {line}")
    for instance in report["instances"]:
        said = "; ".join(instance["lacks"]) or "would take it"
        click.echo(f"  instance {instance['name']} {said}")
    for line in report["events"]:
        click.echo(f"  event    {line}")
    for line in report["advice"]:
        click.echo(f"  do       {line}")
