"""Large scenarios: hosts in a crowd behave as agents do, one seed gives one history."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from proa.base.chance import Chance
from proa.base.errors import CallerFault
from proa.model.sandbox import Container, Probe, Sandbox
from proa.sim.crowd_behaviour import Curve, Manner, Manners, Spread, life_of, manners_from
from proa.sim.crowd_box import fails_after, succeeds_after
from proa.sim.large import Outcome, play
from proa.sim.picture import page
from proa.sim.plan import load_plan, read_plan, seconds

TOP = Path(__file__).parent.parent.parent
SMALL = TOP / "scenarios" / "small_day.yaml"
_ELSEWHERE = """
import sys
from pathlib import Path
from proa.sim.large import play
from proa.sim.plan import load_plan
print(play(load_plan(Path(sys.argv[1])), "7").trace_sha256)
"""
TINY = """
lasts: 15m
hosts: [{count: 3, vcpu: 8, memory_mib: 16384}]
images:
  "loop:1": {runs_s: 5, exit_code: 1}
  "never:1": {pull_error: "not found"}
workloads:
"""


def played(text: str, seed: str = "1") -> Outcome:
    return play(read_plan(TINY + text, "tiny"), seed)


def workload(outcome: Outcome, name: str) -> dict[str, Any]:
    found: dict[str, Any] = outcome.measures["workloads"][name]
    return found


@pytest.fixture(scope="module")
def small() -> Outcome:
    return play(load_plan(SMALL), "7")


def test_a_small_day_keeps_what_is_wanted_running(small: Outcome) -> None:
    assert small.problems == []
    measures = small.measures
    assert measures["running"] == measures["ready"] == 4 * 30 + 4 * 25
    assert measures["created"] > measures["running"] + 100
    for name, found in measures["workloads"].items():
        assert found["ready"] == found["wanted"], name
        assert found["missing_share"] < 0.05, name
        assert found["unavailable_s"] == 0.0, name


def test_one_seed_gives_one_history_under_any_hash_seed(small: Outcome) -> None:
    command = [sys.executable, "-c", _ELSEWHERE, str(SMALL)]
    environment = {**os.environ, "PYTHONHASHSEED": "17", "PYTHONPATH": str(TOP / "src")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == small.trace_sha256


def test_another_seed_gives_another_history() -> None:
    text = "  - {name: web, kind: deployment, replicas: 3, image: web}\n"
    assert played(text).trace_sha256 == played(text).trace_sha256
    assert played(text).trace_sha256 != played(text, "2").trace_sha256


def test_the_page_needs_nothing_else(small: Outcome) -> None:
    shown = page(small)
    assert small.trace_sha256 in shown
    assert "<svg" in shown and "data:image/png" in shown
    assert "http:" not in shown and "https:" not in shown


def test_containers_that_end_are_restarted_with_back_off_and_tasks_replaced() -> None:
    text = """
  - {name: pod, kind: deployment, replicas: 1, image: "loop:1"}
  - {name: svc, kind: service, replicas: 1, image: "loop:1"}
"""
    measures = played(text).measures
    assert 4 <= measures["restarts"] <= 12  # 0, 10, 20, 40, 80, 160, 300 s apart
    assert measures["created"] >= 4  # the service throttles, and starts new ones


def test_an_image_that_cannot_be_pulled_never_runs() -> None:
    text = """
  - {name: pod, kind: deployment, replicas: 1, image: "never:1"}
  - {name: svc, kind: service, replicas: 1, image: "never:1"}
"""
    outcome = played(text)
    assert outcome.measures["started"] == 0
    assert workload(outcome, "pod")["ready"] == 0


def test_a_lost_machine_is_replaced_elsewhere_and_comes_back() -> None:
    text = """
  - {name: svc, kind: service, replicas: 6, image: web}
faults:
  - {fault: lose_node, between: [100, 100], given: {host: node-1, for_s: 300}}
"""
    outcome = played(text)
    assert workload(outcome, "svc")["ready"] == 6
    assert workload(outcome, "svc")["missing_share"] > 0


def test_the_crowd_outlives_the_control_plane() -> None:
    text = """
  - {name: svc, kind: service, replicas: 4, image: web}
  - {name: pod, kind: deployment, replicas: 4, image: web}
churn: {share_per_hour: 10, begin: 30}
faults:
  - {fault: restart_control_plane, between: [100, 200], given: {away_s: 30}}
  - {fault: partition, between: [300, 300], given: {for_s: 30, share: 0.5}}
  - {fault: api_errors, between: [400, 400], given: {for_s: 30, share: 0.5}}
"""
    outcome = played(text)
    assert outcome.problems == []
    assert outcome.measures["ready"] == 8


def test_churn_by_rollouts_replaces_its_share_and_leaves_no_workload_without_replicas() -> None:
    text = """
  - {name: svc, kind: service, replicas: 8, image: web, copies: 2}
  - {name: pod, kind: deployment, replicas: 8, image: web, copies: 2}
