"""The law of places: an address is on one interface at a time, a Sandbox on one machine.

Machines tell what is attached and what runs; the store tells what is booked and by whom.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from proa.aws.ecs.tables import TASKS
from proa.cloud.network import ADDRESSES, INTERFACES
from proa.kube.tables import PODS
from proa.reconcile.view import View

if TYPE_CHECKING:
    from proa.sim.laws import Changes


class Places:
    """``attached``, ``detached``, ``runs`` and ``lost`` are called by machines."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._at: dict[str, dict[tuple[str, str], None]] = {}  # address → (host, attachment)
        self._hosts: dict[str, dict[str, None]] = {}  # uid → machines that it ever ran on
        self._tasks: dict[str, str] = {}  # interface → the task that has it
        self.broken: list[str] = []  # on machines, since the last commit

    def attached(self, host: str, key: str, address: str) -> None:
        """``key`` is a Sandbox's uid, or one of its containers."""
        if not address:
            return
        users = self._at.setdefault(address, {})
        for _, other in users:
            if other != key:
                self.broken.append(f"{address} is held by {other} and {key}")
        users[host, key] = None
        self.broken += self._unbooked(address)

    def detached(self, host: str, key: str, address: str) -> None:
        """The interface is gone."""
        users = self._at.get(address, {})
        users.pop((host, key), None)
        if not users:
            self._at.pop(address, None)

    def runs(self, host: str, uid: str) -> None:
        """A sandbox is made for a Sandbox: never on two machines."""
        hosts = self._hosts.setdefault(uid, {})
        hosts[host] = None
        if len(hosts) > 1:
            self.broken.append(f"{uid} runs on {' and '.join(hosts)}")

    def lost(self, host: str) -> None:
        """The machine has died: nothing is attached to it any more."""
        for address in list(self._at):
            users = self._at[address]
            for found in [user for user in users if user[0] == host]:
                del users[found]
            if not users:
                del self._at[address]

    def _unbooked(self, address: str) -> Iterator[str]:
        users = self._at.get(address)
        if not users:
            return
        holders = [
            entry.value.holder
            for entry in self._view.rows(ADDRESSES).scan()
            if entry.value.address == address
        ]
        for host, key in users:
            uid = key.partition("#")[0]
            if not holders:
                yield f"{address} of {key} on {host} is not booked"
            elif not any(uid in holder for holder in holders):
                yield f"{address} of {key} on {host} is booked by {holders[0]}"

    def committed(self, changes: Changes) -> Iterator[str]:
        """Addresses that were given to somebody or given up while they are in use, interfaces of
        two tasks."""
        yield from self.broken
        self.broken = []
        for table, change in changes:
            if table is ADDRESSES and change.old is None and change.new is not None:
                yield from self._unbooked(change.new.value.address)
            elif table is ADDRESSES and change.new is None and change.old is not None:
                yield from self._given_up(change.old.value.address)
            elif table is TASKS:
                yield from self._interface(change.key)
            elif table is INTERFACES and change.new is None:
                self._tasks.pop(change.key.rpartition("/")[2], None)

    def _given_up(self, address: str) -> Iterator[str]:
        """A pod that had ended may be deleted before its interface is: its agent is on it then,
        and only who gets the address next could suffer."""
        for host, key in self._at.get(address, ()):
            uid = key.partition("#")[0]
            if self._view.rows(PODS).by("any-uid", uid) or self._view.rows(TASKS).by("uid", uid):
                yield f"{address} of {key} on {host} is not booked"

    def _interface(self, key: str) -> Iterator[str]:
        entry = self._view.rows(TASKS).get(key)
        interface = entry.value.interface if entry else None
        if entry is None or interface is None:
            return
        if entry.value.last_status == "STOPPED":
            if self._tasks.get(interface.id) == key:
                del self._tasks[interface.id]
            return
        other = self._tasks.setdefault(interface.id, key)
        if other != key:
            yield f"interface {interface.id} is held by {other} and {key}"
