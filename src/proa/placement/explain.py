"""Why each Instance would or would not take an ask, row by row: for ``proa why``.

The engine counts the reasons of a refusal over all rows, because its arrays decide for thousands
at once. A person asks about one Sandbox and wants every Instance's answer with figures, so this
has the same filters for one row at a time; ``engine`` uses them where an ask may go to few rows
only, and preemption where it tries one. It decides nothing and books nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from proa.placement import filters
from proa.placement.asks import Ask, Requirement, Row, Term
from proa.placement.classes import AskClass, classes_of
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
    kind = classes_of(fleet).alone(ask)
    answers = []
    for number in np.flatnonzero(filters.mine_mask(fleet, ask)):
        row = fleet.rows[int(number)]
        if row is not None:
            answers.append(Answer(row.id, row.name, tuple(lacks(fleet, kind, int(number)))))
    return sorted(answers, key=lambda answer: (answer.name, answer.instance))


def _pools(fleet: Fleet, ask: Ask) -> list[Answer]:
    wanted = amounts(ask.reserve)
    answers = []
    for pool in sorted(fleet.pool_total):
        total, left = fleet.pool_total[pool], fleet.pool_total[pool] - fleet.pool_used[pool]
        short = tuple(
            Lack(f"pool-{name}", "", int(wanted[i]), int(left[i]), int(total[i]))
            for i, name in enumerate(AMOUNTS[:2])
            if left[i] < wanted[i]
        )
        answers.append(Answer("", pool, short))
    return answers


def lacks(fleet: Fleet, kind: AskClass, number: int) -> Iterator[Lack]:
    """What one row lacks for the asks of a class, in the order of the filters."""
    row, ask = fleet.rows[number], kind.ask
    assert row is not None, "a live row has a description"
    if row.cluster != ask.cluster:
        yield Lack("cluster")
    if ask.pinned and ask.pinned != row.id:
        yield Lack("pinned", ask.pinned)
    if not row.schedulable and not filters.tolerates_cordon(ask):
        yield Lack("cordoned")
    if not row.ready:
        yield Lack("notready")
    taint = filters.first_untolerated(ask, row.taints)
    if taint is not None:
        yield Lack("taint", f"{taint.key}={taint.value}:{taint.effect}")
    yield from _unmet(row, ask)
    for port in ask.ports:
        if any(number in rows for rows in filters.ports_taken(fleet, port)):
            yield Lack("ports", f"{port.number}/{port.protocol}")
    if ask.distinct and number in fleet.groups.get(ask.group, ()):
        yield Lack("distinct", ask.group)
    yield from _amounts(fleet, kind, number)
    yield from _domains(kind, number)


def _unmet(row: Row, ask: Ask) -> Iterator[Lack]:
    """Selectors and constraints: which requirement fails, as far as one can be named."""
    labels = dict(row.labels)
    for key, value in ask.node_selector:
        if labels.get(key) != value:
            yield Lack("selector", f"{key}={value}")
    for term in ask.constraints:
        if not _meets(row, labels, term):
            yield Lack("selector", _term_text(term))
    if ask.affinity is not None and not any(
        _meets(row, labels, term) for term in ask.affinity if not term.empty
    ):
        yield Lack("selector", " or ".join(_term_text(term) for term in ask.affinity))
    if ask.zone and labels.get(filters.ZONE) != ask.zone:
        yield Lack("zone", ask.zone)


def _meets(row: Row, labels: dict[str, str], term: Term) -> bool:
    if term.names is not None and row.name not in term.names:
        return False
    if row.name in term.not_names:
        return False
    return all(_holds(labels, requirement) for requirement in term.requirements)


def _holds(labels: dict[str, str], requirement: Requirement) -> bool:
    value = labels.get(requirement.key)
    match requirement.operator:
        case "In":
            return value in requirement.values
        case "NotIn":
            return value not in requirement.values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
    return value is not None and filters.compares(value, requirement)


def _term_text(term: Term) -> str:
    words = [
        f"{item.key} {item.operator} {','.join(item.values)}".strip() for item in term.requirements
    ]
    if term.names is not None:
        words.append(f"name in {','.join(term.names)}")
    if term.not_names:
        words.append(f"name not in {','.join(term.not_names)}")
    return " and ".join(words)


def _amounts(fleet: Fleet, kind: AskClass, number: int) -> Iterator[Lack]:
    total, used = fleet.allocatable[number], fleet.used[number]
    pool: list[int] | None = None
    for column, need in kind.claim.wanted:
        own = int(total[column] - used[column])
        code, detail = filters.amount_code(fleet, column)
        if own < need:
            yield Lack(code, detail, need, own, int(total[column]))
        elif column < 2:
            pool = fleet.pools_left_of(number) if pool is None else pool
            if pool[column] < need:
                whole = fleet.pool_total[fleet.pool_names[fleet.pool_of[number]]]
                yield Lack(f"pool-{code}", "", need, pool[column], int(whole[column]))


def _domains(kind: AskClass, number: int) -> Iterator[Lack]:
    for spread in kind.hard:
        code = spread.rejects(number)
        if code:
            skew = f" maxSkew {spread.max_skew}" if code == "spread" else ""
            yield Lack(code, f"{spread.key}{skew}")
    kind.pods.follow()
    code = kind.pods.rejects(number)
    if code:
        yield Lack(code)
