"""``proa up``: checks, prepares, starts, waits. Repeating it on a running Proa changes nothing.

Each step prints a line with its time. The first obstacle ends it with one line that says what
is missing and what to do.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click

from proa.base.config import Config, load_config
from proa.base.errors import CallerFault
from proa.base.stopwatch import monotonic
from proa.cli import host, ranges, sim_runtime
from proa.cli.instance import (
    COMPONENTS,
    alone,
    ask_hull,
    components,
    process_id,
    stop_process,
    wait,
)

READY_S, PATIENCE_S = 300.0, 30.0
BEGIN_S = 5.0  # in which a supervisor must be there
LEFT_S = 20.0


class Obstacle(CallerFault):
    """Proa cannot start; the text is the one line the user reads."""


class Steps:
    """Runs steps one after another and prints what each took."""

    def run(self, title: str, work: Callable[[], None]) -> None:
        """One step: a line when it is done. Raises what ``work`` raises."""
        click.echo(f"  {title} … ", nl=False)
        started = monotonic()
        try:
            work()
        except Exception:
            click.echo("failed")
            raise
        click.echo(f"{monotonic() - started:.1f} s")


def up(config: Config, vpc_cidr: str | None, service_cidr: str | None, *, detach: bool) -> int:
    """Start Proa, with these ranges or those it has; the exit code is 0 once both APIs answer
    (or, in the foreground, once it was stopped)."""
    config = replace(config, data_dir=config.data_dir.absolute())
    try:
        with alone(config.data_dir):
            running = process_id(config.data_dir, "supervisor") != 0
            config = ranges.chosen(config, vpc_cidr, service_cidr)
            if running:
                _same_as_running(config)
                click.echo("Proa is running already")
            else:
                process = _start(config)
        _await_ready(config)
    except CallerFault as error:
        click.echo(f"proa: {error}", err=True)
        return 1
    click.echo(f"AWS API http://{config.listen}:{config.aws_port}")
    click.echo(f"Kubernetes API https://{config.listen}:{config.kube_port}")
    click.echo('Next: eval "$(proa env)"')
    if running or detach:
        return 0
    return _stay(config, process)


def _stay(config: Config, process: subprocess.Popen[bytes]) -> int:
    """In the foreground: until the supervisor ends, or an interrupt takes everything down."""
    from proa.cli.down import down

    try:
        return process.wait()
    except KeyboardInterrupt:
        click.echo()
        if config.runtime == "sim":
            return sim_runtime.down(config, purge=False)
        return down(config.data_dir, purge=False)


def _same_as_running(config: Config) -> None:
    before = load_config(config.data_dir)
    if before is not None and before != config:
        changed = [
            name.replace("_", "-")
            for name in (
                "listen",
                "aws_port",
                "kube_port",
                "registry_port",
                "region",
                "strict",
                "hosts",
                "behaviour",
            )
            if getattr(before, name) != getattr(config, name)
        ]
        if changed:
            raise Obstacle(f"runs with another --{changed[0]}: proa down first, then up again")


def _start(config: Config) -> subprocess.Popen[bytes]:
    steps = Steps()
    left = [pid for name in components(config) if (pid := process_id(config.data_dir, name))]
    if left:
        steps.run("ending what an earlier start left", lambda: _end(left))
    steps.run("examining the host", lambda: _examine(config))
    if config.runtime == "sim":
        steps.run("preparing the data directory", lambda: sim_runtime.prepare(config))
    else:
        steps.run("preparing the data directory", lambda: _prepare(config))
        steps.run("building the network plugin", lambda: _build_plugin(config))
        steps.run("building the demo images", lambda: _build_images(config))
    processes: list[subprocess.Popen[bytes]] = []
    steps.run("starting", lambda: processes.append(_launch(config)))
    return processes[0]


def _end(left: list[int]) -> None:
    """A supervisor that was killed, or stopped by systemd, leaves its processes; the new one
    starts them anew. Containers belong to their shims and run on."""
    for pid in reversed(left):
        stop_process(pid, LEFT_S)


def _examine(config: Config) -> None:
    obstacles = [item for item in host.findings(config, running=False) if item.obstacle]
    if obstacles:
        raise Obstacle(f"{obstacles[0].what}: {obstacles[0].remedy}")


def _prepare(config: Config) -> None:
    from proa.node.containerd.config import layout_of, write

    config.data_dir.mkdir(parents=True, exist_ok=True)
    config.data_dir.chmod(0o711)
    for name in ("run", "logs", "containerd", "agent"):
        (config.data_dir / name).mkdir(exist_ok=True)
    _forget_before_boot(config)
    for name in COMPONENTS:
        (config.run_dir / f"{name}.pid").unlink(missing_ok=True)
    config.save()
    write(layout_of(config))


def _forget_before_boot(config: Config) -> None:
    """What belongs to processes of before the machine's last start: sockets, and containerd's
    state, which it expects on a file system that a restart empties."""
    mark = config.run_dir / "boot-id"
    boot = Path("/proc/sys/kernel/random/boot_id").read_text()
    if mark.exists() and mark.read_text() == boot:
        return
    shutil.rmtree(config.run_dir)
    shutil.rmtree(config.data_dir / "containerd" / "state", ignore_errors=True)
    config.run_dir.mkdir()
    mark.write_text(boot)


def _build_plugin(config: Config) -> None:
    from proa.node.cni.build import build
    from proa.node.containerd.config import layout_of

    layout = layout_of(config)
    build(layout.cni_bin, layout.cni_socket)


def _build_images(config: Config) -> None:
    from proa.serve.images import build

    build(config.data_dir / "images")


def _launch(config: Config) -> subprocess.Popen[bytes]:
    """Its number is written here, not by itself, so that whoever asks next finds it."""
    with (config.data_dir / "logs" / "supervisor.log").open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "proa.cli.supervisor", str(config.data_dir)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            cwd="/",
        )
    (config.run_dir / "supervisor.pid").write_text(str(process.pid))
    return process


def _await_ready(config: Config) -> None:
    """Until both APIs answer. On a slow machine that takes its time, and is told."""
    began = monotonic()
    told = began
    while (now := monotonic()) < began + READY_S:
        status = ask_hull(config, "/v1/status")
        if status is not None and any(item["ready"] for item in status["hosts"]):
            return
        if now > began + BEGIN_S and not process_id(config.data_dir, "supervisor"):
            raise Obstacle("the supervisor ended: look at proa logs supervisor")
        if now > told + PATIENCE_S:
            told = now
            click.echo(f"  waiting for {_slowest(config)}, {now - began:.0f} s so far")
        wait(0.02)
    raise Obstacle(f"{_slowest(config)} is not ready: look at proa logs {_slowest(config)}")


def _slowest(config: Config) -> str:
    """The first component that does not run; the control plane where all do."""
    silent = [name for name in components(config) if not process_id(config.data_dir, name)]
    return silent[0] if silent else "control"
