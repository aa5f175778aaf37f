"""What is asked of placement and what it answers, in neither API's words.

The bows compile a pod or a task into an ``Ask`` and translate the reasons of an ``Unplaced``
back into their own texts.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from proa.model.resources import Port, Resources

Labels = tuple[tuple[str, str], ...]
Amounts = tuple[tuple[str, int], ...]


class Requirement(msgspec.Struct, frozen=True):
    """One label requirement: In, NotIn, Exists, DoesNotExist, Gt, Lt."""

    key: str
    operator: str
    values: tuple[str, ...] = ()


class Term(msgspec.Struct, frozen=True):
    """Requirements that must all hold; ``names`` restricts to instances so named, ``not_names``
    to others. An empty term of an affinity matches nothing."""

    requirements: tuple[Requirement, ...] = ()
    names: tuple[str, ...] | None = None
    not_names: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        return not self.requirements and self.names is None and not self.not_names


class Taint(msgspec.Struct, frozen=True):
    """NoSchedule, PreferNoSchedule or NoExecute."""

    key: str
    value: str
    effect: str


class Toleration(msgspec.Struct, frozen=True):
    """An empty key with Exists tolerates everything; an empty effect matches every effect."""

    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""

    def tolerates(self, taint: Taint) -> bool:
        if self.effect and self.effect != taint.effect:
            return False
        if self.key and self.key != taint.key:
            return False
        return self.operator == "Exists" or (self.key != "" and self.value == taint.value)


class Spread(msgspec.Struct, frozen=True):
    """Topology spread over the domains of label ``key`` of Sandboxes in the same namespace that
    satisfy ``selector`` (KEP-895; None: none does). ``hard`` filters (DoNotSchedule), otherwise
    it scores. Rows that node affinity or, with ``honor_taints``, taints keep the ask from do not
    count (KEP-3094)."""

    key: str
    max_skew: int
    hard: bool
    selector: tuple[Requirement, ...] | None
    min_domains: int = 0
    honor_affinity: bool = True
    honor_taints: bool = False


class PodTerm(msgspec.Struct, frozen=True):
    """Sandboxes in ``namespaces``, or in those whose labels satisfy ``namespace_selector``, whose
    labels satisfy ``selector`` (None: none does); near and far are the domains of label ``key``
    (InterPodAffinity)."""

    key: str
    selector: tuple[Requirement, ...] | None
    namespaces: tuple[str, ...] = ()
    namespace_selector: tuple[Requirement, ...] | None = None


class Strategy(msgspec.Struct, frozen=True):
    """ECS placement strategy: random, spread (field: "instanceId" or a label), binpack
    (field: "cpu" or "memory"). Applied in order, each breaking the ties of those before."""

    kind: str
    field: str = ""


class Ask(msgspec.Struct, frozen=True):
    """A Sandbox that wants an Instance. ``cluster`` is the Instances' cluster prefix. ``fargate``
    asks for an Instance of its own, made for it. ``group`` counts for ``distinct`` and for ECS
    spread. Non-empty ``strategies`` choose by ECS rules, otherwise Kubernetes' scores do.

    ``extended`` are amounts of extended resources by name; ``scored`` is (cpu, memory) as scores
    count them, with a default for each container that requests none; ``images`` has one name a
    container. ``pod_preferred`` are weights of terms, below zero to keep away. With
    ``spreads_default`` rows without a spread's label still score by the others."""

    uid: str
    key: str
    cluster: str
    reserve: Resources
    ports: tuple[Port, ...] = ()
    namespace: str = ""
    labels: Labels = ()
    node_selector: Labels = ()
    affinity: tuple[Term, ...] | None = None  # any of these terms
    preferred: tuple[tuple[int, Term], ...] = ()
    tolerations: tuple[Toleration, ...] = ()
    spreads: tuple[Spread, ...] = ()
    strategies: tuple[Strategy, ...] = ()
    constraints: tuple[Term, ...] = ()  # ECS memberOf, all of them
    group: str = ""
    distinct: bool = False
    fargate: bool = False
    zone: str = ""
    pinned: str = ""  # the only Instance it may go to, by id
    priority: int = 0
    extended: Amounts = ()
    scored: tuple[int, int] | None = None
    images: tuple[str, ...] = ()
    spreads_default: bool = False
    pod_affinity: tuple[PodTerm, ...] = ()
    pod_anti_affinity: tuple[PodTerm, ...] = ()
    pod_preferred: tuple[tuple[int, PodTerm], ...] = ()
    preempts: bool = False  # whether bookings of lower priority may have to go for it


@dataclass(slots=True, frozen=True)
class Row:
    """An Instance as placement sees it. ``labels`` are node labels or ECS attributes."""

    id: str
    name: str
    cluster: str
    pool: str
    allocatable: Resources
    labels: Labels = ()
    taints: tuple[Taint, ...] = ()
    schedulable: bool = True
    ready: bool = True
    extended: Amounts = ()
    images: Amounts = ()  # name → size in bytes


class Placed(msgspec.Struct, frozen=True):
    """``instance`` is the row's id; "" for a Fargate ask, whose Instance is yet to be made on
    ``pool``."""

    ask: Ask
    instance: str
    pool: str


@dataclass(slots=True, frozen=True)
class Reason:
    """Why instances were rejected. ``code``: cpu, memory, disk, sandboxes, extended, ports,
    selector, names, taint, cordoned, notready, spread, spread-label, distinct, zone, pinned,
    pod-affinity, pod-anti-affinity, existing-anti-affinity, pool-cpu, pool-memory. ``detail`` is
    the taint ("key: value") or the extended resource."""

    code: str
    count: int
    detail: str = ""
    instance: str = ""  # the closest match, for ECS's words


@dataclass(slots=True, frozen=True)
class Unplaced:
    """No Instance of ``total`` took the ask; each is counted under its first reasons.
    ``preemption`` is why nothing was preempted, "" if something was; None: it helps nowhere."""

    ask: Ask
    total: int
    reasons: tuple[Reason, ...]
    preemption: str | None = None


Decision = Placed | Unplaced
