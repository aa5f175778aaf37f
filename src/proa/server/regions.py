"""Regions come into being when they are first used (ADR 2).

The gateway's shell asks ``ensure`` before it serves a request: the first request of an account
in a region makes its default network and its default ECS cluster. Nobody has checked the request's
signature by then, so what it names must look like a region, and there are at most ``MAX_REGIONS``.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Network

from proa.aws.ecs.bootstrap import bootstrap as bootstrap_ecs
from proa.aws.ecs.tables import CLUSTERS as ECS_CLUSTERS
from proa.aws.eks.records import CLUSTERS
from proa.base.clock import Clock
from proa.base.config import Config
from proa.base.errors import Conflict
from proa.cloud.network import VPCS, bootstrap_network
from proa.reconcile.view import View
from proa.store.api import Store, Transaction

MAX_REGIONS = 64  # AWS has about forty
_NAME = re.compile(r"[a-z][a-z0-9-]{1,31}")
_PRIVATE = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))


def ranges_beside(home: IPv4Network) -> Iterator[IPv4Network]:
    """Private ranges of the same size: those of the same block below ``home``, from it downwards,
    then the rest."""
    own = [block for block in _PRIVATE if home.subnet_of(block)]
    others = [block for block in _PRIVATE if block not in own]
    for block in own:
        first, last = int(block.network_address), int(block.broadcast_address)
        size = home.num_addresses
        here = int(home.network_address)
        for base in (*range(here - size, first - 1, -size), *range(here + size, last, size)):
            yield IPv4Network((base, home.prefixlen))
    for block in others:
        yield from block.subnets(new_prefix=home.prefixlen)


class Regions:
    """Which regions are there, and how the next one is made."""

    def __init__(self, store: Store, view: View, clock: Clock, config: Config) -> None:
        self._store, self._view, self._clock, self._config = store, view, clock, config
        self._known: set[tuple[str, str]] = set()
        self._making = asyncio.Lock()  # so that no two regions choose the same range

    async def ensure(self, account: str, region: str) -> None:
        """Make what the region starts with, if it is not there and may be."""
        if (account, region) in self._known:
            return
        if region != self._config.region and not _NAME.fullmatch(region):
            return
        async with self._making:
            await self._make(account, region)

    async def _make(self, account: str, region: str) -> None:
        await self._view.reached(await self._store.version())
        there = {entry.value.region for entry in self._view.rows(ECS_CLUSTERS).scan()}
        if region not in there and len(there) >= MAX_REGIONS:
            return
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
        """The home region's range, or the next free one beside it; with none left, the home
        region's again, which the Host then does not reach there."""
        home = IPv4Network(self._config.vpc_cidr)
        if region == self._config.region and account == self._config.account:
            return str(home)
        used = [IPv4Network(entry.value.cidr) for entry in self._view.rows(VPCS).scan()]
        used += [home, IPv4Network(self._config.service_cidr)]
        used += [IPv4Network(row.value.service_cidr) for row in self._view.rows(CLUSTERS).scan()]
        for candidate in ranges_beside(home):
            if not any(candidate.overlaps(other) for other in used):
                return str(candidate)
        return str(home)
