"""``ports.Vpc`` over the hull's networks. Made once by the assembly over the shared view."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Network

from proa.aws.ecs.ports import Address, Interface, NoAddress, SecurityGroup, Subnet
from proa.base.chance import Chance
from proa.cloud import compute, network
from proa.dispatch.skin import Parts
from proa.reconcile.view import View

RESOLVER_OFFSET = 2  # the VPC's resolver is the base of its range plus two (VPC guide)


class PlannedVpc:
    """Subnets, groups and interfaces as the network planner knows them."""

    def __init__(self, view: View, chance: Chance) -> None:
        self._planner, self._chance = network.NetworkPlanner(view), chance
        self._places = (view.rows(network.VPCS), view.rows(network.SUBNETS))
        self._edition = (-1, -1)  # of both, as of which the defaults are known
        self._defaults: dict[tuple[str, str, str], Subnet | None] = {}

    def subnet(self, account: str, region: str, id: str) -> Subnet | None:
        found = self._planner.subnet(id)
        if found is None or (found.account, found.region) != (account, region):
            return None
        return self._subnet(found)

    def default_subnet(self, account: str, region: str, zone: str) -> Subnet | None:
        edition = (self._places[0].edition, self._places[1].edition)
        if edition != self._edition:
            self._edition = edition
            self._defaults.clear()
        asked = (account, region, zone)
        if asked not in self._defaults:
            self._defaults[asked] = self._default_subnet(account, region, zone)
        return self._defaults[asked]

    def _default_subnet(self, account: str, region: str, zone: str) -> Subnet | None:
        subnets = self._planner.default_subnets(account, region)
        best = sorted(subnets, key=lambda subnet: (subnet.zone != zone, subnet.zone))
        return self._subnet(best[0]) if best else None

    def _subnet(self, found: network.Subnet) -> Subnet:
        vpc = self._planner.vpc(found.vpc)
        server = _resolver(vpc.cidr) if vpc is not None and vpc.dns_support else ""
        return Subnet(found.id, found.vpc, found.zone, server)

    def security_group(self, account: str, region: str, id: str) -> SecurityGroup | None:
        found = self._planner.security_group(id)
        if found is None or (found.account, found.region) != (account, region):
            return None
        return SecurityGroup(found.id, found.vpc)

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
        try:
            plan = self._planner.plan_interface(
                account=account,
                region=region,
                subnet_id=subnet,
                groups=groups,
                holder=holder,
                description="",
                chance=self._chance,
                public_ip=public,
                now=now,
                avoid=taken,
            )
        except network.NoFreeAddresses as error:
            raise NoAddress(str(error)) from error
        made = plan.interface
        taken.add(made.address)
        name = compute.private_name(made.address, region)
        interface = Interface(
            made.id, made.subnet, made.vpc, made.zone, made.address, made.mac, name
        )
        return interface, Parts(plan.guards, plan.writes)

    def plan_address(
        self, account: str, region: str, subnet: str, holder: str, taken: set[str]
    ) -> tuple[Address, Parts]:
        try:
            plan = self._planner.plan_address(subnet, holder, chance=self._chance, avoid=taken)
        except network.NoFreeAddresses as error:
            raise NoAddress(str(error)) from error
        taken.add(plan.address)
        return Address(plan.address, plan.mac, plan.vpc), Parts(plan.guards, plan.writes)

    def release_addresses(self, holder: str) -> Parts:
        plans = [
            self._planner.release_address(held.vpc, held.address, holder)
            for held in self._planner.addresses_of(holder)
            if not held.interface
        ]
        return Parts(
            tuple(guard for plan in plans for guard in plan.guards),
            tuple(write for plan in plans for write in plan.writes),
        )

    def release_interface(self, account: str, region: str, id: str) -> Parts:
        found = self._planner.interface(id)
        if found is None or (found.account, found.region) != (account, region):
            return Parts()
        plan = self._planner.release_interface(found)
        return Parts(plan.guards, plan.writes)


@lru_cache(maxsize=1000)
def _resolver(cidr: str) -> str:
    """The address at which a VPC's names are asked for."""
    return str(IPv4Network(cidr).network_address + RESOLVER_OFFSET)
