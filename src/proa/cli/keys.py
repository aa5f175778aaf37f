"""``proa rotate-key``: a new key seals what is written from the next start on.

What was sealed before stays readable: the old keys are kept for opening.
"""

from __future__ import annotations

from pathlib import Path

import click

from proa.base.chance import Chance
from proa.base.errors import CallerFault
from proa.cli.instance import process_id
from proa.cloud.secrets import rotate


def rotate_key(data_dir: Path) -> int:
    """Put a new sealing key before the old ones of a Proa that is down; the exit code."""
    data_dir = data_dir.absolute()
    try:
        if process_id(data_dir, "supervisor"):
            raise CallerFault("it runs: proa down first")
        kept = rotate(data_dir / "sealing.key", Chance())
    except CallerFault as error:
        click.echo(f"proa: {error}", err=True)
        return 1
    click.echo(f"A new key seals secrets from the next start on; {kept - 1} older kept to open")
    return 0
