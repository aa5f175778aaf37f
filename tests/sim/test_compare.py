"""``proa compare``: the language, capacity's models, sums, and a small workload played twice."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from proa.base.errors import CallerFault
from proa.cli.main import main
from proa.cost.meter import Meter, Rent
from proa.cost.prices import load
from proa.sim.compare.question import Question, load_question, read_question
from proa.sim.compare.trial import Trial, play_way
from proa.sim.compare.verdict import Verdict, graviton_share
from proa.sim.compare.ways import Rates, fargate_shape, together

SMALL = """
lasts: 40m
services:
  - name: web
    vcpu: 0.4
    memory_mib: 600
    min: 2
    max: 9
    per_replica: 10
    load: {points: [[0, 20], [0.2, 20], [0.25, 90], [0.4, 90], [0.45, 10]], period_h: 1}
nodes: {type: t3.medium, idle_s: 5m}
"""


def played(way: str) -> Trial:
    question = read_question(SMALL, "small")
    return play_way(question, way, "1", Rates(load()))  # type: ignore[arg-type]


def test_the_shipped_example_is_in_the_language() -> None:
    question = load_question(Path("examples/compare/shop.yaml"))
    web = question.services[0]
    assert web.replicas(12 * 3600) == 44
    assert web.replicas(5 * 3600) == 4, "never below the minimum"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("services: []", "there is a service"),
        ("services: [{name: a, vcpu: 0, memory_mib: 1}]", "above 0"),
        ("services: [{name: a, vcpu: 1, memory_mib: 1, cpu: 2}]", "unknown field `cpu`"),
        ("services: [{name: a, vcpu: 1, memory_mib: 1}]\nnodes: {type: m9.tiny}", "m9.tiny"),
        ("services: [{name: a, vcpu: 1, memory_mib: 1}]\nways: [nomad]", "nomad"),
        ("[]", "a mapping"),
        ("{", "no YAML"),
    ],
)
def test_mistakes_are_named(text: str, said: str) -> None:
    with pytest.raises(CallerFault, match=said):
        read_question(text, "q")


def test_fargate_rounds_up_to_its_sizes() -> None:
    assert fargate_shape(0.25, 512) == (0.25, 512)
    assert fargate_shape(0.25, 512, overhead_mib=256) == (0.25, 1024)
    assert fargate_shape(0.3, 100) == (0.5, 1024)
    with pytest.raises(CallerFault, match="no size"):
        fargate_shape(64, 100)


def test_spreads_one_after_the_other_add_up() -> None:
    assert together(10, 5).lognormal == (15, 15)


def test_nodes_come_with_the_load_and_go_when_idle() -> None:
    trial = played("eks-nodes")
    assert not trial.problems
    most = max(row[1] for row in trial.series)
    assert most == 9 and trial.machines >= 3, "two vCPUs take four replicas of 0.4"
    assert trial.series[-1][5] < trial.machines, "idle nodes are given back"
    assert trial.series[-1][2] == trial.series[-1][1] == 2
    assert 0.1 < trial.packing[0] < 1
    assert {line.what for line in trial.bill.lines} == {"control plane", "ec2 t3.medium"}
    assert trial.starts["max"] > 60, "a replica waited for a machine to boot"


def test_tasks_on_fargate_pay_for_their_own_sizes_only() -> None:
    trial = played("ecs-fargate")
    assert not trial.problems
    (line,) = trial.bill.lines
    rate = load().fargate_hour(0.5, 1)
    assert line.cost == pytest.approx(line.hours * rate)
    assert line.count == trial.started
    assert trial.packing[0] == pytest.approx(0.4 / 0.5, abs=0.02)


def test_pods_on_fargate_get_a_machine_each() -> None:
    trial = played("eks-fargate")
    assert not trial.problems
    rented = next(line for line in trial.bill.lines if line.what == "fargate")
    assert trial.machines == 9 and rented.count >= 9
    assert trial.series[-1][5] == 2


def test_one_seed_gives_one_history() -> None:
    first, second = played("ecs-ec2"), played("ecs-ec2")
    assert (first.trace_sha256, first.series) == (second.trace_sha256, second.series)


def verdict_of(rent: Rent, hours: float) -> Verdict:
    meter = Meter()
    meter.start("x", rent, 0)
    bill = meter.bill(0, hours * 3600)
    question = read_question(SMALL, "small")
    trial = Trial("ecs-ec2", bill, {}, 0.0, (1.0, 1.0), 1, 1)
    return Verdict(replace_lasts(question, hours), "1", load(), (trial,))


def replace_lasts(question: Question, hours: float) -> Question:
    return read_question(SMALL.replace("40m", f"{hours:g}h"), question.name)


def test_other_purchases_are_reckoned_from_the_same_bill() -> None:
    prices = load()
    verdict = verdict_of(Rates(prices).node("m5.large"), 2)
    (trial,) = verdict.trials
    month = 730 * prices.ec2_hour("m5.large")
    assert verdict.month(trial) == pytest.approx(month)
    others = verdict.otherwise(trial)
    assert others["reserved-1y"] == pytest.approx(month * prices.factor("ec2", "reserved-1y"))
    assert others["graviton"] == pytest.approx(730 * prices.ec2_hour("m7g.large"))


def test_pods_on_fargate_have_no_graviton_to_go_to() -> None:
    bill = played("eks-fargate").bill
    assert graviton_share(bill, load()) is None
    alone = replace(bill, lines=tuple(one for one in bill.lines if one.what == "fargate"))
    assert graviton_share(alone, load()) == pytest.approx(0.8, abs=0.01)


def test_the_command_prints_json_and_writes_a_page(tmp_path: Path) -> None:
    workload, report = tmp_path / "small.yaml", tmp_path / "small.html"
    workload.write_text(SMALL + "ways: [ecs-fargate, ecs-ec2]\n")
    arguments = ["compare", str(workload), "--report", str(report), "--json"]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.stderr
    shown = json.loads(done.stdout)
    assert [way["cost"] for way in shown["ways"]] == sorted(way["cost"] for way in shown["ways"])
    page = report.read_text()
    assert "ECS on EC2" in page and "<svg" in page and "<script" not in page
    assert "src=" not in page, "nothing is fetched"


def test_the_command_names_a_mistake(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["compare", str(tmp_path / "none.yaml")])
    assert done.exit_code == 1 and "none.yaml" in done.stderr
