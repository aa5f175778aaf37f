"""Histories drawn from a seed alone: a small world, workloads under both APIs, faults.

``proa sim fuzz`` and the tests play many; what ``draw`` makes is a scenario like any other, so
that one which found something can be kept as a file and plays the same when this has changed.
"""

from __future__ import annotations

from typing import Any

from proa.base.chance import Chance
from proa.sim.fuzz_desk import Desk
from proa.sim.fuzz_ecs import MAKERS as ECS_MAKERS
from proa.sim.fuzz_faults import draw_faults
from proa.sim.fuzz_kube import MAKERS as KUBE_MAKERS
from proa.sim.scenario import Scenario

Json = dict[str, Any]
MAKERS = (*KUBE_MAKERS, *ECS_MAKERS)


def draw(seed: str) -> Scenario:
    """The history of a seed."""
    chance = Chance(f"fuzz {seed}")
    hosts = _hosts(chance.child("hosts"))
    steps: list[Json] = []
    images: dict[str, Json] = {}
    drawn = chance.child("workloads")
    for number in range(drawn.choice([1, 1, 2, 2, 3])):
        maker = drawn.choice(MAKERS)
        maker(Desk(drawn.child(str(number)), number, steps, images))
    steps.sort(key=lambda step: step["at"])
    moments = [step["at"] for step in steps]
    ids = [host["id"] for host in hosts]
    faults = draw_faults(chance.child("faults"), ids, sorted(images), moments)
    watched = ("/api/v1/pods",) if drawn.random() < 0.4 else ()
    return Scenario(
        name="fuzz",
        hosts=tuple(hosts),
        steps=tuple(steps),
        faults=tuple(faults),
        images=images,
        within_s=_patience_s(faults),
        settles=True,
        watched=watched,
        contenders=2 if drawn.random() < 0.1 else 0,
        seed=seed,
    )


def _patience_s(faults: list[Json]) -> float:
    """How long a world may take to settle: what waits for room must not need the look that the
    scheduler takes every five minutes, while lost machines are given up after as long."""
    names = {fault["fault"] for fault in faults}
    return 900.0 if names & {"lose_host", "reclaim_host", "partition", "jump_clock"} else 200.0


def _hosts(chance: Chance) -> list[Json]:
    count = chance.choice([1, 1, 2, 2, 3, 4])
    return [{"id": f"h-{number}", "vcpu": 4, "memory_mib": 16384} for number in range(1, count + 1)]
