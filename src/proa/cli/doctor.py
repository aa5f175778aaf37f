"""``proa doctor``: the host and the running system, with a remedy for each finding."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from proa.base.config import Config, load_config
from proa.cli.host import Finding, findings
from proa.cli.instance import ask_hull, components, process_id


def system_findings(config: Config) -> list[Finding]:
    """What is wrong with a Proa that should be running."""
    log_of = "proa logs {}"
    found = [
        Finding(f"{name} is not running", f"look at {log_of.format(name)}")
        for name in components(config)
        if not process_id(config.data_dir, name)
    ]
    status = ask_hull(config, "/v1/status")
    if status is None:
        return [*found, Finding("the control plane does not answer", "look at proa logs control")]
    for host in status["hosts"]:
        if not host["ready"]:
            found.append(Finding(f"host {host['id']} is silent", "look at proa logs agent"))
    for controller, key in status["crashes"]:
        found.append(
            Finding(f"a bug in {controller} at {key}", "report it with proa logs control", False)
        )
    return found


def doctor(data_dir: Path, *, as_json: bool) -> int:
    """Print the findings; the exit code is 1 where one is an obstacle."""
    config = load_config(data_dir)
    running = config is not None and process_id(data_dir, "supervisor") != 0
    found = findings(config or Config(data_dir=data_dir), running=running)
    if running and config is not None:
        found.extend(system_findings(config))
    if as_json:
        click.echo(json.dumps({"running": running, "findings": [asdict(item) for item in found]}))
    else:
        click.echo(f"Proa is {'running' if running else 'not running'} from {data_dir}")
        for item in found:
            click.echo(f"{'✗' if item.obstacle else '!'} {item.what}: {item.remedy}")
        if not found:
            click.echo("Everything is as it should be.")
    return 1 if any(item.obstacle for item in found) else 0
