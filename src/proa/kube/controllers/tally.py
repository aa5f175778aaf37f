"""How many of a ReplicaSet's pods stand how, which is what its status says.

``replica_set`` asks in each of its turns. Most often all pods are as the template has them; then
the table's index has counted them already, and none is looked at. Whoever is not of the template,
or could be adopted, has them looked at one by one (``tallied``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from proa.kube.controllers.common import instant
from proa.kube.objects import STANDINGS, TERMINAL, Pod, ReplicaSet, ReplicaSetSpec, ReplicaSetStatus
from proa.kube.tables import PODS, cluster_of, family
from proa.reconcile.view import Entry, View


class Tally(NamedTuple):
    """Active pods, those of them that have all the template's labels, that are Ready, that have
    been so for long enough; and those that are deleted and still there."""

    replicas: int = 0
    labelled: int = 0
    ready: int = 0
    available: int = 0
    terminating: int = 0

    def with_new(self, count: int) -> Tally:
        """After pods of the template are created."""
        return self._replace(replicas=self.replicas + count, labelled=self.labelled + count)

    def with_ending(self, count: int) -> Tally:
        """After so many more pods have begun to end."""
        return self._replace(terminating=self.terminating + count)

    def shown(self) -> dict[str, int]:
        """As a status has it."""
        return {
            "replicas": self.replicas,
            "fullyLabeledReplicas": self.labelled,
            "readyReplicas": self.ready,
            "availableReplicas": self.available,
            "terminatingReplicas": self.terminating,
        }


def present_in(status: ReplicaSetStatus) -> Tally | None:
    """What a status says; None where it does not say all."""
    if status.terminating_replicas is None:
        return None
    return Tally(
        status.replicas,
        status.fully_labeled_replicas,
        status.ready_replicas,
        status.available_replicas,
        status.terminating_replicas,
    )


def counted(view: View, entry: Entry[ReplicaSet]) -> Tally | None:
    """The tally where all pods have the template's labels and no others, none is to be adopted, and
    a pod that is Ready is available; None otherwise."""
    meta, spec, pods = entry.value.metadata, entry.value.spec, view.rows(PODS)
    cluster = cluster_of(entry.key)
    labels = spec.template.metadata.get("labels", {})
    alone = not pods.count("orphans", f"{cluster}/{meta.namespace}")
    if spec.min_ready_seconds or not alone or not spec.selector.matches(labels):
        return None
    mine = f"{cluster}/{meta.uid}"
    if pods.count("family", family(cluster, meta.uid, labels)) != pods.count("controller", mine):
        return None
    of = [pods.count("standing", f"{mine}/{standing}") for standing in STANDINGS]
    waiting, ready, ending, _ = of
    return Tally(waiting + ready, waiting + ready, ready, ready, ending)


def tallied(replica_set: ReplicaSet, owned: Iterable[Entry[Pod]], now: float) -> Tally:
    """The tally of pods as they are."""
    spec = replica_set.spec
    wanted: Mapping[str, str] = spec.template.metadata.get("labels", {})
    active = labelled = ready = available = terminating = 0
    labels: Mapping[str, str] | None = None
    fully = False
    for entry in owned:
        pod = entry.value
        meta = pod.metadata
        if pod.status.phase in TERMINAL:
            continue
        if meta.deletion_timestamp:
            terminating += 1
            continue
        active += 1
        if meta.labels is not labels:  # most often all are of one template, and share them
            labels = meta.labels
            fully = labels == wanted or wanted.items() <= labels.items()
        labelled += fully
        if pod.ready_since is not None:
            ready += 1
            available += not spec.min_ready_seconds or _is_available(pod, spec, now)
    return Tally(active, labelled, ready, available, terminating)


def available_at(pod: Pod, min_ready_s: int) -> float | None:
    """When a pod becomes or became available: Ready for ``min_ready_s``; None if not Ready."""
    since = pod.ready_since
    return None if since is None else instant(since) + min_ready_s


def _is_available(pod: Pod, spec: ReplicaSetSpec, now: float) -> bool:
    """Whether a pod that is Ready has been so for long enough."""
    at = available_at(pod, spec.min_ready_seconds)
    return at is not None and at <= now
