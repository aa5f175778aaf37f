"""``proa env``: the exports that point the standard clients at this Proa.

The local user's credentials lie in the data directory, readable by root only. Where the machine
has no ``kubectl``, or no ``aws`` that honours AWS_ENDPOINT_URL and knows ``logs tail`` (2.13 on),
the directory of the shipped clients goes in front of PATH.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click

from proa.base.config import load_config

CLIENTS = Path(sys.prefix) / "clients"


def variables(data_dir: Path, region: str) -> dict[str, str] | None:
    """The environment of a client of this Proa; None where Proa never ran."""
    config = load_config(data_dir)
    credentials = data_dir / "credentials.json"
    if config is None or not credentials.exists():
        return None
    keys = json.loads(credentials.read_text())
    host = "127.0.0.1" if config.listen in ("0.0.0.0", "::") else config.listen
    return {
        "AWS_ENDPOINT_URL": f"http://{host}:{config.aws_port}",
        "AWS_ACCESS_KEY_ID": keys["access_key"],
        "AWS_SECRET_ACCESS_KEY": keys["secret_key"],
        "AWS_DEFAULT_REGION": region or config.region,
        "KUBECONFIG": str(data_dir / "kubeconfig"),
    }


def needs_clients() -> bool:
    """Whether the machine's own clients would not do."""
    aws = shutil.which("aws")
    if shutil.which("kubectl") is None or aws is None:
        return True
    if Path(aws).parent == CLIENTS:
        return False
    said = subprocess.run([aws, "--version"], capture_output=True, text=True, check=False).stdout
    version = re.match(r"aws-cli/(\d+)\.(\d+)", said)
    return version is None or (int(version[1]), int(version[2])) < (2, 13)


def env(data_dir: Path, *, region: str, as_json: bool, write: bool) -> int:
    """Print shell exports, or JSON; or write them into the user's own files."""
    values = variables(data_dir, region)
    if values is None:
        click.echo(f"proa: nothing runs from {data_dir}: start it with proa up", err=True)
        return 1
    if write:
        return _write(values)
    if as_json:
        click.echo(json.dumps(values, indent=1))
        return 0
    for name, value in values.items():
        click.echo(f"export {name}='{value}'")
    if CLIENTS.is_dir() and needs_clients():
        click.echo(f'export PATH="{CLIENTS}:$PATH"')
    return 0


def _write(values: dict[str, str]) -> int:
    from proa.base.errors import CallerFault
    from proa.cli.own_files import write

    try:
        paths = write(values, os.environ)
    except (CallerFault, OSError) as error:
        click.echo(f"proa: {error}", err=True)
        return 1
    for path in paths:
        click.echo(f"wrote {path}")
    click.echo("Next: aws --profile proa ecs list-clusters; kubectl --context proa get nodes")
    return 0
