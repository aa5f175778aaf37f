"""Scores: how good a row is for an ask, 0 to 100 a plugin, weighted as kube-scheduler does.

Integer arithmetic as the originals have it (Kubernetes 1.36 default plugins); ECS strategies
order rows lexicographically instead.
"""

from __future__ import annotations

import numpy as np

from proa.placement.asks import Ask, Strategy
from proa.placement.filters import domain_counts, matching_counts, term_mask
from proa.placement.fleet import Fleet, Ints, Mask, nonzero

MAX_SCORE = 100
WEIGHT_TAINT, WEIGHT_AFFINITY, WEIGHT_SPREAD = 3, 2, 2


def kubernetes_scores(fleet: Fleet, ask: Ask, rows: Ints, eligible: Mask) -> Ints:
    """Total score of each candidate row."""
    total: Ints = least_allocated(fleet, ask, rows) + balanced(fleet, ask, rows)
    total += WEIGHT_TAINT * taint_score(fleet, ask, rows)
    if ask.preferred:
        total += WEIGHT_AFFINITY * affinity_score(fleet, ask, rows)
    if any(not spread.hard for spread in ask.spreads):
        total += WEIGHT_SPREAD * spread_score(fleet, ask, rows, eligible)
    return total


def least_allocated(fleet: Fleet, ask: Ask, rows: Ints) -> Ints:
    """(capacity − requested) · 100 / capacity, the mean of CPU and memory."""
    capacity = fleet.allocatable[rows][:, :2]
    requested = fleet.nonzero[rows] + nonzero(ask.reserve)
    safe = np.maximum(capacity, 1)
    share: Ints = np.where(
        (capacity > 0) & (requested <= capacity),
        ((capacity - requested).astype(object) * MAX_SCORE // safe).astype(np.int64),
        0,
    )
    mean: Ints = share.sum(axis=1) // 2
    return mean


def balanced(fleet: Fleet, ask: Ask, rows: Ints) -> Ints:
    """How even CPU and memory use become: 50 + (50 + with − without) / 2, each side being
    (1 − standard deviation of the two fractions) · 100."""
    capacity = np.maximum(fleet.allocatable[rows][:, :2], 1).astype(np.float64)
    before = np.minimum(fleet.used[rows][:, :2] / capacity, 1.0)
    ask_amounts = np.array([ask.reserve.cpu, ask.reserve.memory], dtype=np.int64)
    after = np.minimum((fleet.used[rows][:, :2] + ask_amounts) / capacity, 1.0)
    with_ask = ((1 - np.abs(after[:, 0] - after[:, 1]) / 2) * MAX_SCORE).astype(np.int64)
    without = ((1 - np.abs(before[:, 0] - before[:, 1]) / 2) * MAX_SCORE).astype(np.int64)
    half = MAX_SCORE // 2
    score: Ints = half + (half + with_ask - without) // 2
    return score


def taint_score(fleet: Fleet, ask: Ask, rows: Ints) -> Ints:
    """Fewer untolerated PreferNoSchedule taints are better, normalised in reverse."""
    sets = fleet.taint_set[rows]
    counts = np.zeros(len(rows), dtype=np.int64)
    for number in np.unique(sets):
        soft = [
            taint
            for taint in fleet.taints_of(int(number))
            if taint.effect == "PreferNoSchedule"
            and not any(toleration.tolerates(taint) for toleration in ask.tolerations)
        ]
        counts[sets == number] = len(soft)
    highest = int(counts.max(initial=0))
    if highest == 0:
        return np.full(len(rows), MAX_SCORE, dtype=np.int64)
    return MAX_SCORE - counts * MAX_SCORE // highest


def affinity_score(fleet: Fleet, ask: Ask, rows: Ints) -> Ints:
    """Sum of the weights of the preferred terms a row meets, normalised to 100."""
    sums = np.zeros(len(rows), dtype=np.int64)
    for weight, term in ask.preferred:
        sums += np.where(term_mask(fleet, term)[rows], weight, 0)
    highest = int(sums.max(initial=0))
    return sums if highest == 0 else sums * MAX_SCORE // highest


def spread_score(fleet: Fleet, ask: Ask, rows: Ints, eligible: Mask) -> Ints:
    """Σ(count · ln(domains + 2) + maxSkew − 1) over the soft constraints, reversed to 0–100."""
    raw = np.zeros(len(rows), dtype=np.float64)
    for spread in ask.spreads:
        if spread.hard:
            continue
        column = fleet.label_column(spread.key)
        counts = matching_counts(fleet, ask.namespace, spread.selector)
        totals = domain_counts(column, counts, eligible)
        weight = np.log(len(totals) + 2)
        per_row = np.array([totals.get(int(number), 0) for number in column[rows]])
        raw += per_row * weight + (spread.max_skew - 1)
    scores = np.rint(raw).astype(np.int64)
    highest, lowest = int(scores.max(initial=0)), int(scores.min(initial=0))
    if highest == 0:
        return np.full(len(rows), MAX_SCORE, dtype=np.int64)
    return MAX_SCORE * (highest + lowest - scores) // highest


def strategy_order(fleet: Fleet, ask: Ask, rows: Ints, draws: Ints) -> Ints:
    """Candidate rows best first under ECS strategies; ``draws`` breaks ties and is "random"."""
    keys: list[Ints] = [_strategy_key(fleet, ask, rows, item, draws) for item in ask.strategies]
    keys.append(draws)
    order = np.lexsort(tuple(reversed(keys)))
    return rows[order]


def _strategy_key(fleet: Fleet, ask: Ask, rows: Ints, strategy: Strategy, draws: Ints) -> Ints:
    if strategy.kind == "random":
        return draws
    if strategy.kind == "binpack":
        index = 0 if strategy.field == "cpu" else 1
        left: Ints = (fleet.allocatable[:, index] - fleet.used[:, index])[rows]
        return left
    counts = np.zeros(len(fleet.live), dtype=np.int64)
    for uid in fleet.by_group.get(ask.group, {}):
        row = fleet.bookings[uid].row
        if row >= 0:
            counts[row] += 1
    if strategy.field in ("instanceId", "host"):
        return counts[rows]
    column = fleet.label_column(strategy.field)
    per_domain = np.zeros(len(rows), dtype=np.int64)
    for number in np.unique(column[rows]):
        per_domain[column[rows] == number] = counts[(column == number) & fleet.live].sum()
    return per_domain
