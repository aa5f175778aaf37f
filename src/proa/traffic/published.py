"""Ports of the Host itself: node ports, host ports, published ports, balancers' ports.

A Vip at an address that the Host holds (a shared Instance's) is reached by the VPC's Sandboxes
through their router. This compiles the Host's own table, by which processes of the Host reach it
too: at that address, at 127.0.0.1 and at the machine's other addresses. Other machines reach it
only where Proa was told to listen to them. ``node.linux`` runs the scripts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from proa.model.feed import Vip
from proa.traffic.ruleset import KEY_TYPEOF, VipTable
from proa.traffic.vips import VIP_KEY, Ends, add_sticky, ends_of

_PORT_TYPEOF = "meta l4proto . th dport"


def compile_host(
    name: str,
    vips: Iterable[Vip],
    *,
    sources: Iterable[str],
    links: str,
    reserved: Collection[int] = (),
    open: bool = False,
) -> VipTable:
    """The Host's table, ``ip <name>``. What leaves the machine from ``sources`` does so under the
    Host's address; ``links`` is the pattern of the names of links to routers. ``vips`` are those
    at addresses of the Host, but not on the ``reserved`` TCP ports, which are Proa's own. ``open``
    lets other machines in. Where two take the same port, the first has it at addresses that are
    neither's."""
    elements: dict[str, dict[str, str]] = {"vips": {}, "anywhere": {}}
    chains: dict[str, tuple[str, ...]] = {}
    sets: dict[str, str] = {}
    for vip in vips:
        ends = ends_of(vip)
        key = f"{vip.protocol} . {vip.address} . {vip.port}"
        own = vip.protocol == "tcp" and vip.port in reserved
        if not ends or own or key in elements["vips"]:
            continue
        chain = _chain(key, vip, ends, chains, sets)
        elements["vips"][key] = f"goto {chain}"
        elements["anywhere"].setdefault(f"{vip.protocol} . {vip.port}", f"goto {chain}")
    return VipTable(f"ip {name}", _frame(sources, links, open), elements, chains, sets)


def _chain(
    key: str, vip: Vip, ends: Ends, chains: dict[str, tuple[str, ...]], sets: dict[str, str]
) -> str:
    if vip.affinity_s:
        return add_sticky(key, vip.affinity_s, ends, chains, sets)
    name = f"to_{vip.protocol}_{vip.address.replace('.', '_')}_{vip.port}"
    numbered = ", ".join(
        f"{number} : {address} . {port}" for number, (address, port) in enumerate(ends)
    )
    draw = f"numgen random mod {len(ends)} map {{ {numbered} }}"
    chains[name] = (f"meta l4proto {vip.protocol} dnat ip to {draw}",)
    return name


def _frame(sources: Iterable[str], links: str, open: bool) -> str:
    """The Host answers its own processes and its Sandboxes. Loopback addresses stay inside
    (CVE-2020-8558), and what comes back to its router by the Host must have come from the Host."""
    ranges = ", ".join(sources)
    leaving = f'    ip saddr {{ {ranges} }} oifname != "{links}" masquerade\n' if ranges else ""
    whom = "" if open else f'iifname "{links}" '
    return f"""\
  map vips {{ type {VIP_KEY} : verdict; }}
  map anywhere {{ type inet_proto . inet_service : verdict; }}
  chain published {{
    {KEY_TYPEOF} vmap @vips
    fib daddr type local {_PORT_TYPEOF} vmap @anywhere
  }}
  chain guard {{
    type filter hook prerouting priority raw
    iifname "{links}" ip daddr 127.0.0.0/8 drop
  }}
  chain prerouting {{
    type nat hook prerouting priority dstnat
    {whom}jump published
  }}
  chain output {{
    type nat hook output priority -100
    jump published
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat
    ip saddr 127.0.0.0/8 oifname "{links}" ct status dnat masquerade
    iifname "{links}" oifname "{links}" ct status dnat masquerade
{leaving}  }}
"""
