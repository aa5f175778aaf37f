"""Findings: one figure of a benchmark with its peer or limit, and what a collection of them says.

``suite`` makes them from what each benchmark prints, ``cli.bench`` shows them, ``report`` draws
them. A finding carries its method, so that a figure is never read without it. Machines drift: only
ratios of one run, or two runs on one quiet machine, compare.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from proa.base.errors import CallerFault
from proa.bench.conditions import Conditions

NOISE = 0.25  # two runs on one machine may differ by as much without meaning anything


@dataclass(slots=True, frozen=True)
class Finding:
    """``value`` in ``unit``. ``limit`` is what it must reach, of ``against``: a peer's figure, or
    a bound; None where there is none. ``more`` is better, or less is."""

    benchmark: str
    figure: str
    value: float
    unit: str
    more: bool
    limit: float | None = None
    against: str = ""
    method: str = ""

    @property
    def key(self) -> str:
        return f"{self.benchmark}/{self.figure}"

    @property
    def ratio(self) -> float | None:
        """How many times as good as the limit: 1 just reaches it."""
        if not self.limit or not self.value:
            return None
        return self.value / self.limit if self.more else self.limit / self.value

    @property
    def reached(self) -> bool:
        """Whether it is as good as it must be; True without a limit."""
        return self.ratio is None or self.ratio >= 1


@dataclass(slots=True, frozen=True)
class Run:
    """All findings of one run; ``failed`` names the benchmarks that did not end well,
    ``conditions`` says what the machine gave to each."""

    findings: tuple[Finding, ...]
    failed: dict[str, str]
    machine: dict[str, Any]
    conditions: dict[str, Conditions] = field(default_factory=dict)

    def shown(self) -> dict[str, Any]:
        """As JSON has it, and ``read_run`` reads it."""
        findings = [
            {**asdict(one), "ratio": one.ratio and round(one.ratio, 3), "reached": one.reached}
            for one in self.findings
        ]
        return {
            "machine": self.machine,
            "failed": self.failed,
            "conditions": {name: asdict(one) for name, one in self.conditions.items()},
            "findings": findings,
        }


def this_machine() -> dict[str, Any]:
    """What a run was measured on."""
    return {
        "cpus": os.cpu_count(),
        "machine": platform.machine(),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def read_run(path: Path) -> Run:
    """A saved run. Raises CallerFault for a file that is none."""
    try:
        content = json.loads(path.read_text())
        findings = [
            Finding(**{name: one[name] for name in Finding.__slots__})
            for one in content["findings"]
        ]
        conditions = {
            name: Conditions(**one) for name, one in content.get("conditions", {}).items()
        }
        return Run(tuple(findings), content["failed"], content["machine"], conditions)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CallerFault(f"{path} is no saved run of benchmarks: {error}") from error


@dataclass(slots=True, frozen=True)
class Difference:
    """A figure of two runs. ``factor`` above 1: the newer is better by so much."""

    finding: Finding
    before: float
    factor: float

    @property
    def worse(self) -> bool:
        """Whether it lost more than noise explains."""
        return self.factor < 1 - NOISE


def differences(run: Run, baseline: Run) -> list[Difference]:
    """Every figure that both runs have, the worst first."""
    before = {one.key: one.value for one in baseline.findings}
    found = []
    for one in run.findings:
        old = before.get(one.key)
        if old and one.value:
            factor = one.value / old if one.more else old / one.value
            found.append(Difference(one, old, factor))
    return sorted(found, key=lambda item: (item.factor, item.finding.key))


def table(findings: Sequence[Finding]) -> list[tuple[str, ...]]:
    """Rows of text, the header first: figure, value, limit, ratio, and whether it is reached."""
    rows: list[tuple[str, ...]] = [("figure", "value", "unit", "limit", "ratio", "against")]
    for one in findings:
        ratio = "" if one.ratio is None else f"{one.ratio:.2f} x"
        limit = "" if one.limit is None else f"{one.limit:,.4g}"
        mark = "" if one.reached else "  (missed)"
        rows.append((one.key, f"{one.value:,.4g}", one.unit, limit, ratio + mark, one.against))
    return rows