churn: {share_per_hour: 20, rollouts: 1, begin: 60, end: 900}
"""
    outcome = played(text)
    assert outcome.problems == []
    assert outcome.measures["ready"] == 32
    assert outcome.measures["ended"] > 32
    assert all(one["unavailable_s"] == 0 for one in outcome.measures["workloads"].values())


def test_churn_by_rollouts_leaves_alone_what_has_not_been_created_yet() -> None:
    text = """
  - {name: svc, kind: service, replicas: 8, image: web, copies: 2, at: 60}
churn: {share_per_hour: 50, rollouts: 1, end: 900}
"""
    outcome = played(text)
    assert outcome.problems == []
    assert outcome.measures["ended"] > 0


def test_what_is_wanted_outlives_reclaims_jumps_of_the_clock_and_broken_lines() -> None:
    text = """
  - {name: svc, kind: service, replicas: 6, image: web}
  - {name: pod, kind: deployment, replicas: 6, image: web}
churn: {share_per_hour: 10, begin: 30, end: 800}
agents: {report_every: 1s}
faults:
  - {fault: reclaim, between: [60, 60], given: {host: node-1, again_s: 30}}
  - {fault: jump_clock, between: [250, 250], given: {by_s: 3600, for_s: 60}}
  - {fault: jump_clock, between: [350, 350], given: {by_s: -30}}
  - {fault: break_watches, between: [400, 420], times: 3}
  - {fault: cut_feeds, between: [450, 450]}
  - {fault: kill_control_plane, between: [500, 500], given: {away_s: 15, steps: 500}}
"""
    outcome = played(text)
    assert outcome.problems == []
    assert outcome.hosts == ["node-2", "node-3", "node-1-1"]
    assert outcome.measures["ready"] == 12
    assert played(text).trace_sha256 == outcome.trace_sha256


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lasts: 1h\n", "hosts"),
        ("lasts: soon\nhosts: []\nworkloads: []\n", "no span of time"),
        ("lasts: 1h\nhosts: [{count: 0, vcpu: 1, memory_mib: 1}]\nworkloads: []\n", "count"),
        ("lasts: 1h\nhosts: []\nworkloads: [{name: a}]\n", "workloads[0]"),
        ("lasts: 1h\nhosts: []\nworkloads: []\nhost: 1\n", "host"),
        ("- a\n", "mapping"),
        ("a: [\n", "no YAML"),
        ("lasts: 1h\nhosts: []\nworkloads: []\nchanges: [{at: 1, workload: x, image: y}]\n", "x"),
        ("lasts: 1h\nhosts: []\nworkloads: []\nimages: {a: {cpu: gone}}\n", "load curve"),
    ],
)
def test_a_mistake_in_a_scenario_is_named(text: str, said: str) -> None:
    with pytest.raises(CallerFault, match=said.replace("[", r"\[").replace("]", r"\]")):
        read_plan(text, "wrong")


def test_an_unknown_fault_is_refused_before_anything_starts() -> None:
    with pytest.raises(CallerFault, match="no fault 'fire'"):
        played("  []\nfaults: [{fault: fire, between: [1, 2]}]\n")


def test_spans_of_time_are_read() -> None:
    assert [seconds(span) for span in (90, "90s", "1h30m", "2d", "0.5h")] == [
        90.0, 90.0, 5400.0, 172_800.0, 1800.0,
    ]  # fmt: skip


def test_a_curve_is_straight_between_its_points_and_comes_again() -> None:
    curve = Curve(((0.0, 0.2), (12.0, 1.0), (18.0, 0.4)))
    hours = [0, 6, 12, 15, 18, 21, 24, 36]
    found = [round(curve.at(hour * 3600), 3) for hour in hours]
    assert found == [0.2, 0.6, 1.0, 0.7, 0.4, 0.3, 0.2, 1.0]


def test_spreads_keep_to_their_figures() -> None:
    chance = Chance("s")
    drawn = sorted(Spread(lognormal=(2.0, 8.0)).draw(chance) for _ in range(4000))
    assert 1.8 < drawn[2000] < 2.2
    assert 7.0 < drawn[3800] < 9.2
    assert all(1 <= Spread(uniform=(1, 2)).draw(chance) <= 2 for _ in range(100))


def test_what_a_container_says_of_itself_beats_its_image() -> None:
    manners = manners_from({"web:*": {"ready_s": 3}, "*": {"ready_s": 9}})
    container = Container("c", "web:1", environment=(("PROA_SIM_EXIT_CODE", "4"),))
    labels = (("sim.proa/runs-s", "30"), ("sim.proa/nonsense", "1"), ("app", "web"))
    sandbox = Sandbox("u", "n", "default", "/k", "i", (container,), labels=labels)
    life = life_of(manners.of(sandbox, container), Chance("l"))
    assert (life.ready_s, life.runs_s, life.exit_code) == (3, 30, 4)
    assert manners.of_image("other").ready_s == 9
    assert Manners({}).of_image("any") == Manner()


def test_probes_succeed_and_fail_when_the_kubelets_would() -> None:
    probe = Probe(initial_delay_s=2, period_s=5, successes=1, failures=3)
    assert [succeeds_after(probe, ready) for ready in (0, 2, 2.5, 8)] == [2, 2, 7, 12]
    assert fails_after(probe, 12.0) is None
    assert fails_after(probe, 13.0) == 12
