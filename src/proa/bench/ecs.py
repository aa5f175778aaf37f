"""``proa bench ecs``: how many tasks a second are placed and bound under each placement strategy.

Method: container instances without agents behind them; a service asks for all its tasks through
``CreateService`` while the scheduler is held, and its controller writes them, as for any user. The
clock runs from the scheduler's release until the stored record of every task names its container
instance. Client and control plane share one process; the store is SQLite with durable commits.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import orjson
import uvloop

from proa.aws.ecs.tables import TASKS
from proa.base.quantity import bytes_of, cpu_of
from proa.bench.plane import Plane, Refused, peak_rss_mib
from proa.model.host import Host
from proa.model.resources import Resources
from proa.reconcile.view import Change, Table
from proa.sim.requests import ecs_request

Json = dict[str, Any]
FLOOR = 2000  # tasks/s, the project's own; ECS starts 500 tasks a minute and service
WAIT_S = 600.0
POLL_S = 0.1
_POOL = Resources(cpu_of("4"), bytes_of("32Gi"), bytes_of("100Gi"), 110)
_ZONES = ("us-east-1a", "us-east-1b", "us-east-1c")
DISTINCT = "distinct-instance"  # a constraint: an Instance for each task
STRATEGIES: dict[str, list[Json]] = {
    "random": [{"type": "random"}],
    "spread-instance": [{"type": "spread", "field": "instanceId"}],
    "spread-zone": [{"type": "spread", "field": "attribute:ecs.availability-zone"}],
    "binpack-cpu": [{"type": "binpack", "field": "cpu"}],
    "binpack-memory": [{"type": "binpack", "field": "memory"}],
    "spread-zone-binpack": [
        {"type": "spread", "field": "attribute:ecs.availability-zone"},
        {"type": "binpack", "field": "memory"},
    ],
    DISTINCT: [],
}


class Outcome(msgspec.Struct, omit_defaults=False):
    """What one run has shown."""

    workload: str
    nodes: int
    tasks: int
    tasks_per_s: float
    limit: int
    ratio: float
    seconds: float
    written_s: float  # from CreateService until every task was written and prepared
    peak_rss_mib: float


class _Bound:
    """Counts tasks whose record names an Instance."""

    def __init__(self, plane: Plane, wanted: int) -> None:
        self._plane, self._wanted = plane, wanted
        self._seen: dict[str, None] = {}
        self.all = asyncio.Event()
        self.at = 0.0
        plane.inner.view.subscribe(self._changed)

    def _changed(self, table: Table[Any], change: Change[Any]) -> None:
        if table is not TASKS or change.new is None or not change.new.value.instance:
            return
        self._seen[change.key] = None
        if len(self._seen) >= self._wanted and not self.all.is_set():
            self.at = self._plane.clock.monotonic()
            self.all.set()


async def run(strategy: str, nodes: int, tasks: int) -> Outcome:
    """One service under one strategy, on a control plane of its own; with one Instance a task at
    least where they must be distinct."""
    nodes = max(nodes, tasks) if strategy == DISTINCT else nodes
    with tempfile.TemporaryDirectory(prefix="proa-bench-") as folder:
        plane = await Plane.open(Path(folder), Path(tempfile.gettempdir()) / "proa-bench.schemas")
        try:
            return await _played(plane, strategy, nodes, tasks)
        finally:
            await plane.close()


async def _played(plane: Plane, strategy: str, nodes: int, tasks: int) -> Outcome:
    clock, scheduler = plane.clock, plane.inner.scheduler
    await plane.join([_host(number) for number in range(nodes)])
    container = {"name": "main", "image": "busybox", "cpu": 100, "memory": 128}
    await _ecs(plane, "RegisterTaskDefinition", family="bench", containerDefinitions=[container])
    distinct = [{"type": "distinctInstance"}] if strategy == DISTINCT else []
    scheduler.hold()
    start = clock.monotonic()
    await _ecs(
        plane,
        "CreateService",
        serviceName="bench",
        taskDefinition="bench",
        desiredCount=tasks,
        placementStrategy=STRATEGIES[strategy],
        placementConstraints=distinct,
    )
    async with asyncio.timeout(WAIT_S):
        while scheduler.waiting < tasks:
            await clock.sleep(POLL_S)
    written_s = clock.monotonic() - start
    bound = _Bound(plane, tasks)
    start = clock.monotonic()
    scheduler.release()
    async with asyncio.timeout(WAIT_S):
        await bound.all.wait()
    seconds = bound.at - start
    return Outcome(
        workload=f"ecs-{strategy}",
        nodes=nodes,
        tasks=tasks,
        tasks_per_s=round(tasks / seconds, 1),
        limit=FLOOR,
        ratio=round(tasks / seconds / FLOOR, 2),
        seconds=round(seconds, 3),
        written_s=round(written_s, 2),
        peak_rss_mib=round(peak_rss_mib(), 1),
    )


def _host(number: int) -> Host:
    id = f"node-{number:05}"
    zone = _ZONES[number % len(_ZONES)]
    return Host(id, id, pool=_POOL, simulated=True, clusters=("ecs/default",), zone=zone)


async def _ecs(plane: Plane, operation: str, **given: Any) -> Json:
    """A signed call of ECS. Raises Refused."""
    request = ecs_request(plane.config, plane.keys, plane.clock.now(), operation, given)
    answer = await plane.inner.aws.handle(request)
    if answer.status >= 400:
        raise Refused(f"{answer.status} {answer.body[:500]!r}")
    found: Json = orjson.loads(answer.body)
    return found


def main(arguments: list[str]) -> int:
    """``python -m proa.bench.ecs STRATEGY NODES TASKS``: one run in this process, as JSON."""
    strategy, nodes, tasks = arguments
    outcome = uvloop.run(run(strategy, int(nodes), int(tasks)))
    sys.stdout.write(msgspec.json.encode(outcome).decode() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
