"""The feed hub: follows the view once for all connected agents, and tells each what concerns it.

One per control plane. A change costs what it concerns, however many Hosts are connected: a
Sandbox's change goes by the Sandbox's Instance to the line of that Host, and to the line that was
told of the Sandbox before; what all Hosts are told alike is computed once (``broadcast``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proa.base.clock import Clock
from proa.base.config import Config
from proa.cloud import compute
from proa.dispatch.broadcast import Broadcast
from proa.dispatch.feed import CrowdFeed, Feed, Line
from proa.dispatch.skin import Skin
from proa.model.host import Instance
from proa.reconcile.view import Change, Table, View


class FeedHub:
    """``open`` and ``open_many`` give feeds; whoever opens one closes it."""

    def __init__(self, view: View, clock: Clock, config: Config, skins: Sequence[Skin]) -> None:
        self.view, self.clock, self.skins = view, clock, skins
        self.broadcast = Broadcast(view, config, skins)
        self._by_table = {skin.sandboxes: skin for skin in skins}
        self._by_stake: dict[Table[Any], list[Skin]] = {}
        for skin in skins:
            for table in skin.stakes:
                self._by_stake.setdefault(table, []).append(skin)
        self._feeds: dict[Line, Feed] = {}  # of the agents that are told of traffic too
        self._of_host: dict[str, dict[Line, None]] = {}
        self._of_key: dict[str, dict[Line, None]] = {}  # who was told of a Sandbox
        view.subscribe(self._shared_changed, self.broadcast.tables)
        view.subscribe(self._sandbox_changed, self._by_table)
        view.subscribe(self._stake_changed, self._by_stake)
        view.subscribe(self._host_changed, [compute.HOSTS])
        view.subscribe(self._instance_changed, [compute.INSTANCES])

    def open(self, host: str) -> Feed:
        """The feed of one Host's agent."""
        feed = Feed(self, host)
        self._feeds[feed.line] = feed
        self._of_host.setdefault(host, {})[feed.line] = None
        return feed

    def open_many(self, hosts: Sequence[str]) -> CrowdFeed:
        """One feed for all these Hosts."""
        crowd = CrowdFeed(self, hosts)
        for line in crowd.lines:
            self._of_host.setdefault(line.host, {})[line] = None
        return crowd

    def close(self, lines: Sequence[Line]) -> None:
        """These lines' agents have gone."""
        for line in lines:
            line.close()
            self._feeds.pop(line, None)
            _discard(self._of_host, line.host, line)

    def told(self, line: Line, key: str) -> None:
        """See ``feed.Owner``."""
        self._of_key.setdefault(key, {})[line] = None

    def forgot(self, line: Line, key: str) -> None:
        """See ``feed.Owner``."""
        _discard(self._of_key, key, line)

    def _shared_changed(self, table: Table[Any], change: Change[Any]) -> None:
        """What all are told alike may be something else now."""
        traffic, ranges = self.broadcast.changed(table, change)
        if ranges:
            for lines in self._of_host.values():
                for line in lines:
                    line.mark_instances()
        if traffic:
            for feed in self._feeds.values():
                feed.mark_traffic()

    def _sandbox_changed(self, table: Table[Any], change: Change[Any]) -> None:
        skin = self._by_table[table]
        if self._of_host and skin.alters(change):
            self._mark(change.key, skin)

    def _stake_changed(self, table: Table[Any], change: Change[Any]) -> None:
        if self._of_host:
            for skin in self._by_stake[table]:
                for key in skin.stakeholders(self.view, change):
                    self._mark(key, skin)

    def _host_changed(self, _table: Table[Any], change: Change[Any]) -> None:
        for line in self._of_host.get(change.key.removeprefix(compute.HOST_PREFIX), ()):
            line.mark_instances()

    def _mark(self, key: str, skin: Skin) -> None:
        """Tell those who know of a Sandbox, and the Host it is on now."""
        knowing = self._of_key.get(key, {})
        for line in knowing:
            line.mark(key, skin)
        instance = skin.place(self.view, key)
        if instance is not None:
            for line in self._of_host.get(instance.host, ()):
                if line not in knowing:
                    line.mark(key, skin)

    def _instance_changed(self, _table: Table[Any], change: Change[Instance]) -> None:
        for side in (change.old, change.new):
            lines = self._of_host.get(side.value.host, {}) if side is not None else {}
            for line in lines:
                line.mark_instances()
        if change.old is None and change.new is not None:  # who was there before it
            instance = change.new.value
            for line in self._of_host.get(instance.host, ()):
                for skin in self.skins:
                    for key in skin.sandboxes_on(self.view, instance):
                        line.mark(key, skin)


def _discard(index: dict[str, dict[Line, None]], value: str, line: Line) -> None:
    lines = index.get(value)
    if lines is not None:
        lines.pop(line, None)
        if not lines:
            del index[value]
