"""A comparison as one self-contained HTML page: the table, costs over time, packing, cold starts.

``proa compare --report`` writes it. Everything shown is in ``Verdict``; nothing is fetched.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from proa.sim.charts import Series, bars, lines, page
from proa.sim.compare.trial import Trial
from proa.sim.compare.verdict import COLUMNS, Verdict
from proa.sim.compare.ways import ECS_LOOK_S, KUBE_LOOK_S, TITLES


def render(verdict: Verdict) -> str:
    """The page."""
    question = verdict.question
    title = f"{question.name}: four ways to run it" if len(question.ways) == 4 else question.name
    body = "".join(
        [
            f"<h1>{escape(title)}</h1>",
            f"<p>{verdict.hours:g} hours in virtual time under seed {escape(verdict.seed)}, "
            f"bought {escape(question.purchase)}.</p>",
            _table(verdict),
            _costs(verdict),
            _packing(verdict),
            _starts(verdict),
            *(_replicas(trial) for trial in verdict.trials),
            _purchases(verdict),
            _assumptions(verdict),
        ]
    )
    return page(title, body)


def _row(cells: Sequence[str], tag: str = "td") -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"


def _table(verdict: Verdict) -> str:
    rows = [_row(COLUMNS, "th"), *(_row(cells) for cells in verdict.table())]
    return f"<table>{''.join(rows)}</table>"


def _costs(verdict: Verdict) -> str:
    series = []
    for trial in verdict.trials:
        hours = [sum(hour) for hour in zip(*trial.bill.by_hour.values(), strict=True)]
        points = [(3600.0 * (index + 1), cost) for index, cost in enumerate(hours)]
        series.append(Series(TITLES[trial.way], points, stepped=True))
    return lines("Cost of each hour, $", series)


def _packing(verdict: Verdict) -> str:
    rows = [
        (TITLES[trial.way], [round(100 * share, 1) for share in trial.packing])
        for trial in verdict.trials
    ]
    return bars("Packing: what was asked for, of what was paid for", rows, ("CPU", "memory"), "%")


def _starts(verdict: Verdict) -> str:
    names = ("p50", "p90", "p99")
    rows = [
        (TITLES[trial.way], [round(trial.starts.get(name, 0.0), 1) for name in names])
        for trial in verdict.trials
    ]
    return bars("From a replica's making until it is ready", rows, names, " s")


def _replicas(trial: Trial) -> str:
    def column(index: int) -> list[tuple[float, float]]:
        return [(row[0], row[index]) for row in trial.series]

    series = [
        Series("replicas wanted", column(1)),
        Series("running", column(2)),
        Series("vCPU asked for", column(3)),
        Series("vCPU paid for", column(4)),
    ]
    return lines(TITLES[trial.way], series)


def _purchases(verdict: Verdict) -> str:
    others = {trial.way: verdict.otherwise(trial) for trial in verdict.trials}
    names = list(dict.fromkeys(name for found in others.values() for name in found))
    rows = [_row(["a month if bought as", *names], "th")]
    for trial in verdict.trials:
        found = others[trial.way]
        costs = [f"${found[name]:,.0f}" if name in found else "–" for name in names]
        rows.append(_row([TITLES[trial.way], *costs]))
    return f"<table>{''.join(rows)}</table>"


def _assumptions(verdict: Verdict) -> str:
    question, prices = verdict.question, verdict.prices
    nodes = question.nodes
    said = [
        f"Rates of {prices.date}, {prices.region}, in {prices.currency}; Spot prices move.",
        f"Nodes are {nodes.type}; {nodes.kept_share:.1%} of their memory is kept by hypervisor and "
        f"kernel, {nodes.daemons_vcpu:g} vCPU of a Kubernetes node by its own pods.",
        f"Capacity is looked at every {ECS_LOOK_S:g} s under ECS (managed scaling), every "
        f"{KUBE_LOOK_S:g} s under Kubernetes (just-in-time nodes); nodes without replicas "
        f"are given back after {nodes.idle_s}.",
        "Boot, pull and start times are drawn from the workload file's spreads: they are "
        "assumptions. Placement, deployments and scaling are the control plane's own, as played.",
        "Load balancers, addresses, traffic, storage and logs are not in the sums.",
        *prices.sources,
    ]
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in said) + "</ul>"
