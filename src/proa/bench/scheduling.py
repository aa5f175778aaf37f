"""``proa bench scheduling``: how many pods a second a real control plane binds.

Method, as kube-scheduler's performance suite: nodes without agents behind them, no containers;
what is measured goes watch → queue → placement → durable transaction → watch. The pods are created
through the API first, while the scheduler is held; the clock runs from its release until a watch
of the API has shown ``spec.nodeName`` of every one. Client and control plane share one process.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import resource
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import orjson
import uvloop

from proa.base.aio import Tasks, gather
from proa.base.clock import Clock
from proa.bench.plane import Plane, peak_rss_mib, rss_mib
from proa.bench.workloads import (
    BEFORE,
    CHURNING,
    HIGH,
    LOW,
    MEASURED,
    TARGET,
    WORKLOADS,
    Pods,
    Workload,
    sized,
)

WRITERS = 64  # pods are created by this many at a time
WAIT_S = 600.0
POLL_S = 0.05
CHURN_S = 1.0
PRIORITIES = "/apis/scheduling.k8s.io/v1/priorityclasses"
_UID = re.compile(rb'"uid":"([^"]+)"')


class Outcome(msgspec.Struct, omit_defaults=False):
    """What one run has shown. Percentiles are of what was bound in each whole second."""

    workload: str
    nodes: int
    pods: int
    pods_per_s: float
    limit: int
    ratio: float  # to the limit; 0 without one
    seconds: float
    per_second: dict[str, float]
    created_per_s: float
    joined_s: float
    peak_rss_mib: float
    loaded_rss_mib: float  # once all are bound
    bare_rss_mib: float  # before the first node
    cpu_s: float  # of the process while it was measured
    wall_s: float


@dataclass(slots=True)
class Count:
    """Who was seen with a node, and when."""

    clock: Clock
    wanted: int
    seen: dict[bytes, None]
    at: list[float]
    done: asyncio.Event

    async def follow(self, plane: Plane, version: str) -> None:
        """Read a watch of the measured pods until all have a node."""
        async for chunk in plane.watch(f"/api/v1/namespaces/{MEASURED}/pods", version):
            now = self.clock.monotonic()
            for line in chunk.split(b"\n"):
                if b'"nodeName":"' not in line:
                    continue
                found = _UID.search(line)
                if found is not None and found[1] not in self.seen:
                    self.seen[found[1]] = None
                    self.at.append(now)
            if len(self.seen) >= self.wanted:
                self.done.set()
                return


async def run(workload: Workload) -> Outcome:
    """Play one workload on a control plane of its own."""
    with tempfile.TemporaryDirectory(prefix="proa-bench-") as folder:
        plane = await Plane.open(Path(folder), Path(tempfile.gettempdir()) / "proa-bench.schemas")
        try:
            return await _played(plane, workload)
        finally:
            await plane.close()


async def _played(plane: Plane, workload: Workload) -> Outcome:
    clock = plane.clock
    begun, bare = clock.monotonic(), rss_mib()
    await plane.join(workload.hosts(plane.cluster))
    await _nodes_ready(plane, workload)
    joined_s = clock.monotonic() - begun
    for name, value in ((LOW, -10), (HIGH, 10)):
        kind = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "value": value}
        await plane.kube("POST", PRIORITIES, {**kind, "metadata": {"name": name}})
    for namespace in (MEASURED, BEFORE):
        await _make_namespace(plane, namespace)
    placed = 0
    for index, pods in enumerate(workload.before):
        await _create(plane, BEFORE, f"before-{index}", pods)
        placed += 0 if pods.waits else pods.count
    await _until(plane, lambda: plane.inner.scheduler.bound >= placed)
    scheduler = plane.inner.scheduler
    scheduler.hold()
    creating = clock.monotonic()
    await _create(plane, MEASURED, "measured", workload.measured)
    created_s = clock.monotonic() - creating
    await _settled(plane)
    count = Count(clock, workload.measured.count, {}, [], asyncio.Event())
    listed = await plane.kube("GET", f"/api/v1/namespaces/{MEASURED}/pods?limit=1")
    tasks = Tasks()
    tasks.spawn(count.follow(plane, listed["metadata"]["resourceVersion"]), "watch")
    if workload.churns:
        tasks.spawn(_churn(plane, workload), "churn")
    await clock.sleep(0.1)
    start, cpu = clock.monotonic(), _cpu_s()
    scheduler.release()
    async with asyncio.timeout(WAIT_S):
        await count.done.wait()
    seconds, cpu = count.at[-1] - start, _cpu_s() - cpu
    await tasks.close()
    rate = len(count.seen) / seconds
    return Outcome(
        workload=workload.name,
        nodes=workload.nodes,
        pods=len(count.seen),
        pods_per_s=round(rate, 1),
        limit=workload.limit,
        ratio=round(rate / workload.limit, 1) if workload.limit else 0.0,
        seconds=round(seconds, 3),
        per_second=percentiles(count.at, start),
        created_per_s=round(workload.measured.count / created_s, 1),
        joined_s=round(joined_s, 2),
        peak_rss_mib=round(peak_rss_mib(), 1),
        loaded_rss_mib=round(rss_mib(), 1),
        bare_rss_mib=round(bare, 1),
        cpu_s=round(cpu, 3),
        wall_s=round(clock.monotonic() - begun, 2),
    )


def percentiles(at: Sequence[float], start: float) -> dict[str, float]:
    """Percentiles of how many were seen in each second since ``start``; the last, broken second
    counts for what it would have been if it was longer than a tenth."""
    if not at:
        return {}
    length = at[-1] - start
    counts = [0.0] * (int(length) + 1)
    for instant in at:
        counts[int(instant - start)] += 1
    rest = length - int(length)
    if rest > 0.1 or len(counts) == 1:
        counts[-1] /= max(rest, 1e-3)
    else:
        counts.pop()
    counts.sort()
    shares = (("p5", 0.05), ("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
    rank = {name: counts[min(len(counts) - 1, int(part * len(counts)))] for name, part in shares}
    return {name: round(value, 1) for name, value in rank.items()}


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def _make_namespace(plane: Plane, name: str) -> None:
    labels = {"team": "devops"}
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    await plane.kube("POST", "/api/v1/namespaces", body)
    accounts = f"/api/v1/namespaces/{name}/serviceaccounts"

    async with asyncio.timeout(WAIT_S):
        while not (await plane.kube("GET", accounts))["items"]:
            await plane.clock.sleep(POLL_S)


async def _create(plane: Plane, namespace: str, prefix: str, pods: Pods) -> None:
    """POST each pod, many at a time, as a client with many connections does."""
    numbers = iter(range(pods.count))
    path = f"/api/v1/namespaces/{namespace}/pods"
    spec = orjson.dumps(pods.spec)
    if TARGET.encode() in spec:
        spec = spec.replace(TARGET.encode(), (await _target(plane)).encode())
    labels = dict(pods.labels)

    async def writer() -> None:
        for number in numbers:
            await plane.kube("POST", path, _pod(f"{prefix}-{number:05}", spec, labels))

    await gather([writer() for _ in range(WRITERS)])


def _pod(name: str, spec: bytes, labels: Mapping[str, str]) -> bytes:
    metadata = {"name": name, "labels": labels}
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": orjson.Fragment(spec)}
    return orjson.dumps(body)


async def _target(plane: Plane) -> str:
    """The name of the target's Node."""
    found = await plane.kube("GET", "/api/v1/nodes?labelSelector=bench/target")
    name: str = found["items"][0]["metadata"]["name"]
    return name


