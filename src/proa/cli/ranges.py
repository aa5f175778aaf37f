"""The address ranges of one Proa: what ``proa up`` accepts for them, and what stands against them.

Two Proas on one machine need ranges of their own, because the machine routes to both.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from proa.base.config import Config, load_config
from proa.base.errors import CallerFault
from proa.node.linux.layout import Layout

LARGEST, SMALLEST = 16, 24  # bits of the prefix
OPTIONS = {"vpc_cidr": "--vpc-cidr", "service_cidr": "--service-cidr"}
ROUTES = Path("/proc/net/route")  # of this process's network namespace
_PRIVATE = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))


def _network(option: str, text: str) -> IPv4Network:
    try:
        network = IPv4Network(text)
        if "/" not in text:
            raise ValueError(text)
    except ValueError as error:
        raise CallerFault(
            f"{option} {text}: this is no range; give one like 10.7.0.0/16"
        ) from error
    if not any(network.subnet_of(private) for private in _PRIVATE):
        raise CallerFault(
            f"{option} {text}: give a private range, of 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16"
        )
    if not LARGEST <= network.prefixlen <= SMALLEST:
        raise CallerFault(f"{option} {text}: give a range of /{LARGEST} to /{SMALLEST}")
    return network


def chosen(config: Config, vpc_cidr: str | None, service_cidr: str | None) -> Config:
    """The configuration with the ranges asked for, or those that the data directory has. Raises
    CallerFault for ranges that cannot be used, or that differ from what the data was made with."""
    before = load_config(config.data_dir)
    known = before or config
    whole = replace(
        config,
        vpc_cidr=vpc_cidr or known.vpc_cidr,
        service_cidr=service_cidr or known.service_cidr,
    )
    networks = {name: _network(option, getattr(whole, name)) for name, option in OPTIONS.items()}
    if networks["vpc_cidr"].overlaps(networks["service_cidr"]):
        raise CallerFault(
            f"--vpc-cidr {whole.vpc_cidr} and --service-cidr {whole.service_cidr} overlap"
        )
    if before is not None and before.runtime != config.runtime:
        raise CallerFault(
            f"{config.data_dir} was made with --runtime {before.runtime}: "
            "use another --data-dir, or proa down --purge first"
        )
    for name, option in OPTIONS.items():
        if before is not None and getattr(before, name) != getattr(whole, name):
            raise CallerFault(
                f"{option} of {config.data_dir} is {getattr(before, name)} and cannot "
                "change: use another --data-dir, or proa down --purge first"
            )
    return whole


def _routes(text: str) -> Iterator[tuple[IPv4Network, str]]:
    """(destination, device) of the lines of /proc/net/route, whose numbers are little-endian."""
    for line in text.splitlines()[1:]:
        words = line.split()
        destination, mask = (
            IPv4Address(int.from_bytes(bytes.fromhex(word), "little"))
            for word in (words[1], words[7])
        )
        yield IPv4Network(f"{destination}/{mask}"), words[0]


@dataclass(slots=True, frozen=True)
class Taken:
    """A route that stands against an option's range. ``inside`` says that it is the more
    specific one, which keeps its part of the range from Proa; otherwise Proa would take its
    range out of the route's."""

    option: str
    route: str
    device: str
    inside: bool


def taken(config: Config, routes: str) -> Iterator[Taken]:
    """What the machine routes elsewhere (the text of ROUTES). A Proa's own links do not count,
    nor do default routes and their halves."""
    own = Layout(config.data_dir).host_link_prefix
    foreign = [
        one for one in _routes(routes) if not one[1].startswith(own) and one[0].prefixlen > 1
    ]
    for name, option in OPTIONS.items():
        wanted = IPv4Network(getattr(config, name))
        for network, device in foreign:
            if network.overlaps(wanted):
                yield Taken(option, str(network), device, network.subnet_of(wanted))
