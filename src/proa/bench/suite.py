"""The suite: every benchmark, how it is run, and what its figures are held against.

``cli.bench`` runs it. Each benchmark is a command that prints one JSON object; ``read`` makes
findings of it. Those of the real runtime (``live``) are modules of the checkout's own ``bench/``
and need root; without either they are left out, and said to be.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import proa
from proa.bench.findings import Finding, Run, this_machine

Json = dict[str, Any]
Read = Callable[[Json], list[Finding]]
TOP = Path(proa.__file__).parent.parent.parent
FLOOR = "kube-scheduler's own floor"
BOUND = "bound"
SEED = "7"
DAY_S = 120.0


@dataclass(slots=True, frozen=True)
class Benchmark:
    """``command`` follows the interpreter; ``live`` ones run in the checkout as root."""

    name: str
    about: str
    command: tuple[str, ...]
    read: Read
    live: bool = False


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


def _day(outcome: Json) -> list[Finding]:
    method = "a day of 1,000 nodes and 20,000 pods and tasks in virtual time, 10 % churn an hour"
    wall_s = outcome["wall_s"]
    return [
        Finding("day", "wall", wall_s, "s", False, DAY_S, BOUND, method),
        Finding("day", "speed", outcome["virtual_s"] / wall_s, "x", True, method=method),
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
    day = ("-m", "proa.cli.main", "sim", "run", str(TOP / "scenarios/day.yaml"))
    listed.append(Benchmark("day", "a day in virtual time", (*day, "--seed", SEED, "--json"), _day))
    for name, about in (
        ("start", "from the API call to running, beside bare CRI"),
        ("api", "reads and writes a second of both APIs, beside nginx"),
        ("memory", "idle memory and processor time"),
        ("up", "proa up to both APIs answering"),
    ):
        command = ("-m", "bench", name, "--json")
        listed.append(Benchmark(name, about, command, _live, live=True))
    return {one.name: one for one in listed}


def why_not(benchmark: Benchmark) -> str:
    """Why it cannot be run here; "" where it can."""
    if not benchmark.live:
        return ""
    if not (TOP / "bench" / "__main__.py").exists():
        return "it is part of a checkout"
    return "" if os.geteuid() == 0 else "it needs root"


def run(names: Sequence[str], told: Callable[[str], None]) -> Run:
    """Run the named ones one after the other; ``told`` hears of each as it begins."""
    known = benchmarks()
    findings: list[Finding] = []
    failed: dict[str, str] = {}
    for name in names:
        benchmark = known[name]
        reason = why_not(benchmark)
        if not reason:
            told(name)
            found = list(_run(benchmark))
            findings += [item for item in found if isinstance(item, Finding)]
            reason = next((item for item in found if isinstance(item, str)), "")
        if reason:
            failed[name] = reason
    return Run(tuple(findings), failed, this_machine())


def _run(benchmark: Benchmark) -> Iterator[Finding | str]:
    """Its findings, or what it died of."""
    command = [sys.executable, *benchmark.command]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=TOP)
    lines = done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"]
    if done.returncode and not done.stdout.strip().startswith("{"):
        yield lines[-1]
        return
    try:
        yield from benchmark.read(json.loads(done.stdout))
    except (ValueError, KeyError, TypeError) as error:
        yield f"its answer cannot be read: {error!r}"
