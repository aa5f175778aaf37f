"""Filters: which rows may take an ask, each as a mask over all rows with its reason code.

The order is the order in which a row's rejection is reported. Semantics are those of the
kube-scheduler plugins named in each docstring, and of ECS placement constraints.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from proa.placement.asks import Ask, Requirement, Spread, Taint, Term
from proa.placement.fleet import AMOUNTS, Fleet, Ints, Mask, amounts


def requirement_mask(fleet: Fleet, requirement: Requirement) -> Mask:
    """Rows whose labels meet one requirement (NodeAffinity)."""
    column = fleet.label_column(requirement.key)
    if requirement.operator in ("In", "NotIn"):
        numbers = [fleet.value_number(value) for value in requirement.values]
        inside: Mask = np.isin(column, [number for number in numbers if number > 0])
        return inside if requirement.operator == "In" else ~inside
    if requirement.operator in ("Exists", "DoesNotExist"):
        present: Mask = column > 0
        return present if requirement.operator == "Exists" else ~present
    return _compared(fleet, column, requirement)


def _compared(fleet: Fleet, column: Ints, requirement: Requirement) -> Mask:
    mask = np.zeros(len(column), dtype=np.bool_)
    try:
        bound = int(requirement.values[0])
    except (ValueError, IndexError):
        return mask
    for number in np.unique(column[column > 0]):
        try:
            value = int(fleet.value_text(int(number)))
        except ValueError:
            continue
        if value > bound if requirement.operator == "Gt" else value < bound:
            mask |= column == number
    return mask


def term_mask(fleet: Fleet, term: Term) -> Mask:
    """Rows that meet every requirement of a term."""
    mask = fleet.live.copy()
    for requirement in term.requirements:
        mask &= requirement_mask(fleet, requirement)
    if term.names is not None:
        mask &= _named(fleet, term.names)
    if term.not_names:
        mask &= ~_named(fleet, term.not_names)
    return mask


def _named(fleet: Fleet, names: tuple[str, ...]) -> Mask:
    mask = np.zeros(len(fleet.live), dtype=np.bool_)
    for number, row in enumerate(fleet.rows):
        if row is not None and row.name in names:
            mask[number] = True
    return mask


def selector_mask(fleet: Fleet, ask: Ask) -> Mask:
    """nodeSelector, required node affinity (any term), and ECS memberOf (every term)."""
    mask = fleet.live.copy()
    for key, value in ask.node_selector:
        mask &= requirement_mask(fleet, Requirement(key, "In", (value,)))
    if ask.affinity is not None:
        reached = np.zeros(len(mask), dtype=np.bool_)
        for term in ask.affinity:
            if not term.empty:
                reached |= term_mask(fleet, term)
        mask &= reached
    for term in ask.constraints:
        mask &= term_mask(fleet, term)
    return mask


def first_untolerated(ask: Ask, taints: tuple[Taint, ...]) -> Taint | None:
    """The first NoSchedule or NoExecute taint the ask does not tolerate (TaintToleration)."""
    for taint in taints:
        if taint.effect == "PreferNoSchedule":
            continue
        if not any(toleration.tolerates(taint) for toleration in ask.tolerations):
            return taint
    return None


def taint_masks(fleet: Fleet, ask: Ask) -> list[tuple[Mask, str]]:
    """For each untolerated taint, the rows it keeps the ask from."""
    masks: dict[str, Mask] = {}
    for number in np.unique(fleet.taint_set[fleet.live]):
        taint = first_untolerated(ask, fleet.taints_of(int(number)))
        if taint is not None:
            label = f"{taint.key}: {taint.value}"
            rows = fleet.taint_set == number
            masks[label] = masks[label] | rows if label in masks else rows
    return [(masks[label], label) for label in sorted(masks)]


def cordoned_mask(fleet: Fleet, ask: Ask) -> Mask:
    """Unschedulable rows, unless the ask tolerates the taint that stands for it."""
    taint = Taint("node.kubernetes.io/unschedulable", "", "NoSchedule")
    if any(toleration.tolerates(taint) for toleration in ask.tolerations):
        return np.zeros(len(fleet.live), dtype=np.bool_)
    return ~fleet.schedulable


def resource_masks(fleet: Fleet, ask: Ask) -> list[tuple[Mask, str]]:
    """For each amount, the rows with too little left (NodeResourcesFit). A shared row offers
    what its Pool has left, if that is less."""
    wanted = amounts(ask.reserve)
    masks: list[tuple[Mask, str]] = []
    pool_left = pool_room(fleet)
    for index, name in enumerate(AMOUNTS):
        if not wanted[index]:
            continue
        left = fleet.allocatable[:, index] - fleet.used[:, index]
        if name in ("cpu", "memory"):
            left = np.minimum(left, pool_left[:, index])
        masks.append((left < wanted[index], name))
    return masks


def pool_room(fleet: Fleet) -> Ints:
    """What each row's Pool has left, a line a row."""
    room = np.full((len(fleet.live), len(AMOUNTS)), np.iinfo(np.int64).max, dtype=np.int64)
    for pool, total in fleet.pool_total.items():
        rows = [n for n, row in enumerate(fleet.rows) if row is not None and row.pool == pool]
        room[rows] = total - fleet.pool_used[pool]
    return room


