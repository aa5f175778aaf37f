"""Pod addresses: booked for pods that came by a node without the scheduler, given back after.

The scheduler books an address with the bind itself. A pod created with ``spec.nodeName``, bound
through ``pods/binding`` or by another scheduler has none yet; this controller books it. When a
pod's object has gone, nothing of the pod is left on its Host, and its address is free.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from proa.base.chance import Chance
from proa.cloud import compute
from proa.cloud.network import ADDRESSES, HeldAddress, NetworkPlanner
from proa.dispatch.skin import Parts
from proa.kube.objects import Pod
from proa.kube.tables import PODS, PREFIX, cluster_of
from proa.reconcile.controller import Trigger
from proa.reconcile.plan import NOTHING, Commit, Plan
from proa.reconcile.view import Change, Entry, View
from proa.store.api import Delete, Guard, Transaction


def holder_of(pod: Entry[Pod]) -> str:
    """Under what name a pod holds its address: a later pod of the same name is another."""
    return f"{pod.key}@{pod.value.metadata.uid}"


class AddressController:
    """Key: a holder, ``<pod key>@<uid>``."""

    name = "pod-address"

    def __init__(self, chance: Chance) -> None:
        self._chance = chance
        self.triggers: Sequence[Trigger] = (
            Trigger(PODS, _holders_of_pod, ("metadata.uid", "spec.node_name")),
            Trigger(ADDRESSES, _holder_of_address),
        )

    def reconcile(self, view: View, key: str, now: float) -> Plan:
        pod_key, _, uid = key.rpartition("@")
        entry = view.rows(PODS).get(pod_key)
        held = [row.value for row in view.rows(ADDRESSES).by("holder", key)]
        if entry is None or entry.value.metadata.uid != uid:
            return _released(view, key, held)
        spec = entry.value.spec
        if held or spec.host_network or not spec.node_name or not entry.value.active:
            return NOTHING
        name = f"{PREFIX}{cluster_of(pod_key)}/{spec.node_name}"
        instances = view.rows(compute.INSTANCES).by("name", name)
        if not instances:
            return NOTHING
        plan = NetworkPlanner(view).plan_address(
            instances[0].value.subnet, key, chance=self._chance
        )
        guards = (Guard(entry.key, entry.version), *plan.guards)
        return Plan((Commit(Transaction(guards, plan.writes)),))


def _released(view: View, holder: str, held: list[HeldAddress]) -> Plan:
    planner = NetworkPlanner(view)
    steps: list[Commit] = []
    for item in held:
        release = planner.release_address(item.vpc, item.address, holder)
        if release.writes:
            steps.append(Commit(Transaction(release.guards, release.writes)))
    return Plan(tuple(steps))


def released_with(view: View, pod: Entry[Pod]) -> Parts:
    """What gives a pod's addresses back in the transaction that removes its object, before that:
    by then nothing of it is left on its Host."""
    held = view.rows(ADDRESSES).by("holder", holder_of(pod))
    guards = tuple(Guard(row.key, row.version) for row in held)
    return Parts(guards, tuple(Delete(row.key) for row in held))


def _holders_of_pod(view: View, change: Change[Pod]) -> Iterable[str]:
    """Whoever goes and leaves an address, and whoever comes onto a node without one: the scheduler
    writes that first. Between the two nothing changes."""
    old, new = change.old, change.new
    held = view.rows(ADDRESSES)
    if new is None:
        left = old is not None and held.count("holder", holder_of(old))
        return (holder_of(old),) if old is not None and left else ()
    keys: list[str] = []
    if old is not None and old.value.metadata.uid != new.value.metadata.uid:
        keys.append(holder_of(old))
    holder = holder_of(new)
    if new.value.spec.node_name and not held.count("holder", holder):
        keys.append(holder)
    return keys


def _holder_of_address(view: View, change: Change[HeldAddress]) -> Iterable[str]:
    """Whoever has lost one and is there to stay, and whoever holds one and is not there."""
    side = change.new or change.old
    if side is None or not side.value.holder.startswith(PREFIX) or "@" not in side.value.holder:
        return ()
    pod_key, _, uid = side.value.holder.rpartition("@")
    pod = view.rows(PODS).get(pod_key)
    if pod is not None and pod.value.metadata.uid == uid:
        stays = change.new is None and pod.value.active
        return (side.value.holder,) if stays else ()
    return (side.value.holder,)
