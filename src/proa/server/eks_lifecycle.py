"""The lifecycle of EKS clusters: brings their Kubernetes APIs up, tells them what changed, and
clears away what a deleted one leaves.

``EksController`` decides over the records; ``Lifecycle`` carries out what is no transaction. A
cluster goes in this order: its door closes; its objects but pods and nodes go, namespaces first,
so that no controller makes anew what is deleted; its pods end, however long their Host is silent;
then nodes, Instances, keys, the rest of its prefix, and the record last.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from proa.aws.eks.network import cluster_group
from proa.aws.eks.records import (
    CLUSTERS,
    DEFAULT,
    ENTRIES,
    UPDATES,
    Cluster,
    Update,
    cluster_of_uid,
    encode,
    entry_prefix,
    update_key,
    update_prefix,
)
from proa.cloud import compute
from proa.cloud.network import NetworkPlanner
from proa.kube.api.call import Call
from proa.kube.keys import parse_key
from proa.kube.objects import Object
from proa.kube.tables import NAMESPACES, OBJECTS, PODS, PREFIX, cluster_of
from proa.reconcile.controller import Trigger
from proa.reconcile.plan import NOTHING, Commit, Plan
from proa.reconcile.runner import row_key
from proa.reconcile.view import Change, Entry, View
from proa.store.api import Delete, Guard, Put, Transaction

GRACE_S = 2  # what a pod gets when its cluster goes with its nodes
AGAIN_S = 0.5
BATCH, BATCHES = 90, 20


@dataclass(slots=True, frozen=True)
class Raise:
    """Bring a cluster's API up and make its record ACTIVE."""

    key: str


@dataclass(slots=True, frozen=True)
class Reach:
    """Let pods reach the API at these addresses."""

    uid: str
    addresses: tuple[str, ...]


@dataclass(slots=True, frozen=True)
class Retell:
    """Tell a cluster's API what version it is of."""

    uid: str
    version: str


@dataclass(slots=True, frozen=True)
class Lower:
    """Close a cluster's door; it is on its way out."""

    uid: str


@dataclass(slots=True, frozen=True)
class Clear:
    """Forget a cluster's API and delete everything of its prefix."""

    uid: str


Performer = Callable[[Any], Awaitable[int]]


class EksController:
    """Key: a cluster record's."""

    name = "eks-cluster"

    def __init__(self) -> None:
        self.triggers: Sequence[Trigger] = (
            Trigger(CLUSTERS, row_key),
            Trigger(compute.INSTANCES, _of_instance),
            Trigger(PODS, _of_ending_pod, ("metadata.uid",)),
        )

    def reconcile(self, view: View, key: str, now: float) -> Plan:
        entry = view.rows(CLUSTERS).get(key)
        if entry is None:
            return NOTHING
        cluster = entry.value
        if cluster.status == "CREATING":
            return Plan((Raise(key),))
        if cluster.status == "DELETING":
            return _ending(view, entry, now)
        reach = Reach(cluster.uid, _addresses(view, cluster))
        if cluster.status == "UPDATING":
            return Plan((reach, Retell(cluster.uid, cluster.version), _updated(view, entry)))
        return Plan((reach,))


def _addresses(view: View, cluster: Cluster) -> tuple[str, ...]:
    """Where its pods reach its API: nobody is at the address of a simulated Instance."""
    instances = compute.real_instances_of(view, f"{PREFIX}{cluster.uid}/")
    return tuple(one.address for one in instances if one.shared and one.address)


def _updated(view: View, entry: Entry[Cluster]) -> Commit:
    """The cluster ACTIVE again, its update Successful."""
    cluster = entry.value
    active = msgspec.structs.replace(cluster, status="ACTIVE", update="")
    writes = [Put(entry.key, encode(active))]
    where = update_key(cluster.account, cluster.region, cluster.name, cluster.update)
    found: Entry[Update] | None = view.rows(UPDATES).get(where)
    if found is not None:
        done = msgspec.structs.replace(found.value, status="Successful")
        writes.append(Put(where, encode(done)))
    return Commit(Transaction((Guard(entry.key, entry.version),), tuple(writes)))


