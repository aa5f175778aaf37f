"""Filters that look at one row alone: which rows may take an ask, as masks over all rows.

Semantics are those of the kube-scheduler plugins named in each docstring, and of ECS placement
constraints. ``standing`` joins the masks, ``engine`` names their reasons in this file's order,
``explain`` has the same rules for a single row.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from proa.model.resources import Port
from proa.placement.asks import Ask, Requirement, Taint, Term
from proa.placement.fleet import AMOUNTS, ANY_ADDRESS, Fleet, Ints, Mask
from proa.placement.ledger import Claim

UNSCHEDULABLE = Taint("node.kubernetes.io/unschedulable", "", "NoSchedule")
ZONE = "topology.kubernetes.io/zone"


def none_of(fleet: Fleet) -> Mask:
    """A mask without a row."""
    return np.zeros(fleet.count, dtype=np.bool_)


def mine_mask(fleet: Fleet, ask: Ask) -> Mask:
    """The rows of the ask's cluster."""
    count = fleet.count
    mine: Mask = fleet.live[:count] & (fleet.cluster[:count] == fleet.cluster_number(ask.cluster))
    return mine


def pinned_mask(fleet: Fleet, ask: Ask) -> Mask:
    """The one row that a pinned ask may go to; every row for others."""
    if not ask.pinned:
        return ~none_of(fleet)
    mask = none_of(fleet)
    number = fleet.number_of.get(ask.pinned, -1)
    if number >= 0:
        mask[number] = True
    return mask


def names_of(ask: Ask) -> tuple[str, ...] | None:
    """The only names that node affinity admits, None if it does not restrict names alone: what
    NodeAffinity's PreFilter narrows the nodes to."""
    if not ask.affinity or any(term.names is None for term in ask.affinity):
        return None
    return tuple(dict.fromkeys(name for term in ask.affinity for name in term.names or ()))


def requirement_mask(fleet: Fleet, requirement: Requirement) -> Mask:
    """Rows whose labels meet one requirement (NodeAffinity)."""
    column = fleet.label_column(requirement.key)
    if requirement.operator in ("In", "NotIn"):
        inside = none_of(fleet)
        for value in requirement.values:
            number = fleet.value_number(requirement.key, value)
            if number > 0:
                inside |= column == number
        return inside if requirement.operator == "In" else ~inside
    if requirement.operator in ("Exists", "DoesNotExist"):
        present: Mask = column > 0
        return present if requirement.operator == "Exists" else ~present
    values = fleet.label_values(requirement.key)
    admitted = np.array([compares(value, requirement) for value in values], dtype=np.bool_)
    admitted[0] = False
    mask: Mask = admitted[column]
    return mask


def compares(value: str, requirement: Requirement) -> bool:
    """Gt and Lt: both sides must be integers."""
    try:
        have, bound = int(value), int(requirement.values[0])
    except (ValueError, IndexError):
        return False
    return have > bound if requirement.operator == "Gt" else have < bound


def term_mask(fleet: Fleet, term: Term, cluster: str) -> Mask:
    """Rows that meet every requirement of a term."""
    mask = fleet.live[: fleet.count].copy()
    for requirement in term.requirements:
        mask &= requirement_mask(fleet, requirement)
    if term.names is not None:
        mask &= _named(fleet, term.names, cluster)
    if term.not_names:
        mask &= ~_named(fleet, term.not_names, cluster)
    return mask


def _named(fleet: Fleet, names: tuple[str, ...], cluster: str) -> Mask:
    mask = none_of(fleet)
    for name in names:
        number = fleet.row_named(cluster, name)
        if number >= 0:
            mask[number] = True
    return mask


def affinity_mask(fleet: Fleet, ask: Ask) -> Mask:
    """nodeSelector and required node affinity (any term; an empty one matches none)."""
    mask = fleet.live[: fleet.count].copy()
    for key, value in ask.node_selector:
        mask &= requirement_mask(fleet, Requirement(key, "In", (value,)))
    if ask.affinity is not None:
        reached = none_of(fleet)
        for term in ask.affinity:
            if not term.empty:
                reached |= term_mask(fleet, term, ask.cluster)
        mask &= reached
    return mask


def selector_mask(fleet: Fleet, ask: Ask) -> Mask:
    """Node selector, affinity, and ECS memberOf (every term)."""
    mask = affinity_mask(fleet, ask)
    for term in ask.constraints:
        mask &= term_mask(fleet, term, ask.cluster)
    return mask


