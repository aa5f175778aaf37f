"""The law of room: what is placed fits, and no port of an Instance is given twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from proa.cloud import compute
from proa.dispatch.skin import Skin
from proa.model.resources import Port, Resources
from proa.reconcile.view import View

if TYPE_CHECKING:
    from proa.sim.laws import Changes


@dataclass(slots=True, frozen=True)
class _Booked:
    instance: str
    host: str
    reserve: Resources
    ports: tuple[Port, ...]


class Room:
    """What is placed on a Host fits its Pool, and what is placed on an Instance its capacity."""

    def __init__(self, view: View, skins: Sequence[Skin]) -> None:
        self._view = view
        self._skins = {skin.sandboxes: skin for skin in skins}
        self._booked: dict[str, _Booked] = {}
        self._on_instance: dict[str, dict[str, None]] = {}
        self._used: dict[str, Resources] = {}  # by Instance and by Host

    def committed(self, changes: Changes) -> Iterator[str]:
        """Every Instance and Host that holds more than it has now."""
        dirty: dict[str, Skin] = {}
        looked_at: dict[str, None] = {}
        for table, change in changes:
            if table in self._skins:
                dirty[change.key] = self._skins[table]
            elif table is compute.INSTANCES:
                id = change.key.removeprefix(compute.INSTANCE_PREFIX)
                looked_at[id] = None
                for key in self._on_instance.get(id, ()):
                    dirty[key] = self._skin_of(key)
            elif table is compute.HOSTS:
                looked_at[change.key.removeprefix(compute.HOST_PREFIX)] = None
        for key, skin in dirty.items():
            yield from self._book(key, skin, looked_at)
        for id in looked_at:
            yield from self._too_much(id)

    def _skin_of(self, key: str) -> Skin:
        name = "kube" if key.startswith("/kube/") else "ecs"
        return next(skin for skin in self._skins.values() if skin.name == name)

    def _book(self, key: str, skin: Skin, looked_at: dict[str, None]) -> Iterator[str]:
        old = self._booked.pop(key, None)
        if old is not None:
            self._on_instance[old.instance].pop(key)
            for holder in (old.instance, old.host):
                self._used[holder] = self._used[holder].minus(old.reserve)
        held = skin.held(self._view, key)
        if held is None:
            return
        instance = compute.instance_of(self._view, held.instance)
        if instance is None:
            if old is None or old.instance != held.instance:  # else it has gone under it
                yield f"{key} is placed on {held.instance}, which does not exist"
            return
        reserve = held.ask.reserve
        one = Resources(reserve.cpu, reserve.memory, reserve.disk, 1)
        new = _Booked(instance.id, instance.host, one, held.ask.ports)
        yield from self._same_port(key, new)
        self._booked[key] = new
        self._on_instance.setdefault(instance.id, {})[key] = None
        for holder in (new.instance, new.host):
            self._used[holder] = self._used.get(holder, Resources()).plus(one)
            looked_at[holder] = None

    def _same_port(self, key: str, new: _Booked) -> Iterator[str]:
        for port in new.ports:
            for other in self._on_instance.get(new.instance, ()):
                for taken in self._booked[other].ports:
                    if _same(port, taken):
                        yield f"port {port.number} of {new.instance} is held by {other} and {key}"

    def _too_much(self, id: str) -> Iterator[str]:
        used = self._used.get(id, Resources())
        instance = compute.instance_of(self._view, id)
        if instance is not None and not instance.capacity.covers(used):
            yield f"{id} holds {used} of {instance.capacity}"
        host = self._view.rows(compute.HOSTS).get(compute.host_key(id))
        if host is not None:
            pool = host.value.pool
            if not Resources(pool.cpu, pool.memory, pool.disk, used.sandboxes).covers(used):
                yield f"{id} holds {used} of {pool}"


def _same(one: Port, other: Port) -> bool:
    """Whether two cannot be held at once: an empty address stands for every one."""
    if (one.number, one.protocol) != (other.number, other.protocol):
        return False
    everywhere = ("", "0.0.0.0")
    return one.address == other.address or bool({one.address, other.address} & set(everywhere))