def _ending(view: View, entry: Entry[Cluster], now: float) -> Plan:
    cluster = entry.value
    prefix = f"{PREFIX}{cluster.uid}/"
    lower = Lower(cluster.uid)
    pods = list(view.rows(PODS).scan(f"{prefix}core/pods/"))
    others = [item for item in view.rows(OBJECTS).scan(prefix) if not _waits(item)]
    if others:
        others.sort(key=lambda item: (not _is_namespace(item), item.key))
        return Plan((lower, *_deletes(item.key for item in others)), now + AGAIN_S)
    if pods:
        held = [item for item in pods if item.value.metadata.finalizers]
        doomed = [item for item in pods if not item.value.metadata.deleting]
        calls = (*(_freed(item) for item in held), *(_stop(item) for item in doomed))
        return Plan((lower, *calls), now + AGAIN_S)
    return Plan((lower, *_without_instances(view, prefix), Clear(cluster.uid), _gone(view, entry)))


def _waits(item: Entry[Object]) -> bool:
    """What goes after everything else: pods, and the nodes that they end on."""
    key = parse_key(item.key)
    return not key.group and key.resource in ("pods", "nodes")


def _is_namespace(item: Entry[Object]) -> bool:
    return NAMESPACES.matches(item.key)


def _deletes(keys: Iterable[str]) -> list[Commit]:
    doomed = list(keys)[: BATCH * BATCHES]
    return [
        Commit(Transaction((), tuple(Delete(key) for key in doomed[start : start + BATCH])))
        for start in range(0, len(doomed), BATCH)
    ]


def _freed(pod: Entry[Any]) -> Call:
    """Nobody is left who would take a finalizer away."""
    key, body = parse_key(pod.key), {"metadata": {"finalizers": None}}
    return Call(key.cluster, "patch", "", "pods", key.namespace, key.name, body=body)


def _stop(pod: Entry[Any]) -> Call:
    key, meta = parse_key(pod.key), pod.value.metadata
    return Call(
        key.cluster,
        "delete",
        "",
        "pods",
        key.namespace,
        key.name,
        uid=meta.uid,
        grace_s=GRACE_S,
        missing_ok=True,
    )


def _without_instances(view: View, prefix: str) -> list[Commit]:
    """The Instances of the cluster go, and their addresses are free."""
    planner = NetworkPlanner(view)
    steps: list[Commit] = []
    for instance in compute.instances_of(view, prefix):
        key = compute.instance_key(instance.id)
        held = [planner.release_address(one.vpc, one.address, key)
                for one in planner.addresses_of(key)]  # fmt: skip
        guards = tuple(guard for release in held for guard in release.guards)
        freed = tuple(write for release in held for write in release.writes)
        steps.append(Commit(Transaction(guards, (Delete(key), *freed))))
    return steps


def _gone(view: View, entry: Entry[Cluster]) -> Commit:
    """The record, its access entries and updates, and the cluster security group."""
    cluster = entry.value
    place = (cluster.account, cluster.region, cluster.name)
    keys = [
        *(row.key for row in view.rows(ENTRIES).scan(entry_prefix(*place))),
        *(row.key for row in view.rows(UPDATES).scan(update_prefix(*place))),
    ]
    parts = [Delete(key) for key in keys[:BATCH]]
    group = Delete(cluster_group(cluster).key)
    guard = Guard(entry.key, entry.version)
    if len(keys) > BATCH:  # the rest with the next look
        return Commit(Transaction((guard,), (*parts, Put(entry.key, entry.body))))
    return Commit(Transaction((guard,), (Delete(entry.key), group, *parts)))


def _of_uid(view: View, uid: str) -> Iterable[str]:
    cluster = cluster_of_uid(view, uid)
    return (cluster.key,) if cluster is not None else ()


def _of_instance(view: View, change: Change[Any]) -> Iterable[str]:
    side = change.new or change.old
    if side is None or not side.value.cluster.startswith(PREFIX):
        return ()
    if side.value.simulated and cluster_of(side.value.cluster) == DEFAULT:
        return ()  # it changes nothing for the cluster, which never ends
    return _of_uid(view, cluster_of(side.value.cluster))


def _of_ending_pod(view: View, change: Change[Any]) -> Iterable[str]:
    uid = cluster_of(change.key)
    if uid == DEFAULT or change.new is not None:
        return ()
    cluster = cluster_of_uid(view, uid)
    return (cluster.key,) if cluster is not None and cluster.status == "DELETING" else ()
