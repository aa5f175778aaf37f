"""The suite: every benchmark, how it is run, and what its figures are held against.

``cli.bench`` runs it. Each benchmark is a process of its own that prints one JSON object; ``read``
makes findings of it. One that fails, or takes too long, costs the others nothing: each is told of
as soon as it has ended. Those of the real runtime (``live``) need root; what cannot be run here is
left out, and said to be.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import proa
from proa.bench.conditions import Conditions, Watch
from proa.bench.findings import Finding, Run, this_machine

Json = dict[str, Any]
Read = Callable[[Json], list[Finding]]
_SCENARIOS = Path(proa.__file__).parents[2] / "scenarios"
DAYS = (
    ("day", "half of it in each of two regions", _SCENARIOS / "day.yaml"),
    ("day-one-region", "under one control plane", _SCENARIOS / "day_one_region.yaml"),
)
TIMEOUT_S = 1800.0  # of one benchmark
LEAVE_S = 60.0  # for one that is told to end to take down what it has started
FLOOR = "kube-scheduler's own floor"
BOUND = "bound"
SEED = "7"
ECS_SIZE = ("1000", "5000")  # container instances, tasks
DAY_S = 120.0


@dataclass(slots=True, frozen=True)
class Benchmark:
    """``command`` follows the interpreter; ``live`` ones run as root; ``needs`` is a file that an
    installed package lacks."""

    name: str
    about: str
    command: tuple[str, ...]
    read: Read
    live: bool = False
    needs: Path | None = None


def _scheduling(outcome: Json) -> list[Finding]:
    """A workload's rate; of the basic one also what its nodes cost to join and to hold."""
    name = outcome["workload"]
    method = "pods a second from the scheduler's release until a watch has shown every one's node"
    benchmark = f"scheduling-{name}"
    limit = float(outcome["limit"]) or None
    rate = Finding(
        benchmark, "rate", outcome["pods_per_s"], "pods/s", True, limit, FLOOR, method
    )  # fmt: skip
    if name != "basic":
        return [rate]
    size = f"{outcome['nodes']} nodes, {outcome['pods']} pods"
    return [
        rate,
        Finding(benchmark, "must", outcome["pods_per_s"], "pods/s", True, 3000.0, BOUND, method),
        Finding(benchmark, "join", outcome["joined_s"], "s", False, 20.0, BOUND, size),
        Finding(benchmark, "memory", outcome["loaded_rss_mib"], "MiB", False, 600.0, BOUND, size),
    ]


def _ecs(outcome: Json) -> list[Finding]:
    method = (
        "tasks a second from the scheduler's release until every task's record names its instance"
    )
    rate, limit = outcome["tasks_per_s"], float(outcome["limit"])
    return [Finding(outcome["workload"], "rate", rate, "tasks/s", True, limit, BOUND, method)]


def _placement(outcome: Json) -> list[Finding]:
    method = f"processor time of the engine alone, {outcome['rows']} rows with as many bookings"
    return [
        Finding("placement", one["kind"], one["us_per_ask"], "us", False, method=method)
        for one in outcome["kinds"]
    ]


def _day(name: str, where: str, outcome: Json) -> list[Finding]:
    method = (
        "a day of 1,000 nodes and 20,000 pods and tasks in virtual time, 10 % churn an hour, "
        f"{where}; {outcome['cpu_s']:.0f} s of processor"
    )
    wall_s = outcome["wall_s"]
    return [
        Finding(name, "wall", wall_s, "s", False, DAY_S, BOUND, method),
        Finding(name, "speed", outcome["virtual_s"] / wall_s, "x", True, method=method),
    ]


# What the ratios of live benchmarks must reach: name → (more is better, limit).
_RATIOS: dict[str, tuple[bool, float | None]] = {
    "start/kubernetes_1": (False, 1.25),
    "start/ecs_1": (False, 1.25),
    "start/kubernetes_50": (False, 1.15),
    "start/ecs_50": (False, 1.15),
}
# Figures with bounds of their own: (path into the figures, unit, more is better, limit).
_FIGURES: dict[str, tuple[tuple[tuple[str, ...], str, bool, float], ...]] = {
    "api": (
        (("kubernetes_get", "per_second"), "GET/s", True, 13_000),
        (("kubernetes_create", "per_second"), "creates/s", True, 5_800),
        (("kubernetes_get", "p99_ms"), "ms", False, 50),
        (("kubernetes_create", "p99_ms"), "ms", False, 50),
        (("watch_1000_filtered", "median"), "ms", False, 150),
        (("create_beside_1000_watchers", "per_second"), "creates/s", True, 1_000),
        (("ecs_describe_clusters", "per_second"), "calls/s", True, 3_000),
    ),
    "up": ((("proa_up", "median"), "ms", False, 2_000),),
    "memory": (
        (("proa_total", "rss_mib"), "MiB", False, 250),
        (("proa_total", "cpu_percent"), "%", False, 2),
    ),
}


