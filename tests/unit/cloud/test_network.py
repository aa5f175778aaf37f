"""Addresses and interfaces: what the planner books, refuses and gives back."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import msgspec
import pytest

from proa.base.chance import Chance
from proa.base.config import Config
from proa.cloud.network import (
    ADDRESSES,
    NETWORK_TABLES,
    HeldAddress,
    InterfacePlan,
    NetworkPlanner,
    NoFreeAddresses,
    SecurityGroup,
    Subnet,
    UnknownSecurityGroup,
    UnknownSubnet,
    WrongVpc,
    address_key,
    bootstrap_network,
    mac_of,
    network_key,
)
from proa.cloud.network.bootstrap import zone_id
from proa.store.api import GuardFailed
from tests.unit.cloud.shelf import Shelf

ACCOUNT, REGION = "000000000000", "us-east-1"
HOLDER = "/aws/000000000000/us-east-1/ecs/task/default/1"


def fresh() -> tuple[Shelf, NetworkPlanner, Subnet]:
    shelf = Shelf(NETWORK_TABLES)
    shelf.commit(bootstrap_network(ACCOUNT, REGION, Config()))
    planner = NetworkPlanner(shelf.view)
    return shelf, planner, planner.default_subnets(ACCOUNT, REGION)[0]


def plan(planner: NetworkPlanner, subnet: str, seed: str = "a", **more: object) -> InterfacePlan:
    arguments: dict[str, object] = {
        "account": ACCOUNT, "region": REGION, "subnet_id": subnet, "groups": (),
        "holder": HOLDER, "description": "", "chance": Chance(seed),
    }  # fmt: skip
    return planner.plan_interface(**(arguments | more))  # type: ignore[arg-type]


def test_bootstrap_makes_a_default_vpc_with_a_subnet_in_each_zone() -> None:
    _, planner, _ = fresh()
    vpc = planner.default_vpc(ACCOUNT, REGION)
    assert vpc is not None and vpc.cidr == "172.31.0.0/16"
    subnets = planner.default_subnets(ACCOUNT, REGION)
    assert [(subnet.zone, subnet.cidr, subnet.zone_id) for subnet in subnets] == [
        ("us-east-1a", "172.31.0.0/20", "use1-az1"),
        ("us-east-1b", "172.31.16.0/20", "use1-az2"),
        ("us-east-1c", "172.31.32.0/20", "use1-az3"),
    ]
    group = planner.default_group(vpc.id)
    assert group is not None and group.ingress[0].group == group.id


def test_bootstrap_happens_once_and_is_the_same_everywhere() -> None:
    shelf, _, _ = fresh()
    again = bootstrap_network(ACCOUNT, REGION, Config())
    with pytest.raises(GuardFailed):
        shelf.commit(again)
    assert again == bootstrap_network(ACCOUNT, REGION, Config())
    assert again != bootstrap_network("111111111111", REGION, Config())


def test_zone_ids_shorten_the_region_as_aws_does() -> None:
    zones = ["us-east-1a", "eu-central-1b", "ap-southeast-2c", "us-gov-west-1a"]
    assert [zone_id(zone) for zone in zones] == [
        "use1-az1", "euc1-az2", "apse2-az3", "usgovw1-az1",
    ]  # fmt: skip


def test_an_interface_books_an_address_inside_the_subnet_and_carries_the_default_group() -> None:
    shelf, planner, subnet = fresh()
    made = plan(planner, subnet.id, public_ip=True)
    shelf.apply(made)
    interface = planner.interface(made.interface.id)
    assert interface is not None
    assert IPv4Address(interface.address) in IPv4Network(subnet.cidr)
    default = planner.default_group(subnet.vpc)
    assert default is not None and interface.groups == (default.id,)
    assert interface.mac == mac_of(subnet.vpc, interface.address)
    assert planner.interfaces_of(HOLDER) == (interface,)
    assert planner.addresses_of(HOLDER)[0].interface == interface.id
    assert planner.free_count(subnet) == 4091 - 1


def test_the_same_seed_plans_the_same_interface() -> None:
    _, planner, subnet = fresh()
    assert plan(planner, subnet.id, "x") == plan(planner, subnet.id, "x")
    assert plan(planner, subnet.id, "x") != plan(planner, subnet.id, "y")


def test_two_plans_of_one_address_cannot_both_be_committed() -> None:
    shelf, planner, subnet = fresh()
    first = planner.plan_address(subnet.id, "/pod/a", chance=Chance("s"))
    second = planner.plan_address(subnet.id, "/pod/b", chance=Chance("s"))
    assert first.address == second.address
    shelf.apply(first)
    with pytest.raises(GuardFailed):
        shelf.apply(second)
    assert planner.plan_address(subnet.id, "/pod/b", chance=Chance("s")).address != first.address


def test_addresses_planned_together_avoid_each_other() -> None:
    _, planner, subnet = fresh()
    first = planner.plan_address(subnet.id, "/pod/a", chance=Chance("s"))
    second = planner.plan_address(subnet.id, "/pod/b", chance=Chance("s"), avoid={first.address})
    assert second.address != first.address


def test_a_small_subnet_gives_every_address_but_the_reserved_five_and_then_refuses() -> None:
    shelf, planner, subnet = fresh()
    small = msgspec.structs.replace(subnet, id="subnet-small", cidr="172.31.48.0/28")
    shelf.put(network_key(ACCOUNT, REGION, "subnet", small.id), small)
    booked = []
    for number in range(11):
        made = planner.plan_address(small.id, f"/pod/{number}", chance=Chance(str(number)))
        shelf.apply(made)
        booked.append(made.address)
    assert sorted(booked, key=IPv4Address) == [f"172.31.48.{last}" for last in range(4, 15)]
    assert planner.free_count(small) == 0
    with pytest.raises(NoFreeAddresses):
        planner.plan_address(small.id, "/pod/x", chance=Chance("x"))


def test_releasing_an_interface_frees_its_address_once() -> None:
    shelf, planner, subnet = fresh()
    interface = plan(planner, subnet.id).interface
    shelf.apply(plan(planner, subnet.id))
    release = planner.release_interface(interface)
    shelf.apply(release)
    assert planner.free_count(subnet) == 4091
    assert planner.release_interface(interface).writes == ()
    # A release planned before the first was seen must not free what another has booked since.
    shelf.put(address_key(subnet.vpc, interface.address), planner_held(subnet, interface.address))
    with pytest.raises(GuardFailed):
        shelf.apply(release)


def planner_held(subnet: Subnet, address: str) -> msgspec.Struct:
    return HeldAddress(subnet.vpc, subnet.id, address, "/pod/other")


def test_an_address_is_released_by_its_holder_only() -> None:
    shelf, planner, subnet = fresh()
    made = planner.plan_address(subnet.id, "/pod/a", chance=Chance("s"))
    shelf.apply(made)
    assert planner.release_address(subnet.vpc, made.address, "/pod/b").writes == ()
    shelf.apply(planner.release_address(subnet.vpc, made.address, "/pod/a"))
    assert len(shelf.view.rows(ADDRESSES)) == 0


def test_unknown_and_foreign_subnets_and_groups_are_refused() -> None:
    shelf, planner, subnet = fresh()
    with pytest.raises(UnknownSubnet):
        plan(planner, "subnet-absent")
    with pytest.raises(UnknownSubnet):
        plan(planner, subnet.id, account="111111111111")
    with pytest.raises(UnknownSecurityGroup):
        plan(planner, subnet.id, groups=("sg-absent",))
    other = SecurityGroup("sg-other", ACCOUNT, REGION, "vpc-other", "web", "")
    shelf.put(network_key(ACCOUNT, REGION, "security-group", other.id), other)
    with pytest.raises(WrongVpc):
        plan(planner, subnet.id, groups=(other.id,))
