"""The port by which a bow lets the hull place, send and observe its Sandboxes.

``dispatch`` knows Sandboxes by the store key of the Task or Pod; everything in the bow's own
words (records, conditions, events, failures) stays behind this port.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import msgspec

from proa.model.feed import ServiceRange, Vip, ZoneRecord
from proa.model.host import Instance
from proa.model.sandbox import Assignment, NodeEvent, SandboxStatus
from proa.placement.asks import Ask, Row, Unplaced
from proa.placement.preemption import Budget
from proa.reconcile.plan import Plan
from proa.reconcile.view import Change, Table, View
from proa.store.api import Delete, Exists, Guard, Put


class Held(msgspec.Struct, frozen=True):
    """Room that a bound Sandbox holds until nothing of it is left."""

    ask: Ask
    instance: str
    terminating: bool = False


class Parts(msgspec.Struct, frozen=True):
    """A piece of a transaction."""

    guards: tuple[Guard | Exists, ...] = ()
    writes: tuple[Put | Delete, ...] = ()


class Skin(Protocol):
    """What the hull needs of a bow. All but ``assignment`` and ``report`` are synchronous and
    pure over the view."""

    name: str  # "ecs" or "kube": Sandbox.skin
    sandboxes: Table[Any]  # rows that become Sandboxes
    nodes: Sequence[Table[Any]]  # rows whose changes alter an Instance's placement Row
    namespaces: Sequence[Table[Any]]  # rows that say what labels a namespace has
    traffic: Sequence[Table[Any]]  # rows whose changes alter VIPs or names
    stakes: Sequence[Table[Any]]  # other rows that Sandboxes are compiled from

    def row(self, view: View, instance: Instance) -> Row | None:
        """How placement sees an Instance of this bow's clusters; None for one not of this bow."""
        ...

    def instance_of_node(self, view: View, change: Change[Any]) -> str | None:
        """The id of the Instance that a change of one of ``nodes`` concerns."""
        ...

    def namespace(self, change: Change[Any]) -> tuple[str, str, dict[str, str]]:
        """(cluster, name, labels) of the namespace that a change of one of ``namespaces`` is
        about, as placement speaks of them."""
        ...

    def ask(self, view: View, key: str) -> Ask | None:
        """The placement wish of a Sandbox that has no Instance yet; None if it wants none."""
        ...

    def held(self, view: View, key: str) -> Held | None:
        """The room a Sandbox holds; None if it holds none."""
        ...

    def place(self, view: View, key: str) -> Instance | None:
        """The Instance that a Sandbox holds room of; None where there is no such Instance."""
        ...

    def sandboxes_on(self, view: View, instance: Instance) -> Sequence[str]:
        """Keys of the Sandboxes that hold room of an Instance."""
        ...

    def bind(self, view: View, ask: Ask, instance: Instance, taken: set[str], now: float) -> Parts:
        """The write that gives the Sandbox to the Instance. Addresses it chooses are added to
        ``taken``, those already there are not chosen. Raises Conflict when the Sandbox is no
        longer as asked."""
        ...

    def refuse(self, view: View, unplaced: Unplaced, now: float) -> Plan:
        """What to write or call when no Instance took the ask."""
        ...

    def stakeholders(self, view: View, change: Change[Any]) -> Sequence[str]:
        """Keys of Sandboxes whose compiled form a change of another table's row may alter."""
        ...

    def alters(self, change: Change[Any]) -> bool:
        """Whether a change of a Sandbox's own row may alter its compiled form. What an agent
        reports does not, and must not come back to it as news."""
        ...

    async def assignment(self, view: View, key: str, told: str = "") -> Assignment | None:
        """The Sandbox compiled for its agent, secrets resolved now; None if none is wanted.
        ``told`` is the uid of the Sandbox that the agent was told of before under this key: if
        that is to stop, it need not be compiled again."""
        ...

    async def report(
        self, view: View, statuses: Sequence[SandboxStatus], events: Sequence[NodeEvent]
    ) -> None:
        """Write what an agent said into the bow's records."""
        ...

    def ranges(self, view: View) -> tuple[ServiceRange, ...]:
        """The virtual addresses of this bow's clusters, in each network that they have Instances
        in; a change of these comes with one of an Instance."""
        ...

    def vips(self, view: View) -> tuple[Vip, ...]: ...

    def zones(self, view: View) -> tuple[ZoneRecord, ...]: ...


@runtime_checkable
class Preempting(Protocol):
    """What a bow offers whose Sandboxes have priorities. All are pure over the view."""

    def nominated(self, view: View, key: str) -> str:
        """The Instance's id that a waiting Sandbox was promised room of, "" for none."""
        ...

    def budgets(self, view: View, ask: Ask) -> Sequence[Budget]:
        """How many Sandboxes of the ask's cluster may go."""
        ...

    def started(self, view: View, key: str) -> float:
        """When a Sandbox began, in seconds of the wall clock; 0 before."""
        ...

    def nominate(self, view: View, key: str, instance: str) -> Plan:
        """Write down what a Sandbox is promised, "" for nothing any more."""
        ...

    def evict(self, view: View, ask: Ask, victim: str, instance: str, now: float) -> Plan:
        """End a Sandbox gracefully so that the ask has its room."""
        ...
