"""Placement as the rules say it, slowly: plain loops over every Instance and every Sandbox.

Written from the documents of kube-scheduler's plugins and of ECS, without the engine's arrays:
for one ask it says which Instances may take it, why others may not, and each one's total score.
``compare`` holds the engine against it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction

from proa.model.resources import Resources
from proa.placement.asks import Ask, PodTerm, Requirement, Row, Spread, Taint, Term

AMOUNTS = ("cpu", "memory", "disk", "sandboxes")
MIB = 1024 * 1024


@dataclass
class Held:
    """A Sandbox on an Instance (or on a Pool only: no row)."""

    ask: Ask
    row: str
    pool: str
    ending: bool = False


@dataclass
class World:
    """Everything there is."""

    rows: dict[str, Row] = field(default_factory=dict)
    pools: dict[str, Resources] = field(default_factory=dict)
    held: dict[str, Held] = field(default_factory=dict)
    namespaces: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)

    def on(self, row: Row) -> list[Held]:
        return [held for held in self.held.values() if held.row == row.id]

    def of(self, cluster: str) -> list[Row]:
        return [row for row in self.rows.values() if row.cluster == cluster]


def labels_meet(labels: dict[str, str], requirement: Requirement) -> bool:
    key, values = requirement.key, requirement.values
    if requirement.operator == "In":
        return key in labels and labels[key] in values
    if requirement.operator == "NotIn":
        return not (key in labels and labels[key] in values)
    if requirement.operator == "Exists":
        return key in labels
    if requirement.operator == "DoesNotExist":
        return key not in labels
    if key not in labels or not labels[key].isdigit() or not values[0].isdigit():
        return False
    have, bound = int(labels[key]), int(values[0])
    return have > bound if requirement.operator == "Gt" else have < bound


def selects(selector: tuple[Requirement, ...] | None, labels: dict[str, str]) -> bool:
    return selector is not None and all(labels_meet(labels, item) for item in selector)


def term_admits(term: Term, row: Row) -> bool:
    if term.names is not None and row.name not in term.names:
        return False
    if row.name in term.not_names:
        return False
    return all(labels_meet(dict(row.labels), item) for item in term.requirements)


def affinity_admits(ask: Ask, row: Row) -> bool:
    labels = dict(row.labels)
    if any(labels.get(key) != value for key, value in ask.node_selector):
        return False
    if ask.affinity is None:
        return True
    return any(not term.empty and term_admits(term, row) for term in ask.affinity)


def tolerated(ask: Ask, taint: Taint) -> bool:
    for item in ask.tolerations:
        if item.effect not in ("", taint.effect):
            continue
        if item.key not in ("", taint.key):
            continue
        if item.operator == "Exists" or (item.key and item.value == taint.value):
            return True
    return False


def hard_taint(ask: Ask, row: Row) -> Taint | None:
    for taint in row.taints:
        if taint.effect != "PreferNoSchedule" and not tolerated(ask, taint):
            return taint
    return None


def amount(ask: Ask, name: str) -> int:
    if name in AMOUNTS:
        return int(getattr(ask.reserve, name))
    return dict(ask.extended).get(name, 0)


def capacity(row: Row, name: str) -> int:
    if name in AMOUNTS:
        return int(getattr(row.allocatable, name))
    return dict(row.extended).get(name, 0)


def used(world: World, row: Row, name: str) -> int:
    return sum(amount(held.ask, name) for held in world.on(row))


def pool_left(world: World, pool: str, name: str) -> int | None:
    if pool not in world.pools:
        return None
    taken = sum(amount(held.ask, name) for held in world.held.values() if held.pool == pool)
    return int(getattr(world.pools[pool], name)) - taken


def same_port(one: str, other: str) -> bool:
    anywhere = ("", "0.0.0.0", "::")
    return one in anywhere or other in anywhere or one == other


# Filters


def narrow_names(ask: Ask) -> set[str] | None:
    if not ask.affinity or any(term.names is None for term in ask.affinity):
        return None
    return {name for term in ask.affinity for name in term.names or ()}


def before_amounts(world: World, ask: Ask, row: Row) -> tuple[str, str] | None:
    names = narrow_names(ask)
    if names is not None and row.name not in names:
        return "names", ""
    cordon = Taint("node.kubernetes.io/unschedulable", "", "NoSchedule")
    if not row.schedulable and not tolerated(ask, cordon):
        return "cordoned", ""
    if not row.ready:
        return "notready", ""
    taint = hard_taint(ask, row)
    if taint is not None:
        return "taint", f"{taint.key}: {taint.value}"
    if not affinity_admits(ask, row):
        return "selector", ""
    if not all(term_admits(term, row) for term in ask.constraints):
        return "selector", ""
    if ask.zone and dict(row.labels).get("topology.kubernetes.io/zone") != ask.zone:
        return "zone", ""
    for held in world.on(row):
        for port in ask.ports:
            for other in held.ask.ports:
                same = (port.number, port.protocol) == (other.number, other.protocol)
                if same and same_port(port.address, other.address):
                    return "ports", ""
    if ask.distinct and any(held.ask.group == ask.group for held in world.on(row)):
        return "distinct", ""
    return None


def short_amounts(world: World, ask: Ask, row: Row) -> list[tuple[str, str]]:
    found = []
    for name in (*AMOUNTS, *sorted(name for name, _ in ask.extended)):
        want = amount(ask, name)
        if not want:
            continue
        left = capacity(row, name) - used(world, row, name)
        if name in ("cpu", "memory"):
            shared = pool_left(world, row.pool, name)
            left = left if shared is None else min(left, shared)
        if left < want:
            found.append((name, "") if name in AMOUNTS else ("extended", name))
    return found


def counted(world: World, ask: Ask, spread: Spread, row: Row) -> int:
    """Matching Sandboxes on one row; an empty selector counts none."""
    if not spread.selector:
        return 0
    return sum(
        not held.ending
        and held.ask.namespace == ask.namespace
        and selects(spread.selector, dict(held.ask.labels))
        for held in world.on(row)
    )


def counts_here(ask: Ask, spread: Spread, row: Row, keys: list[str]) -> bool:
    labels = dict(row.labels)
    if any(key not in labels for key in keys):
        return False
    if spread.honor_affinity and not affinity_admits(ask, row):
        return False
    return not (spread.honor_taints and hard_taint(ask, row) is not None)


def spread_rejects(world: World, ask: Ask, row: Row) -> str:
    hard = [spread for spread in ask.spreads if spread.hard]
    keys = [spread.key for spread in hard]
    for spread in hard:
        domain = dict(row.labels).get(spread.key)
        if domain is None:
            return "spread-label"
        counts: dict[str, int] = {}
        for other in world.of(ask.cluster):
            if counts_here(ask, spread, other, keys):
                value = dict(other.labels)[spread.key]
                counts[value] = counts.get(value, 0) + counted(world, ask, spread, other)
        least = min(counts.values(), default=0)
        if len(counts) < spread.min_domains:
            least = 0
        mine = 1 if selects(spread.selector, dict(ask.labels)) else 0
        if counts.get(domain, 0) + mine - least > spread.max_skew:
            return "spread"
    return ""


def speaks_of(world: World, term: PodTerm, ask: Ask) -> bool:
    """Whether a term means Sandboxes such as this one."""
    inside = ask.namespace in term.namespaces
    if not inside and term.namespace_selector is not None:
        labels = world.namespaces.get((ask.cluster, ask.namespace), {})
        inside = selects(term.namespace_selector, labels)
    return inside and selects(term.selector, dict(ask.labels))


def pods_reject(world: World, ask: Ask, row: Row) -> str:
    labels = dict(row.labels)
    neighbours = [(other, held) for other in world.of(ask.cluster) for held in world.on(other)]

    def near(term: PodTerm, others: list[tuple[Row, Held]]) -> bool:
        return term.key in labels and any(
            dict(other.labels).get(term.key) == labels[term.key] for other, _ in others
        )

    terms = ask.pod_affinity
    if terms:
        matching = [
            (other, held)
            for other, held in neighbours
            if all(speaks_of(world, term, held.ask) for term in terms)
        ]
        anywhere = any(term.key in dict(other.labels) for other, _ in matching for term in terms)
        first = not anywhere and all(speaks_of(world, term, ask) for term in terms)
        if any(term.key not in labels for term in terms):
            return "pod-affinity"
        if not first and not all(near(term, matching) for term in terms):
            return "pod-affinity"
    for term in ask.pod_anti_affinity:
        if near(term, [(o, h) for o, h in neighbours if speaks_of(world, term, h.ask)]):
            return "pod-anti-affinity"
    for other, held in neighbours:
        for term in held.ask.pod_anti_affinity:
            if speaks_of(world, term, ask) and near(term, [(other, held)]):
                return "existing-anti-affinity"
    return ""


@dataclass
class Answer:
    """Rows that may take the ask with their total scores, and counted reasons of the others."""

    scores: dict[str, int]
    reasons: dict[tuple[str, str], int]
    total: int


def answer(world: World, ask: Ask) -> Answer:
    """What every Instance of the ask's cluster says to it."""
    rows = [row for row in world.of(ask.cluster) if not ask.pinned or row.id == ask.pinned]
    reasons: dict[tuple[str, str], int] = {}
    able = []
    for row in rows:
        first = before_amounts(world, ask, row)
        found = [first] if first else short_amounts(world, ask, row)
        if not found:
            code = spread_rejects(world, ask, row) or pods_reject(world, ask, row)
            found = [(code, "")] if code else []
        for reason in found:
            reasons[reason] = reasons.get(reason, 0) + 1
        if not found:
            able.append(row)
    return Answer(scores_of(world, ask, able), reasons, len(rows))