async def _churn(plane: Plane, workload: Workload) -> None:
    """Every second a node, a pod that no node has room for, and a Service come, or go again."""
    pods, services = (f"/api/v1/namespaces/{BEFORE}/{kind}" for kind in ("pods", "services"))
    ports = {"ports": [{"port": 80, "protocol": "TCP"}], "selector": {"app": "churn"}}
    service = {"apiVersion": "v1", "kind": "Service", "spec": ports}
    spec = orjson.dumps(CHURNING)
    for number in itertools.count():
        name = f"churn-{number}"
        hosts = [workload.host(name, plane.cluster)]
        await plane.join(hosts)
        await plane.kube("POST", pods, _pod(name, spec, {}))
        await plane.kube("POST", services, {**service, "metadata": {"name": name}})
        await plane.clock.sleep(CHURN_S)
        await plane.leave(hosts)
        await plane.kube("DELETE", f"{pods}/{name}")
        await plane.kube("DELETE", f"{services}/{name}")
        await plane.clock.sleep(CHURN_S)


async def _nodes_ready(plane: Plane, workload: Workload) -> None:
    """Wait until the API shows every node without the taint of one that is not ready."""
    async with asyncio.timeout(WAIT_S):
        while True:
            nodes = (await plane.kube("GET", "/api/v1/nodes"))["items"]
            taints = [item["key"] for node in nodes for item in node["spec"].get("taints", ())]
            doubted = sum(key.startswith("node.kubernetes.io/") for key in taints)
            if len(nodes) - doubted >= workload.nodes + workload.target:
                return
            await plane.clock.sleep(POLL_S * 5)


async def _until(plane: Plane, holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not holds():
            await plane.clock.sleep(POLL_S)


async def _settled(plane: Plane) -> None:
    """Wait until the controllers are done with what was created."""
    runner = plane.inner.runner
    assert runner is not None, "the control plane has started"
    quiet = 0
    async with asyncio.timeout(WAIT_S):
        while quiet < 5:
            await plane.clock.sleep(POLL_S)
            quiet = quiet + 1 if runner.idle else 0


def main(arguments: list[str]) -> int:
    """``python -m proa.bench.scheduling WORKLOAD NODES PODS``: one run in this process, its
    outcome as JSON; 0 nodes or pods are the workload's own."""
    name, nodes, pods = arguments
    outcome = uvloop.run(run(sized(WORKLOADS[name], int(nodes), int(pods))))
    sys.stdout.write(msgspec.json.encode(outcome).decode() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
