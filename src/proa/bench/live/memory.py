"""``memory``: what Proa's own processes take while nothing runs, beside a bare containerd.

Resident (RSS) and proportional (PSS, which counts shared pages once) memory come from
smaps_rollup, processor time from /proc/<pid>/stat over 30 seconds of idleness.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from pathlib import Path
from typing import Any

from proa.bench.live.instance import COMPONENTS, children, running
from proa.bench.live.measure import Result, scratch
from proa.bench.live.peer import bare_cri

SETTLE_S, WINDOW_S, SAMPLES = 10.0, 30.0, 4
_PEER = "peer_containerd"
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def run() -> Result:
    """The benchmark. Needs root."""
    with scratch() as folder, contextlib.ExitStack() as stack:
        peer = stack.enter_context(bare_cri(folder / "peer"))
        peer.launch()
        instance = stack.enter_context(running(folder / "proa"))
        pids = {name: instance.process(name) for name in COMPONENTS}
        pids |= children(pids["control"])
        names = tuple(pids)
        figures = _observe({**pids, _PEER: peer.pid})
    ours = {
        field: round(sum(figures[name][field] for name in names), 2)
        for field in ("rss_mib", "pss_mib", "cpu_percent")
    }
    figures["proa_total"] = ours
    return Result(
        name="memory",
        method=f"smaps_rollup, median of {SAMPLES}; processor time over {WINDOW_S:g} s; idle",
        peer="an idle containerd of the same configuration",
        figures=figures,
        ratio={"pss": ours["pss_mib"] / figures[_PEER]["pss_mib"]},
    )


def _observe(pids: dict[str, int]) -> dict[str, Any]:
    """Memory of each process, read several times within one window of processor time."""
    time.sleep(SETTLE_S)
    memory: dict[str, list[dict[str, float]]] = {name: [] for name in pids}
    began = time.perf_counter()
    before = {name: _cpu_s(pid) for name, pid in pids.items()}
    for _ in range(SAMPLES):
        time.sleep(WINDOW_S / SAMPLES)
        for name, pid in pids.items():
            memory[name].append(_memory(pid))
    passed_s = time.perf_counter() - began
    return {
        name: {
            **{field: round(statistics.median(row[field] for row in rows), 2) for field in rows[0]},
            "cpu_percent": round((_cpu_s(pids[name]) - before[name]) / passed_s * 100, 2),
        }
        for name, rows in memory.items()
    }


def _memory(pid: int) -> dict[str, float]:
    """RSS and PSS in MiB."""
    fields = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, value, *_ = line.split()
        fields[name.rstrip(":")] = int(value) / 1024
    return {"rss_mib": fields["Rss"], "pss_mib": fields["Pss"]}


def _cpu_s(pid: int) -> float:
    """Processor seconds of all threads, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
