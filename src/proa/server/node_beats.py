"""Signs of life become Nodes: what Instances' heartbeats write into the clusters' APIs.

``server.hosts`` tells of all living Instances at once. Nearly always nothing is written
(``kube.nodes.Heartbeats``); Nodes and Leases that are missing are created through the API's own
path, many in a transaction, so that a crowd of Hosts joins in seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from proa.base.errors import CallerFault, Conflict
from proa.base.telemetry import get_logger
from proa.cloud import compute
from proa.dispatch.batches import commit_all
from proa.dispatch.skin import Parts
from proa.kube.api.call import Call
from proa.kube.keys import object_key, parse_key
from proa.kube.nodes import Heartbeats, lease_key
from proa.kube.tables import LEASES, NODES, PREFIX, cluster_of
from proa.model.host import Instance
from proa.reconcile.view import Change, Table
from proa.server.core import Core
from proa.server.hosts import Living
from proa.server.kube_cluster import KubeCluster
from proa.store.api import Delete

log = get_logger(__name__)
ATTEMPTS = 5


class NodeBeats:
    """``cluster`` gives the cluster of a uid; None for one that has gone or is on its way out."""

    def __init__(
        self, core: Core, heartbeats: Heartbeats, cluster: Callable[[str], KubeCluster | None]
    ) -> None:
        self._core, self._heartbeats, self._cluster = core, heartbeats, cluster
        self._doubt: Callable[[str], None] = lambda _host: None

    def attach(self, seen: dict[str, float], doubt: Callable[[str], None]) -> None:
        """``seen`` is when each Host was last heard of; ``doubt`` is told of a Host whose Node or
        Lease has changed."""
        self._heartbeats.seen, self._doubt = seen, doubt
        self._core.view.subscribe(self._changes, (NODES, LEASES))

    def _changes(self, _table: Table[Any], change: Change[Any]) -> None:
        key = parse_key(change.key)
        self._doubt_node(key.cluster, key.name)

    def _doubt_node(self, cluster: str, name: str) -> None:
        rows = self._core.view.rows(compute.INSTANCES)
        for entry in rows.by("name", f"{PREFIX}{cluster}/{name}"):
            self._doubt(entry.value.host)

    async def alive(self, living: Living) -> None:
        """These Instances give a sign of life; those of other bows are passed over."""
        due: Living = [pair for pair in living if pair[0].cluster.startswith(PREFIX)]
        for _ in range(ATTEMPTS):  # the first sign makes a Node, the next its Lease
            due = await self._once(due)
            if not due:
                return
        log.warning("heartbeats not taken", nodes=len(due), first=due[0][0].name)
        for instance, _ in due:
            self._doubt(instance.host)

    async def _once(self, living: Living) -> Living:
        """Returns those to look at again."""
        creates: dict[str, list[Call]] = {}
        patches: list[tuple[Call, int]] = []
        again: dict[int, None] = {}
        for index, (instance, host) in enumerate(living):
            cluster = self._cluster(cluster_of(instance.cluster))
            if cluster is None:
                self._doubt(instance.host)  # it may come up
                continue
            version = cluster.info.version
            for call in self._heartbeats.beat(self._core.view, instance, host, version):
                if call.verb != "create":
                    patches.append((call, index))
                    continue
                creates.setdefault(call.cluster, []).append(call)
                again[index] = None
        for uid, calls in creates.items():
            await self._create(uid, calls)
        for call, index in patches:
            if not await self._patch(call):
                again[index] = None
        return [living[index] for index in sorted(again)]

    async def _create(self, uid: str, calls: Sequence[Call]) -> None:
        cluster = self._cluster(uid)
        if cluster is None:
            return
        try:
            made = cluster.api.prepared(calls)
        except CallerFault as error:
            log.warning("node not taken", cluster=uid, why=str(error))
            for call in calls:
                self._doubt_node(call.cluster, call.name)
            return
        parts = [Parts(item.guards, item.writes) for item in made]
        await commit_all(self._core.store, self._core.view, parts)

    async def _patch(self, call: Call) -> bool:
        """False where somebody else changed the Node: it is to be looked at again."""
        cluster = self._cluster(call.cluster)
        if cluster is None:
            return True
        try:
            await self._core.view.reached(await cluster.api.perform(call))
        except Conflict:
            return False
        except CallerFault as error:
            log.warning("heartbeat not taken", node=call.name, why=str(error))
            self._doubt_node(call.cluster, call.name)
        return True

    async def gone(self, instances: Sequence[Instance]) -> None:
        """These Instances have left for good: their Nodes and Leases go, as a cloud's node
        controller removes the Node of a machine that has been terminated."""
        doomed = []
        for instance in instances:
            if not instance.cluster.startswith(PREFIX):
                continue
            uid = cluster_of(instance.cluster)
            lease = lease_key(uid, instance.name)
            self._heartbeats.forget(lease, instance.id)
            node = object_key(uid, "", "nodes", "", instance.name)
            doomed.append(Parts(writes=(Delete(node), Delete(lease))))
        await commit_all(self._core.store, self._core.view, doomed)
