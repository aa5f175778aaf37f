"""What the options of ``proa sim hosts`` mean."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import click

from proa.base.errors import CallerFault

_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def hosts(data_dir: Path, count: int, name: str, as_json: bool, **options: Any) -> int:
    """Carry the command out; the exit code."""
    from proa.cli import sim_hosts
    from proa.sim.crowd_process import CrowdPlan

    detach, stop, kill, restore = (
        options.pop(key) for key in ("detach", "stop", "kill", "restore")
    )
    if stop:
        return sim_hosts.stop(data_dir, name)
    if kill or restore:
        return sim_hosts.befall(data_dir, "lose" if kill else "restore", kill or restore)
    if not count:
        return sim_hosts.show(data_dir, as_json=as_json)
    try:
        if not _NAME.fullmatch(name):
            raise CallerFault(f"--name {name}: small letters, digits and hyphens, at most 31")
        behaviour = options.pop("behaviour")
        plan = CrowdPlan(
            name,
            count,
            type=options.pop("instance_type"),
            labels=tuple(_pair("--label", text) for text in options.pop("labels")),
            taints=tuple(_taint(text) for text in options.pop("taints")),
            behaviour=str(Path(behaviour).absolute()) if behaviour else "",
            **options,
        )
    except CallerFault as error:
        click.echo(f"proa: {error}", err=True)
        return 1
    arguments = [item for item in sys.argv[1:] if item != "--detach"]
    return sim_hosts.start(data_dir, plan, detach=detach, arguments=arguments)


def _pair(option: str, text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise CallerFault(f"{option} {text}: give KEY=VALUE")
    return key, value


def _taint(text: str) -> tuple[str, str, str]:
    """KEY=VALUE:EFFECT or KEY:EFFECT, as kubectl taint has it."""
    pair, colon, effect = text.rpartition(":")
    key, _, value = pair.partition("=")
    if not key or not colon or effect not in _EFFECTS:
        raise CallerFault(f"--taint {text}: give KEY=VALUE:EFFECT, of {', '.join(_EFFECTS)}")
    return key, value, effect
