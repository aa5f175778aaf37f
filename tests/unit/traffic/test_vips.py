"""VIP scripts: what is compiled, and that a difference changes elements and not the rest."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proa.model.feed import Endpoint, Vip
from proa.traffic.vips import Flow, VipTable, compile_vips, difference, stale_flows, whole

ROUTER = "10.0.0.1"


def vip(address: str, *ends: str, protocol: str = "tcp", affinity_s: int = 0) -> Vip:
    endpoints = tuple(Endpoint(end, 8080) for end in ends)
    return Vip("vpc", address, 80, protocol, endpoints, affinity_s)


def table(*vips: Vip) -> VipTable:
    return compile_vips(vips, router=ROUTER)


def test_a_vip_leads_to_the_chain_for_its_number_of_endpoints() -> None:
    made = table(vip("10.9.0.1", "10.0.1.2", "10.0.1.1"))
    assert made.elements["vips"] == {"tcp . 10.9.0.1 . 80": "goto random_2"}
    assert made.elements["targets_2"] == {
        "tcp . 10.9.0.1 . 80 . 0": "10.0.1.1 . 8080",
        "tcp . 10.9.0.1 . 80 . 1": "10.0.1.2 . 8080",
    }
    assert set(made.elements["hairpin"]) == {"10.0.1.1 . 10.0.1.1", "10.0.1.2 . 10.0.1.2"}


def test_a_vip_with_affinity_draws_by_client() -> None:
    made = table(vip("10.9.0.1", "10.0.1.1", affinity_s=10))
    assert made.elements["vips"] == {"tcp . 10.9.0.1 . 80": "goto client_1"}


def test_a_vip_without_endpoints_is_refused() -> None:
    assert set(table(vip("10.9.0.1")).elements["refused"]) == {"tcp . 10.9.0.1 . 80"}


def test_the_routers_own_addresses_are_left_alone() -> None:
    made = compile_vips([vip("10.9.0.10")], router=ROUTER, own=("10.9.0.10",))
    assert made == table()


def test_the_order_of_vips_and_endpoints_does_not_matter() -> None:
    one, two = vip("10.9.0.1", "10.0.1.1", "10.0.1.2"), vip("10.9.0.2", "10.0.1.3")
    back = vip("10.9.0.1", "10.0.1.2", "10.0.1.1")
    assert difference(table(one, two), table(two, back)) == ""


def test_a_change_of_endpoints_touches_only_their_elements() -> None:
    fixed = vip("10.9.0.2", "10.0.1.7")
    script = difference(
        table(vip("10.9.0.1", "10.0.1.1"), fixed), table(vip("10.9.0.1", "10.0.1.2"), fixed)
    )
    assert "10.9.0.2" not in script and "chain" not in script and "rule" not in script
    assert "delete element ip proa targets_1 { tcp . 10.9.0.1 . 80 . 0 : 10.0.1.1" in script
    assert "add element ip proa targets_1 { tcp . 10.9.0.1 . 80 . 0 : 10.0.1.2" in script


def test_another_router_address_starts_anew() -> None:
    new = compile_vips([], router="10.0.0.2")
    assert difference(table(), new) == whole(new)


ADDRESSES = st.integers(1, 6).map(lambda n: f"10.0.1.{n}")
VIPS = st.dictionaries(
    st.integers(1, 5).map(lambda n: f"10.9.0.{n}"), st.lists(ADDRESSES, max_size=4), max_size=5
).map(lambda plan: table(*(vip(address, *ends) for address, ends in plan.items())))


def _apply(elements: dict[str, dict[str, str]], script: str) -> dict[str, dict[str, str]]:
    """What nft makes of a script of element and map lines."""
    for line in script.splitlines():
        verb, noun, _family, _table, name = line.split()[:5]
        if noun == "map":
            elements.pop(name) if verb == "delete" else elements.setdefault(name, {})
        if noun != "element":
            continue
        for text in line.split("{ ")[1].removesuffix(" }").split(", "):
            key, _, value = text.partition(" : ")
            if verb == "add":
                assert elements[name].setdefault(key, value) == value, "changed in place"
            else:
                assert elements[name].pop(key) == value, "deleted what is not there"
    return elements


@given(VIPS, VIPS)
def test_old_and_difference_make_new(old: VipTable, new: VipTable) -> None:
    have = {name: dict(members) for name, members in old.elements.items()}
    assert _apply(have, difference(old, new)) == new.elements


def test_only_udp_leaves_stale_flows() -> None:
    old = [vip("10.9.0.1", "10.0.1.1", "10.0.1.2", protocol="udp"), vip("10.9.0.2", "10.0.1.1")]
    new = [vip("10.9.0.1", "10.0.1.2", protocol="udp")]
    assert stale_flows(old, new) == (Flow("10.9.0.1", 80, "10.0.1.1", 8080),)
