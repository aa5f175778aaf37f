"""What ECS needs from the rest of the house, as Protocols; the assembly supplies them.

All but ``Placer.try_place`` are synchronous readings of the view: they return what is there, or
the guards and writes that would bring something about, so that a task and what it owns are
written in one transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from proa.dispatch.skin import Parts
from proa.placement.asks import Ask, Placed, Unplaced


class Subnet(msgspec.Struct, frozen=True):
    """A subnet as far as a task cares. ``dns_server`` is the VPC's resolver (base + 2)."""

    id: str
    vpc: str
    zone: str
    dns_server: str = ""


class SecurityGroup(msgspec.Struct, frozen=True):
    """A security group; it must lie in the subnet's VPC."""

    id: str
    vpc: str


class Interface(msgspec.Struct, frozen=True):
    """A network interface that is about to be made for a task."""

    id: str
    subnet: str
    vpc: str
    zone: str
    address: str
    mac: str
    private_dns: str = ""
    public_address: str = ""


class Address(msgspec.Struct, frozen=True):
    """An address of a container that has no interface of its own."""

    address: str
    mac: str
    vpc: str


class NoAddress(Exception):
    """The subnet has no free address left (InsufficientFreeAddressesInSubnet)."""


class Vpc(Protocol):
    """Subnets, security groups and interfaces of one account and region at a time."""

    def subnet(self, account: str, region: str, id: str) -> Subnet | None: ...

    def default_subnet(self, account: str, region: str, zone: str) -> Subnet | None:
        """The default VPC's subnet in a zone, or in any if ``zone`` is empty or has none."""
        ...

    def security_group(self, account: str, region: str, id: str) -> SecurityGroup | None: ...

    def plan_interface(
        self,
        account: str,
        region: str,
        subnet: str,
        groups: Sequence[str],
        holder: str,
        public: bool,
        taken: set[str],
        now: float,
    ) -> tuple[Interface, Parts]:
        """An interface with a free address for ``holder`` (a task's store key), and what creates
        it. No groups means the VPC's default one. Addresses in ``taken`` are not chosen and the
        chosen one is added, so that one transaction may hold several. Raises NoAddress."""
        ...

    def plan_address(
        self, account: str, region: str, subnet: str, holder: str, taken: set[str]
    ) -> tuple[Address, Parts]:
        """A free address for a container of ``holder`` without an interface that EC2 would show,
        and what books it. ``taken`` as for interfaces. Raises NoAddress."""
        ...

    def release_addresses(self, holder: str) -> Parts:
        """What gives back the addresses that ``plan_address`` booked for a task."""
        ...

    def release_interface(self, account: str, region: str, id: str) -> Parts:
        """What deletes an interface and frees its address; nothing if it has gone already."""
        ...


class Placer(Protocol):
    """Immediate placement, for calls that must answer at once (RunTask, StartTask)."""

    async def try_place(self, asks: Sequence[Ask]) -> list[Placed | Unplaced]:
        """A place for each ask, or the reasons against it. What is placed stays booked until the
        task's record says otherwise or ``cancel`` gives it back."""
        ...

    def cancel(self, key: str) -> None:
        """Give back the place of a task that was not written after all."""
        ...


class LogGroups(Protocol):
    """CloudWatch log groups, for the awslogs driver."""

    def exists(self, account: str, region: str, group: str) -> bool: ...

    def plan_create(self, account: str, region: str, group: str, now: float) -> Parts:
        """What creates the group (``awslogs-create-group``), guarded by its absence."""
        ...


class Secrets(Protocol):
    """Secret values for containers, read at the last moment before a Sandbox is sent out."""

    async def value(self, account: str, region: str, role: str, value_from: str) -> str:
        """The value of a Secrets Manager or Parameter Store reference, read as the task's
        execution role (an ARN or a name). Raises CallerFault with the service's own message when
        there is none or the role may not read it."""
        ...


class Objects(Protocol):
    """S3 objects: the environment files that containers name."""

    async def object(self, account: str, region: str, bucket: str, key: str) -> bytes:
        """An object's content. Raises CallerFault with S3's own message when it cannot be read."""
        ...