def _live(outcome: Json) -> list[Finding]:
    """Ratios to the peer of the same run, and figures that have a bound."""
    name, method = outcome["name"], outcome["method"]
    found = []
    for figure, value in outcome["ratio"].items():
        more, limit = _RATIOS.get(f"{name}/{figure}", (name == "api", None))
        peer = outcome["peer"]
        found.append(Finding(name, figure, value, "x peer", more, limit, peer, method))
    for path, unit, more, limit in _FIGURES.get(name, ()):
        value = outcome["figures"]
        for part in path:
            value = value[part]
        figure = ".".join(path)
        found.append(Finding(name, figure, value, unit, more, limit, BOUND, method))
    return found


def benchmarks() -> dict[str, Benchmark]:
    """All of them, by name."""
    from proa.bench.ecs import STRATEGIES
    from proa.bench.workloads import WORKLOADS

    listed = [
        Benchmark(
            f"scheduling-{name}",
            f"pods bound a second: {name}",
            ("-m", "proa.bench.scheduling", name, "0", "0"),
            _scheduling,
        )
        for name in WORKLOADS
    ]
    listed += [
        Benchmark(
            f"ecs-{name}",
            f"tasks bound a second: {name}",
            ("-m", "proa.bench.ecs", name, *ECS_SIZE),
            _ecs,
        )
        for name in STRATEGIES
    ]
    alone = ("-m", "proa.bench.placement", "--json")
    listed.append(Benchmark("placement", "the engine alone, by kind of ask", alone, _placement))
    for name, where, file in DAYS:
        day = ("-m", "proa.cli.main", "sim", "run", str(file), "--seed", SEED, "--json")
        about = f"a day in virtual time, {where}"
        listed.append(Benchmark(name, about, day, partial(_day, name, where), needs=file))
    for name, about in (
        ("start", "from the API call to running, beside bare CRI"),
        ("api", "reads and writes a second of both APIs, beside nginx"),
        ("memory", "idle memory and processor time"),
        ("up", "proa up to both APIs answering"),
    ):
        command = ("-m", "proa.bench.live", name, "--json")
        listed.append(Benchmark(name, about, command, _live, live=True))
    return {one.name: one for one in listed}


def why_not(benchmark: Benchmark) -> str:
    """Why it cannot be run here; "" where it can."""
    if benchmark.needs is not None and not benchmark.needs.exists():
        return f"{benchmark.needs.name} is part of a checkout"
    return "it needs root" if benchmark.live and os.geteuid() != 0 else ""


def run(names: Sequence[str], told: Callable[[str], None], ended: Callable[[Run], None]) -> Run:
    """Run the named ones one after the other. ``told`` hears of each as it begins, ``ended`` has
    all that is known when one is done."""
    known = benchmarks()
    findings: list[Finding] = []
    failed: dict[str, str] = {}
    conditions: dict[str, Conditions] = {}
    run = Run((), {}, this_machine())
    for name in names:
        benchmark = known[name]
        reason = why_not(benchmark)
        if not reason:
            told(name)
            watch = Watch()
            found = list(_run(benchmark))
            conditions[name] = watch.seen()
            findings += [item for item in found if isinstance(item, Finding)]
            reason = next((item for item in found if isinstance(item, str)), "")
        if reason:
            failed[name] = reason
        run = Run(tuple(findings), dict(failed), run.machine, dict(conditions))
        ended(run)
    return run


def _run(benchmark: Benchmark) -> Iterator[Finding | str]:
    """Its findings, or what it died of."""
    command = [sys.executable, *benchmark.command]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace"
    )
    try:
        out, said = process.communicate(timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        yield f"it was not done after {TIMEOUT_S:g} s"
        return
    finally:
        _end(process)
    lines = said.strip().splitlines() or [f"it ended with {process.returncode}"]
    if process.returncode and not out.strip().startswith("{"):
        yield lines[-1]
        return
    try:
        yield from list(benchmark.read(json.loads(out)))
    except (ValueError, KeyError, TypeError) as error:
        yield f"its answer cannot be read: {error!r}"


def _end(process: subprocess.Popen[str]) -> None:
    """End one that still runs: gently, so that it takes down what it has started."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.communicate(timeout=LEAVE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
