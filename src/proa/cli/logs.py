"""``proa logs``: the log files of Proa's own processes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import click

from proa.cli.instance import COMPONENTS


def logs(data_dir: Path, component: str, *, follow: bool, tail: int) -> int:
    """Print the last lines of one or all components; with ``follow`` until interrupted."""
    names = [component] if component else list(COMPONENTS)
    if component and component not in COMPONENTS:
        click.echo(f"proa: no component {component!r}; there are {', '.join(COMPONENTS)}", err=True)
        return 2
    files = [str(path) for name in names if (path := data_dir / "logs" / f"{name}.log").exists()]
    if not files:
        click.echo(f"proa: no logs below {data_dir}", err=True)
        return 1
    command = ["tail", "-n", str(tail), *(["-F"] if follow else []), *files]
    if follow:
        os.execvp("tail", command)
    return subprocess.run(command, check=False).returncode