def port_mask(fleet: Fleet, ask: Ask) -> Mask:
    """Rows where one of the ask's ports is taken (NodePorts, RESOURCE:PORTS)."""
    mask = np.zeros(len(fleet.live), dtype=np.bool_)
    for port in ask.ports:
        for row in fleet.ports.get((port.protocol, port.number), {}).values():
            if row >= 0:
                mask[row] = True
    return mask


def distinct_mask(fleet: Fleet, ask: Ask) -> Mask:
    """Rows that already run one of the ask's group (distinctInstance)."""
    mask = np.zeros(len(fleet.live), dtype=np.bool_)
    if ask.distinct:
        for uid in fleet.by_group.get(ask.group, {}):
            row = fleet.bookings[uid].row
            if row >= 0:
                mask[row] = True
    return mask


def label_predicate(selector: tuple[Requirement, ...]) -> Callable[[dict[str, str]], bool]:
    """Whether a Sandbox's labels satisfy a selector."""

    def holds(labels: dict[str, str]) -> bool:
        for requirement in selector:
            value = labels.get(requirement.key)
            if requirement.operator == "In" and value not in requirement.values:
                return False
            if requirement.operator == "NotIn" and value in requirement.values:
                return False
            if requirement.operator == "Exists" and value is None:
                return False
            if requirement.operator == "DoesNotExist" and value is not None:
                return False
        return True

    return holds


def matching_counts(fleet: Fleet, namespace: str, selector: tuple[Requirement, ...]) -> Ints:
    """How many Sandboxes of the namespace that satisfy the selector each row holds."""
    counts = np.zeros(len(fleet.live), dtype=np.int64)
    holds = label_predicate(selector)
    for uid in fleet.by_namespace.get(namespace, {}):
        booking = fleet.bookings[uid]
        if booking.row >= 0 and not booking.terminating and holds(dict(booking.labels)):
            counts[booking.row] += 1
    return counts


def domain_counts(column: Ints, counts: Ints, eligible: Mask) -> dict[int, int]:
    """Matches per domain, over the domains that have an eligible row."""
    totals: dict[int, int] = {}
    for number in np.unique(column[eligible & (column > 0)]):
        totals[int(number)] = int(counts[(column == number) & eligible].sum())
    return totals


def spread_masks(fleet: Fleet, ask: Ask, spread: Spread, eligible: Mask) -> tuple[Mask, Mask]:
    """(rows without the label, rows whose domain would be too full) of a hard constraint:
    match + self − min > maxSkew, min counting as 0 below minDomains (PodTopologySpread)."""
    column = fleet.label_column(spread.key)
    missing = column == 0
    counts = matching_counts(fleet, ask.namespace, spread.selector)
    totals = domain_counts(column, counts, eligible)
    lowest = min(totals.values(), default=0)
    if spread.min_domains and len(totals) < spread.min_domains:
        lowest = 0
    own = 1 if label_predicate(spread.selector)(dict(ask.labels)) else 0
    full = np.zeros(len(column), dtype=np.bool_)
    for number, total in totals.items():
        if total + own - lowest > spread.max_skew:
            full |= column == number
    return missing, full
