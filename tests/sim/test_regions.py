"""Scenarios of several regions: a history each, told together, whoever plays them."""

from __future__ import annotations

import pytest

from proa.base.errors import CallerFault
from proa.sim.large import Outcome, play
from proa.sim.picture import page
from proa.sim.plan import read_plan

TWO = """
lasts: 15m
regions: [us-east-1, eu-west-1]
hosts: [{count: 3, vcpu: 8, memory_mib: 16384, zones: [a, b]}]
workloads:
  - {name: pod, kind: deployment, replicas: 4, image: web}
  - {name: svc, kind: service, replicas: 4, image: web, region: eu-west-1}
churn: {share_per_hour: 10, begin: 30}
faults:
  - {fault: lose_node, between: [100, 100], given: {for_s: 300}, region: us-east-1}
  - {fault: restart_control_plane, between: [400, 500], given: {away_s: 30}, region: eu-west-1}
"""


def played(text: str, at_once: int = 1) -> Outcome:
    return play(read_plan(text, "two"), "1", keep=True, at_once=at_once)


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    return played(TWO)


def test_each_region_has_hosts_workloads_and_faults_of_its_own(outcome: Outcome) -> None:
    assert outcome.problems == []
    workloads = outcome.measures["workloads"]
    assert list(workloads) == ["eu-west-1/pod", "eu-west-1/svc", "us-east-1/pod"]
    assert all(one["ready"] == one["wanted"] == 4 for one in workloads.values())
    assert len(outcome.hosts) == 6 and outcome.hosts[0] == "us-east-1/node-1"
    faults = [line.split()[1:4] for line in outcome.lines if " fault " in line]
    assert faults == [
        ["us-east-1", "fault", "lose_node"],
        ["eu-west-1", "fault", "restart_control_plane"],
    ]


def test_what_is_measured_is_of_all_regions_together(outcome: Outcome) -> None:
    measures, series = outcome.measures, outcome.measures["series"]
    assert measures["running"] == measures["ready"] == 12
    last = dict(zip(series["columns"], series["rows"][-1], strict=True))
    assert (last["wanted"], last["running"], last["at_s"]) == (12, 12, 900.0)
    assert last["memory_reserved"] == round(12 * 256 / (6 * 16384), 4)
    assert (
        sum(row[series["columns"].index("started")] for row in series["rows"])
        == (measures["started"])
    )
    assert all(len(shares) == 6 for _, shares in outcome.packing)
    assert "us-east-1" not in outcome.scenario and outcome.trace_sha256 in page(outcome)


def test_it_is_the_same_history_whether_or_not_regions_are_played_side_by_side(
    outcome: Outcome,
) -> None:
    other = played(TWO, at_once=2)
    assert other.trace_sha256 == outcome.trace_sha256
    assert other.lines == outcome.lines and other.measures == outcome.measures


def test_regions_that_look_alike_have_histories_of_their_own() -> None:
    alike = TWO[: TWO.index("faults:")].replace(", region: eu-west-1", "")
    plan = read_plan(alike, "two")
    told = play(plan, "1", keep=True, at_once=1)
    east = [line for line in told.lines if line.split()[1] == "us-east-1"]
    west = [line.replace("eu-west-1", "us-east-1") for line in told.lines if line not in east]
    assert len(east) > 100 and east != west


def test_the_trace_is_in_the_order_of_time(outcome: Outcome) -> None:
    instants = [float(line.split()[0]) for line in outcome.lines]
    assert instants == sorted(instants)
    assert len(instants) > 400


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("[us-east-1, eu-west-1]", "[]", "there is some region"),
        ("[us-east-1, eu-west-1]", "[us-east-1, us-east-1]", "two regions"),
        ("[us-east-1, eu-west-1]", "[us-east-1, east]", "'east' is no region"),
        ("region: us-east-1}", "region: us-east-2}", "no region 'us-east-2'"),
        ("zones: [a, b]", "zones: [us-east-1a]", "zone 'us-east-1a' is not in region eu-west-1"),
        ("name: svc", "name: pod", "two workloads have one name"),
        ("churn:", "changes: [{at: 1, workload: svc, image: y}]\nchurn:", "no workload 'svc'"),
    ],
)
def test_a_mistake_about_regions_is_named(before: str, after: str, said: str) -> None:
    with pytest.raises(CallerFault, match=said):
        read_plan(TWO.replace(before, after), "two")


def test_a_plan_of_one_region_may_call_its_zones_what_it_likes() -> None:
    hosts = "hosts: [{count: 1, vcpu: 1, memory_mib: 512, zones: [hall-1, b]}]"
    plan = read_plan(f"lasts: 1m\n{hosts}\nworkloads: []", "one")
    assert plan.of("us-east-1").hosts[0].zones == ("hall-1", "us-east-1b")
