"""``proa sim run``: a large scenario through virtual time; JSON, a page, a progress line.

Needs neither a running Proa, root nor Linux: the whole control plane runs in this process, over a
store in memory and a crowd of simulated hosts.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from proa.base.clock import SystemClock
from proa.base.errors import CallerFault
from proa.sim.large import Outcome, play
from proa.sim.picture import page
from proa.sim.plan import load_plan

_EVERY_S = 0.5  # between two forms of the progress line


def run(file: Path, *, seed: str, report: Path | None, trace: Path | None, as_json: bool) -> int:
    """The exit code: 1 where the file is no scenario or something went wrong while it played."""
    try:
        plan = load_plan(file)
        line = _Line()
        outcome = play(plan, seed, line.at, keep=trace is not None)
        line.end()
        if report is not None:
            report.write_text(page(outcome))
        if trace is not None:
            trace.write_text("\n".join(outcome.lines) + "\n")
    except (CallerFault, OSError) as error:
        click.echo(f"proa: {error}", err=True)
        return 1
    if as_json:
        click.echo(json.dumps(outcome.shown()))
    else:
        click.echo(_told(outcome))
    return 1 if outcome.problems else 0


class _Line:
    """One line on a terminal's stderr that is written anew; nothing where that is no terminal."""

    def __init__(self) -> None:
        self._clock = SystemClock()
        self._began = self._said = self._clock.monotonic()
        self._shown = sys.stderr.isatty()

    def at(self, at_s: float, of_s: float, running: int) -> None:
        """So far has the scenario come."""
        now = self._clock.monotonic()
        if self._shown and now - self._said >= _EVERY_S:
            self._said = now
            text = f"{at_s / 3600:6.2f} of {of_s / 3600:g} h, {running:,} running"
            sys.stderr.write(f"\r{text}, {now - self._began:.0f} s\x1b[K")
            sys.stderr.flush()

    def end(self) -> None:
        """Leave the terminal as it was."""
        if self._shown:
            sys.stderr.write("\r\x1b[K")


def _told(outcome: Outcome) -> str:
    measures = outcome.measures

    def spans(name: str) -> str:
        found: dict[str, Any] = measures[name]
        return ", ".join(f"{rank} {value} s" for rank, value in found.items()) or "nothing"

    lines = [
        f"{outcome.scenario}, seed {outcome.seed}: {outcome.virtual_s / 3600:.2f} h in "
        f"{outcome.wall_s:.1f} s, {outcome.events:,} events",
        f"created {measures['created']:,}, ended {measures['ended']:,}, failed "
        f"{measures['failed']:,}, running {measures['running']:,}",
        f"to running: {spans('seconds_to_running')}",
        f"to ready:   {spans('seconds_to_ready')}",
        f"trace {outcome.trace_sha256}",
        *outcome.problems,
    ]
    return "\n".join(lines)
