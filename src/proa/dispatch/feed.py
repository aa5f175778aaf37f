"""The feed: tells one agent, as it connects and ever after, what its Host must run.

A feed follows the view. Changes mark Sandboxes dirty; the stream compiles a dirty Sandbox when
the agent is ready to take it, so a slow agent gets the newest form once instead of every form
in between, and nothing here grows without bound. Compiled Sandboxes are never stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from ipaddress import IPv4Network
from typing import Any

from proa.base.clock import Clock
from proa.base.config import Config
from proa.base.telemetry import get_logger
from proa.cloud import compute
from proa.cloud.network import VPCS, Vpc
from proa.dispatch.skin import Skin
from proa.model.feed import Assign, Down, Instances, Rules, ServiceRange, Synced, VpcRange, Zones
from proa.model.sandbox import Assignment
from proa.reconcile.view import Change, Table, View

log = get_logger(__name__)
RETRY_COMPILE_S = 2.0
RESOLVER_OFFSET = 2  # the VPC's resolver is the base of its range plus two (VPC guide)


class Feed:
    """One connected agent's stream. ``close`` unsubscribes."""

    def __init__(
        self, view: View, clock: Clock, config: Config, skins: Sequence[Skin], host: str
    ) -> None:
        self._view, self._clock, self._config = view, clock, config
        self._skins, self._host = skins, host
        self._by_table = {skin.sandboxes: skin for skin in skins}
        self._traffic = {table for skin in skins for table in skin.traffic}
        self._dirty: dict[str, Skin] = {}
        self._mine: dict[str, str] = {}  # key → uid of Sandboxes this agent was told of
        self._renewals: dict[str, asyncio.TimerHandle] = {}
        self._traffic_dirty = True
        self._instances_dirty = True
        self._said: dict[type, Down] = {}
        self._wake = asyncio.Event()
        view.subscribe(self._changed)

    def close(self) -> None:
        """Stop following the view."""
        self._view.unsubscribe(self._changed)
        for timer in self._renewals.values():
            timer.cancel()

    def _changed(self, table: Table[Any], change: Change[Any]) -> None:
        skin = self._by_table.get(table)
        if skin is not None:
            if self._concerns(skin, change.key):
                self._mark(change.key, skin)
        elif table in (compute.INSTANCES, compute.HOSTS, VPCS):
            self._instances_dirty = True
            self._wake.set()
        else:
            for other in self._skins:
                for key in other.stakeholders(self._view, change):
                    if self._concerns(other, key):
                        self._mark(key, other)
        if table in self._traffic and not _is_same(change):
            self._traffic_dirty = True
            self._wake.set()

    def _mark(self, key: str, skin: Skin) -> None:
        self._dirty[key] = skin
        self._wake.set()

    def _concerns(self, skin: Skin, key: str) -> bool:
        if key in self._mine:
            return True
        held = skin.held(self._view, key)
        if held is None:
            return False
        instance = compute.instance_of(self._view, held.instance)
        return instance is not None and instance.host == self._host

    async def stream(self) -> AsyncIterator[Down]:
        """Everything as it is, ``Synced``, then changes until the caller stops iterating."""
        for skin in self._skins:
            for entry in self._view.rows(skin.sandboxes).scan():
                if self._concerns(skin, entry.key):
                    self._dirty[entry.key] = skin
        async for message in self._drain():
            yield message
        yield Synced()
        while True:
            await self._wake.wait()
            self._wake.clear()
            async for message in self._drain():
                yield message

    async def _drain(self) -> AsyncIterator[Down]:
        while self._dirty or self._instances_dirty or self._traffic_dirty:
            if self._instances_dirty:
                self._instances_dirty = False
                for message in self._changed_message(self._instances()):
                    yield message
            if self._dirty:
                key = next(iter(self._dirty))
                assignment = await self._compile(self._dirty.pop(key), key)
                if assignment is not None:
                    yield Assign(assignment)
                continue
            if self._traffic_dirty:
                self._traffic_dirty = False
                for message in self._traffic_messages():
                    yield message

    async def _compile(self, skin: Skin, key: str) -> Assignment | None:
        try:
            assignment = await skin.assignment(self._view, key)
        except Exception as error:
            log.error("cannot compile", key=key, exc_info=error)
            asyncio.get_running_loop().call_later(RETRY_COMPILE_S, self._mark, key, skin)
            return None
        self._renew_later(skin, key, assignment.fresh_until if assignment else 0.0)
        told = self._mine.get(key)
        if assignment is None:
            self._mine.pop(key, None)
            return Assignment(uid=told, want="gone") if told else None
        self._mine[key] = assignment.uid
        if told is not None and told != assignment.uid:
            self._dirty[key] = skin
            self._mine.pop(key)
            return Assignment(uid=told, want="gone")
        return assignment

    def _renew_later(self, skin: Skin, key: str, at: float) -> None:
        """Compile it anew when a part of it has aged."""
        timer = self._renewals.pop(key, None)
        if timer is not None:
            timer.cancel()
        if at:
            delay_s = max(RETRY_COMPILE_S, at - self._clock.now())
            loop = asyncio.get_running_loop()
            self._renewals[key] = loop.call_later(delay_s, self._renew, skin, key)

    def _renew(self, skin: Skin, key: str) -> None:
        self._renewals.pop(key, None)
        self._mark(key, skin)

    def _instances(self) -> list[Down]:
        host = self._view.rows(compute.HOSTS).get(compute.host_key(self._host))
        if host is None:
            return []
        instances = tuple(compute.instances_on(self._view, self._host))
        return [Instances(host.value, instances, self._vpcs())]

    def _vpcs(self) -> tuple[VpcRange, ...]:
        """Every VPC, the home region's default one first: the Host reaches that one always."""
        home = (self._config.account, self._config.region)
        vpcs = [entry.value for entry in self._view.rows(VPCS).scan()]
        vpcs.sort(key=lambda vpc: (not vpc.is_default or (vpc.account, vpc.region) != home, vpc.id))
        ranges = [item for skin in self._skins for item in skin.ranges(self._view)]
        return tuple(_range(vpc, [item for item in ranges if item.vpc == vpc.id]) for vpc in vpcs)

    def _traffic_messages(self) -> list[Down]:
        vips = tuple(vip for skin in self._skins for vip in skin.vips(self._view))
        records = tuple(record for skin in self._skins for record in skin.zones(self._view))
        return [*self._changed_message([Rules(vips)]), *self._changed_message([Zones(records)])]

    def _changed_message(self, messages: Sequence[Down]) -> list[Down]:
        fresh = [message for message in messages if self._said.get(type(message)) != message]
        for message in fresh:
            self._said[type(message)] = message
        return fresh


def _range(vpc: Vpc, services: Sequence[ServiceRange]) -> VpcRange:
    resolver = str(IPv4Network(vpc.cidr).network_address + RESOLVER_OFFSET)
    cidrs = tuple(item.cidr for item in services)
    dns = (*(item.dns for item in services), resolver)
    ports = tuple(item.port for item in services if item.port)
    return VpcRange(vpc.id, (vpc.cidr,), cidrs, dns, ports)


def _is_same(change: Change[Any]) -> bool:
    """Whether a row's projection is after a change what it was before."""
    if change.old is None or change.new is None:
        return False
    return bool(change.old.value == change.new.value)
