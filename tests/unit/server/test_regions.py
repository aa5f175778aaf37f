"""Regions that come into being: their ranges, and how many there can be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from ipaddress import IPv4Network
from itertools import islice
from typing import Any

import pytest

from proa.aws.ecs.tables import TABLES as ECS_TABLES
from proa.aws.eks.records import TABLES as EKS_TABLES
from proa.base.clock import VirtualClock, run_virtual
from proa.base.config import Config
from proa.cloud.network import NETWORK_TABLES, VPCS
from proa.reconcile.view import View
from proa.server.regions import MAX_REGIONS, Regions, ranges_beside
from proa.store.api import Delete, Transaction
from proa.store.sqlite import memory_store

ACCOUNT = "000000000000"


def regions_after(
    work: Callable[[Regions], Coroutine[Any, Any, Any]], config: Config | None = None
) -> dict[str, str]:
    """Region → range of its default VPC, once ``work`` is done."""

    async def main() -> dict[str, str]:
        clock = VirtualClock()
        store = await memory_store(clock)
        view = View(store, (*NETWORK_TABLES, *ECS_TABLES, *EKS_TABLES))
        watching = asyncio.get_running_loop().create_task(view.run())
        await view.synced.wait()
        regions = Regions(store, view, clock, config or Config())
        await regions.ensure(ACCOUNT, regions._config.region)
        await work(regions)
        found = {row.value.region: row.value.cidr for row in view.rows(VPCS).scan()}
        watching.cancel()
        await store.close()
        return found

    return run_virtual(main())


@pytest.mark.parametrize(
    ("home", "first", "count"),
    [
        ("172.31.0.0/16", ["172.30.0.0/16", "172.29.0.0/16"], 15 + 1 + 256),
        ("10.0.0.0/16", ["10.1.0.0/16", "10.2.0.0/16"], 255 + 16 + 1),
        ("192.168.0.0/16", ["10.0.0.0/16", "10.1.0.0/16"], 256 + 16),
        ("192.168.1.0/24", ["192.168.0.0/24", "192.168.2.0/24"], 255 + 65536 + 4096),
    ],
)
def test_ranges_beside_the_home_regions_are_private_and_apart(
    home: str, first: list[str], count: int
) -> None:
    own = IPv4Network(home)
    assert [str(one) for one in islice(ranges_beside(own), 2)] == first
    every = list(ranges_beside(own))
    assert len(every) == len(set(every)) == count
    assert all(one.is_private and not one.overlaps(own) for one in every)


def test_regions_made_at_the_same_time_have_ranges_of_their_own() -> None:
    async def both(regions: Regions) -> None:
        await asyncio.gather(*(regions.ensure(ACCOUNT, f"eu-west-{n}") for n in (1, 2, 1)))

    made = regions_after(both)
    assert sorted(made) == ["eu-west-1", "eu-west-2", "us-east-1"]
    assert len(set(made.values())) == 3


@pytest.mark.parametrize("name", ["", "x", "EU-WEST-1", "eu west", "../up", "a" * 33, "ä-west-1"])
def test_what_is_no_regions_name_makes_nothing(name: str) -> None:
    assert list(regions_after(lambda regions: regions.ensure(ACCOUNT, name))) == ["us-east-1"]


def test_requests_make_only_so_many_regions() -> None:
    async def many(regions: Regions) -> None:
        for number in range(MAX_REGIONS + 5):
            await regions.ensure(ACCOUNT, f"zz-far-{number}")

    assert len(regions_after(many)) == MAX_REGIONS


def test_a_deleted_default_vpc_does_not_come_back() -> None:
    async def delete(regions: Regions) -> None:
        [entry] = regions._view.rows(VPCS).scan()
        done = await regions._store.commit(Transaction((), (Delete(entry.key),)))
        await regions._view.reached(done.version)
        again = Regions(regions._store, regions._view, regions._clock, regions._config)
        await again.ensure(ACCOUNT, "us-east-1")

    assert regions_after(delete) == {}
