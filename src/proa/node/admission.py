"""The last word on room: whether a Sandbox fits what is left, whoever placed it. Pure.

Called by ``Agent`` for each new assignment. Shared Instances of a Host draw together on its
Pool less what dedicated Instances hold; a dedicated one has its own capacity (DESIGN section
2). Reasons and texts are the kubelet's; the ECS side translates the reasons.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from proa.model.feed import Instances
from proa.model.resources import Port, Resources
from proa.model.sandbox import Sandbox

_MILLICORE = 128  # 1/128,000 vCPU each


def admit(sandbox: Sandbox, held: Sequence[Sandbox], known: Instances) -> tuple[str, str]:
    """("", "") when it fits, else (reason, message). ``held`` are the Sandboxes that were
    admitted and still hold what they reserve."""
    dedicated = {instance.id: instance for instance in known.instances if not instance.shared}
    own = dedicated.get(sandbox.instance)
    if own is None:
        capacity = whole = known.host.pool
        for instance in dedicated.values():
            capacity = capacity.minus(instance.capacity)
        neighbours = held
        if dedicated:
            neighbours = [other for other in held if other.instance not in dedicated]
    else:
        capacity = whole = own.capacity
        neighbours = [other for other in held if other.instance == sandbox.instance]
    refusal = _short(_booked([sandbox]), _booked(neighbours), capacity, whole)
    if refusal[0] or not sandbox.ports:
        return refusal
    here = [other for other in neighbours if other.instance == sandbox.instance]
    return _ports(sandbox, here)


def _booked(sandboxes: Iterable[Sandbox]) -> Resources:
    """What is booked: of each at least one place."""
    cpu = memory = disk = places = 0
    for sandbox in sandboxes:
        reserve = sandbox.reserve
        cpu += reserve.cpu
        memory += reserve.memory
        disk += reserve.disk
        places += reserve.sandboxes or 1
    return Resources(cpu, memory, disk, places)


def _short(
    ask: Resources, used: Resources, capacity: Resources, whole: Resources
) -> tuple[str, str]:
    """What does not fit into ``capacity``, the part that is left of ``whole``: places and disk
    that the whole does not count are not limited."""
    rows = (
        ("cpu", ask.cpu, used.cpu, capacity.cpu, _MILLICORE, True),
        ("memory", ask.memory, used.memory, capacity.memory, 1, True),
        ("ephemeral-storage", ask.disk, used.disk, capacity.disk, 1, whole.disk > 0),
        ("pods", ask.sandboxes, used.sandboxes, capacity.sandboxes, 1, whole.sandboxes > 0),
    )
    for name, wanted, taken, has, unit, limited in rows:
        if wanted and limited and wanted > has - taken:
            return f"OutOf{name}", (
                f"Pod was rejected: Node didn't have enough resource: {name}, "
                f"requested: {wanted // unit}, used: {taken // unit}, capacity: {has // unit}"
            )
    return "", ""


def _ports(sandbox: Sandbox, neighbours: list[Sandbox]) -> tuple[str, str]:
    taken = [port for other in neighbours for port in other.ports]
    for port in sandbox.ports:
        if any(_collide(port, other) for other in taken):
            if sandbox.skin == "ecs":
                return "OutOfports", f"port {port.number}/{port.protocol} is taken"
            return "NodePorts", (
                "Pod was rejected: Predicate NodePorts failed: "
                "node(s) didn't have free ports for the requested pod ports"
            )
    return "", ""


def _collide(one: Port, other: Port) -> bool:
    everywhere = ("", "0.0.0.0")
    same_place = (
        one.address == other.address or one.address in everywhere or other.address in everywhere
    )
    return same_place and (one.number, one.protocol) == (other.number, other.protocol)
