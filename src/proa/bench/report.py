"""``bench/report.html``: a run of benchmarks as one page that needs no network.

How far each figure is beyond its limit, the table behind it, every method, what the machine gave,
and, with a baseline, what has changed since.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from proa.bench.findings import Run, differences, table
from proa.sim.charts import bars, page


def render(run: Run, baseline: Run | None = None) -> str:
    """The page."""
    parts = ["<h1>Benchmarks</h1>", f"<p>{escape(_machine(run))}</p>"]
    parts += [_chart(run), _table(table(run.findings))]
    if run.failed:
        failed = "".join(
            f"<li>{escape(name)}: {escape(why)}</li>" for name, why in run.failed.items()
        )
        parts.append(f"<h2>Not ended well</h2><ul>{failed}</ul>")
    if baseline is not None:
        parts += ["<h2>Since the baseline</h2>", _changes(run, baseline)]
    parts += ["<h2>Methods</h2>", _methods(run)]
    return page("Proa: benchmarks", "".join(parts))


def _machine(run: Run) -> str:
    said = ", ".join(f"{name} {value}" for name, value in sorted(run.machine.items()))
    return f"Measured on {said}. A ratio of 1 just reaches the limit; more is better."


def _chart(run: Run) -> str:
    rows = [
        (one.figure, [round(min(one.ratio, 100.0), 2)])
        for one in run.findings
        if one.ratio is not None
    ]
    return bars("Times the limit (100 at most)", rows, ("ratio",), " x")


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    lines = []
    for number, row in enumerate(rows):
        tag = "td" if number else "th"
        cells = "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in row)
        lines.append(f"<tr>{cells}</tr>")
    return f"<table>{''.join(lines)}</table>"


def _changes(run: Run, baseline: Run) -> str:
    rows = [("figure", "before", "now", "times as good")]
    for item in differences(run, baseline):
        one = item.finding
        mark = "  (worse)" if item.worse else ""
        rows.append(
            (one.key, f"{item.before:,.4g}", f"{one.value:,.4g}", f"{item.factor:.2f}{mark}")
        )
    return _table(rows)


def _methods(run: Run) -> str:
    """How each was measured, and what the machine gave to it."""
    methods = {one.benchmark: one.method for one in run.findings if one.method}
    return _listed(methods) + "<h2>Conditions</h2>" + _listed(run.conditions)


def _listed(items: Mapping[str, object]) -> str:
    said = (f"<dt>{escape(name)}</dt><dd>{escape(str(it))}</dd>" for name, it in items.items())
    return f"<dl>{''.join(said)}</dl>"
