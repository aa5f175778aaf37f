"""Hosts join: records for the machine and the shared Instances it offers, and its heartbeats.

Called by the hull's API when agents say hello and with each of their reports; a crowd of simulated
Hosts says both for thousands at once, which costs a few transactions. When a Host was last heard
of is kept in memory, not in the store: it changes every few seconds and means nothing after a
restart, when every agent says hello again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from proa.base.clock import Clock
from proa.base.errors import TryAgain
from proa.base.telemetry import get_logger
from proa.cloud import compute
from proa.dispatch.batches import commit_all
from proa.dispatch.skin import Parts
from proa.model.feed import Hello
from proa.model.host import Host, Instance
from proa.reconcile.view import Change, Table, View
from proa.server.offers import ClusterOffer, Offers
from proa.store.api import Delete, Store

log = get_logger(__name__)
SILENT_AFTER_S = 40.0
Living = Sequence[tuple[Instance, Host]]


class Hosts:
    """Who has joined and who is alive. ``alive`` is told of the shared Instances of living Hosts,
    ``gone`` of those whose Hosts have left for good."""

    def __init__(
        self,
        store: Store,
        view: View,
        clock: Clock,
        offers: Offers,
        alive: Callable[[Living], Awaitable[None]],
        gone: Callable[[Sequence[Instance]], Awaitable[None]],
    ) -> None:
        self._store, self._view, self._clock = store, view, clock
        self._offers, self._alive, self._gone = offers, alive, gone
        self.seen: dict[str, float] = {}  # Host → when its agent was last heard of, monotonic
        self._right: dict[str, None] = {}  # Hosts with which nothing is to be done
        view.subscribe(self._changes, (compute.HOSTS, compute.INSTANCES))

    def _changes(self, table: Table[Any], change: Change[Any]) -> None:
        if table is compute.HOSTS:
            self.doubt(change.key.removeprefix(compute.HOST_PREFIX))
        else:
            for entry in (change.old, change.new):
                if entry is not None:
                    self.doubt(entry.value.host)

    def doubt(self, host: str) -> None:
        """Something about this Host has changed: with its next sign of life all is looked at."""
        self._right.pop(host, None)

    def ready(self, host: str) -> bool:
        """Whether the Host's agent was heard of lately."""
        seen = self.seen.get(host)
        return seen is not None and self._clock.monotonic() - seen < SILENT_AFTER_S

    async def join(self, hellos: Sequence[Hello]) -> None:
        """Store the Hosts as they describe themselves, and their Instances where they are
        missing. Raises CallerFault for a Host that names a cluster there is not."""
        hosts = [hello.host for hello in hellos]
        self._offers.check(hosts)
        await commit_all(self._store, self._view, self._changed(hosts))
        await self._offers.make(hosts)
        await self.heartbeat([host.id for host in hosts])

    def _changed(self, hosts: Sequence[Host]) -> list[Parts]:
        rows = self._view.rows(compute.HOSTS)
        newest = {host.id: host for host in hosts}
        return [
            Parts(writes=(compute.put_host(host),))
            for host in newest.values()
            if (stored := rows.get(compute.host_key(host.id))) is None or stored.value != host
        ]

    async def offer(self, cluster: ClusterOffer) -> None:
        """A cluster has come: every Host that is there makes an Instance for it."""
        hosts = [entry.value for entry in self._view.rows(compute.HOSTS).scan()]
        await self._offers.make(hosts, (cluster,))
        found = [
            (instance, host)
            for host in hosts
            if self.ready(host.id) and (instance := self._offers.made(host, cluster)) is not None
        ]
        await self._alive(found)

    async def heartbeat(self, hosts: Sequence[str]) -> None:
        """The agents of these Hosts are alive. Raises TryAgain where one has not joined (any
        more): its agent says hello again."""
        now, right = self._clock.monotonic(), self._right
        doubted = [id for id in hosts if id not in right]
        if not doubted:
            self.seen.update(dict.fromkeys(hosts, now))
            return
        self.seen.update((id, now) for id in hosts if id in right)
        await self._look(doubted, now)

    async def _look(self, hosts: Sequence[str], now: float) -> None:
        rows = self._view.rows(compute.HOSTS)
        living: list[tuple[Instance, Host]] = []
        strange = ""
        for id in hosts:
            known = rows.get(compute.host_key(id))
            if known is None:
                strange = id
                continue
            self.seen[id], self._right[id] = now, None
            shared = (item for item in compute.instances_on(self._view, id) if item.shared)
            living.extend((instance, known.value) for instance in shared)
        await self._alive(living)
        if strange:
            raise TryAgain(f"host {strange} has not joined")

    async def leave(self, hosts: Sequence[str]) -> None:
        """These Hosts are switched off for good: nothing of them stays."""
        rows = self._view.rows(compute.HOSTS)
        there = [id for id in dict.fromkeys(hosts) if rows.get(compute.host_key(id))]
        instances = [item for id in there for item in compute.instances_on(self._view, id)]
        for id in there:
            self.seen.pop(id, None)
        doomed = [Parts(writes=(Delete(compute.host_key(id)),)) for id in there]
        await commit_all(self._store, self._view, doomed)
        await self._gone([item for item in instances if item.shared])
        await self._offers.withdraw(instances)
