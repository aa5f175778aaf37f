"""``proa compare``: one workload run in four ways through virtual days; a table, JSON, a page."""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress, TaskID
from rich.table import Table

from proa.base.errors import CallerFault
from proa.cost.prices import load
from proa.sim.compare import verdict as verdicts
from proa.sim.compare.page import render
from proa.sim.compare.question import load_question
from proa.sim.compare.verdict import COLUMNS, Verdict
from proa.sim.compare.ways import TITLES


def compare(
    workload: Path, *, seed: str, prices: Path | None, report: Path | None, as_json: bool
) -> int:
    """The exit code: 1 where something went wrong while a way was played."""
    try:
        question = load_question(workload)
        with _Progress() as bar:
            verdict = verdicts.compare(
                question, seed, load(prices), lambda way, at, of: bar.at(TITLES[way], at / of)
            )
        if report is not None:
            report.write_text(render(verdict))
    except (CallerFault, OSError) as error:
        click.echo(f"proa: {error}", err=True)
        return 1
    if as_json:
        click.echo(json.dumps(verdict.shown(), indent=2))
    else:
        _show(verdict)
    problems = [text for trial in verdict.trials for text in trial.problems]
    for problem in problems:
        click.echo(f"proa: {problem}", err=True)
    return int(bool(problems))


class _Progress:
    """A bar on standard error, where that is a terminal."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._bar = Progress(console=console, transient=True, disable=not console.is_terminal)
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> _Progress:
        self._bar.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._bar.stop()

    def at(self, title: str, share: float) -> None:
        """How much of one way has been played."""
        if title not in self._tasks:
            self._tasks[title] = self._bar.add_task(title, total=1.0)
        self._bar.update(self._tasks[title], completed=share)


def _show(verdict: Verdict) -> None:
    table = Table(title=f"{verdict.question.name}: {verdict.hours:g} h, {verdict.prices.region}")
    for number, name in enumerate(COLUMNS):
        table.add_column(name, justify="right" if number else "left")
    for cells in verdict.table():
        table.add_row(*cells)
    Console().print(table)
    click.echo("CPU and memory: asked for, of what was paid for. A month: 730 h of the same.")
