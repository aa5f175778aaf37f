"""Which of a ReplicaSet's pods go first when there are too many.

The order is that of kube-controller-manager (ReplicaSet documentation, "Scaling a ReplicaSet"):
unassigned, pending, not ready, cheaper to delete, more crowded on their node, ready for a
shorter time, more restarts, younger.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proa.kube.controllers.common import instant
from proa.kube.objects import Pod, ReplicaSet
from proa.kube.tables import PODS, REPLICA_SETS, cluster_of
from proa.reconcile.view import Entry, View

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
_PHASES = {"Pending": 0, "Unknown": 1, "Running": 2}


def deletion_order(
    view: View, replica_set: Entry[ReplicaSet], active: list[Entry[Pod]]
) -> list[Entry[Pod]]:
    """The active pods, the first to be deleted first; equals by name."""
    return removal_order(active, _crowds(view, replica_set))


def removal_order(active: list[Entry[Pod]], crowd: Mapping[str, int] | None = None) -> list[
    Entry[Pod]
]:  # fmt: skip
    """The same where only the pods count; ``crowd`` are siblings by node."""
    crowd = crowd or {}

    def rank(entry: Entry[Pod]) -> tuple[Any, ...]:
        pod = entry.value
        since = instant(pod.ready_since or "")
        restarts = sum(item.restart_count for item in pod.status.container_statuses)
        return (
            bool(pod.spec.node_name),
            _PHASES.get(pod.status.phase, 0),
            pod.ready_since is not None,
            _cost(pod),
            -crowd.get(pod.spec.node_name, 0),
            -since,
            -restarts,
            -instant(pod.metadata.creation_timestamp),
            pod.metadata.name,
        )

    return sorted(active, key=rank)


def _cost(pod: Pod) -> int:
    try:
        return int(pod.metadata.annotations.get(DELETION_COST, "0"))
    except ValueError:
        return 0


def _crowds(view: View, replica_set: Entry[ReplicaSet]) -> dict[str, int]:
    """Active pods of the same owner's ReplicaSets on each node (the siblings of a rollout)."""
    cluster = cluster_of(replica_set.key)
    owner = replica_set.value.metadata.controller
    sets = [replica_set]
    if owner is not None:
        sets = view.rows(REPLICA_SETS).by("controller", f"{cluster}/{owner.uid}") or sets
    crowd: dict[str, int] = {}
    for one in sets:
        for pod in view.rows(PODS).by("controller", f"{cluster}/{one.value.metadata.uid}"):
            if pod.value.active:
                node = pod.value.spec.node_name
                crowd[node] = crowd.get(node, 0) + 1
    return crowd