# Scores


def scores_of(world: World, ask: Ask, able: list[Row]) -> dict[str, int]:
    """The weighted sum of every plugin's score for the rows that passed."""
    spread = spread_scores(world, ask, able)
    pods = pod_scores(world, ask, able)
    taints = {
        row.id: sum(t.effect == "PreferNoSchedule" and not tolerated(ask, t) for t in row.taints)
        for row in able
    }
    most = max(taints.values(), default=0)
    wishes = {
        row.id: sum(weight for weight, term in ask.preferred if term_admits(term, row))
        for row in able
    }
    best = max(wishes.values(), default=0)
    return {
        row.id: least(world, ask, row)
        + balance(world, ask, row)
        + locality(world, ask, row)
        + 3 * (100 - 100 * taints[row.id] // most if most else 100)
        + 2 * (100 * wishes[row.id] // best if best else 0)
        + 2 * spread[row.id]
        + 2 * pods[row.id]
        for row in able
    }


def scored(ask: Ask) -> tuple[int, int]:
    return ask.scored or (ask.reserve.cpu or 12_800, ask.reserve.memory or 200 * MIB)


def least(world: World, ask: Ask, row: Row) -> int:
    shares = []
    for index, name in enumerate(("cpu", "memory")):
        whole = capacity(row, name)
        if whole:
            want = scored(ask)[index] + sum(scored(held.ask)[index] for held in world.on(row))
            shares.append((whole - want) * 100 // whole if want <= whole else 0)
    return sum(shares) // len(shares) if shares else 0


def evenness(world: World, row: Row, more: dict[str, int]) -> int:
    shares = []
    for name in ("cpu", "memory"):
        whole = capacity(row, name)
        if whole:
            shares.append(min((used(world, row, name) + more.get(name, 0)) / whole, 1.0))
    deviation = abs((shares[0] - shares[1]) / 2) if len(shares) == 2 else 0.0
    return int((1 - deviation) * 100)


def balance(world: World, ask: Ask, row: Row) -> int:
    if not ask.reserve.cpu and not ask.reserve.memory:
        return 0
    after = evenness(world, row, {"cpu": ask.reserve.cpu, "memory": ask.reserve.memory})
    return 50 + (50 + after - evenness(world, row, {})) // 2


def locality(world: World, ask: Ask, row: Row) -> int:
    if not ask.images:
        return 0
    nodes = world.of(ask.cluster)
    total = 0
    for name in ask.images:
        size = dict(row.images).get(name)
        if size is not None:
            holders = sum(name in dict(node.images) for node in nodes)
            total += int(size * (holders / len(nodes)))
    low, high = 23 * MIB, 1000 * MIB * len(ask.images)
    return 100 * (min(max(total, low), high) - low) // (high - low)


def go_round(value: float) -> int:
    whole = math.floor(value)
    return whole + (1 if Fraction(value) - whole >= Fraction(1, 2) else 0)


def spread_scores(world: World, ask: Ask, able: list[Row]) -> dict[str, int]:
    soft = [spread for spread in ask.spreads if not spread.hard]
    if not soft:
        return dict.fromkeys((row.id for row in able), 0)
    keys = [] if ask.spreads_default else [spread.key for spread in soft]
    inside = [row for row in able if all(key in dict(row.labels) for key in keys)]
    raw = {}
    for row in inside:
        total = 0.0
        for spread in soft:
            labels = dict(row.labels)
            if spread.key not in labels:
                continue
            if spread.key == "kubernetes.io/hostname":
                size, count = len(inside), counted(world, ask, spread, row)
            else:
                size = len({dict(other.labels).get(spread.key) for other in inside})
                count = sum(
                    counted(world, ask, spread, other)
                    for other in world.of(ask.cluster)
                    if dict(other.labels).get(spread.key) == labels[spread.key]
                    and counts_here(ask, spread, other, keys)
                )
            total += count * math.log(size + 2) + (spread.max_skew - 1)
        raw[row.id] = go_round(total)
    high, low = max(raw.values(), default=0), min(raw.values(), default=0)
    result = dict.fromkeys((row.id for row in able), 0)
    for id, score in raw.items():
        result[id] = 100 * (high + low - score) // high if high else 100
    return result


def pod_scores(world: World, ask: Ask, able: list[Row]) -> dict[str, int]:
    weights: dict[tuple[str, str], int] = {}

    def add(term: PodTerm, where: Row, weight: int) -> None:
        domain = dict(where.labels).get(term.key)
        if domain is not None:
            weights[term.key, domain] = weights.get((term.key, domain), 0) + weight

    for other in world.of(ask.cluster):
        for held in world.on(other):
            for weight, term in ask.pod_preferred:
                if speaks_of(world, term, held.ask):
                    add(term, other, weight)
            for weight, term in held.ask.pod_preferred:
                if speaks_of(world, term, ask):
                    add(term, other, weight)
            for term in held.ask.pod_affinity:
                if speaks_of(world, term, ask):
                    add(term, other, 1)
    raw = {row.id: sum(weights.get(label, 0) for label in row.labels) for row in able}
    high, low = max(raw.values(), default=0), min(raw.values(), default=0)
    if high == low:
        return dict.fromkeys(raw, 0)
    return {id: int(100.0 * (float(score - low) / float(high - low))) for id, score in raw.items()}


# ECS


def ecs_best(world: World, ask: Ask, able: set[str]) -> set[str]:
    """The Instances among which the strategies leave the choice to chance."""
    left = [world.rows[id] for id in sorted(able)]
    for strategy in ask.strategies:
        if strategy.kind == "random" or not left:
            break

        def key(row: Row, kind: str = strategy.kind, name: str = strategy.field) -> int:
            if kind == "binpack":
                return capacity(row, name) - used(world, row, name)
            where = [row]
            if name not in ("instanceId", "host"):
                value = dict(row.labels).get(name)
                where = [o for o in world.of(ask.cluster) if dict(o.labels).get(name) == value]
            return sum(held.ask.group == ask.group for o in where for held in world.on(o))

        least_key = min(key(row) for row in left)
        left = [row for row in left if key(row) == least_key]
    return {row.id for row in left}
