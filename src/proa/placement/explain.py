"""Why each Instance would or would not take an ask, row by row: for ``proa why``.

The engine counts the reasons of a refusal over all rows, because its arrays decide for thousands
at once. A person asks about one Sandbox and wants every Instance's answer with figures, so this
looks at the same masks one row at a time. It decides nothing and books nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from proa.placement import filters
from proa.placement.asks import Ask, Requirement, Term
from proa.placement.fleet import AMOUNTS, Fleet, amounts


@dataclass(slots=True, frozen=True)
class Lack:
    """One thing an Instance lacks. ``code`` is a Reason's; ``wanted``, ``left`` and ``total`` are
    in the column's own unit (CPU in 1/128,000 vCPU, memory and disk in bytes), 0 where the lack
    is no amount; ``detail`` names the taint, port or requirement."""

    code: str
    detail: str = ""
    wanted: int = 0
    left: int = 0
    total: int = 0


@dataclass(slots=True, frozen=True)
class Answer:
    """What one Instance (or, for Fargate, one Host's Pool) says to an ask: nothing lacking means
    it would take it."""

    instance: str
    name: str
    lacks: tuple[Lack, ...]


def explain(fleet: Fleet, ask: Ask) -> list[Answer]:
    """Every Instance of the ask's cluster with all that it lacks, in the order of their names."""
    if ask.fargate:
        return _pools(fleet, ask)
    cluster = fleet.cluster_number(ask.cluster)
    answers = []
    for number in np.flatnonzero(fleet.live & (fleet.cluster == cluster)):
        row = fleet.rows[int(number)]
        if row is not None:
            answers.append(Answer(row.id, row.name, tuple(_lacks(fleet, ask, int(number)))))
    return sorted(answers, key=lambda answer: (answer.name, answer.instance))


def _pools(fleet: Fleet, ask: Ask) -> list[Answer]:
    wanted = amounts(ask.reserve)
    answers = []
    for pool in sorted(fleet.pool_total):
        total, left = fleet.pool_total[pool], fleet.pool_total[pool] - fleet.pool_used[pool]
        lacks = tuple(
            Lack(f"pool-{name}", "", int(wanted[i]), int(left[i]), int(total[i]))
            for i, name in enumerate(AMOUNTS[:2])
            if left[i] < wanted[i]
        )
        answers.append(Answer("", pool, lacks))
    return answers


def _lacks(fleet: Fleet, ask: Ask, number: int) -> Iterator[Lack]:
    row = fleet.rows[number]
    assert row is not None, "a live row has a description"
    if ask.pinned and ask.pinned != row.id:
        yield Lack("pinned", ask.pinned)
    if filters.cordoned_mask(fleet, ask)[number]:
        yield Lack("cordoned")
    if not fleet.ready[number]:
        yield Lack("notready")
    taint = filters.first_untolerated(ask, row.taints)
    if taint is not None:
        yield Lack("taint", f"{taint.key}={taint.value}:{taint.effect}")
    yield from _unmet(fleet, ask, number)
    if ask.zone:
        zones = fleet.label_column("topology.kubernetes.io/zone")
        if zones[number] != fleet.value_number(ask.zone):
            yield Lack("zone", ask.zone)
    for port in ask.ports:
        if number in fleet.ports.get((port.protocol, port.number), {}).values():
            yield Lack("ports", f"{port.number}/{port.protocol}")
    if filters.distinct_mask(fleet, ask)[number]:
        yield Lack("distinct", ask.group)
    yield from _amounts(fleet, ask, number)
    yield from _spreads(fleet, ask, number)


def _unmet(fleet: Fleet, ask: Ask, number: int) -> Iterator[Lack]:
    """Selectors and constraints: which requirement fails, as far as one can be named."""
    for key, value in ask.node_selector:
        if not filters.requirement_mask(fleet, Requirement(key, "In", (value,)))[number]:
            yield Lack("selector", f"{key}={value}")
    for term in ask.constraints:
        if not filters.term_mask(fleet, term)[number]:
            yield Lack("selector", _term_text(term))
    if ask.affinity is not None and not any(
        filters.term_mask(fleet, term)[number] for term in ask.affinity if not term.empty
    ):
        yield Lack("selector", " or ".join(_term_text(term) for term in ask.affinity))


def _term_text(term: Term) -> str:
    words = [
        f"{item.key} {item.operator} {','.join(item.values)}".strip() for item in term.requirements
    ]
    if term.names is not None:
        words.append(f"name in {','.join(term.names)}")
    if term.not_names:
        words.append(f"name not in {','.join(term.not_names)}")
    return " and ".join(words)


def _amounts(fleet: Fleet, ask: Ask, number: int) -> Iterator[Lack]:
    wanted = amounts(ask.reserve)
    own_left = fleet.allocatable[number] - fleet.used[number]
    pool_left = filters.pool_room(fleet)[number]
    row = fleet.rows[number]
    pool_total = fleet.pool_total.get(row.pool) if row else None
    for index, name in enumerate(AMOUNTS):
        if not wanted[index]:
            continue
        need, own = int(wanted[index]), int(own_left[index])
        if own < need:
            yield Lack(name, "", need, own, int(fleet.allocatable[number][index]))
        elif name in ("cpu", "memory") and int(pool_left[index]) < need:
            total = int(pool_total[index]) if pool_total is not None else 0
            yield Lack(f"pool-{name}", "", need, int(pool_left[index]), total)


def _spreads(fleet: Fleet, ask: Ask, number: int) -> Iterator[Lack]:
    eligible = fleet.live & (fleet.cluster == fleet.cluster_number(ask.cluster))
    for spread in ask.spreads:
        if not spread.hard:
            continue
        missing, full = filters.spread_masks(fleet, ask, spread, eligible)
        if missing[number]:
            yield Lack("spread-label", spread.key)
        elif full[number]:
            yield Lack("spread", f"{spread.key} maxSkew {spread.max_skew}")
