"""Virtual addresses in a VPC's router: from the feed's ``Vip``s to its ruleset.

``node.linux`` runs the scripts of ``ruleset`` over what is compiled here. A Vip with client
affinity has a chain of its own and a set for each endpoint, in which clients stay for as long as
the affinity lasts since their last connection; endpoints that come and go leave the others'
clients where they are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from proa.model.feed import Vip
from proa.traffic.ruleset import KEY_TYPEOF, VipTable

TABLE = "ip proa"
VIP_KEY = "inet_proto . ipv4_addr . inet_service"
CLIENT_LIMIT = 65_536  # clients that an endpoint's affinity remembers
Ends = list[tuple[str, int]]


@dataclass(slots=True, frozen=True)
class Flow:
    """UDP traffic of a VIP that went to an endpoint which no longer serves it."""

    address: str
    port: int
    endpoint: str
    endpoint_port: int


def compile_vips(
    vips: Iterable[Vip], *, router: str, own: Collection[str] = (), behind: str = ""
) -> VipTable:
    """The ruleset of one VPC's router. ``router`` is the address that hairpin traffic appears
    from, ``behind`` the one that all traffic to the Host appears from ("" keeps sources). ``own``
    are addresses that the router itself answers at (DNS): VIPs there are left alone."""
    elements: dict[str, dict[str, str]] = {"vips": {}, "refused": {}, "hairpin": {}}
    chains: dict[str, tuple[str, ...]] = {}
    sets: dict[str, str] = {}
    for vip in vips:
        if vip.address in own:
            continue
        key = f"{vip.protocol} . {vip.address} . {vip.port}"
        if key in elements["vips"] or key in elements["refused"]:
            continue  # who came first keeps it
        ends = ends_of(vip)
        if not ends:
            elements["refused"][key] = ""
            continue
        for address, _ in ends:
            elements["hairpin"][f"{address} . {address}"] = ""
        if vip.affinity_s:
            elements["vips"][key] = f"goto {add_sticky(key, vip.affinity_s, ends, chains, sets)}"
            continue
        elements["vips"][key] = f"goto random_{len(ends)}"
        targets = elements.setdefault(f"targets_{len(ends)}", {})
        for number, (address, port) in enumerate(ends):
            targets[f"{key} . {number}"] = f"{address} . {port}"
    return VipTable(TABLE, _frame(router, behind), elements, chains, sets)


def ends_of(vip: Vip) -> Ends:
    """The places that a Vip leads to, in order."""
    return sorted({(end.address, end.port) for end in vip.endpoints})


def add_sticky(
    key: str,
    affinity_s: int,
    ends: Ends,
    chains: dict[str, tuple[str, ...]],
    sets: dict[str, str],
) -> str:
    """Add the chains and sets of the Vip at ``key`` (protocol, address, port), whose clients stay
    where they are; returns its chain."""
    vip = _digest(f"{key} {affinity_s}")
    protocol = key.partition(" ")[0]
    known: list[str] = []
    numbered: list[str] = []
    for number, (address, port) in enumerate(ends):
        end = f"{vip}_{_digest(f'{address} {port}')}"
        sets[f"clients_{end}"] = (
            f"type ipv4_addr; flags dynamic,timeout; timeout {affinity_s}s; size {CLIENT_LIMIT}"
        )
        chains[f"end_{end}"] = (
            f"update @clients_{end} {{ ip saddr }}",
            f"meta l4proto {protocol} dnat to {address}:{port}",
        )
        known.append(f"ip saddr @clients_{end} goto end_{end}")
        numbered.append(f"{number} : goto end_{end}")
    draw = f"numgen random mod {len(ends)} vmap {{ {', '.join(numbered)} }}"
    chains[f"sticky_{vip}"] = (*known, draw)
    return f"sticky_{vip}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def stale_flows(old: Iterable[Vip], new: Iterable[Vip]) -> tuple[Flow, ...]:
    """Connections of UDP VIPs that the kernel would go on sending to removed endpoints: UDP has
    no end that it could see."""

    def flows(vips: Iterable[Vip]) -> dict[Flow, None]:
        return {
            Flow(vip.address, vip.port, end.address, end.port): None
            for vip in vips
            if vip.protocol == "udp"
            for end in vip.endpoints
        }

    remaining = flows(new)
    return tuple(flow for flow in flows(old) if flow not in remaining)


def _frame(router: str, behind: str) -> str:
    """What does not change with the VIPs. Refusal comes before translation, at a hook where a
    filter may answer; the second source translation lets the Host reach itself by a VIP."""
    hidden = f'    oifname "host" snat to {behind}\n' if behind else ""
    return f"""\
  map vips {{ type {VIP_KEY} : verdict; }}
  set refused {{ type {VIP_KEY}; }}
  set hairpin {{ type ipv4_addr . ipv4_addr; }}
  chain refuse {{
    meta l4proto tcp reject with tcp reset
    reject with icmp type port-unreachable
  }}
  chain filter {{
    type filter hook prerouting priority dstnat - 10
    {KEY_TYPEOF} @refused goto refuse
  }}
  chain prerouting {{
    type nat hook prerouting priority dstnat
    {KEY_TYPEOF} vmap @vips
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat
    ct status dnat ip saddr . ip daddr @hairpin snat to {router}
    iifname "host" oifname "host" ct status dnat snat to {router}
{hidden}  }}
"""
