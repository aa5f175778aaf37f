"""What every Host is told alike: virtual addresses, names, and the ranges of the networks.

``FeedHub`` owns one. Each message is computed at most once per change, whoever asks for it, and is
the same object until it says something else: a line knows by identity whether it was told.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network
from typing import Any

from proa.base.config import Config
from proa.cloud import compute
from proa.cloud.network import VPCS, Vpc
from proa.dispatch.skin import Skin
from proa.model.feed import Rules, ServiceRange, VpcRange, Zones
from proa.model.host import Instance
from proa.reconcile.view import Change, Table, View

RESOLVER_OFFSET = 2  # the VPC's resolver is the base of its range plus two (VPC guide)


class Broadcast:
    """Computed when asked for, after ``changed`` said that it may have altered."""

    def __init__(self, view: View, config: Config, skins: Sequence[Skin]) -> None:
        self._view, self._config, self._skins = view, config, skins
        self._traffic = {table for skin in skins for table in skin.traffic}
        self.tables = (*self._traffic, compute.INSTANCES, VPCS)  # that it has to be told of
        self._places: dict[tuple[str, str], int] = {}  # (cluster, subnet) → Instances there
        for entry in view.rows(compute.INSTANCES).scan():
            self._count(entry.value, 1)
        self._rules, self._zones = Rules(), Zones()
        self._ranges: tuple[VpcRange, ...] = ()
        self._traffic_stale = self._ranges_stale = True

    def changed(self, table: Table[Any], change: Change[Any]) -> tuple[bool, bool]:
        """Take in a change; whether it may alter what ``traffic`` says, and what ``ranges``
        says. Simulated Instances alter no rules."""
        traffic = table in self._traffic and not _is_same(change)
        ranges = table is VPCS
        if table is compute.INSTANCES:
            sides = [side.value for side in (change.old, change.new) if side is not None]
            traffic = traffic and not all(instance.simulated for instance in sides)
            ranges = self._moved(change)
        self._traffic_stale |= traffic
        self._ranges_stale |= ranges
        return traffic, ranges

    def traffic(self) -> tuple[Rules, Zones]:
        """Every virtual address and every name, as of now."""
        if self._traffic_stale:
            self._traffic_stale = False
            rules = Rules(tuple(vip for skin in self._skins for vip in skin.vips(self._view)))
            records = tuple(record for skin in self._skins for record in skin.zones(self._view))
            if rules != self._rules:
                self._rules = rules
            if records != self._zones.records:
                self._zones = Zones(records)
        return self._rules, self._zones

    def ranges(self) -> tuple[VpcRange, ...]:
        """Every VPC, the home region's default one first: the Host reaches that one always.
        Simulated networks are left out: nobody is there."""
        if self._ranges_stale:
            self._ranges_stale = False
            fresh = self._every_range()
            if fresh != self._ranges:
                self._ranges = fresh
        return self._ranges

    def _every_range(self) -> tuple[VpcRange, ...]:
        home = (self._config.account, self._config.region)
        vpcs = [entry.value for entry in self._view.rows(VPCS).scan() if not entry.value.simulated]
        vpcs.sort(key=lambda vpc: (not vpc.is_default or (vpc.account, vpc.region) != home, vpc.id))
        ranges = [item for skin in self._skins for item in skin.ranges(self._view)]
        return tuple(_range(vpc, [item for item in ranges if item.vpc == vpc.id]) for vpc in vpcs)

    def _moved(self, change: Change[Instance]) -> bool:
        """Whether a cluster has come to a network or left it: the skins' ranges depend on no more
        than that of the Instances."""
        if change.old is not None and change.new is not None:
            old, new = change.old.value, change.new.value
            if (old.cluster, old.subnet) == (new.cluster, new.subnet):
                return False
        before = change.old is not None and self._count(change.old.value, -1)
        after = change.new is not None and self._count(change.new.value, 1)
        return before or after

    def _count(self, instance: Instance, step: int) -> bool:
        place = (instance.cluster, instance.subnet)
        count = self._places.get(place, 0) + step
        if count:
            self._places[place] = count
        else:
            self._places.pop(place, None)
        return count == (step == 1)  # the first has come, or the last has gone


def _range(vpc: Vpc, services: Sequence[ServiceRange]) -> VpcRange:
    resolver = str(IPv4Network(vpc.cidr).network_address + RESOLVER_OFFSET)
    cidrs = tuple(item.cidr for item in services)
    dns = (*(item.dns for item in services), resolver)
    ports = tuple(item.port for item in services if item.port)
    return VpcRange(vpc.id, (vpc.cidr,), cidrs, dns, ports)


def _is_same(change: Change[Any]) -> bool:
    """Whether a row's projection is after a change what it was before; a row that says nothing
    (it is false) is as good as none."""
    before = change.old.value if change.old is not None else None
    after = change.new.value if change.new is not None else None
    return bool((before or None) == (after or None))
