"""Benchmarks as a product: ratios to limits, baselines, and the page."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from proa.base.errors import CallerFault
from proa.bench import suite
from proa.bench.conditions import Conditions
from proa.bench.findings import Finding, Run, differences, read_run, table
from proa.bench.report import render
from proa.bench.suite import Benchmark
from proa.cli.main import main

FAST = Finding("scheduling", "rate", 5400.0, "pods/s", True, 270.0, "the floor", "how it is done")
SLOW = Finding("up", "median", 2500.0, "ms", False, 2000.0, "bound", "from <up> to ready")
PLAIN = Finding("day", "speed", 700.0, "x", True)


def run_of(*findings: Finding) -> Run:
    return Run(findings, {}, {"cpus": 2})


def test_ratios_above_one_are_better_than_the_limit_either_way() -> None:
    assert FAST.ratio == pytest.approx(20) and FAST.reached
    assert SLOW.ratio == pytest.approx(0.8) and not SLOW.reached
    assert PLAIN.ratio is None and PLAIN.reached
    assert any("missed" in cell for row in table([FAST, SLOW]) for cell in row)


def test_a_run_is_saved_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text(json.dumps(run_of(FAST, SLOW, PLAIN).shown()))
    assert read_run(path) == run_of(FAST, SLOW, PLAIN)
    path.write_text('{"findings": [{}]}')
    with pytest.raises(CallerFault, match="no saved run"):
        read_run(path)


def test_a_run_keeps_what_the_machine_gave_to_each(tmp_path: Path) -> None:
    run = replace(run_of(FAST), conditions={"scheduling": Conditions(0.123, 1.5)})
    path = tmp_path / "run.json"
    path.write_text(json.dumps(run.shown()))
    assert read_run(path) == run
    assert "12.3% of processor time stolen" in render(run)


def test_a_baseline_tells_what_got_worse_in_either_direction() -> None:
    now = run_of(
        Finding("a", "rate", 50, "x", True),
        Finding("a", "time", 50, "ms", False),
        Finding("a", "new", 1, "x", True),
    )
    before = run_of(Finding("a", "rate", 100, "x", True), Finding("a", "time", 100, "ms", False))
    worst, best = differences(now, before)
    assert (worst.finding.figure, worst.factor, worst.worse) == ("rate", 0.5, True)
    assert (best.finding.figure, best.factor, best.worse) == ("time", 2.0, False)


def test_the_page_has_every_figure_its_method_and_what_changed() -> None:
    shown = render(run_of(FAST, SLOW), run_of(FAST))
    for text in ("5,400", "how it is done", "&lt;up&gt;", "Since the baseline", "<svg"):
        assert text in shown


def listed(*commands: tuple[str, ...]) -> dict[str, Benchmark]:
    def read(outcome: dict[str, float]) -> list[Finding]:
        return [Finding("one", "figure", outcome["value"], "x", True, 10.0)]

    names = ("one", "two")
    return {
        name: Benchmark(name, name, command, read)
        for name, command in zip(names, commands, strict=False)
    }


def test_the_suite_runs_each_apart_and_names_what_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    good = ("-c", "print('{\"value\": 20}')")
    bad = ("-c", "raise SystemExit('no room')")
    monkeypatch.setattr(suite, "benchmarks", lambda: listed(good, bad))
    saved, report = tmp_path / "base.json", tmp_path / "report.html"
    done = CliRunner().invoke(main, ["bench", "--save", str(saved), "--report", str(report)])
    assert done.exit_code == 1, "one has failed"
    assert "no room" in done.output
    assert read_run(saved).findings[0].value == 20 and "no room" in report.read_text()
    monkeypatch.setattr(suite, "benchmarks", lambda: listed(good))
    done = CliRunner().invoke(main, ["bench", "--baseline", str(saved), "--json"])
    assert done.exit_code == 0 and json.loads(done.stdout)["findings"][0]["reached"]


def test_an_unknown_benchmark_is_named() -> None:
    done = CliRunner().invoke(main, ["bench", "--only", "nonsense"])
    assert done.exit_code == 2 and "nonsense" in done.stderr


def test_one_that_takes_too_long_costs_the_others_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mark = tmp_path / "taken-down"
    endless = (
        "import atexit, pathlib, signal, sys, threading\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))\n"
        f"atexit.register(pathlib.Path({str(mark)!r}).touch)\n"
        "threading.Event().wait()"
    )
    monkeypatch.setattr(suite, "TIMEOUT_S", 1.0)
    monkeypatch.setattr(
        suite, "benchmarks", lambda: listed(("-c", endless), ("-c", "print('{\"value\": 20}')"))
    )
    known: list[Run] = []
    run = suite.run(["one", "two"], lambda _name: None, known.append)
    assert "not done after 1 s" in run.failed["one"] and mark.exists()
    assert [one.value for one in run.findings] == [20]
    assert [len(each.findings) for each in known] == [0, 1]  # told of as each ends


def test_what_cannot_be_run_here_is_said(tmp_path: Path) -> None:
    gone = Benchmark("day", "", (), lambda _outcome: [], needs=tmp_path / "day.yaml")
    assert suite.why_not(gone) == "day.yaml is part of a checkout"
    for name, one in suite.benchmarks().items():
        assert one.name == name and not (suite.why_not(one) and not one.live)
