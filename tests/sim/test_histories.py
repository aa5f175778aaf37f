"""Whole histories under virtual time: the same seed gives the same one, and every seed ends well.

``PROA_SIM_SEEDS`` sets how many seeds of each scenario are tried. A failing seed is named;
``python -m proa.sim SCENARIO SEED`` replays it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from proa.sim.scenario import Scenario, load, run

TOP = Path(__file__).parent.parent.parent
SCENARIOS = sorted((TOP / "tests" / "scenarios").glob("*.yaml"))
SEEDS = int(os.environ.get("PROA_SIM_SEEDS", "8"))
_ELSEWHERE = """
import sys
from pathlib import Path
from proa.sim.scenario import load, run
print(run(load(Path(sys.argv[1])), sys.argv[2]).trace_sha256)
"""


@pytest.fixture(params=SCENARIOS, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> Path:
    found: Path = request.param
    return found


@pytest.fixture
def scenario(path: Path) -> Scenario:
    return load(path)


def hash_in_a_process(path: Path, seed: str, hash_seed: str) -> str:
    """The trace's hash as another process finds it, with other hashes of texts."""
    done = subprocess.run(
        [sys.executable, "-c", _ELSEWHERE, str(path), seed],
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(TOP / "src")},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return done.stdout.split()[-1]


def test_a_seed_gives_the_same_history_twice(scenario: Scenario) -> None:
    first, second = run(scenario, "twice"), run(scenario, "twice")
    assert first.trace == second.trace
    assert first.trace_sha256 == second.trace_sha256


def test_a_seed_gives_the_same_history_in_every_process(path: Path, scenario: Scenario) -> None:
    here = run(scenario, "elsewhere").trace_sha256
    assert hash_in_a_process(path, "elsewhere", "1") == here
    assert hash_in_a_process(path, "elsewhere", "2") == here


def test_another_seed_gives_another_history(scenario: Scenario) -> None:
    assert run(scenario, "one").trace_sha256 != run(scenario, "another").trace_sha256


def test_every_seed_reaches_the_wanted_state_and_breaks_no_law(scenario: Scenario) -> None:
    problems = {
        f"seed {number}": found
        for number in range(SEEDS)
        if (found := run(scenario, str(number)).problems)
    }
    assert not problems


def test_a_history_tells_of_both_apis_and_of_faults(scenario: Scenario) -> None:
    text = "\n".join(run(scenario, "told").trace)
    assert "put /kube/default/core/pods/" in text
    assert "/ecs/" in text
    assert "control plane stops" in text
    assert text.count("agent h-1 starts") == 2
