"""Histories drawn from seeds hold every law and come to rest; those that once did not do now.

``PROA_FUZZ_SEEDS`` sets how many are played, ``PROA_FUZZ_FIRST`` from which on. A seed that fails
is named with the command that plays it again.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from proa.base.chance import Chance
from proa.node.sim import Behaviour
from proa.sim.campaign import judge, kept, play
from proa.sim.faults import Faults
from proa.sim.fuzz import draw
from proa.sim.scenario import Scenario, load, run, save
from proa.sim.world import World

TOP = Path(__file__).parent.parent.parent
KEPT = kept(TOP / "scenarios" / "faults")
FIRST, SEEDS = (int(os.environ.get(f"PROA_FUZZ_{name}", usual))
                for name, usual in (("FIRST", "0"), ("SEEDS", "500")))  # fmt: skip
WORDS = (
    "deployments", "statefulsets", "daemonsets", "jobs", "CreateService", "RunTask", "DELETE",
    "DeleteService", "FARGATE", "bridge", "hostPort", "Recreate",
)  # fmt: skip
_ELSEWHERE = """
import sys
from proa.sim.fuzz import draw
from proa.sim.scenario import run
print(*(run(draw(seed)).trace_sha256 for seed in sys.argv[1:]))
"""


def test_every_seed_holds_the_laws_and_comes_to_rest() -> None:
    seeds = [str(number) for number in range(FIRST, FIRST + SEEDS)]
    found = {
        f"proa sim replay {verdict.seed}": verdict.problems
        for verdict in play(seeds, jobs=2)
        if verdict.problems
    }
    assert not found


@pytest.mark.parametrize("scenario", KEPT, ids=[scenario.name for scenario in KEPT])
def test_what_once_found_something_finds_nothing_now(scenario: Scenario) -> None:
    assert scenario.found, "a kept scenario says what it found"
    assert not judge(scenario).problems


def test_a_seed_gives_one_history_whatever_the_hashes_of_texts() -> None:
    seeds = ["4", "15", "53", "54", "236"]
    here = [run(draw(seed)).trace_sha256 for seed in seeds]
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", _ELSEWHERE, *seeds],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(TOP / "src")},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        assert done.stdout.split() == here


def test_a_history_that_is_kept_as_a_file_plays_the_same(tmp_path: Path) -> None:
    path = tmp_path / "kept.yaml"
    save(draw("4"), path)
    assert load(path) == draw("4")


def test_seeds_draw_every_fault_and_every_kind_of_workload() -> None:
    drawn = [draw(str(number)) for number in range(300)]
    faults = {fault["fault"] for scenario in drawn for fault in scenario.faults}
    world = World("any", lambda _container: Behaviour())
    assert faults == set(Faults(world, {}, Chance("any")).known())
    text = " ".join(str(scenario.steps) for scenario in drawn)
    missing = [word for word in WORDS if word not in text]
    assert not missing
