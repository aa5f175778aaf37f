"""One VPC on one Host: a network namespace that routes between Sandboxes and the Host.

``LinuxNetwork`` calls it in its netlink thread. Every Sandbox hangs on a veth pair of its own
with /32 routes and permanent neighbours at both ends: no bridge, no ARP, no waiting. The link's
alias is the Sandbox's uid, so that an agent finds after a restart what is attached for whom.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Collection, Iterable
from ipaddress import IPv4Network

from proa.base.errors import CallerFault, TryAgain
from proa.base.telemetry import get_logger
from proa.model.feed import VpcRange
from proa.node.linux import netlink
from proa.node.linux.channel import (
    Channel,
    channel_in,
    entered,
    make_namespace,
    write_sysctl,
)
from proa.node.linux.layout import (
    DOOMED,
    GATEWAY,
    HOST_LINK,
    HOST_MAC,
    ROUTER_MAC,
    SANDBOX_LINK,
    Layout,
    nth_address,
    sandbox_link,
)
from proa.node.linux.netlink import Link, Message, VethEnd

log = get_logger(__name__)
_LOOPBACK = 1
_LAST_RESORT = 1 << 20  # metric of the routes that refuse what nothing else leads to
_SYSCTLS = {
    "net.ipv4.ip_forward": "1",
    "net.ipv4.conf.all.rp_filter": "0",
    "net.ipv4.conf.default.rp_filter": "0",
    "net.ipv4.conf.all.send_redirects": "0",
    "net.ipv4.conf.default.send_redirects": "0",
    "net.ipv6.conf.all.disable_ipv6": "1",
    "net.ipv6.conf.default.disable_ipv6": "1",
}


class Router:
    """``reachable`` says whether the Host itself routes to this VPC's ranges; otherwise its
    Sandboxes appear to the Host as ``hidden``."""

    def __init__(self, layout: Layout, root: Channel, range: VpcRange, reachable: bool, mtu: int):
        self.range, self.reachable = range, reachable
        self._root, self._mtu = root, mtu
        self._host_link = layout.host_link(range.id)
        self.hidden = layout.link_address(range.id)
        path = layout.namespace(range.id)
        make_namespace(path)
        self.namespace = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._channel = channel_in(self.namespace)
        self._host_addresses: set[str] = set()
        try:
            self._configure()
        except BaseException:
            self.close()
            raise

    @property
    def address(self) -> str:
        """The router's own address: the first of the VPC (VPC guide: reserved for it)."""
        if not self.range.cidrs:
            return self.hidden
        return nth_address(self.range.cidrs[0], 1)

    def close(self) -> None:
        """Close what is open here; the namespace and its links stay."""
        self._channel.close()
        os.close(self.namespace)

    def _configure(self) -> None:
        """Bring the namespace to its state; everything may be there already."""
        with entered(self.namespace):
            for name, value in _SYSCTLS.items():
                write_sysctl(name, value)
        own = [self.address, *self.range.dns]
        self._channel.do(
            netlink.set_link(_LOOPBACK),
            *(netlink.add_address(_LOOPBACK, address) for address in own),
            ignore=(errno.EEXIST,),
        )
        if self._root.link(self._host_link) is None:
            there = VethEnd(HOST_LINK, ROUTER_MAC, self.namespace)
            self._root.do(netlink.add_veth(VethEnd(self._host_link, HOST_MAC), there, self._mtu))
        inner = self._index(self._channel, HOST_LINK)
        self._host_routes = inner
        self._channel.do(
            netlink.set_link(inner),
            netlink.add_neighbour(inner, GATEWAY, HOST_MAC),
            netlink.add_route("0.0.0.0/0", inner, via=GATEWAY),
            *self._last_resorts(self._ranges()),
        )
        outer = self._index(self._root, self._host_link)
        held = {address for index, address in self._root.addresses() if index == outer}
        self._host_addresses = held
        self._root.do(netlink.add_neighbour(outer, GATEWAY, ROUTER_MAC))
        self._lead_host(outer)

    def _ranges(self) -> tuple[str, ...]:
        return (*self.range.cidrs, *self.range.services)

    def change(self, range: VpcRange) -> None:
        """Serve another set of virtual ranges and name servers: clusters come and go."""
        old, self.range = self.range, range
        dns = [address for address in range.dns if address not in old.dns]
        no_dns = [address for address in old.dns if address not in range.dns]
        gone = [cidr for cidr in old.services if cidr not in range.services]
        self._channel.do(
            *(netlink.add_address(_LOOPBACK, address) for address in dns),
            ignore=(errno.EEXIST,),
        )
        self._channel.do(
            *(netlink.delete_address(_LOOPBACK, address) for address in no_dns),
            ignore=(errno.EADDRNOTAVAIL,),
        )
        self._channel.do(*self._last_resorts(range.services))
        self._channel.do(
            *(
                netlink.delete_route(cidr, kind=netlink.UNREACHABLE, metric=_LAST_RESORT)
                for cidr in gone
            ),
            ignore=(errno.ESRCH,),
        )
        outer = self._index(self._root, self._host_link)
        if self.reachable:
            self._root.do(
                *(netlink.delete_route(cidr, outer, via=GATEWAY) for cidr in gone),
                ignore=(errno.ESRCH,),
            )
        self._lead_host(outer)

    def _last_resorts(self, ranges: Iterable[str]) -> list[Message]:
        """What nothing else leads to is refused at once."""
        return [
            netlink.add_route(cidr, kind=netlink.UNREACHABLE, metric=_LAST_RESORT)
            for cidr in ranges
        ]

    def _lead_host(self, outer: int) -> None:
        if not self.reachable:
            self._channel.do(netlink.add_address(self._host_routes, self.hidden))
            self._root.do(netlink.add_route(f"{self.hidden}/32", outer, via=GATEWAY))
            return
        source = min(self._host_addresses, default="")
        wanted = self._without_foreign(outer)
        self._root.do(
            *(netlink.add_route(cidr, outer, via=GATEWAY, source=source) for cidr in wanted)
        )

    def _without_foreign(self, outer: int) -> list[str]:
        """The ranges that nobody else routes on this Host: theirs must not be taken from them.
        Without the VPC's own there is no network; a cluster's Services that the Host does not
        reach are logged."""
        foreign = {
            route.destination: route.device
            for route in self._root.routes()
            if route.device != outer
        }
        wanted: list[str] = []
        for cidr in (str(IPv4Network(cidr)) for cidr in self._ranges()):
            if cidr not in foreign:
                wanted.append(cidr)
            elif cidr in self.range.services:
                log.warning("the Host does not reach a cluster's Services", range=cidr)
            else:
                raise CallerFault(
                    f"{cidr} is already routed on this machine (device {foreign[cidr]}): another "
                    "Proa runs, or choose other ranges"
                )
        return wanted

    @property
    def host_addresses(self) -> Collection[str]:
        """The addresses of the VPC that the Host answers for."""
        return self._host_addresses

    def hold_host_addresses(self, addresses: Collection[str]) -> None:
        """The Host answers for exactly these addresses of the VPC: those of its shared
        Instances."""
        wanted = set(addresses)
        if wanted == self._host_addresses:
            return
        outer = self._index(self._root, self._host_link)
        gone, new = sorted(self._host_addresses - wanted), sorted(wanted - self._host_addresses)
        self._host_addresses = wanted
        self._root.do(*(netlink.add_address(outer, address) for address in new))
        self._lead_host(outer)  # before an address goes that the routes still prefer
        self._root.do(
            *(netlink.delete_address(outer, address) for address in gone),
            ignore=(errno.EADDRNOTAVAIL,),
        )
        self._lead_host(outer)  # the kernel drops routes along with their preferred address
        self._channel.do(
            *(netlink.add_route(f"{address}/32", self._host_routes) for address in new),
            *(netlink.add_neighbour(self._host_routes, address, HOST_MAC) for address in new),
        )
        self._channel.do(
            *(netlink.delete_route(f"{address}/32", self._host_routes) for address in gone),
            ignore=(errno.ESRCH,),
        )

    def attach(self, netns_path: str, address: str, mac: str, uid: str) -> None:
        """Connect a namespace; what a broken earlier attempt left of it is replaced."""
        try:
            namespace = os.open(netns_path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise TryAgain(f"network namespace {netns_path} is gone") from error
        try:
            with channel_in(namespace) as inside:
                self._connect(inside, namespace, sandbox_link(uid, netns_path), mac)
                self._address(inside, sandbox_link(uid, netns_path), address, mac, uid)
        finally:
            os.close(namespace)

    def _connect(self, inside: Channel, namespace: int, name: str, mac: str) -> None:
        pair = netlink.add_veth(
            VethEnd(name, ROUTER_MAC), VethEnd(SANDBOX_LINK, mac, namespace), self._mtu
        )
        if self._channel.send([pair]) == [0]:
            return
        for channel, stale in ((self._channel, name), (inside, SANDBOX_LINK)):
            link = channel.link(stale)
            if link is not None:
                channel.do(netlink.delete_link(link.index), ignore=(errno.ENODEV,))
        self._channel.do(pair)

    def _address(self, inside: Channel, name: str, address: str, mac: str, uid: str) -> None:
        there = self._index(inside, SANDBOX_LINK)
        here = self._index(self._channel, name)
        inside.do(
            netlink.set_link(_LOOPBACK),
            netlink.set_link(there),
            netlink.add_address(there, address),
            netlink.add_neighbour(there, GATEWAY, ROUTER_MAC),
            netlink.add_route(f"{GATEWAY}/32", there, source=address),
            netlink.add_route("0.0.0.0/0", there, via=GATEWAY, source=address),
        )
        self._channel.do(
            netlink.set_link(here, alias=uid),
            netlink.add_neighbour(here, address, mac),
            netlink.add_route(f"{address}/32", here),
        )

    def attached(self) -> list[Link]:
        """The links of Sandboxes, living or doomed."""
        return [link for link in self._channel.links() if link.name.startswith("pv")]

    def doom(self, links: Iterable[Link]) -> None:
        """Stop leading traffic to these links; ``reap`` deletes them together."""
        doomed = {link.index for link in links}
        if not doomed:
            return
        routes = [route for route in self._channel.routes() if route.device in doomed]
        self._channel.do(
            *(netlink.delete_route(route.destination, route.device) for route in routes),
            *(netlink.set_link(index, alias="", group=DOOMED) for index in sorted(doomed)),
            ignore=(errno.ESRCH, errno.ENODEV),
        )

    def reap(self) -> None:
        """Delete the doomed links that did not go with their namespace."""
        if any(link.group == DOOMED for link in self.attached()):
            self._channel.do(netlink.delete_group(DOOMED), ignore=(errno.ENODEV,))

    @staticmethod
    def _index(channel: Channel, name: str) -> int:
        link = channel.link(name)
        if link is None:
            raise TryAgain(f"link {name} has vanished")
        return link.index


def host_mtu(root: Channel) -> int:
    """The MTU of the device that the Host's default route uses; 1500 without one."""
    routes = {route.device for route in root.routes() if route.destination == "0.0.0.0/0"}
    with contextlib.suppress(ValueError):
        return min(link.mtu for link in root.links() if link.index in routes)
    return 1500


def delete_links(root: Channel, names: Iterable[str]) -> None:
    """Delete devices of the Host by name; those that are gone are no error."""
    messages: list[Message] = []
    for name in names:
        link = root.link(name)
        if link is not None:
            messages.append(netlink.delete_link(link.index))
    root.do(*messages, ignore=(errno.ENODEV,))
