"""``proa systemd``: the unit that starts Proa with the machine.

The unit's main process is the supervisor. Stopping or restarting the unit ends Proa's own
processes and leaves containers alone (``KillMode=process``); ``proa down`` is what ends those.
The next start adopts what still runs. A supervisor that is killed is started again; one that
``proa down`` has ended is not.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click

from proa.base.config import Config, load_config

UNIT = Path("/etc/systemd/system/proa.service")
RUNTIME = Path("/run/systemd/system")  # units of this start of the machine
TEXT = """\
[Unit]
Description=Proa: Amazon ECS and Kubernetes over one scheduler
After=network-online.target local-fs.target time-sync.target
Wants=network-online.target
StartLimitIntervalSec=0

[Service]
Type=forking
PIDFile={pid_file}
ExecStart={command}
# Containers and their shims outlive the unit; Delegate keeps systemd out of their control groups.
KillMode=process
Delegate=yes
Restart=on-failure
RestartSec=2
TimeoutStartSec=600
TimeoutStopSec=60
TasksMax=infinity
LimitNOFILE=1048576

[Install]
WantedBy=multi-user.target
"""
_FLAGS = (
    "listen",
    "aws_port",
    "kube_port",
    "registry_port",
    "region",
    "store",
    "vpc_cidr",
    "service_cidr",
)


def unit_text(config: Config, program: Path) -> str:
    """The unit that runs ``program up`` with a data directory and whatever else was chosen."""
    words = [str(program), "up", "--detach", "--data-dir", str(config.data_dir)]
    default = Config()
    for name in _FLAGS:
        if getattr(config, name) != getattr(default, name):
            words += [f"--{name.replace('_', '-')}", str(getattr(config, name))]
    if config.strict:
        words.append("--strict")
    command = shlex.join(words).replace("%", "%%")
    pid_file = str(config.run_dir / "supervisor.pid").replace("%", "%%")
    return TEXT.format(pid_file=pid_file, command=command)


def install(data_dir: Path, *, now: bool) -> int:
    """Write the unit, enable it, and with ``now`` start it; a unit that is there is replaced."""
    if not _has_systemd():
        return 1
    data_dir = data_dir.absolute()
    config = load_config(data_dir) or Config(data_dir=data_dir)
    program = Path(sys.executable).parent / "proa"
    UNIT.write_text(unit_text(config, program))
    ok = _systemctl("daemon-reload") and _systemctl("enable", UNIT.name)
    if ok and now:
        ok = _systemctl("start", UNIT.name)
    if not ok:
        return 1
    click.echo(f"wrote and enabled {UNIT}")
    click.echo("Proa starts with the machine; systemctl restart proa leaves containers alone")
    return 0


def uninstall() -> int:
    """Disable and remove the unit; what runs goes on, until proa down. Until the machine's next
    start systemd keeps the unit's rules: without them it would end every container together with
    the supervisor."""
    if not UNIT.exists():
        click.echo(f"there is no {UNIT}")
        return 0
    if not _has_systemd() or not _systemctl("disable", UNIT.name):
        return 1
    (RUNTIME / UNIT.name).write_text(UNIT.read_text())
    UNIT.unlink()
    click.echo(f"removed {UNIT}; what runs goes on: proa down ends it")
    return 0 if _systemctl("daemon-reload") else 1


def _has_systemd() -> bool:
    if shutil.which("systemctl") and RUNTIME.is_dir():
        return True
    click.echo("proa: this machine was not started by systemd: use proa up", err=True)
    return False


def _systemctl(*words: str) -> bool:
    done = subprocess.run(["systemctl", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        click.echo(f"proa: systemctl {' '.join(words)}: {done.stderr.strip()}", err=True)
    return done.returncode == 0
