"""Regions come into being when they are first used (ADR 2).

The gateway's shell asks ``ensure`` before it serves a request: the first request of an account
in a region makes its default network and its default ECS cluster.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network

from proa.aws.ecs.bootstrap import bootstrap as bootstrap_ecs
from proa.aws.eks.records import CLUSTERS
from proa.base.clock import Clock
from proa.base.config import Config
from proa.base.errors import Conflict
from proa.cloud.network import VPCS, bootstrap_network
from proa.reconcile.view import View
from proa.store.api import Store, Transaction


class Regions:
    """Which regions are there, and how the next one is made."""

    def __init__(self, store: Store, view: View, clock: Clock, config: Config) -> None:
        self._store, self._view, self._clock, self._config = store, view, clock, config
        self._known: set[tuple[str, str]] = set()

    async def ensure(self, account: str, region: str) -> None:
        """Make what the region starts with, if it is not there."""
        if (account, region) in self._known:
            return
        await self._view.reached(await self._store.version())
        config = replace(self._config, vpc_cidr=self._range(account, region))
        await self._once(bootstrap_network(account, region, config))
        await self._once(bootstrap_ecs(account, region, self._clock.now()))
        self._known.add((account, region))

    async def _once(self, transaction: Transaction) -> None:
        try:
            done = await self._store.commit(transaction)
        except Conflict:
            return  # it is there already
        await self._view.reached(done.version)

    def _range(self, account: str, region: str) -> str:
        """The home region's range, or the next free one below it."""
        home = IPv4Network(self._config.vpc_cidr)
        if region == self._config.region and account == self._config.account:
            return str(home)
        used = [IPv4Network(entry.value.cidr) for entry in self._view.rows(VPCS).scan()]
        used += [home, IPv4Network(self._config.service_cidr)]
        used += [IPv4Network(row.value.service_cidr) for row in self._view.rows(CLUSTERS).scan()]
        size = home.num_addresses
        base = int(home.network_address)
        while base > size:
            base -= size
            candidate = IPv4Network((base, home.prefixlen))
            if not any(candidate.overlaps(other) for other in used):
                return str(candidate)
        return str(home)
