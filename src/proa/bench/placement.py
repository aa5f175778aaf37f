"""Placement alone: microseconds of processor time an ask, at 5,000 rows with 5,000 bookings.

``python -m proa.bench.placement [--rows N] [--asks N] [kind …]``. Nothing is stored and nothing
runs: the asks of one workload are compiled beforehand and given to ``engine.place`` in batches of
64, as the scheduler does. Process time, so that neighbours on the machine count little.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

from msgspec.structs import replace

from proa.base.quantity import bytes_of, cpu_of
from proa.bench.conditions import yardstick
from proa.model.resources import Resources
from proa.placement import engine
from proa.placement.asks import (
    Ask,
    Placed,
    PodTerm,
    Requirement,
    Row,
    Spread,
    Strategy,
    Term,
)
from proa.placement.fleet import Fleet

CLUSTER = "/kube/bench/"
ZONE, HOSTNAME = "topology.kubernetes.io/zone", "kubernetes.io/hostname"
BATCH = 64
WEB = (Requirement("app", "In", ("web",)),)


def fleet_of(rows: int, bookings: int) -> Fleet:
    """Rows in three zones, each with room for 110 pods, and small pods spread over them."""
    fleet = Fleet()
    room = Resources(cpu_of("32"), bytes_of("256Gi"), bytes_of("1Ti"), 110)
    for number in range(rows):
        id = f"i-{number:05}"
        labels = (
            (HOSTNAME, id),
            ("node.kubernetes.io/instance-type", f"m5.{number % 4}"),
            (ZONE, f"zone-{number % 3}"),
        )
        fleet.set_pool(id, room)
        fleet.set_row(Row(id, id, CLUSTER, id, room, labels))
    old = ask_of("old", labels=(("app", "old"),))
    asks = [replace(old, uid=f"old-{n}", key=f"/pods/old-{n}") for n in range(bookings)]
    engine.place(fleet, asks)
    return fleet


def ask_of(uid: str, **fields: object) -> Ask:
    reserve = Resources(cpu_of("100m"), bytes_of("500Mi"), 0, 1)
    made = Ask(uid, f"/pods/{uid}", CLUSTER, reserve, namespace="n", labels=(("app", "web"),))
    return replace(made, **fields)


def ecs(*strategies: Strategy) -> Callable[[str], Ask]:
    return lambda uid: ask_of(uid, strategies=strategies, group="g", namespace=CLUSTER, labels=())


KINDS: dict[str, Callable[[str], Ask]] = {
    "plain": ask_of,
    "node-affinity": lambda uid: ask_of(
        uid, affinity=(Term((Requirement(ZONE, "In", ("zone-0", "zone-1")),)),)
    ),
    "preferred-node-affinity": lambda uid: ask_of(
        uid, preferred=((10, Term((Requirement(ZONE, "In", ("zone-0",)),))),)
    ),
    "hard-spread": lambda uid: ask_of(uid, spreads=(Spread(ZONE, 1, True, WEB),)),
    "hard-spread-host": lambda uid: ask_of(uid, spreads=(Spread(HOSTNAME, 1, True, WEB),)),
    "soft-spread": lambda uid: ask_of(uid, spreads=(Spread(ZONE, 1, False, WEB),)),
    "default-spread": lambda uid: ask_of(
        uid, spreads=(Spread(HOSTNAME, 3, False, WEB), Spread(ZONE, 5, False, WEB))
    ),
    "stateful": lambda uid: ask_of(
        uid,
        labels=(("app", "web"), ("statefulset.kubernetes.io/pod-name", uid)),
        spreads=(Spread(HOSTNAME, 3, False, WEB), Spread(ZONE, 5, False, WEB)),
        spreads_default=True,
    ),
    "pod-affinity": lambda uid: ask_of(uid, pod_affinity=(PodTerm(ZONE, WEB, ("n",)),)),
    "pod-anti-affinity": lambda uid: ask_of(
        uid, pod_anti_affinity=(PodTerm(HOSTNAME, WEB, ("n",)),)
    ),
    "preferred-pod-affinity": lambda uid: ask_of(
        uid, pod_preferred=((10, PodTerm(HOSTNAME, WEB, ("n",))),)
    ),
    "preferred-pod-anti-affinity": lambda uid: ask_of(
        uid, pod_preferred=((-10, PodTerm(ZONE, WEB, ("n",))),)
    ),
    "daemon": lambda uid: ask_of(uid, affinity=(Term(names=(f"i-{int(uid[7:]):05}",)),)),
    "ecs-random": ecs(Strategy("random")),
    "ecs-spread-instance": ecs(Strategy("spread", "instanceId")),
    "ecs-spread-zone": ecs(Strategy("spread", ZONE)),
    "ecs-binpack-memory": ecs(Strategy("binpack", "memory")),
    "ecs-default": ecs(Strategy("spread", ZONE), Strategy("spread", "instanceId")),
    "ecs-zone-binpack": ecs(Strategy("spread", ZONE), Strategy("binpack", "cpu")),
}


def measure(kind: str, rows: int, count: int) -> dict[str, object]:
    """Place ``count`` asks of a kind on a fresh fleet."""
    fleet = fleet_of(rows, rows)
    asks = [KINDS[kind](f"{kind}-{number}") for number in range(count)]
    placed, took = 0, []
    for start in range(0, count, BATCH):
        batch = asks[start : start + BATCH]
        began = time.process_time()
        decisions = engine.place(fleet, batch)
        took.append((time.process_time() - began) / len(batch) * 1e6)
        placed += sum(isinstance(item, Placed) for item in decisions)
    return {
        "kind": kind,
        "us_per_ask": round(statistics.mean(took), 1),
        "median": round(statistics.median(took), 1),
        "best": round(min(took), 1),
        "yardstick": round(yardstick(), 2),
        "placed": placed,
    }


def main() -> None:
    """Measure the named kinds, or all."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kinds", nargs="*", default=list(KINDS))
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--asks", type=int, default=2000)
    parser.add_argument("--json", action="store_true", help="one object instead of a line a kind")
    chosen = parser.parse_args()
    found = []
    for kind in chosen.kinds:
        found.append(measure(kind, chosen.rows, chosen.asks))
        if not chosen.json:
            print(json.dumps(found[-1]), flush=True)
    if chosen.json:
        print(json.dumps({"rows": chosen.rows, "kinds": found}))


if __name__ == "__main__":
    main()
