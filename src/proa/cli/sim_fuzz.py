"""``proa sim fuzz`` and ``proa sim replay``: the control plane under faults, history by history.

Neither needs a running Proa, root or Linux: everything happens in virtual time in this process
and its helpers. A seed that finds something is kept as a scenario file, which ``replay`` and the
tests play again.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from proa.base.clock import SystemClock
from proa.sim.campaign import Verdict, play, warm
from proa.sim.fuzz import draw
from proa.sim.scenario import Scenario, load, run, save

PROGRESS_EVERY = 50


def fuzz(first: int, seeds: int, jobs: int, keep: Path | None, *, as_json: bool) -> int:
    """Play so many seeds from the first; 1 where one found something."""
    started = SystemClock().monotonic()
    found: list[Verdict] = []
    virtual_s = 0.0
    names = [str(number) for number in range(first, first + seeds)]
    for count, verdict in enumerate(play(names, jobs), 1):
        virtual_s += verdict.seconds
        if verdict.problems:
            found.append(verdict)
            _tell(verdict, keep, as_json)
        if count % PROGRESS_EVERY == 0 and not as_json:
            sys.stderr.write(f"{count} of {seeds} seeds, {len(found)} found something\n")
    took_s = SystemClock().monotonic() - started
    if as_json:
        bad = {item.seed: item.problems for item in found}
        told = {"seeds": seeds, "first": first, "wall_s": took_s, "virtual_s": virtual_s,
                "failed": bad}  # fmt: skip
        sys.stdout.write(json.dumps(told) + "\n")
    else:
        sys.stdout.write(
            f"{seeds} seeds, {virtual_s / 3600:.1f} hours of virtual time in {took_s:.0f} s: "
            f"{len(found)} found something\n"
        )
    return int(bool(found))


def _tell(verdict: Verdict, keep: Path | None, as_json: bool) -> None:
    if keep is not None:
        scenario = replace(draw(verdict.seed), found=verdict.problems[0].splitlines()[0])
        save(scenario, keep / f"seed-{verdict.seed}.yaml")
    if as_json:
        return
    _write([f"seed {verdict.seed} found:", *(f"  {text}" for text in verdict.problems)])
    _write([f"  replay: proa sim replay {verdict.seed}"])


def replay(what: str, *, quiet: bool) -> int:
    """Play one history with its whole trace: a seed, or a scenario's file; 1 where it has a
    problem."""
    warm()
    scenario: Scenario = load(Path(what)) if Path(what).suffix == ".yaml" else draw(what)
    result = run(scenario)
    if not quiet:
        _write(result.trace)
    told = "; ".join(result.problems) or "all is well"
    _write([f"seed {scenario.seed}: {told} ({result.trace_sha256})"])
    return int(bool(result.problems))


def _write(lines: Iterable[str]) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
