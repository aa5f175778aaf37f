"""Hosts join: records for the machine and the shared Instances it offers, and its heartbeats.

Called by the hull's API when an agent says hello and with each of its reports. When a Host was
last heard of is kept in memory, not in the store: it changes every few seconds and means
nothing after a restart, when every agent says hello again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import msgspec

from proa.base.chance import Chance
from proa.base.clock import Clock
from proa.base.config import Config
from proa.base.errors import Conflict, TryAgain
from proa.base.telemetry import get_logger
from proa.cloud import compute
from proa.cloud.network import Subnet
from proa.cloud.network.planner import NetworkPlanner
from proa.model.feed import Hello
from proa.model.host import Host, Instance
from proa.reconcile.view import View
from proa.store.api import Guard, Store, Transaction

log = get_logger(__name__)
SILENT_AFTER_S = 40.0
ATTEMPTS = 10


@dataclass(slots=True, frozen=True)
class ClusterOffer:
    """A cluster that gets a shared Instance on every Host: in the first of its subnets, or in the
    home region's default ones where it names none."""

    prefix: str
    subnets: tuple[str, ...] = ()
    region: str = ""


class Hosts:
    """Who has joined and who is alive. ``joined`` and ``alive`` are told of each Instance."""

    def __init__(
        self,
        store: Store,
        view: View,
        clock: Clock,
        chance: Chance,
        config: Config,
        clusters: Callable[[], tuple[ClusterOffer, ...]],
        alive: Callable[[Instance, Host], Awaitable[None]],
    ) -> None:
        self._store, self._view, self._clock = store, view, clock
        self._chance, self._config, self._clusters = chance, config, clusters
        self._planner = NetworkPlanner(view)
        self._alive = alive
        self._seen: dict[str, float] = {}

    def ready(self, host: str) -> bool:
        """Whether the Host's agent was heard of lately."""
        seen = self._seen.get(host)
        return seen is not None and self._clock.monotonic() - seen < SILENT_AFTER_S

    async def join(self, hello: Hello) -> None:
        """Store the Host as it describes itself, and its Instances where they are missing."""
        host = hello.host
        stored = self._view.rows(compute.HOSTS).get(compute.host_key(host.id))
        if stored is None or stored.value != host:
            done = await self._store.commit(Transaction(writes=(compute.put_host(host),)))
            await self._view.reached(done.version)
        for cluster in self._clusters():
            await self._retry(partial(self._offer, host, cluster))
        await self.heartbeat(host.id)

    async def offer(self, cluster: ClusterOffer) -> None:
        """A cluster has come: every Host that is there makes an Instance for it."""
        for entry in list(self._view.rows(compute.HOSTS).scan()):
            host = entry.value
            await self._retry(partial(self._offer, host, cluster))
            made = compute.instance_of(self._view, compute.instance_id(host.id, cluster.prefix))
            if made is not None and self.ready(host.id):
                await self._alive(made, host)

    async def heartbeat(self, host: str) -> None:
        """The Host's agent is alive."""
        known = self._view.rows(compute.HOSTS).get(compute.host_key(host))
        if known is None:
            raise TryAgain(f"host {host} has not joined")
        first = host not in self._seen
        before = self._seen.get(host, 0.0)
        now = self._clock.monotonic()
        if not first and now - before < 1.0:
            return
        self._seen[host] = now
        for instance in compute.instances_on(self._view, host):
            if instance.shared:
                await self._alive(instance, known.value)

    async def _retry(self, attempt: Callable[[], Awaitable[None]]) -> None:
        for _ in range(ATTEMPTS):
            try:
                return await attempt()
            except Conflict:
                await self._view.reached(await self._store.version())
        raise TryAgain("somebody else keeps writing the same records")

    async def _offer(self, host: Host, cluster: ClusterOffer) -> None:
        id = compute.instance_id(host.id, cluster.prefix)
        existing = compute.instance_of(self._view, id)
        if existing is not None:
            capacity = msgspec.structs.replace(host.pool, sandboxes=existing.capacity.sandboxes)
            if existing.capacity != capacity:
                changed = msgspec.structs.replace(existing, capacity=capacity)
                write = Transaction(writes=(compute.put_instance(changed),))
                await self._view.reached((await self._store.commit(write)).version)
            return
        subnet = self._subnet(cluster)
        plan = self._planner.plan_address(
            subnet.id, compute.instance_key(id), chance=self._chance.child(id)
        )
        made = compute.local_instance(
            host,
            cluster.prefix,
            zone=subnet.zone,
            subnet=subnet.id,
            address=plan.address,
            region=cluster.region or self._config.region,
            now=self._clock.now(),
        )
        guards = (Guard(compute.instance_key(id), 0), *plan.guards)
        write = Transaction(guards, (compute.put_instance(made), *plan.writes))
        await self._view.reached((await self._store.commit(write)).version)

    def _subnet(self, cluster: ClusterOffer) -> Subnet:
        named = (self._planner.subnet(id) for id in cluster.subnets)
        found = next((subnet for subnet in named if subnet is not None), None)
        if found is not None:
            return found
        return self._planner.default_subnets(self._config.account, self._config.region)[0]
