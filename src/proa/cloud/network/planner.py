"""Which address, whose interface: decisions over the networks that a view shows.

ECS plans an interface for each awsvpc task, dispatch an address for each pod and Instance. A
plan is guards and writes for the caller's own transaction. Two plans made over the same view
may choose the same address only by a rare chance; the guard of absence then refuses the second,
which is decided again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Address, IPv4Network

import msgspec

from proa.base.chance import Chance
from proa.base.errors import CallerFault, TryAgain
from proa.cloud.network.records import (
    ADDRESSES,
    INTERFACES,
    SECURITY_GROUPS,
    SUBNETS,
    VPCS,
    HeldAddress,
    Interface,
    SecurityGroup,
    Subnet,
    Vpc,
    address_key,
    encode,
    network_key,
)
from proa.reconcile.view import View
from proa.store.api import Delete, Exists, Guard, Put

RESERVED_FIRST = 4  # network, router, DNS and one for future use (VPC guide, subnet sizing)


class NoFreeAddresses(TryAgain):
    """Every address of the subnet is in use (InsufficientFreeAddressesInSubnet)."""

    def __init__(self, subnet: str) -> None:
        super().__init__(f"The specified subnet does not have enough free addresses: {subnet}")
        self.subnet = subnet


class UnknownSubnet(CallerFault):
    """No such subnet in this account and region."""

    def __init__(self, subnet: str) -> None:
        super().__init__(f"The subnet ID '{subnet}' does not exist")
        self.subnet = subnet


class UnknownSecurityGroup(CallerFault):
    """No such security group in this account and region."""

    def __init__(self, group: str) -> None:
        super().__init__(f"The security group '{group}' does not exist")
        self.group = group


class WrongVpc(CallerFault):
    """A security group and a subnet of different VPCs."""

    def __init__(self, group: str, subnet: str) -> None:
        super().__init__(f"Security group {group} and subnet {subnet} belong to different networks")
        self.group, self.subnet = group, subnet


class AddressOutside(CallerFault):
    """An address asked for that the subnet has not, or keeps for itself."""

    def __init__(self, address: str, subnet: str) -> None:
        super().__init__(f"Address {address} does not fall within the subnet {subnet}")
        self.address, self.subnet = address, subnet


class AddressInUse(CallerFault):
    """An address asked for that is booked already."""

    def __init__(self, address: str) -> None:
        super().__init__(f"Address {address} is in use.")
        self.address = address


class AddressPlan(msgspec.Struct, frozen=True):
    """A booked address, once guards and writes are committed."""

    address: str
    vpc: str
    guards: tuple[Guard | Exists, ...]
    writes: tuple[Put | Delete, ...]

    @property
    def mac(self) -> str:
        """See ``mac_of``."""
        return mac_of(self.vpc, self.address)


@dataclass(slots=True, frozen=True)
class InterfacePlan:
    """A new interface with its address, once guards and writes are committed."""

    interface: Interface
    guards: tuple[Guard | Exists, ...]
    writes: tuple[Put | Delete, ...]


@dataclass(slots=True, frozen=True)
class Release:
    """Gives back what was held; its guards keep a second release from freeing what somebody
    else has booked meanwhile."""

    guards: tuple[Guard | Exists, ...] = ()
    writes: tuple[Put | Delete, ...] = ()


def mac_of(vpc: str, address: str) -> str:
    """The locally administered MAC of an address: the same on every Host and after restarts."""
    one, two, three, four = map(int, address.split("."))
    return f"{_mac_start(vpc)}:{one:02x}:{two:02x}:{three:02x}:{four:02x}"


@cache
def _mac_start(vpc: str) -> str:
    return f"02:{hashlib.sha256(vpc.encode()).hexdigest()[:2]}"


def dotted(number: int) -> str:
    """An IPv4 address as text."""
    return f"{number >> 24}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


@cache
def _span(cidr: str) -> tuple[int, int]:
    """The first address of a subnet that may be booked, as a number, and how many there are."""
    network = IPv4Network(cidr)
    return int(network.network_address) + RESERVED_FIRST, network.num_addresses - RESERVED_FIRST - 1


class NetworkPlanner:
    """Reads a view that holds ``NETWORK_TABLES``."""

    def __init__(self, view: View) -> None:
        self._vpcs = view.rows(VPCS)
        self._subnets = view.rows(SUBNETS)
        self._groups = view.rows(SECURITY_GROUPS)
        self._interfaces = view.rows(INTERFACES)
        self._addresses = view.rows(ADDRESSES)

    def vpc(self, id: str) -> Vpc | None:
        """The VPC of this id, whatever its account."""
        return next((entry.value for entry in self._vpcs.by("id", id)), None)

    def subnet(self, id: str) -> Subnet | None:
        """The subnet of this id, whatever its account."""
        return next((entry.value for entry in self._subnets.by("id", id)), None)

    def security_group(self, id: str) -> SecurityGroup | None:
        """The security group of this id, whatever its account."""
        return next((entry.value for entry in self._groups.by("id", id)), None)

    def interface(self, id: str) -> Interface | None:
        """The interface of this id, whatever its account."""
        return next((entry.value for entry in self._interfaces.by("id", id)), None)

    def default_vpc(self, account: str, region: str) -> Vpc | None:
        """The default VPC, unless it was deleted."""
        vpcs = (entry.value for entry in self._vpcs.by("place", f"{account}/{region}"))
        return next((vpc for vpc in vpcs if vpc.is_default), None)

    def default_group(self, vpc: str) -> SecurityGroup | None:
        """The group that every VPC has and that nobody can delete."""
        groups = (entry.value for entry in self._groups.by("vpc", vpc))
        return next((group for group in groups if group.name == "default"), None)

    def default_subnets(self, account: str, region: str) -> tuple[Subnet, ...]:
        """The default VPC's default subnets, in the order of their zones."""
        vpc = self.default_vpc(account, region)
        if vpc is None:
            return ()
        subnets = (entry.value for entry in self._subnets.by("vpc", vpc.id))
        return tuple(
            sorted((s for s in subnets if s.default_for_zone), key=lambda subnet: subnet.zone)
        )

    def interfaces_of(self, holder: str) -> tuple[Interface, ...]:
        """What was planned for the record under key ``holder``."""
        return tuple(entry.value for entry in self._interfaces.by("holder", holder))

    def addresses_of(self, holder: str) -> tuple[HeldAddress, ...]:
        """The addresses booked for the record under key ``holder``."""
        return tuple(entry.value for entry in self._addresses.by("holder", holder))

    def free_count(self, subnet: Subnet) -> int:
        """How many addresses of the subnet can still be booked."""
        size = IPv4Network(subnet.cidr).num_addresses - RESERVED_FIRST - 1
        return max(0, size - self._addresses.count("subnet", subnet.id))

    def plan_address(
        self, subnet_id: str, holder: str, *, chance: Chance, avoid: Collection[str] = ()
    ) -> AddressPlan:
        """Book a free address of the subnet for the record under key ``holder`` (a pod, an
        Instance). ``avoid`` are addresses planned but not yet in the view. Raises UnknownSubnet,
        NoFreeAddresses."""
        subnet = self.subnet(subnet_id)
        if subnet is None:
            raise UnknownSubnet(subnet_id)
        return self._book(subnet, holder, "", chance, avoid)

    def release_address(self, vpc: str, address: str, holder: str) -> Release:
        """Give an address back; nothing to do where ``holder`` does not hold it."""
        entry = self._addresses.get(address_key(vpc, address))
        if entry is None or entry.value.holder != holder:
            return Release()
        return Release((Guard(entry.key, entry.version),), (Delete(entry.key),))

    def plan_interface(
        self,
        *,
        account: str,
        region: str,
        subnet_id: str,
        groups: Sequence[str],
        holder: str,
        description: str,
        chance: Chance,
        public_ip: bool = False,
        now: float = 0.0,
        avoid: Collection[str] = (),
        address: str = "",
        kind: str = "interface",
    ) -> InterfacePlan:
        """An interface with ``address``, or a free one of the subnet, and the VPC's default group
        where ``groups`` is empty. ``chance`` decides ids and address; ``avoid`` are addresses
        planned but not yet in the view. Raises UnknownSubnet, UnknownSecurityGroup, WrongVpc,
        NoFreeAddresses, AddressOutside, AddressInUse."""
        subnet = self.subnet(subnet_id)
        if subnet is None or (subnet.account, subnet.region) != (account, region):
            raise UnknownSubnet(subnet_id)
        carried = self._carried_groups(subnet, groups)
        id = f"eni-0{chance.hex(16)}"
        booked = self._book(subnet, holder, id, chance, avoid, address)
        interface = Interface(
            id=id,
            account=account,
            region=region,
            vpc=subnet.vpc,
            subnet=subnet.id,
            zone=subnet.zone,
            address=booked.address,
            mac=booked.mac,
            groups=carried,
            description=description,
            holder=holder,
            attachment=f"eni-attach-0{chance.hex(16)}" if holder else "",
            public_ip=public_ip,
            created_at=now,
            kind=kind,
        )
        key = network_key(account, region, "network-interface", id)
        owners = tuple(
            Exists(network_key(account, region, "security-group", group)) for group in carried
        )
        return InterfacePlan(
            interface,
            (*booked.guards, Guard(key, 0), *owners),
            (*booked.writes, Put(key, encode(interface))),
        )

    def release_interface(self, interface: Interface) -> Release:
        """Delete an interface and give its address back; nothing to do once it is gone."""
        key = network_key(interface.account, interface.region, "network-interface", interface.id)
        entry = self._interfaces.get(key)
        if entry is None:
            return Release()
        held = Delete(address_key(interface.vpc, interface.address))
        return Release((Guard(key, entry.version),), (Delete(key), held))

    def _carried_groups(self, subnet: Subnet, groups: Sequence[str]) -> tuple[str, ...]:
        if not groups:
            default = self.default_group(subnet.vpc)
            return (default.id,) if default else ()
        for id in groups:
            group = self.security_group(id)
            if group is None or (group.account, group.region) != (subnet.account, subnet.region):
                raise UnknownSecurityGroup(id)
            if group.vpc != subnet.vpc:
                raise WrongVpc(id, subnet.id)
        return tuple(dict.fromkeys(groups))

    def _book(
        self,
        subnet: Subnet,
        holder: str,
        interface: str,
        chance: Chance,
        avoid: Collection[str],
        asked: str = "",
    ) -> AddressPlan:
        address = self._asked(subnet, asked) if asked else self._free(subnet, chance, avoid)
        key = address_key(subnet.vpc, address)
        held = HeldAddress(subnet.vpc, subnet.id, address, holder, interface)
        owner = Exists(network_key(subnet.account, subnet.region, "subnet", subnet.id))
        return AddressPlan(
            address,
            subnet.vpc,
            (Guard(key, 0), owner),
            (Put(key, encode(held)),),
        )

    def _asked(self, subnet: Subnet, address: str) -> str:
        network, wanted = IPv4Network(subnet.cidr), IPv4Address(address)
        first = int(network.network_address) + RESERVED_FIRST
        if not first <= int(wanted) < int(network.broadcast_address):
            raise AddressOutside(address, subnet.id)
        if self._addresses.get(address_key(subnet.vpc, address)) is not None:
            raise AddressInUse(address)
        return address

    def _free(self, subnet: Subnet, chance: Chance, avoid: Collection[str]) -> str:
        base, size = _span(subnet.cidr)
        start = chance.integer(0, size - 1)
        for offset in range(size):
            address = dotted(base + (start + offset) % size)
            if (
                address not in avoid
                and self._addresses.get(address_key(subnet.vpc, address)) is None
            ):
                return address
        raise NoFreeAddresses(subnet.id)
