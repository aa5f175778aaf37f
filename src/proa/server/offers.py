"""Which clusters get an Instance of a Host, and the Instances with their addresses.

``server.hosts`` asks when Hosts join and leave and when a cluster comes. A real Host's Instances
are in the default network or in the cluster's own subnets, a simulated one's in a network that
only lends addresses. Everything is decided for many Hosts at once and written in batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import msgspec

from proa.base.chance import Chance
from proa.base.clock import Clock
from proa.base.config import Config
from proa.base.errors import CallerFault, Conflict, TryAgain
from proa.cloud import compute
from proa.cloud.network import (
    SUBNETS,
    NetworkPlanner,
    Subnet,
    simulated_network,
    simulated_vpc,
)
from proa.dispatch.batches import commit_all
from proa.dispatch.skin import Parts
from proa.model.host import Host, Instance
from proa.reconcile.view import View
from proa.store.api import Delete, Guard, Store

ATTEMPTS = 10


@dataclass(slots=True, frozen=True)
class ClusterOffer:
    """A cluster that may get a shared Instance of every Host: in the first of its subnets, or in
    the home region's default ones where it names none. ``name`` is "ecs/NAME" or "eks/NAME"."""

    prefix: str
    subnets: tuple[str, ...] = ()
    region: str = ""
    name: str = ""


class Offers:
    """``clusters`` are those that get an Instance of every Host that names none; ``named`` finds
    any by its name."""

    def __init__(
        self,
        store: Store,
        view: View,
        clock: Clock,
        chance: Chance,
        config: Config,
        clusters: Callable[[], tuple[ClusterOffer, ...]],
        named: Callable[[str], ClusterOffer | None],
    ) -> None:
        self._store, self._view, self._clock = store, view, clock
        self._chance, self._config = chance, config
        self._clusters, self._named = clusters, named
        self._planner = NetworkPlanner(view)

    def check(self, hosts: Iterable[Host]) -> None:
        """Raises CallerFault for a Host that names a cluster there is not."""
        for name in dict.fromkeys(name for host in hosts for name in host.clusters):
            if self._named(name) is None:
                raise CallerFault(f"there is no cluster {name}")

    def made(self, host: Host, cluster: ClusterOffer) -> Instance | None:
        """The Host's Instance for a cluster."""
        return compute.instance_of(self._view, compute.instance_id(host.id, cluster.prefix))

    async def make(self, hosts: Sequence[Host], only: Sequence[ClusterOffer] = ()) -> None:
        """Make what is missing and bring what has changed to its newest size; ``only`` for these
        clusters, where the Hosts are for them."""
        for _ in range(ATTEMPTS):
            wanted = [pair for pair in self._wanted(hosts, only) if self._is_due(*pair)]
            if not wanted:
                return
            await self._networks(wanted)
            taken: set[str] = set()
            parts = [self._part(host, cluster, taken) for host, cluster in wanted]
            if not await commit_all(self._store, self._view, parts):
                return
        raise TryAgain("somebody else keeps writing the same records")

    async def withdraw(self, instances: Sequence[Instance]) -> None:
        """Remove Instances, and give their addresses back."""
        parts = []
        for instance in instances:
            key = compute.instance_key(instance.id)
            held = self._planner.addresses_of(key)
            releases = [self._planner.release_address(it.vpc, it.address, key) for it in held]
            parts.append(
                Parts(
                    tuple(guard for item in releases for guard in item.guards),
                    (Delete(key), *(write for item in releases for write in item.writes)),
                )
            )
        await commit_all(self._store, self._view, parts)

    def _wanted(
        self, hosts: Sequence[Host], only: Sequence[ClusterOffer]
    ) -> list[tuple[Host, ClusterOffer]]:
        usual = self._clusters()
        known = {name: self._named(name) for host in hosts for name in host.clusters}
        found: list[tuple[Host, ClusterOffer]] = []
        for host in {host.id: host for host in hosts}.values():
            offers = [known[name] for name in dict.fromkeys(host.clusters)] or list(usual)
            if only:
                names = host.clusters
                offers = [item for item in only if not names or item.name in names]
            found.extend((host, offer) for offer in offers if offer is not None)
        return found

    def _is_due(self, host: Host, cluster: ClusterOffer) -> bool:
        made = self.made(host, cluster)
        return made is None or made.capacity != _capacity(host, made)

    def _part(self, host: Host, cluster: ClusterOffer, taken: set[str]) -> Parts:
        made = self.made(host, cluster)
        if made is not None:
            changed = msgspec.structs.replace(made, capacity=_capacity(host, made))
            return Parts(writes=(compute.put_instance(changed),))
        id = compute.instance_id(host.id, cluster.prefix)
        key, subnet = compute.instance_key(id), self._subnet(host, cluster)
        plan = self._planner.plan_address(
            subnet.id, key, chance=self._chance.child(id), avoid=taken
        )
        taken.add(plan.address)
        instance = compute.local_instance(
            host,
            cluster.prefix,
            zone=subnet.zone,
            subnet=subnet.id,
            address=plan.address,
            region=cluster.region or self._config.region,
            now=self._clock.now(),
        )
        guards = (Guard(key, 0), *plan.guards)
        return Parts(guards, (compute.put_instance(instance), *plan.writes))

    async def _networks(self, wanted: Sequence[tuple[Host, ClusterOffer]]) -> None:
        """The networks of simulated Hosts, made when the first comes."""
        regions = [item.region or self._config.region for host, item in wanted if host.simulated]
        for region in dict.fromkeys(regions):
            if self._planner.vpc(simulated_vpc(self._config.account, region)) is None:
                transaction = simulated_network(self._config.account, region)
                try:
                    await self._view.reached((await self._store.commit(transaction)).version)
                except Conflict:  # another Host's hello was faster
                    await self._view.reached(await self._store.version())

    def _subnet(self, host: Host, cluster: ClusterOffer) -> Subnet:
        region = cluster.region or self._config.region
        if host.simulated:
            vpc = simulated_vpc(self._config.account, region)
            subnets = [row.value for row in self._view.rows(SUBNETS).by("vpc", vpc)]
            return _in_zone(sorted(subnets, key=lambda subnet: subnet.zone), host.zone)
        named = (self._planner.subnet(id) for id in cluster.subnets)
        found = next((subnet for subnet in named if subnet is not None), None)
        if found is not None:
            return found
        default = self._planner.default_subnets(self._config.account, self._config.region)
        return _in_zone(default, host.zone)


def _in_zone(subnets: Sequence[Subnet], zone: str) -> Subnet:
    """The subnet of a zone, known by its last letter in every region; the first without one."""
    return next((subnet for subnet in subnets if zone and subnet.zone[-1] == zone[-1]), subnets[0])


def _capacity(host: Host, made: Instance) -> object:
    """What an Instance of a Host has: the number of Sandboxes is decided once."""
    return msgspec.structs.replace(host.pool, sandboxes=made.capacity.sandboxes)
