"""Running ``nft``: the one way in which rules reach the kernel.

The process inherits the network namespace of the calling thread.
"""

from __future__ import annotations

import subprocess

from proa.base.errors import TryAgain

TIMEOUT_S = 30


def run_nft(script: str) -> None:
    """Apply a script as one transaction; raises TryAgain with nft's own words."""
    try:
        done = subprocess.run(
            ["nft", "-f", "-"],
            input=script,
            text=True,
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TryAgain(f"nft cannot run: {error}") from error
    if done.returncode:
        raise TryAgain(f"nft: {done.stderr.strip()[:2000]}")


def tables() -> list[str]:
    """The tables of the present namespace, as "family name"."""
    try:
        done = subprocess.run(
            ["nft", "list", "tables"],
            text=True,
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TryAgain(f"nft cannot run: {error}") from error
    return [line.removeprefix("table ") for line in done.stdout.splitlines()]
