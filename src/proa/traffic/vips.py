"""VIP rules: from the feed's ``Vip``s to nftables scripts, whole or as a difference.

``node.linux`` runs the scripts in each VPC's router. The rules are flat: one map from (protocol,
address, port) to a chain by the number of endpoints, and one map for each number from the VIP
and a draw to the endpoint. A change of endpoints is a change of map elements and never of rules,
so a thousand Services cost as little as one (the idea is kube-proxy's nftables mode's, KEP-3866).

What must stay true: a script is one nft transaction; ``difference(old, new)`` applied to
``old`` gives the same ruleset as ``whole(new)``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from proa.model.feed import Vip

TABLE = "ip proa"
_VIP_KEY = "inet_proto . ipv4_addr . inet_service"
_VIP_TYPEOF = "meta l4proto . ip daddr . th dport"
_ENDPOINT_TYPEOF = "ip daddr . th dport"
_DRAWS = {"random": "numgen random", "client": "jhash ip saddr"}


@dataclass(slots=True, frozen=True)
class VipTable:
    """One router's ruleset. ``elements`` maps each set's or map's name to its elements, ""
    being the value in a set; ``router`` is the address that hairpin traffic appears from;
    ``behind`` is the address that all traffic to the Host appears from, "" to keep sources."""

    router: str
    elements: Mapping[str, Mapping[str, str]]
    behind: str = ""

    @property
    def counts(self) -> tuple[int, ...]:
        """The numbers of endpoints that there are maps for."""
        names = (name for name in self.elements if name.startswith("targets_"))
        return tuple(sorted(int(name.removeprefix("targets_")) for name in names))


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
    """The ruleset of one VPC's router. ``own`` are addresses that the router itself answers at
    (DNS): VIPs there are left alone."""
    elements: dict[str, dict[str, str]] = {"vips": {}, "refused": {}, "hairpin": {}}
    for vip in vips:
        if vip.address in own:
            continue
        key = f"{vip.protocol} . {vip.address} . {vip.port}"
        ends = sorted({(end.address, end.port) for end in vip.endpoints})
        if not ends:
            elements["refused"][key] = ""
            continue
        draw = "client" if vip.affinity_s else "random"
        elements["vips"][key] = f"goto {draw}_{len(ends)}"
        targets = elements.setdefault(f"targets_{len(ends)}", {})
        for number, (address, port) in enumerate(ends):
            targets[f"{key} . {number}"] = f"{address} . {port}"
            elements["hairpin"][f"{address} . {address}"] = ""
    return VipTable(router, elements, behind)


def whole(table: VipTable) -> str:
    """A script that replaces whatever the router had, in one transaction."""
    head = f"add table {TABLE}\ndelete table {TABLE}\ntable {TABLE} {{\n{_frame(table)}}}\n"
    per_count = "".join(_add_count(count) for count in table.counts)
    return head + per_count + _element_lines("add", table.elements)


def difference(old: VipTable, new: VipTable) -> str:
    """A script that leads from ``old`` to ``new``; empty when they are the same."""
    if (old.router, old.behind) != (new.router, new.behind):
        return whole(new)
    gone: dict[str, dict[str, str]] = {}
    fresh: dict[str, dict[str, str]] = {}
    for name in sorted({*old.elements, *new.elements}):
        before, after = old.elements.get(name, {}), new.elements.get(name, {})
        gone[name] = {key: value for key, value in before.items() if after.get(key) != value}
        fresh[name] = {key: value for key, value in after.items() if before.get(key) != value}
    dropped = [count for count in old.counts if count not in new.counts]
    added = [count for count in new.counts if count not in old.counts]
    verdicts = gone.pop("vips")
    return (
        "".join(_add_count(count) for count in added)
        + _element_lines("delete", {"vips": verdicts})
        + _element_lines("delete", gone)
        + _element_lines("add", fresh)
        + "".join(_delete_count(count) for count in dropped)
    )


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


def host_table(name: str, sources: Iterable[str], links: str) -> str:
    """The script of the Host's own table: what leaves the machine from ``sources`` does so under
    the Host's address. ``links`` is the pattern of the names of links to routers."""
    ranges = ", ".join(sources)
    return (
        f"add table ip {name}\ndelete table ip {name}\ntable ip {name} {{\n"
        "  chain postrouting {\n"
        "    type nat hook postrouting priority srcnat\n"
        f'    ip saddr {{ {ranges} }} oifname != "{links}" masquerade\n'
        "  }\n}\n"
    )


def _frame(table: VipTable) -> str:
    """What does not change with the VIPs. Refusal comes before translation, at a hook where a
    filter may answer; the second source translation lets the Host reach itself by a VIP."""
    hidden = f'    oifname "host" snat to {table.behind}\n' if table.behind else ""
    return f"""\
  map vips {{ type {_VIP_KEY} : verdict; }}
  set refused {{ type {_VIP_KEY}; }}
  set hairpin {{ type ipv4_addr . ipv4_addr; }}
  chain refuse {{
    meta l4proto tcp reject with tcp reset
    reject with icmp type port-unreachable
  }}
  chain filter {{
    type filter hook prerouting priority dstnat - 10
    {_VIP_TYPEOF} @refused goto refuse
  }}
  chain prerouting {{
    type nat hook prerouting priority dstnat
    {_VIP_TYPEOF} vmap @vips
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat
    ct status dnat ip saddr . ip daddr @hairpin snat to {table.router}
    iifname "host" oifname "host" ct status dnat snat to {table.router}
{hidden}  }}
"""


def _add_count(count: int) -> str:
    """The map and the two chains (a draw for each connection, or by client address) for VIPs
    with this number of endpoints."""
    name = f"targets_{count}"
    kind = f"typeof {_VIP_TYPEOF} . numgen random mod {count} : {_ENDPOINT_TYPEOF}"
    lines = [f"add map {TABLE} {name} {{ {kind}; }}\n"]
    for chain, draw in _DRAWS.items():
        picked = f"{_VIP_TYPEOF} . {draw} mod {count} map @{name}"
        lines.append(f"add chain {TABLE} {chain}_{count}\n")
        lines.append(f"add rule {TABLE} {chain}_{count} dnat ip to {picked}\n")
    return "".join(lines)


def _delete_count(count: int) -> str:
    chains = "".join(
        f"flush chain {TABLE} {chain}_{count}\ndelete chain {TABLE} {chain}_{count}\n"
        for chain in _DRAWS
    )
    return chains + f"delete map {TABLE} targets_{count}\n"


def _element_lines(verb: str, elements: Mapping[str, Mapping[str, str]]) -> str:
    lines = []
    for name, members in elements.items():
        if members:
            texts = (f"{key} : {value}" if value else key for key, value in members.items())
            lines.append(f"{verb} element {TABLE} {name} {{ {', '.join(texts)} }}\n")
    return "".join(lines)
