"""``proa bench``: what this machine's Proa is able to do, each figure with its method and its peer.

Every run is a process of its own, so that none sees what another has left in memory; nothing of a
running Proa is touched.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from proa.base.errors import CallerFault
from proa.bench.findings import Difference, Run

Json = dict[str, Any]
METHOD = (
    "nodes without agents, pods created through the API while the scheduler is held; from its "
    "release until a watch has shown every pod's node. SQLite on disk, durable commits; client "
    "and control plane in one process. The limit is the least average that kube-scheduler's own "
    "CI accepts (scheduler_perf)."
)

TELLING = 0.02  # a stolen share that the reader of a figure should know
ECS_METHOD = (
    "container instances without agents; one service asks for all tasks while the scheduler is "
    "held; from its release until every task's record names its instance. SQLite on disk, durable "
    "commits; client and control plane in one process. The limit is the project's own."
)


def scheduling(names: Sequence[str], nodes: int, pods: int, *, as_json: bool) -> int:
    """Run the named workloads ("all": every one); 1 where one is below its limit or fails."""
    from proa.bench.workloads import WORKLOADS

    unknown = [name for name in names if name not in WORKLOADS and name != "all"]
    if unknown:
        click.echo(f"no such workload: {unknown[0]}; there are {', '.join(WORKLOADS)}", err=True)
        return 2
    chosen = list(WORKLOADS) if "all" in names else list(names)
    outcomes = []
    for name in chosen:
        outcome = _run("proa.bench.scheduling", name, str(nodes), str(pods))
        outcomes.append(outcome)
        if not as_json:
            _print(outcome, first=len(outcomes) == 1)
    if as_json:
        runs: Any = outcomes[0] if len(outcomes) == 1 else {"runs": outcomes}
        click.echo(json.dumps({"method": METHOD, **runs}, indent=2))
    return int(any("error" in item or item["ratio"] < 1 <= item["limit"] for item in outcomes))


def ecs(names: Sequence[str], nodes: int, tasks: int, *, as_json: bool) -> int:
    """One service under each of the named placement strategies ("all": every one)."""
    from proa.bench.ecs import STRATEGIES

    unknown = [name for name in names if name not in STRATEGIES and name != "all"]
    if unknown:
        click.echo(f"no such strategy: {unknown[0]}; there are {', '.join(STRATEGIES)}", err=True)
        return 2
    chosen = list(STRATEGIES) if "all" in names else list(names)
    outcomes = [_run("proa.bench.ecs", name, str(nodes), str(tasks)) for name in chosen]
    if as_json:
        click.echo(json.dumps({"method": ECS_METHOD, "runs": outcomes}, indent=2))
    else:
        click.echo(ECS_METHOD)
        for item in outcomes:
            click.echo(
                f"{item['workload']:32} failed: {item['error']}" if "error" in item else
                f"{item['workload']:32}{item['tasks_per_s']:>9.0f}/s of {item['limit']}"
            )  # fmt: skip
    return int(any("error" in item or item["ratio"] < 1 for item in outcomes))


def _run(module: str, name: str, *arguments: str) -> Json:
    """One benchmark's outcome, or what it died of."""
    command = [sys.executable, "-m", module, name, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["it ended without a word"]
        return {"workload": name, "error": lines[-1]}
    outcome: Json = json.loads(done.stdout)
    return outcome


def _print(outcome: Json, *, first: bool) -> None:
    if first:
        click.echo(METHOD)
        click.echo(f"{'workload':32}{'nodes':>7}{'pods':>8}{'pods/s':>9}{'limit':>7}{'ratio':>7}")
    if "error" in outcome:
        click.echo(f"{outcome['workload']:32} failed: {outcome['error']}")
        return
    click.echo(
        f"{outcome['workload']:32}{outcome['nodes']:>7}{outcome['pods']:>8}"
        f"{outcome['pods_per_s']:>9.0f}{outcome['limit']:>7}{outcome['ratio']:>6.1f}x"
    )


def suite(
    only: Sequence[str],
    *,
    listing: bool,
    report: Path | None,
    save: Path | None,
    baseline: Path | None,
    as_json: bool,
) -> int:
    """Run the suite; 1 where a bound is missed, a benchmark fails or is worse than the baseline."""
    from proa.bench import suite as suites
    from proa.bench.findings import differences, read_run
    from proa.bench.report import render

    known = suites.benchmarks()
    unknown = [name for name in only if name not in known]
    if unknown:
        click.echo(f"no such benchmark: {unknown[0]}; there are {', '.join(known)}", err=True)
        return 2
    if listing:
        for one in known.values():
            click.echo(f"{one.name:44}{one.about}")
        return 0

    # as an exception, so that what runs is taken down
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))

    def keep(run: Run) -> None:
        for path, text in (
            (save, json.dumps(run.shown(), indent=1)),
            (report, render(run, before)),
        ):
            if path is not None:
                path.write_text(text + "\n")

    try:
        before = read_run(baseline) if baseline else None
        run = suites.run(only or list(known), lambda name: click.echo(f"{name} …", err=True), keep)
    except (CallerFault, OSError) as error:
        click.echo(f"proa: {error}", err=True)
        return 1
    changes = differences(run, before) if before else []
    if as_json:
        click.echo(json.dumps(run.shown(), indent=1))
    else:
        _print_run(run, changes)
    missed = any(not one.reached for one in run.findings)
    return int(missed or bool(run.failed) or any(item.worse for item in changes))


def _print_run(run: Run, changes: Sequence[Difference]) -> None:
    from rich.console import Console
    from rich.table import Table

    from proa.bench.findings import table

    header, *rows = table(run.findings)
    shown = Table(*header)
    for row in rows:
        shown.add_row(*row)
    Console().print(shown)
    for name, why in run.failed.items():
        click.echo(f"{name}: {why}")
    for name, conditions in run.conditions.items():
        if conditions.stolen >= TELLING:
            click.echo(f"{name}: {conditions}")
    for item in changes:
        if item.worse:
            click.echo(f"{item.finding.key}: {item.factor:.2f} times as good as the baseline")
