"""``proa sim hosts``: simulated Hosts on a running Proa, and what may happen to them.

The crowd is a process of its own (``sim.crowd_process``): in the foreground this one, with
``--detach`` one that stays. ``--stop`` ends it in order, ``--kill`` takes the power from one Host.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click
import msgspec

from proa.base.clock import SystemClock
from proa.base.config import Config, load_config
from proa.base.errors import CallerFault, TryAgain
from proa.cli.connection import UnixConnection
from proa.cli.instance import alive, ask_hull, stop_process, wait
from proa.sim.crowd_process import (
    CrowdPlan,
    hosts_of,
    manners_of,
    plan_file,
    run,
    saved_plan,
    socket_of,
)
from proa.sim.remote import RemoteLink

JOIN_S, LEAVE_S = 600.0, 120.0
POLL_S = 0.1


def start(data_dir: Path, plan: CrowdPlan, *, detach: bool, arguments: Sequence[str]) -> int:
    """Run a crowd until it is interrupted, or, detached, until it has joined. ``arguments`` are
    those of the command line, for the process that stays."""
    try:
        config = _running(data_dir)
        hosts_of(plan, config.region, "")
        manners_of(plan.behaviour)
        if _pid(config, plan.name):
            raise CallerFault(
                f"simulated hosts named {plan.name} are there already: "
                "give others with --name, or stop them with --stop"
            )
        if detach:
            return _detach(config, plan, arguments)
    except CallerFault as error:
        click.echo(f"proa: {error}", err=True)
        return 1
    pid_file = _pid_file(config, plan.name)
    pid_file.write_text(str(os.getpid()))
    try:
        asyncio.run(run(plan, config, lambda took_s: _say_joined(plan.count, took_s)))
    finally:
        pid_file.unlink(missing_ok=True)
    return 0


def _say_joined(count: int, took_s: float) -> None:
    rate = count / took_s if took_s else 0.0
    click.echo(f"{count} simulated hosts joined in {took_s:.1f} s ({rate:.0f}/s)")


def _running(data_dir: Path) -> Config:
    config = load_config(data_dir.absolute())
    if config is None or ask_hull(config, "/v1/ready") is None:
        raise CallerFault(f"nothing answers from {data_dir}: start it with proa up")
    return config


def _pid_file(config: Config, name: str) -> Path:
    return config.run_dir / f"crowd-{name}.pid"


def _pid(config: Config, name: str) -> int:
    """The live process of a crowd, 0 for none."""
    try:
        pid = int(_pid_file(config, name).read_text())
    except (FileNotFoundError, ValueError):
        return 0
    return pid if alive(pid) else 0


def _detach(config: Config, plan: CrowdPlan, arguments: Sequence[str]) -> int:
    log = config.data_dir / "logs" / f"crowd-{plan.name}.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "proa.cli.main", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    clock = SystemClock()
    started = clock.monotonic()
    while clock.monotonic() - started < JOIN_S:
        if process.poll() is not None:
            raise CallerFault(f"the simulated hosts ended: look at {log}")
        answer = _ask(socket_of(config, plan.name), "/machines")
        if answer is not None and answer["joined"] == plan.count:
            _say_joined(plan.count, clock.monotonic() - started)
            return 0
        wait(POLL_S)
    raise CallerFault(f"not all have joined after {JOIN_S:.0f} s: look at {log}")


def _ask(socket: Path, path: str, method: str = "GET") -> Any:
    """The decoded answer of a crowd; None where it does not answer. Raises CallerFault with its
    words where it refuses."""
    connection = UnixConnection(socket, 5.0)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        body = answer.read()
    except OSError:
        return None
    finally:
        connection.close()
    if answer.status >= 400:
        raise CallerFault(body.decode())
    return json.loads(body) if body else {}


def _plans(config: Config) -> list[CrowdPlan]:
    found = []
    for file in sorted(config.run_dir.glob("crowd-*.json")):
        try:
            found.append(saved_plan(file))
        except (OSError, msgspec.DecodeError):
            continue
    return found


def stop(data_dir: Path, name: str) -> int:
    """End a crowd; its Hosts leave. One whose process has died is removed just the same."""
    try:
        config = _running(data_dir)
        plans = [plan for plan in _plans(config) if plan.name == name]
        if not plans and not _pid(config, name):
            raise CallerFault(f"there are no simulated hosts named {name}")
        pid = _pid(config, name)
        if pid:
            stop_process(pid, LEAVE_S)
        if plan_file(config, name).exists():
            asyncio.run(_leave(config, plans[0]))
    except (CallerFault, TryAgain) as error:
        click.echo(f"proa: {error}", err=True)
        return 1
    _pid_file(config, name).unlink(missing_ok=True)
    click.echo(f"the simulated hosts named {name} are gone")
    return 0


async def _leave(config: Config, plan: CrowdPlan) -> None:
    link = RemoteLink(config.hull_socket)
    try:
        await link.leave(plan.ids())
    finally:
        await link.close()
    plan_file(config, plan.name).unlink(missing_ok=True)


def befall(data_dir: Path, act: str, host: str) -> int:
    """Something happens to one Host: lose, restore, cut, heal."""
    try:
        config = _running(data_dir)
        for plan in _plans(config):
            if host in plan.ids():
                path = f"/{act}?host={quote(host)}"
                if _ask(socket_of(config, plan.name), path, "POST") is None:
                    raise CallerFault(f"the simulated hosts named {plan.name} do not answer")
                click.echo(f"{host}: {act}")
                return 0
        raise CallerFault(f"there is no simulated host {host}")
    except CallerFault as error:
        click.echo(f"proa: {error}", err=True)
        return 1


def show(data_dir: Path, *, as_json: bool) -> int:
    """The crowds there are."""
    try:
        config = _running(data_dir)
    except CallerFault as error:
        click.echo(f"proa: {error}", err=True)
        return 1
    found = []
    for plan in _plans(config):
        answer = _ask(socket_of(config, plan.name), "/machines")
        found.append({"name": plan.name, "count": plan.count, **(answer or {"joined": 0})})
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return 0
    for item in found:
        away = f", {len(item['away'])} away" if item.get("away") else ""
        runs = (
            f", {item['ready']} of {item['sandboxes']} sandboxes ready" if "ready" in item else ""
        )
        click.echo(f"{item['name']}: {item['joined']} of {item['count']} joined{away}{runs}")
    return 0
