"""``LinuxNetwork``: the agent's NetworkPort on a real Linux Host (DESIGN D6).

``cli`` makes one for the agent. Netlink and namespaces are worked in one thread of its own,
``nft`` in another, so that a long list of rules never stands before an attachment. All state
lies in the kernel: a new agent finds the links of the old one by their aliases and goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv4Network, ip_address
from pathlib import Path
from typing import Protocol, TypeVar

from proa.base.aio import Tasks
from proa.base.clock import Clock
from proa.base.config import Config
from proa.base.errors import TryAgain
from proa.cloud.network import mac_of
from proa.cloud.network.bootstrap import stable_id
from proa.model.feed import Instances, Rules, Vip, VpcRange, Zones
from proa.model.host import Instance
from proa.model.sandbox import Network
from proa.node.linux import channel as kernel
from proa.node.linux.conntrack import forget_flows
from proa.node.linux.layout import Layout, isolated, nth_address, owner
from proa.node.linux.nft import run_nft
from proa.node.linux.router import Router, host_mtu
from proa.traffic.published import compile_host
from proa.traffic.ruleset import VipTable, difference, whole
from proa.traffic.vips import compile_vips, stale_flows

T = TypeVar("T")
REAP_AFTER_S = 1.0
DNS_PORT = 53
DNS_HOST = 10  # the cluster DNS address is the tenth of the service range, as in EKS
_INSTANCE_ALIAS = "instance/"


def default_range(config: Config) -> VpcRange:
    """The default VPC of the configured account and region (``bootstrap_network``)."""
    vpc = stable_id("vpc", config.account, config.region)
    services = config.service_cidr
    dns = (nth_address(services, DNS_HOST), nth_address(config.vpc_cidr, 2))
    return VpcRange(vpc, (config.vpc_cidr,), (services,), dns)


class NameServer(Protocol):
    """Who answers DNS (``serve.dns``). It takes bound sockets, datagram and listening stream
    ones, closes them when it is closed, and answers by the newest zones."""

    async def listen(self, sockets: Sequence[socket.socket]) -> None: ...

    def update(self, zones: Zones) -> None: ...

    def leave(self, addresses: Collection[str]) -> None:
        """Close the sockets that are bound to these addresses."""
        ...

    async def close(self) -> None: ...


class LinuxNetwork:
    """Needs root. One per data directory; ``names`` is optional."""

    def __init__(self, config: Config, clock: Clock, names: NameServer | None = None) -> None:
        self._layout = Layout(config.data_dir)
        self._reserved = (config.aws_port, config.kube_port, config.registry_port)
        self._public = not _is_loopback(config.listen)
        self._default = default_range(config)
        self._clock, self._names = clock, names
        self._links = ThreadPoolExecutor(1, thread_name_prefix="proa-links")
        self._nft = ThreadPoolExecutor(1, thread_name_prefix="proa-nft")
        self._root: kernel.Channel | None = None
        self._routers: dict[str, Router] = {}
        self._namespaces: dict[str, str] = {}
        self._tables: dict[str, VipTable] = {}
        self._vips: dict[str, tuple[Vip, ...]] = {}
        self._host: VipTable | None = None
        self._host_vips: tuple[Vip, ...] = ()
        self._rules = Rules()
        self._ensuring, self._ruling = asyncio.Lock(), asyncio.Lock()
        self._tasks = Tasks()
        self._reaping = False
        self._living: frozenset[str] | None = None  # what ``keep`` said before ``ensure``

    async def _in_links(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._links, work)

    async def _in_nft(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._nft, work)

    async def ensure(self, instances: Instances) -> None:
        """Routers for the VPCs, the Host's addresses, namespaces of dedicated Instances."""
        async with self._ensuring:
            ranges = instances.vpcs or (self._default,)
            before = {id: set(router.range.dns) for id, router in self._routers.items()}
            new = await self._in_links(lambda: self._ensure_links(ranges, instances.instances))
            await self._in_nft(self._rule_host)
            await self._serve_names([(router, router.range.dns) for router in new])
            await self._follow(before)

    async def attach(self, netns_path: str, network: Network, uid: str) -> str:
        """See ``NetworkPort.attach``; about a millisecond."""
        router = await self._router_of(network.vpc)
        mac = network.mac or mac_of(network.vpc, network.address)
        await self._in_links(lambda: router.attach(netns_path, network.address, mac, uid))
        return network.address

    async def isolate(self, uid: str, container: str, network: Network) -> str:
        """See ``NetworkPort.isolate``. The namespace is a mount, which outlives the agent."""
        name, path = isolated(uid, container), Path(self.container_namespace(uid, container))
        await self._in_links(lambda: kernel.make_namespace(path))
        if network.mode != "vpc":
            await self._in_links(lambda: kernel.raise_loopback(path))
            return str(path)
        router = await self._router_of(network.vpc)
        mac = network.mac or mac_of(network.vpc, network.address)

        def connect() -> None:
            if not any(link.alias == name for link in router.attached()):
                router.attach(str(path), network.address, mac, name)

        await self._in_links(connect)
        return str(path)

    def container_namespace(self, uid: str, container: str) -> str:
        """Where ``isolate`` puts it."""
        return str(self._layout.namespace(isolated(uid, container)))

    async def detach(self, uid: str) -> None:
        """Traffic stops at once; the link itself usually goes with the Sandbox's namespace, and
        what is left is deleted together a little later (each deletion alone costs 30 ms)."""
        await self._in_links(lambda: self._release(lambda alias: owner(alias) == uid))
        if not self._reaping:
            self._reaping = True
            self._tasks.spawn(self._reap_later(), "reap links")

    async def keep(self, uids: Collection[str]) -> None:
        """Release what is attached for anybody else: now, or as part of the first ``ensure``,
        before which nothing can be attached."""
        living = frozenset(uids)
        if self._root is None:
            self._living = living
            return
        await self._in_links(lambda: self._release_others(living))

    def instance_namespace(self, instance: str) -> str:
        """Path of a dedicated Instance's namespace; empty for the machine's own."""
        return self._namespaces.get(instance, "")

    async def apply_rules(self, rules: Rules) -> None:
        """Make the VIP tables be these. Several calls that wait become one."""
        self._rules = rules
        async with self._ruling:
            if self._rules is rules:
                await self._in_nft(self._rule_routers)
                await self._in_nft(self._rule_host)

    async def apply_zones(self, zones: Zones) -> None:
        """Hand the names to the name server."""
        if self._names is not None:
            self._names.update(zones)

    async def close(self) -> None:
        """Stop working; interfaces and rules stay."""
        await self._tasks.close()
        if self._names is not None:
            await self._names.close()
        await self._in_links(self._close_channels)
        self._links.shutdown()
        self._nft.shutdown()

    async def _router_of(self, vpc: str) -> Router:
        router = self._routers.get(vpc)
        return router if router is not None else await self._unknown_vpc(vpc)

    async def _unknown_vpc(self, vpc: str) -> Router:
        """A VPC that the control plane has not described: its Sandboxes reach each other and
        the world, the Host does not reach them."""
        if self._root is None:
            raise TryAgain("the Host's network is not ready")
        async with self._ensuring:
            if vpc not in self._routers:
                await self._in_links(lambda: self._router(VpcRange(vpc, ()), False))
                await self._in_nft(self._rule_host)
                await self._in_nft(self._rule_routers)
            return self._routers[vpc]

    async def _serve_names(self, new: Sequence[tuple[Router, Sequence[str]]]) -> None:
        """Rules and name service for addresses that this process has not served yet."""
        if not new:
            return
        await self._in_nft(self._rule_routers)
        if self._names is not None:
            sockets = await self._in_links(lambda: _dns_sockets(new))
            await self._names.listen(sockets)

    async def _follow(self, before: Mapping[str, set[str]]) -> None:
        """Name servers of routers that were there ``before`` come and go with their clusters."""
        changed: list[tuple[Router, Sequence[str]]] = []
        for id, dns in before.items():
            now = self._routers[id].range.dns
            fresh = [address for address in now if address not in dns]
            if fresh or dns - set(now):
                changed.append((self._routers[id], fresh))
            if self._names is not None:
                self._names.leave(dns - set(now))
        await self._serve_names(changed)

    async def _reap_later(self) -> None:
        await self._clock.sleep(REAP_AFTER_S)
        self._reaping = False
        await self._in_links(self._reap)

    # Below: in the links thread.

    def _ensure_links(
        self, ranges: Sequence[VpcRange], instances: Sequence[Instance]
    ) -> list[Router]:
        if self._root is None:
            self._layout.netns_dir.mkdir(parents=True, exist_ok=True)
            self._save_and_set_forwarding()
            self._root = kernel.Channel()
        new: list[Router] = []
        seen: list[IPv4Network] = []
        for range in ranges:
            networks = [IPv4Network(cidr) for cidr in range.cidrs]
            apart = not any(one.overlaps(other) for one in networks for other in seen)
            seen += networks
            known = self._routers.get(range.id)
            if known is None:
                reachable = bool(networks) and apart and not self._is_elsewhere(range)
                new.append(self._router(range, reachable))
            elif known.range != range:
                known.change(range)
        for vpc, router in self._routers.items():
            mine = [one for one in instances if self._vpc_of(one) == vpc and one.address]
            router.hold_host_addresses({one.address for one in mine if one.shared})
            self._ensure_namespaces(router, [one for one in mine if _has_namespace(one)])
        if self._living is not None:
            self._release_others(self._living)
            self._living = None
        return new

    def _is_elsewhere(self, range: VpcRange) -> bool:
        """Whether the Host routes a part of a VPC to somebody else, such as another Proa, or to
        a cluster's Services; the Host then does not reach the VPC. The default one must be
        reached, or cannot be."""
        if range.id == self._default.id:
            return False
        assert self._root is not None
        own = self._root.link(self._layout.host_link(range.id))
        routed = [
            IPv4Network(route.destination)
            for route in self._root.routes()
            if own is None or route.device != own.index
        ]
        networks = [IPv4Network(cidr) for cidr in range.cidrs]
        return any(route.subnet_of(one) for route in routed for one in networks)

    def _release_others(self, living: frozenset[str]) -> None:
        def dead(alias: str) -> bool:
            return owner(alias) not in living and not alias.startswith(_INSTANCE_ALIAS)

        self._release(dead)
        self._reap()

    def _router(self, range: VpcRange, reachable: bool) -> Router:
        assert self._root is not None
        router = Router(self._layout, self._root, range, reachable, host_mtu(self._root))
        if reachable:  # or 127.0.0.1 could not be led to a Sandbox
            link = self._layout.host_link(range.id)
            kernel.write_sysctl(f"net.ipv4.conf.{link}.route_localnet", "1")
        self._routers[range.id] = router
        return router

    def _vpc_of(self, instance: Instance) -> str:
        if not instance.address:
            return ""
        address = IPv4Address(instance.address)
        for vpc, router in self._routers.items():
            if any(address in IPv4Network(cidr) for cidr in router.range.cidrs):
                return vpc
        return ""

    def _ensure_namespaces(self, router: Router, instances: Sequence[Instance]) -> None:
        wanted = {_INSTANCE_ALIAS + one.id: one for one in instances}
        attached = {link.alias: link for link in router.attached()}
        gone = [
            alias
            for alias in sorted(attached)
            if alias.startswith(_INSTANCE_ALIAS) and alias not in wanted
        ]
        router.doom(attached[alias] for alias in gone)
        for alias in gone:
            instance = alias.removeprefix(_INSTANCE_ALIAS)
            self._namespaces.pop(instance, None)
            kernel.drop_namespace(self._layout.namespace(instance))
        for alias, one in wanted.items():
            path = self._layout.namespace(one.id)
            kernel.make_namespace(path)
            if alias not in attached:
                mac = mac_of(router.range.id, one.address)
                router.attach(str(path), one.address, mac, alias)
            self._namespaces[one.id] = str(path)

    def _release(self, wanted: Callable[[str], bool]) -> None:
        """Links, and the namespaces of containers that have one of their own."""
        self._doom(wanted)
        for path in sorted(self._layout.netns_dir.glob("*#*")):
            if wanted(path.name):
                kernel.drop_namespace(path)

    def _doom(self, wanted: Callable[[str], bool]) -> None:
        for router in self._routers.values():
            router.doom(link for link in router.attached() if wanted(link.alias))

    def _reap(self) -> None:
        for router in self._routers.values():
            router.reap()

    def _save_and_set_forwarding(self) -> None:
        name = "net.ipv4.ip_forward"
        with contextlib.suppress(FileExistsError), self._layout.saved_sysctls.open("x") as file:
            json.dump({name: kernel.read_sysctl(name)}, file)
        kernel.write_sysctl(name, "1")

    def _close_channels(self) -> None:
        for router in self._routers.values():
            router.close()
        self._routers.clear()
        if self._root is not None:
            self._root.close()
            self._root = None

    # Below: in the nft thread.

    def _rule_host(self) -> None:
        routers = list(self._routers.values())
        reachable = [router for router in routers if router.reachable]
        sources = [cidr for router in reachable for cidr in router.range.cidrs]
        hidden = [router.hidden for router in routers if not router.reachable]
        held = {(one.range.id, address) for one in reachable for address in one.host_addresses}
        vips = tuple(vip for vip in self._rules.vips if (vip.vpc, vip.address) in held)
        table = compile_host(
            self._layout.host_table,
            vips,
            sources=[*sources, *hidden],
            links=f"{self._layout.host_link_prefix}*",
            reserved={*self._reserved, *(port for one in routers for port in one.range.reserved)},
            open=self._public,
        )
        old, self._host = self._host, None  # unknown, should the script fail
        script = whole(table) if old is None else difference(old, table)
        if script:
            run_nft(script)
            forget_flows(stale_flows(self._host_vips, vips))
        self._host, self._host_vips = table, vips

    def _rule_routers(self) -> None:
        vips: dict[str, list[Vip]] = {vpc: [] for vpc in list(self._routers)}
        for vip in self._rules.vips:
            if vip.vpc in vips:
                vips[vip.vpc].append(vip)
        for vpc, router in list(self._routers.items()):
            self._rule_router(router, tuple(vips.get(vpc, ())))

    def _rule_router(self, router: Router, vips: tuple[Vip, ...]) -> None:
        vpc = router.range.id
        behind = "" if router.reachable else router.hidden
        table = compile_vips(vips, router=router.address, own=router.range.dns, behind=behind)
        old = self._tables.pop(vpc, None)
        script = whole(table) if old is None else difference(old, table)
        if script:
            with kernel.entered(router.namespace):
                run_nft(script)
                forget_flows(stale_flows(self._vips.get(vpc, ()), vips))
        self._tables[vpc], self._vips[vpc] = table, vips


def _is_loopback(address: str) -> bool:
    return address == "localhost" or ip_address(address).is_loopback


def _has_namespace(instance: Instance) -> bool:
    """Dedicated Instances have one; a Fargate Instance's only Sandbox has its own."""
    return not instance.shared and instance.purchase != "fargate"


def _dns_sockets(wanted: Iterable[tuple[Router, Sequence[str]]]) -> list[socket.socket]:
    """Bound sockets at the addresses, in the routers' namespaces, for both transports."""
    sockets: list[socket.socket] = []
    for router, addresses in wanted:
        with kernel.entered(router.namespace):
            for address in addresses:
                for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                    one = socket.socket(socket.AF_INET, kind)
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    one.setblocking(False)
                    one.bind((address, DNS_PORT))
                    if kind == socket.SOCK_STREAM:
                        one.listen(64)
                    sockets.append(one)
    return sockets
