"""VIP scripts: what is compiled, and that a difference changes elements and not the rest."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proa.model.feed import Endpoint, Vip
from proa.traffic.published import compile_host
from proa.traffic.ruleset import VipTable, difference, whole
from proa.traffic.vips import Flow, compile_vips, stale_flows

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


def test_a_vip_with_affinity_looks_for_its_client_before_it_draws() -> None:
    made = table(vip("10.9.0.1", "10.0.1.1", "10.0.1.2", affinity_s=10))
    (chain,) = (name for name in made.chains if name.startswith("sticky_"))
    assert made.elements["vips"] == {"tcp . 10.9.0.1 . 80": f"goto {chain}"}
    first, second, draw = made.chains[chain]
    assert first.startswith("ip saddr @clients_") and second.startswith("ip saddr @clients_")
    assert draw.startswith("numgen random mod 2 vmap")
    assert len(made.sets) == 2 and all("timeout 10s" in spec for spec in made.sets.values())
    ends = [rules for name, rules in made.chains.items() if name.startswith("end_")]
    assert sorted(rules[1] for rules in ends) == [
        "meta l4proto tcp dnat to 10.0.1.1:8080",
        "meta l4proto tcp dnat to 10.0.1.2:8080",
    ]


def test_an_endpoint_that_comes_leaves_the_clients_of_the_others_alone() -> None:
    old = table(vip("10.9.0.1", "10.0.1.1", "10.0.1.2", affinity_s=10))
    new = table(vip("10.9.0.1", "10.0.1.1", "10.0.1.3", affinity_s=10))
    script = difference(old, new).splitlines()
    (kept,) = set(old.sets) & set(new.sets)
    assert not any(line.startswith(("add set", "delete set")) and kept in line for line in script)
    assert sum(line.startswith("add set") for line in script) == 1
    assert sum(line.startswith("delete set") for line in script) == 1


def test_who_comes_first_keeps_an_address_and_port() -> None:
    made = table(vip("10.9.0.1", "10.0.1.1"), vip("10.9.0.1", "10.0.1.2", "10.0.1.3"))
    assert made.elements["vips"] == {"tcp . 10.9.0.1 . 80": "goto random_1"}


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
PLANS = st.dictionaries(
    st.integers(1, 5).map(lambda n: f"10.9.0.{n}"),
    st.tuples(st.lists(ADDRESSES, max_size=4), st.sampled_from([0, 0, 60])),
    max_size=5,
)


def _vips(plan: dict[str, tuple[list[str], int]]) -> list[Vip]:
    return [vip(address, *ends, affinity_s=s) for address, (ends, s) in plan.items()]


def _host(vips: list[Vip]) -> VipTable:
    return compile_host("proa_x", vips, sources=["10.0.0.0/16"], links="pv*")


VIPS = PLANS.map(lambda plan: table(*_vips(plan)))
HOSTS = PLANS.map(lambda plan: _host(_vips(plan)))


class _Kernel:
    """What nft makes of a script: it refuses what refers to nothing, and to delete what is
    referred to."""

    def __init__(self, made: VipTable) -> None:
        self.elements = {name: dict(members) for name, members in made.elements.items()}
        self.chains = {name: list(rules) for name, rules in made.chains.items()}
        self.sets = dict(made.sets)

    def run(self, script: str) -> None:
        for line in script.splitlines():
            verb, noun, _family, _table, name = line.split()[:5]
            rest = line.split(maxsplit=5)[5:]
            if noun == "set":
                if verb == "delete":
                    assert not self._users(f"@{name} "), f"{name} is still looked in"
                    self.sets.pop(name)
                else:
                    assert name not in self.sets
                    self.sets[name] = rest[0].removeprefix("{ ").removesuffix("; }")
            elif name.startswith("random_"):
                continue
            elif noun == "chain" and verb == "add":
                self.chains.setdefault(name, [])
            elif noun == "chain" and verb == "flush":
                self.chains[name].clear()
            elif noun == "chain":
                assert not self.chains[name] and not self._users(f"goto {name}")
                self.chains.pop(name)
            elif noun == "rule":
                self.chains[name].append(rest[0])
                for word in rest[0].replace(",", "").split():
                    assert not word.startswith("@clients_") or word[1:] in self.sets
                    assert not word.startswith("end_") or word in self.chains
        _apply(self.elements, script)

    def _users(self, text: str) -> list[str]:
        rules = [rule for chain in self.chains.values() for rule in chain]
        return [rule for rule in rules if text in f"{rule} "]

    def is_like(self, made: VipTable) -> bool:
        chains = {name: tuple(rules) for name, rules in self.chains.items()}
        return (self.elements, chains, self.sets) == (made.elements, made.chains, made.sets)


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
    kernel = _Kernel(old)
    kernel.run(difference(old, new))
    assert kernel.is_like(new)


@given(HOSTS, HOSTS)
def test_old_and_difference_make_new_on_the_host(old: VipTable, new: VipTable) -> None:
    kernel = _Kernel(old)
    kernel.run(difference(old, new))
    assert kernel.is_like(new)


def test_a_port_of_the_host_is_found_at_every_address_but_not_where_it_is_proas_own() -> None:
    taken = Vip("vpc", "10.0.0.9", 6443, "tcp", (Endpoint("10.0.1.1", 80),))
    free = Vip("vpc", "10.0.0.9", 30080, "tcp", (Endpoint("10.0.1.1", 80),))
    later = Vip("vpc", "10.0.0.10", 30080, "tcp", (Endpoint("10.0.1.2", 80),))
    made = compile_host(
        "proa_x", [taken, free, later], sources=["10.0.0.0/16"], links="pv*", reserved=(6443,)
    )
    chain = "goto to_tcp_10_0_0_9_30080"
    assert made.elements["anywhere"] == {"tcp . 30080": chain}
    assert made.elements["vips"] == {
        "tcp . 10.0.0.9 . 30080": chain,
        "tcp . 10.0.0.10 . 30080": "goto to_tcp_10_0_0_10_30080",
    }


def test_other_machines_are_let_in_only_where_that_was_asked_for() -> None:
    closed = compile_host("proa_x", [], sources=["10.0.0.0/16"], links="pv*")
    opened = compile_host("proa_x", [], sources=["10.0.0.0/16"], links="pv*", open=True)
    assert 'iifname "pv*" jump published' in closed.frame
    assert 'iifname "pv*" jump published' not in opened.frame


def test_only_udp_leaves_stale_flows() -> None:
    old = [vip("10.9.0.1", "10.0.1.1", "10.0.1.2", protocol="udp"), vip("10.9.0.2", "10.0.1.1")]
    new = [vip("10.9.0.1", "10.0.1.2", protocol="udp")]
    assert stale_flows(old, new) == (Flow("10.9.0.1", 80, "10.0.1.1", 8080),)
