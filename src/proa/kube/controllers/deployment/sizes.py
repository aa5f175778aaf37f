"""How many replicas each ReplicaSet of a Deployment may have now: arithmetic alone.

Two promises hold for whatever the controller itself does: never more pods asked for than
replicas + maxSurge, and never fewer available than replicas − maxUnavailable. Rules: Deployment
documentation, "Rolling Update Deployment" and "Proportional scaling".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from proa.kube.controllers.common import scaled
from proa.kube.objects import Deployment, ReplicaSet
from proa.reconcile.view import Entry

DESIRED = "deployment.kubernetes.io/desired-replicas"
MAXIMUM = "deployment.kubernetes.io/max-replicas"
Set = Entry[ReplicaSet]


@dataclass(slots=True)
class Sets:
    """A Deployment's ReplicaSets: the one of the current template, and the others."""

    new: Set | None
    old: list[Set] = field(default_factory=list)

    @property
    def all(self) -> list[Set]:
        return [*self.old, *([self.new] if self.new else [])]

    @property
    def active(self) -> list[Set]:
        return [entry for entry in self.all if entry.value.spec.replicas > 0]


def asked(sets: Sequence[Set]) -> int:
    """Pods that ReplicaSets want."""
    return sum(entry.value.spec.replicas for entry in sets)


def available(sets: Sequence[Set]) -> int:
    """Pods that ReplicaSets report available."""
    return sum(entry.value.status.available_replicas for entry in sets)


def is_rolling(deployment: Deployment) -> bool:
    return deployment.spec.strategy.type != "Recreate"


def fenceposts(deployment: Deployment) -> tuple[int, int]:
    """(maxSurge, maxUnavailable) in pods: surge rounds up, unavailable down, and both at zero
    would never move, so one may then be unavailable."""
    rolling, replicas = deployment.spec.strategy.rolling_update, deployment.spec.replicas
    surge = scaled(rolling.max_surge, replicas, round_up=True)
    unavailable = scaled(rolling.max_unavailable, replicas, round_up=False)
    return surge, unavailable if surge or unavailable else 1


def max_surge(deployment: Deployment) -> int:
    """Pods above the wanted number that a rolling update may have."""
    return fenceposts(deployment)[0] if is_rolling(deployment) else 0


def max_unavailable(deployment: Deployment) -> int:
    """Pods of the wanted number that may be unavailable during a rolling update."""
    replicas = deployment.spec.replicas
    if not is_rolling(deployment) or replicas == 0:
        return 0
    return min(fenceposts(deployment)[1], replicas)


def size_of_new(deployment: Deployment, every: Sequence[Set], present: int) -> int:
    """The replicas of the new ReplicaSet, which has ``present`` and is counted in ``every``."""
    replicas = deployment.spec.replicas
    if not is_rolling(deployment):
        return replicas
    if present > replicas:
        return replicas
    room = replicas + max_surge(deployment) - asked(every)
    return present + max(0, min(room, replicas - present))


def shrink_old(deployment: Deployment, sets: Sets) -> list[tuple[Set, int]]:
    """Old ReplicaSets to be scaled down in a rolling update, each with its new size. Pods that
    are not available go first, for nobody misses them."""
    assert sets.new is not None, "the new ReplicaSet exists by now"
    new = sets.new.value
    if asked(sets.old) == 0:
        return []
    minimum = deployment.spec.replicas - max_unavailable(deployment)
    new_unavailable = new.spec.replicas - new.status.available_replicas
    removable = asked(sets.all) - minimum - new_unavailable
    if removable <= 0:
        return []
    oldest_first = by_age(sets.old)
    size = {entry.key: entry.value.spec.replicas for entry in oldest_first}
    for entry in oldest_first:
        unhealthy = size[entry.key] - entry.value.status.available_replicas
        cut = max(0, min(removable, unhealthy))
        size[entry.key] -= cut
        removable -= cut
    spare = available(sets.all) - minimum
    for entry in oldest_first:
        cut = max(0, min(spare, size[entry.key]))
        size[entry.key] -= cut
        spare -= cut
    return [
        (entry, size[entry.key])
        for entry in oldest_first
        if size[entry.key] != entry.value.spec.replicas
    ]


def by_age(sets: Sequence[Set]) -> list[Set]:
    """Oldest first; equals by name."""
    return sorted(sets, key=lambda entry: (entry.created, entry.key))


def desired_of(replica_set: ReplicaSet) -> int | None:
    """The Deployment's replicas when this ReplicaSet was last sized."""
    return _number(replica_set, DESIRED)


def _number(replica_set: ReplicaSet, annotation: str) -> int | None:
    try:
        return int(replica_set.metadata.annotations[annotation])
    except (KeyError, ValueError):
        return None


def is_scaling(deployment: Deployment, sets: Sets) -> bool:
    """Whether the Deployment was scaled since its ReplicaSets were last sized."""
    found = [desired_of(entry.value) for entry in sets.active]
    return any(value is not None and value != deployment.spec.replicas for value in found)


def rescaled(deployment: Deployment, sets: Sets) -> list[tuple[Set, int]]:
    """Every ReplicaSet whose size the Deployment's own scaling changes, with its new size; also
    one whose size stays but whose record of it must not."""
    replicas = deployment.spec.replicas
    only = _active_or_latest(sets)
    if only is not None:
        return [(only, replicas)]
    if _saturated(deployment, sets.new):
        return [(entry, 0) for entry in sets.old if entry.value.spec.replicas > 0]
    if is_rolling(deployment) and sets.active:
        return _proportional(deployment, sets)
    return []


def _active_or_latest(sets: Sets) -> Set | None:
    """The only ReplicaSet with replicas; where none has any, the one to give them to."""
    if not sets.active:
        return sets.new or (by_age(sets.old)[-1] if sets.old else None)
    return sets.active[0] if len(sets.active) == 1 else None


def _saturated(deployment: Deployment, new: Set | None) -> bool:
    replicas = deployment.spec.replicas
    return (
        new is not None
        and new.value.spec.replicas == replicas
        and desired_of(new.value) == replicas
        and new.value.status.available_replicas == replicas
    )


def _proportional(deployment: Deployment, sets: Sets) -> list[tuple[Set, int]]:
    """Spread the change over the active ReplicaSets by their sizes; what rounding leaves goes to
    the largest, on growing the newer and on shrinking the older of equals."""
    replicas = deployment.spec.replicas
    allowed = replicas + max_surge(deployment) if replicas > 0 else 0
    change = allowed - asked(sets.active)
    younger_first = by_age(sets.active)[::-1]
    order = younger_first if change >= 0 else by_age(sets.active)
    order = sorted(order, key=lambda entry: -entry.value.spec.replicas)
    size: list[int] = []
    given = 0
    for entry in order:
        part = _fraction(deployment, entry.value) if change != given else 0
        left = change - given
        part = min(part, left) if change > 0 else max(part, left)
        size.append(entry.value.spec.replicas + part)
        given += part
    if change:
        size[0] = max(0, size[0] + change - given)
    return list(zip(order, size, strict=True))


def _fraction(deployment: Deployment, replica_set: ReplicaSet) -> int:
    """How much this ReplicaSet's size should change if it kept its share."""
    size, replicas = replica_set.spec.replicas, deployment.spec.replicas
    if replicas == 0:
        return -size
    before = _number(replica_set, MAXIMUM) or deployment.status.replicas
    if not before:
        return 0
    share = Fraction(size * (replicas + max_surge(deployment)), before)
    return int(share + Fraction(1, 2)) - size  # half away from zero, as for all positive shares
