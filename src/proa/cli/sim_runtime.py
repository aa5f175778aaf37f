"""Starting and stopping a Proa with the simulated runtime, which needs neither root nor Linux.

``cli.up`` and ``cli.main`` come here instead of preparing containerd, namespaces and rules: one
supervised process holds everything (``sim.control``), and nothing of it outlives that process.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from proa.base.config import Config
from proa.base.errors import CallerFault
from proa.cli.instance import OF_SIM, alive, alone, process_id, stop_process

STOP_S = 30.0
LONGEST_SOCKET = 100  # of a unix socket's path; BSDs allow 104 bytes, Linux 108
MAX_OWN_HOSTS = 100


def prepare(config: Config) -> None:
    """The data directory of this user. Raises CallerFault where it cannot be."""
    if not 1 <= config.hosts <= MAX_OWN_HOSTS:
        raise CallerFault(
            f"--hosts {config.hosts}: give 1 to {MAX_OWN_HOSTS}; more join with proa sim hosts"
        )
    if len(str(config.agent_socket)) > LONGEST_SOCKET:
        raise CallerFault(f"{config.data_dir} is too long a path for sockets: use --data-dir")
    for name in ("", "run", "logs"):
        folder = config.data_dir / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CallerFault(f"{folder}: {error.strerror}: use another --data-dir") from error
    config.data_dir.chmod(0o700)
    for name in OF_SIM:
        (config.run_dir / f"{name}.pid").unlink(missing_ok=True)
    config.save()


def stop_crowds(data_dir: Path) -> None:
    """Simulated Hosts that joined leave while there is a control plane to leave."""
    for file in sorted((data_dir / "run").glob("crowd-*.pid")):
        text = file.read_text()
        if text.isdigit() and alive(int(text)):
            stop_process(int(text), STOP_S)


def down(config: Config, *, purge: bool) -> int:
    """Stop; the next ``up`` brings the same workloads back."""
    with alone(config.data_dir):
        return _take_down(config, purge=purge)


def _take_down(config: Config, *, purge: bool) -> int:
    data_dir = config.data_dir
    stop_crowds(data_dir)
    for name in OF_SIM:
        pid = process_id(data_dir, name)
        if pid:
            stop_process(pid, STOP_S)
    shutil.rmtree(data_dir / "run", ignore_errors=True)
    click.echo("Proa is down")
    if purge:
        shutil.rmtree(data_dir)
        click.echo(f"{data_dir} is gone")
    return 0
