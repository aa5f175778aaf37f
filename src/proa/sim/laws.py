"""What must hold at every commit, whatever faults a world plays.

``World`` asks after each commit with its own view of the store. What must hold only once faults
are over is a scenario's to say.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from proa.cloud import compute
from proa.cloud.network import ADDRESSES
from proa.dispatch.skin import Held, Skin
from proa.model.resources import Resources
from proa.reconcile.view import View
from proa.sim.host import SimHost


def violations(view: View, skins: Sequence[Skin], hosts: Iterable[SimHost]) -> list[str]:
    """Every broken law, in words; empty where all is well."""
    return [*_shared_addresses(view, hosts), *_overbooked(view, skins)]


def _shared_addresses(view: View, hosts: Iterable[SimHost]) -> Iterator[str]:
    """An address is on one interface at a time, and only while it is booked."""
    booked = {entry.value.address for entry in view.rows(ADDRESSES).scan()}
    users: dict[str, str] = {}
    for host in hosts:
        for uid, address in host.network.attached.items():
            if address in users:
                yield f"{address} is held by {users[address]} and {uid}"
            if address not in booked:
                yield f"{address} of {uid} on {host.facts.id} is not booked"
            users[address] = uid


def _overbooked(view: View, skins: Sequence[Skin]) -> Iterator[str]:
    """What is placed on a Host fits its Pool, and what is placed on an Instance its capacity."""
    on_instance: dict[str, Resources] = {}
    for held in _everything_held(view, skins):
        before = on_instance.get(held.instance, Resources())
        one = Resources(held.ask.reserve.cpu, held.ask.reserve.memory, held.ask.reserve.disk, 1)
        on_instance[held.instance] = before.plus(one)
    on_host: dict[str, Resources] = {}
    for id, used in on_instance.items():
        instance = compute.instance_of(view, id)
        if instance is None:
            yield f"something is placed on {id}, which does not exist"
            continue
        if not instance.capacity.covers(used):
            yield f"{id} holds {used} of {instance.capacity}"
        on_host[instance.host] = on_host.get(instance.host, Resources()).plus(used)
    for entry in view.rows(compute.HOSTS).scan():
        pool, used = entry.value.pool, on_host.get(entry.value.id, Resources())
        if not Resources(pool.cpu, pool.memory, pool.disk, used.sandboxes).covers(used):
            yield f"{entry.value.id} holds {used} of {pool}"


def _everything_held(view: View, skins: Sequence[Skin]) -> Iterator[Held]:
    for skin in skins:
        for entry in view.rows(skin.sandboxes).scan():
            held = skin.held(view, entry.key)
            if held is not None:
                yield held