def zone_mask(fleet: Fleet, ask: Ask) -> Mask:
    """Rows in the zone of the ask's interface."""
    if not ask.zone:
        return ~none_of(fleet)
    mask: Mask = fleet.label_column(ZONE) == fleet.value_number(ZONE, ask.zone)
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
    sets = fleet.taint_set[: fleet.count]
    for number in _taint_sets(fleet):
        taint = first_untolerated(ask, fleet.taints_of(number))
        if taint is not None:
            label = f"{taint.key}: {taint.value}"
            rows = sets == number
            masks[label] = masks[label] | rows if label in masks else rows
    return [(masks[label], label) for label in sorted(masks)]


def tainted_mask(fleet: Fleet, ask: Ask) -> Mask:
    """Rows with any taint that keeps the ask away."""
    mask = none_of(fleet)
    for rows, _ in taint_masks(fleet, ask):
        mask |= rows
    return mask


def soft_taints(fleet: Fleet, ask: Ask) -> Ints | None:
    """How many PreferNoSchedule taints of each row the ask does not tolerate; None: none of any
    row."""
    counts = np.zeros(fleet.count, dtype=np.int64)
    for number in _taint_sets(fleet):
        soft = [
            taint
            for taint in fleet.taints_of(number)
            if taint.effect == "PreferNoSchedule"
            and not any(toleration.tolerates(taint) for toleration in ask.tolerations)
        ]
        if soft:
            counts[fleet.taint_set[: fleet.count] == number] = len(soft)
    return counts if counts.any() else None


def _taint_sets(fleet: Fleet) -> list[int]:
    count = fleet.count
    numbers: list[int] = np.flatnonzero(
        np.bincount(fleet.taint_set[:count][fleet.live[:count]])
    ).tolist()
    return numbers


def cordoned_mask(fleet: Fleet, ask: Ask) -> Mask:
    """Unschedulable rows, unless the ask tolerates the taint that stands for it
    (NodeUnschedulable)."""
    if tolerates_cordon(ask):
        return none_of(fleet)
    mask: Mask = ~fleet.schedulable[: fleet.count]
    return mask


def tolerates_cordon(ask: Ask) -> bool:
    """Whether an unschedulable row is none to the ask."""
    return any(toleration.tolerates(UNSCHEDULABLE) for toleration in ask.tolerations)


def resource_masks(fleet: Fleet, claim: Claim) -> Iterator[tuple[Mask, str, str]]:
    """(rows with too little left, code, detail) for each amount (NodeResourcesFit). A shared
    row offers what its Pool has left, if that is less."""
    count = fleet.count
    pools: Ints | None = None
    for number, amount in claim.wanted:
        left = fleet.allocatable[:count, number] - fleet.used[:count, number]
        if number < 2:
            pools = fleet.pools_left() if pools is None else pools
            left = np.minimum(left, pools[fleet.pool_of[:count], number])
        yield left < amount, *amount_code(fleet, number)


def amount_code(fleet: Fleet, number: int) -> tuple[str, str]:
    """The reason's code and detail for a column of amounts."""
    if number < len(AMOUNTS):
        return AMOUNTS[number], ""
    return "extended", list(fleet.resources)[number]


def ports_taken(fleet: Fleet, port: Port) -> Iterator[dict[int, int]]:
    """Rows on which a port is in use; an address that stands for all of them conflicts with
    every other (NodePorts, RESOURCE:PORTS)."""
    addresses = fleet.ports.get((port.protocol, port.number))
    if addresses:
        if port.address in ANY_ADDRESS:
            yield from addresses.values()
        else:
            yield addresses.get("", {})
            yield addresses.get(port.address, {})


def port_mask(fleet: Fleet, ask: Ask) -> Mask:
    """Rows where one of the ask's ports is taken."""
    mask = none_of(fleet)
    for port in ask.ports:
        for rows in ports_taken(fleet, port):
            if rows:
                mask[np.fromiter(rows, dtype=np.int64, count=len(rows))] = True
    return mask


def distinct_mask(fleet: Fleet, ask: Ask) -> Mask:
    """Rows that already run one of the ask's group (distinctInstance)."""
    mask = none_of(fleet)
    rows = fleet.groups.get(ask.group) if ask.distinct else None
    if rows:
        mask[np.fromiter(rows, dtype=np.int64, count=len(rows))] = True
    return mask
