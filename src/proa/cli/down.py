"""``proa down``: stops every workload and process and removes every trace from the kernel.

What stays is the data directory, from which the next ``up`` brings the same workloads back.
Order matters: agent and control plane first, so that nothing is started again; then containers
through our containerd while it still runs; then containerd; then whatever a crash left behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
from pathlib import Path

import click

from proa.base.aio import gather
from proa.base.chance import Chance
from proa.base.clock import SystemClock
from proa.base.config import Config, load_config
from proa.base.errors import TryAgain
from proa.cli.instance import (
    alive,
    alone,
    process_id,
    stop_process,
    wait,
)
from proa.cli.sim_runtime import stop_crowds
from proa.node.containerd import cgroups
from proa.node.containerd.config import layout_of

STOP_S = 30.0
LIST_S = 60.0  # until containerd answers, which a busy machine may keep waiting
SWEEP_S = 10.0
GRACE_S = 10.0  # for containers to end by themselves


def down(data_dir: Path, *, purge: bool) -> int:
    """Stop; the exit code is 1 where something could not be removed, which is then named."""
    data_dir = data_dir.absolute()
    config = load_config(data_dir)
    if config is None:
        click.echo(f"proa: nothing has run from {data_dir}")
        if purge and data_dir.exists():
            return _purge(data_dir)
        return 0
    with alone(data_dir):
        # The command that was waited for may have started another.
        return _take_down(load_config(data_dir) or config, data_dir, purge=purge)


def _take_down(config: Config, data_dir: Path, *, purge: bool) -> int:
    stop_crowds(data_dir)
    for name in ("supervisor", "agent", "control"):
        pid = process_id(data_dir, name)
        if pid:
            stop_process(pid, STOP_S)
    sandboxes = _end_containers(config)
    pid = process_id(data_dir, "containerd")
    if pid:
        stop_process(pid, STOP_S)
    _kill_leftovers(data_dir)
    _unmount(data_dir)
    _end_network(config)
    _sweep(layout_of(config).cgroup)
    shutil.rmtree(data_dir / "run", ignore_errors=True)
    shutil.rmtree(data_dir / "containerd" / "state", ignore_errors=True)
    click.echo(f"Proa is down; {sandboxes} sandboxes were stopped")
    left = leftovers(config)
    for item in left:
        click.echo(f"proa: left behind: {item}", err=True)
    if purge:
        return _purge(data_dir)
    return 1 if left else 0


def _purge(data_dir: Path) -> int:
    shutil.rmtree(data_dir)
    click.echo(f"{data_dir} is gone")
    return 0


def _end_containers(config: Config) -> int:
    """Stop and remove every sandbox of ours; starts containerd for it if it has died."""
    layout = layout_of(config)
    daemon: subprocess.Popen[bytes] | None = None
    if not process_id(config.data_dir, "containerd"):
        if not layout.state.exists():
            return 0
        daemon = subprocess.Popen(
            layout.command(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
    try:
        return asyncio.run(_end_sandboxes(config))
    finally:
        if daemon is not None:
            daemon.terminate()
            daemon.wait()


async def _end_sandboxes(config: Config) -> int:
    from proa.node.containerd.client import ContainerdRuntime
    from proa.node.linux.network import LinuxNetwork

    clock = SystemClock()
    network = LinuxNetwork(config, clock)
    runtime = ContainerdRuntime(layout_of(config), network, clock, Chance())
    await runtime.start()
    try:
        deadline = clock.monotonic() + LIST_S
        while True:
            try:
                listing = await runtime.list()
                break
            except TryAgain:
                if clock.monotonic() > deadline:
                    return 0
                await clock.sleep(0.1)
        running = [item for item in listing.containers if item.state == "running"]
        await gather([runtime.stop_container(item.id, GRACE_S) for item in running])
        for sandbox in listing.sandboxes:
            await runtime.stop_sandbox(sandbox.id)
            await runtime.remove_sandbox(sandbox.id)
        return len(listing.sandboxes)
    finally:
        await runtime.close()
        await network.close()


def _sweep(cgroup: str) -> None:
    """Control groups can go once the last of their processes has; that may take a moment."""
    clock = SystemClock()
    deadline = clock.monotonic() + SWEEP_S
    cgroups.sweep(cgroup)
    while _cgroups(cgroup) and clock.monotonic() < deadline:
        wait(0.1)
        cgroups.sweep(cgroup)


def _end_network(config: Config) -> None:
    from proa.node.linux.teardown import teardown_all

    teardown_all(config)


def _ours(data_dir: Path) -> list[int]:
    """Processes that were started from our data directory: shims and what they hold."""
    found = []
    mark = str(data_dir).encode() + b"/"
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            command = (folder / "cmdline").read_bytes()
            if mark in command and b"containerd" in command:
                found.append(int(folder.name))
    return found


def _kill_leftovers(data_dir: Path) -> None:
    clock = SystemClock()
    deadline = clock.monotonic() + 5
    while (pids := _ours(data_dir)) and clock.monotonic() < deadline:
        for pid in pids:
            if alive(pid):
                stop_process(pid, 1.0)
        wait(0.05)


def mounts(data_dir: Path) -> list[str]:
    """Mount points below the data directory, deepest first."""
    points = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    inside = [point for point in points if point.startswith(f"{data_dir}/")]
    return sorted(inside, key=len, reverse=True)


def _unmount(data_dir: Path) -> None:
    for point in mounts(data_dir):
        subprocess.run(["umount", "-l", point], check=False, capture_output=True)


def _cgroups(cgroup: str) -> list[Path]:
    """The top control groups of ours that still exist."""
    name = cgroup.lstrip("/")
    tops = [*Path("/sys/fs/cgroup").glob(f"*/{name}"), Path("/sys/fs/cgroup") / name]
    return [top for top in tops if top.is_dir()]


def leftovers(config: Config) -> list[str]:
    """Everything of ours that the kernel still holds."""
    from proa.node.linux.teardown import leftovers as network_leftovers

    return [
        *(f"process {pid}" for pid in _ours(config.data_dir)),
        *(f"mount {point}" for point in mounts(config.data_dir)),
        *(f"cgroup {folder}" for folder in _cgroups(layout_of(config).cgroup)),
        *network_leftovers(config),
    ]
