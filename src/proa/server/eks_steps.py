"""What the lifecycle of EKS clusters does outside a transaction: keys, doors, first objects,
Instances. ``eks_lifecycle`` plans these steps, the runner calls them; each may be done again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

import msgspec

from proa.aws.eks.records import CLUSTERS, DEFAULT, Cluster, encode
from proa.aws.eks.versions import patch_of
from proa.base.aio import Tasks, gather
from proa.base.errors import CallerFault, TryAgain
from proa.base.telemetry import get_logger
from proa.cloud.secrets import CannotOpen
from proa.kube.pki import Authority, ClusterKeys
from proa.kube.tables import PREFIX
from proa.reconcile.view import Entry
from proa.server.core import Core
from proa.server.doors import Door, Doors
from proa.server.eks_lifecycle import Clear, Lower, Raise, Reach, Retell
from proa.server.kube_bow import Kube, offer_to
from proa.server.kube_cluster import API_NAMES, KubeCluster, server_addresses
from proa.server.kube_keys import KeyRing
from proa.server.offers import ClusterOffer
from proa.store.api import Delete, Guard, Put, Transaction

log = get_logger(__name__)
PORTS = 1000  # that are looked at, from the first cluster's on
RETRY_S = 5.0
SETTLE_S = 0.1  # calls in process that were under way when a cluster's API was forgotten
SWEEP = 90


class Steps:
    """``offer`` has every Host make an Instance for a cluster."""

    def __init__(
        self,
        core: Core,
        kube: Kube,
        ring: KeyRing,
        doors: Doors,
        offer: Callable[[ClusterOffer], Awaitable[None]],
    ) -> None:
        self._core, self._kube, self._ring, self._doors = core, kube, ring, doors
        self._offer = offer
        self._tasks = Tasks()

    def performers(self) -> dict[type, Callable[[Any], Awaitable[int]]]:
        """Who carries out the lifecycle's steps."""
        steps: dict[type, Callable[[Any], Coroutine[Any, Any, int]]] = {
            Raise: self._raise,
            Reach: self._reach,
            Retell: self._retell,
            Lower: self._lower,
            Clear: self._clear,
        }
        return {kind: partial(_in_a_task, take) for kind, take in steps.items()}

    async def close(self) -> None:
        """Stop what still tries."""
        await self._tasks.close()

    async def restore(self) -> None:
        """The APIs of the clusters that were up before this process was, without their doors."""
        for entry in list(self._core.view.rows(CLUSTERS).scan()):
            cluster = entry.value
            if cluster.uid == DEFAULT or not cluster.authority:
                continue
            try:
                keys = await self._ring.of(cluster.uid)
            except CannotOpen as error:
                log.error("a cluster's keys are sealed with another key", cluster=cluster.name,
                          error=str(error))  # fmt: skip
                continue
            made = self._kube.add(cluster, keys, cluster.port)
            if cluster.status == "DELETING":
                self._kube.end(cluster.uid)
            else:
                await made.prepare()

    async def open_doors(self) -> None:
        """Listen for every cluster that is up but the first; a port that is taken is tried again
        until it is free: clients know it."""
        for entry in list(self._core.view.rows(CLUSTERS).scan()):
            cluster = entry.value
            if cluster.uid == DEFAULT or cluster.uid not in self._kube.clusters:
                continue
            if cluster.status in ("ACTIVE", "UPDATING") and not await self._opened(cluster):
                self._tasks.spawn(self._keep_opening(cluster.uid), f"door of {cluster.name}")

    async def _opened(self, cluster: Cluster) -> bool:
        keys = await self._ring.of(cluster.uid)
        try:
            await self._doors.open(self._door(cluster.uid, cluster.port, cluster, keys))
        except OSError as error:
            log.error("a cluster's port is taken", cluster=cluster.name, port=cluster.port,
                      error=str(error))  # fmt: skip
            return False
        await self._doors.reach(cluster.uid, self._kube.addresses(cluster.uid))
        return True

    async def _keep_opening(self, uid: str) -> None:
        while True:
            await self._core.clock.sleep(RETRY_S)
            found = self._core.view.rows(CLUSTERS).by("uid", uid)
            if not found or found[0].value.status == "DELETING":
                return
            if await self._opened(found[0].value):
                return

    def _door(self, uid: str, port: int, cluster: Cluster, keys: ClusterKeys) -> Door:
        listen = self._core.config.listen
        authority = Authority.load(keys.ca_pem, keys.ca_key_pem)
        certificate, key = authority.issue_server(
            API_NAMES, server_addresses(cluster.service_cidr, listen), self._core.clock.now()
        )
        return Door(uid, port, self._kube.handler_of(uid), certificate, key, keys.ca_pem)

    # Steps

    async def _raise(self, step: Raise) -> int:
        entry = self._core.view.rows(CLUSTERS).get(step.key)
        if entry is None or entry.value.status != "CREATING":
            return 0
        record = entry.value
        keys = await self._ring.of(record.uid)
        there = self._kube.clusters.get(record.uid)
        port = there.port if there else await self._open_somewhere(record, keys)
        cluster = self._kube.add(record, keys, port)
        await cluster.prepare()
        await self._offer(offer_to(record))
        await self._doors.reach(record.uid, self._kube.addresses(record.uid))
        return await self._activated(entry, cluster)

    async def _activated(self, entry: Entry[Cluster], cluster: KubeCluster) -> int:
        active = msgspec.structs.replace(
            entry.value,
            status="ACTIVE",
            port=cluster.port,
            issuer=cluster.info.issuer,
            authority=cluster.ca_pem,
        )
        guard, write = Guard(entry.key, entry.version), Put(entry.key, encode(active))
        return (await self._core.store.commit(Transaction((guard,), (write,)))).version

    async def _open_somewhere(self, record: Cluster, keys: ClusterKeys) -> int:
        """The first port after the first cluster's that is free; it is the cluster's for good."""
        config, rows = self._core.config, self._core.view.rows(CLUSTERS)
        taken = {entry.value.port for entry in rows.scan()}
        taken |= {config.aws_port, config.kube_port, config.registry_port}
        taken |= {cluster.port for cluster in self._kube.clusters.values()}
        for port in range(config.kube_port + 1, min(config.kube_port + PORTS, 65_536)):
            if port in taken:
                continue
            try:
                await self._doors.open(self._door(record.uid, port, record, keys))
            except OSError:
                continue
            return port
        raise TryAgain("there is no free port for the cluster's API")

    async def _reach(self, step: Reach) -> int:
        await self._doors.reach(step.uid, step.addresses)
        return 0

    async def _retell(self, step: Retell) -> int:
        if step.uid in self._kube.clusters:
            self._kube.retell(step.uid, patch_of(step.version))
        return 0

    async def _lower(self, step: Lower) -> int:
        self._kube.end(step.uid)
        await self._doors.close(step.uid)
        return 0

    async def _clear(self, step: Clear) -> int:
        self._kube.remove(step.uid)
        version = await self._swept(step.uid)
        await self._core.clock.sleep(SETTLE_S)
        return max(version, await self._swept(step.uid))

    async def _swept(self, uid: str) -> int:
        """Delete everything below the cluster's prefix."""
        if not uid or uid == DEFAULT:
            raise CallerFault("the first cluster is never cleared")
        version = 0
        while True:
            page = await self._core.store.range(f"{PREFIX}{uid}/", limit=SWEEP)
            if not page.records:
                return version
            doomed = tuple(Delete(record.key) for record in page.records)
            done = await self._core.store.commit(Transaction((), doomed))
            version = done.version


async def _in_a_task(take: Callable[[Any], Coroutine[Any, Any, int]], step: object) -> int:
    """Doors are closed within a time, which is a task's to have; the Runner begins without one."""
    (version,) = await gather((take(step),))
    return version
