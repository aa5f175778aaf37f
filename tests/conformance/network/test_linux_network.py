"""LinuxNetwork on this machine's kernel: reachability, VIPs, restarts, nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from proa.base.chance import Chance
from proa.base.clock import SystemClock
from proa.base.errors import CallerFault
from proa.cloud.network import mac_of
from proa.model.feed import Endpoint, Instances, Rules, Vip, VpcRange, ZoneRecord, Zones
from proa.model.host import Host, Instance
from proa.model.sandbox import Network
from proa.node.linux.channel import read_sysctl
from proa.node.linux.network import LinuxNetwork, default_range
from proa.node.linux.teardown import leftovers, teardown_all
from proa.serve.dns import DnsServer
from tests.conformance.network.machine import Place, config_in, picture, places

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0 or shutil.which("nft") is None, reason="root and nft"),
]
HOST = Place()
HOST_ADDRESS = "10.213.0.10"
SERVICE = "10.214.0.77"


def shared_instance(address: str = HOST_ADDRESS) -> Instance:
    return Instance(id="i-1", host="h", cluster="/kube/c/", address=address)


def state(*instances: Instance, vpcs: tuple[VpcRange, ...] = ()) -> Instances:
    return Instances(Host(id="h"), instances or (shared_instance(),), vpcs)


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    config = config_in(tmp_path)
    before = picture(config)
    yield tmp_path
    teardown_all(config)
    assert leftovers(config) == []
    assert picture(config) == before


def vpc_in(directory: Path) -> str:
    return default_range(config_in(directory)).id


@contextlib.asynccontextmanager
async def agent(directory: Path, **more: object) -> AsyncIterator[LinuxNetwork]:
    network = LinuxNetwork(config_in(directory), SystemClock(), **more)  # type: ignore[arg-type]
    try:
        yield network
    finally:
        await network.close()


def address(number: int) -> str:
    return f"10.213.1.{number + 1}"


async def attach(network: LinuxNetwork, directory: Path, sandboxes: list[Place]) -> None:
    vpc = vpc_in(directory)
    for number, place in enumerate(sandboxes):
        wanted = Network(vpc=vpc, address=address(number))
        assert await network.attach(place.path, wanted, f"uid-{number}") == address(number)


def on_a_host(
    directory: Path,
    count: int,
    scene: Callable[[LinuxNetwork, list[Place]], Awaitable[None]],
) -> None:
    """Run a scene on a Host with ``count`` attached sandboxes."""

    async def main(sandboxes: list[Place]) -> None:
        async with agent(directory) as network:
            await network.ensure(state())
            await attach(network, directory, sandboxes)
            await scene(network, sandboxes)

    with places(directory, count) as sandboxes:
        asyncio.run(main(sandboxes))


def vip(directory: Path, *targets: str, port: int = 80, protocol: str = "tcp") -> Vip:
    ends = tuple(Endpoint(one, 8080) for one in targets)
    return Vip(vpc_in(directory), SERVICE, port, protocol, ends)


def test_sandboxes_and_host_reach_each_other_at_their_own_addresses(directory: Path) -> None:
    async def scene(_network: LinuxNetwork, sandboxes: list[Place]) -> None:
        one, two = sandboxes
        two.serve("two", 8080)
        HOST.serve("host", 18080)
        assert one.call(address(1), 8080) == f"two {address(0)}"
        assert HOST.call(address(1), 8080) == f"two {HOST_ADDRESS}"
        assert one.call(HOST_ADDRESS, 18080) == f"host {address(0)}"

    on_a_host(directory, 2, scene)
    HOST.remove()


def test_an_interface_has_the_planned_mac_and_a_default_route(directory: Path) -> None:
    async def scene(_network: LinuxNetwork, sandboxes: list[Place]) -> None:
        shown = sandboxes[0].shell("ip -o link show eth0; ip route").stdout
        assert mac_of(vpc_in(directory), address(0)) in shown
        assert "default via 169.254.1.1 dev eth0" in shown

    on_a_host(directory, 1, scene)


def test_an_address_that_nobody_has_is_refused_at_once(directory: Path) -> None:
    async def scene(_network: LinuxNetwork, sandboxes: list[Place]) -> None:
        with pytest.raises(OSError, match=r"(?i)unreachable|no route"):
            sandboxes[0].call("10.213.9.9", 80)

    on_a_host(directory, 1, scene)


def test_a_vip_spreads_connections_from_sandboxes_and_the_host(directory: Path) -> None:
    async def scene(network: LinuxNetwork, sandboxes: list[Place]) -> None:
        client, one, two = sandboxes
        one.serve("one", 8080)
        two.serve("two", 8080)
        await network.apply_rules(Rules((vip(directory, address(1), address(2)),)))
        for caller in (client, HOST):
            answers = {caller.call(SERVICE, 80).split()[0] for _ in range(40)}
            assert answers == {"one", "two"}

    on_a_host(directory, 3, scene)


def test_a_sandbox_reaches_itself_by_its_own_vip(directory: Path) -> None:
    async def scene(network: LinuxNetwork, sandboxes: list[Place]) -> None:
        sandboxes[0].serve("self", 8080)
        await network.apply_rules(Rules((vip(directory, address(0)),)))
        assert sandboxes[0].call(SERVICE, 80) == "self 10.213.0.1"

    on_a_host(directory, 1, scene)


def test_the_host_reaches_itself_and_is_reached_by_a_vip(directory: Path) -> None:
    async def scene(network: LinuxNetwork, sandboxes: list[Place]) -> None:
        HOST.serve("api", 8080)
        await network.apply_rules(Rules((vip(directory, HOST_ADDRESS, port=443),)))
        assert sandboxes[0].call(SERVICE, 443) == f"api {address(0)}"
        assert HOST.call(SERVICE, 443).startswith("api ")
        HOST.shell("ip addr add 198.18.9.1/32 dev lo")
        try:
            assert HOST.call(SERVICE, 443, source="198.18.9.1") == "api 10.213.0.1"
        finally:
            HOST.shell("ip addr del 198.18.9.1/32 dev lo")
        HOST.remove()

    on_a_host(directory, 1, scene)


def test_a_vip_without_endpoints_refuses_over_both_protocols(directory: Path) -> None:
    async def scene(network: LinuxNetwork, sandboxes: list[Place]) -> None:
        await network.apply_rules(Rules((vip(directory), vip(directory, port=53, protocol="udp"))))
        for caller in (sandboxes[0], HOST):
            with pytest.raises(ConnectionRefusedError):
                caller.call(SERVICE, 80)
            with pytest.raises(ConnectionRefusedError):
                caller.call(SERVICE, 53, socket.SOCK_DGRAM)

    on_a_host(directory, 1, scene)


def test_a_udp_client_follows_its_vip_to_a_new_endpoint(directory: Path) -> None:
    async def scene(network: LinuxNetwork, sandboxes: list[Place]) -> None:
        client, one, two = sandboxes
        one.serve("one", 8080, socket.SOCK_DGRAM)
        two.serve("two", 8080, socket.SOCK_DGRAM)
        calling = client.open_socket(socket.SOCK_DGRAM)
        calling.connect((SERVICE, 53))

        def ask() -> str:
            calling.send(b"?")
            return calling.recv(100).decode().split()[0]

        await network.apply_rules(Rules((vip(directory, address(1), port=53, protocol="udp"),)))
        assert ask() == "one"
        await network.apply_rules(Rules((vip(directory, address(2), port=53, protocol="udp"),)))
        assert ask() == "two"

    on_a_host(directory, 3, scene)


def test_rules_follow_endpoints_without_touching_the_other_vips(directory: Path) -> None:
    async def scene(network: LinuxNetwork, sandboxes: list[Place]) -> None:
        client, one, two = sandboxes
        one.serve("one", 8080)
        two.serve("two", 8080)
        fixed = vip(directory, address(1), port=81)
        await network.apply_rules(Rules((fixed, vip(directory, address(1)))))
        assert client.call(SERVICE, 80).startswith("one")
        await network.apply_rules(Rules((fixed, vip(directory, address(2)))))
        assert client.call(SERVICE, 80).startswith("two")
        await network.apply_rules(Rules((fixed,)))
        with pytest.raises(OSError):
            client.call(SERVICE, 80)
        assert client.call(SERVICE, 81).startswith("one")

    on_a_host(directory, 3, scene)


def test_client_affinity_keeps_a_client_at_one_endpoint(directory: Path) -> None:
    async def scene(network: LinuxNetwork, sandboxes: list[Place]) -> None:
        client, *servers = sandboxes
        for number, place in enumerate(servers):
            place.serve(f"s{number}", 8080)
        targets = tuple(Endpoint(address(number), 8080) for number in range(1, 4))
        sticky = Vip(vpc_in(directory), SERVICE, 80, "tcp", targets, affinity_s=10800)
        await network.apply_rules(Rules((sticky,)))
        assert len({client.call(SERVICE, 80) for _ in range(20)}) == 1

    on_a_host(directory, 4, scene)


def test_an_endpoint_that_comes_or_goes_moves_only_its_own_clients(directory: Path) -> None:
    async def scene(network: LinuxNetwork, sandboxes: list[Place]) -> None:
        client, *servers = sandboxes
        for number, place in enumerate(servers):
            place.serve(f"s{number}", 8080)

        async def behind(*numbers: int) -> None:
            targets = tuple(Endpoint(address(number), 8080) for number in numbers)
            sticky = Vip(vpc_in(directory), SERVICE, 80, "tcp", targets, affinity_s=10800)
            await network.apply_rules(Rules((sticky,)))

        await behind(1, 2)
        first = client.call(SERVICE, 80)
        mine = 1 if first.startswith("s0") else 2
        await behind(mine, 3)
        assert {client.call(SERVICE, 80) for _ in range(10)} == {first}
        await behind(3)
        assert client.call(SERVICE, 80).startswith("s2")

    on_a_host(directory, 4, scene)


@pytest.mark.parametrize("affinity_s", [0, 60])
def test_a_port_of_the_hosts_address_is_reached_from_everywhere(
    directory: Path, affinity_s: int
) -> None:
    async def scene(network: LinuxNetwork, sandboxes: list[Place]) -> None:
        client, *servers = sandboxes
        for place in servers:
            place.serve("pod", 8080)
            place.serve("pod", 8081, socket.SOCK_DGRAM)
        ends = tuple(Endpoint(address(number), 8080) for number in (1, 2))
        udp_ends = tuple(Endpoint(address(number), 8081) for number in (1, 2))
        vpc = vpc_in(directory)
        port = Vip(vpc, HOST_ADDRESS, 30080, "tcp", ends, affinity_s)
        udp = Vip(vpc, HOST_ADDRESS, 30081, "udp", udp_ends, affinity_s)
        await network.apply_rules(Rules((port, udp)))
        for caller in (HOST, client, servers[0]):
            assert caller.call(HOST_ADDRESS, 30080).startswith("pod")
            assert caller.call(HOST_ADDRESS, 30081, socket.SOCK_DGRAM).startswith("pod")
        assert HOST.call("127.0.0.1", 30080).startswith("pod")
        assert HOST.call("127.0.0.1", 30081, socket.SOCK_DGRAM).startswith("pod")
        assert client.call(HOST_ADDRESS, 30080) == f"pod {address(0)}", "the source is kept"
        await network.apply_rules(Rules(()))
        for target in ("127.0.0.1", HOST_ADDRESS):
            with pytest.raises(OSError):
                HOST.call(target, 30080)

    on_a_host(directory, 3, scene)


def test_a_new_agent_keeps_what_lives_and_releases_the_rest(directory: Path) -> None:
    async def main(sandboxes: list[Place]) -> None:
        one, two = sandboxes
        two.serve("two", 8080)
        async with agent(directory) as network:
            await network.ensure(state())
            await attach(network, directory, sandboxes)
            await network.apply_rules(Rules((vip(directory, address(1)),)))
        assert one.call(SERVICE, 80).startswith("two"), "nobody is needed for traffic to flow"
        calling = HOST.open_socket(socket.SOCK_STREAM)
        calling.connect((address(1), 8080))
        async with agent(directory) as network:
            await network.ensure(state())
            await network.keep(["uid-1"])
            calling.send(b"?")
            assert calling.recv(100).startswith(b"two"), "an open connection lives on"
            assert HOST.call(address(1), 8080) == f"two {HOST_ADDRESS}"
            with pytest.raises(OSError):
                HOST.call(address(0), 8080)

    with places(directory, 2) as sandboxes:
        asyncio.run(main(sandboxes))
    HOST.remove()


def test_what_is_kept_may_be_said_before_the_network_is_ready(directory: Path) -> None:
    async def main(sandboxes: list[Place]) -> None:
        for place in sandboxes:
            place.serve("alive", 8080)
        async with agent(directory) as network:
            await network.ensure(state())
            await attach(network, directory, sandboxes)
        async with agent(directory) as network:
            await network.keep(["uid-1"])
            await network.ensure(state())
            assert HOST.call(address(1), 8080).startswith("alive")
            with pytest.raises(OSError):
                HOST.call(address(0), 8080)

    with places(directory, 2) as sandboxes:
        asyncio.run(main(sandboxes))


@contextlib.contextmanager
def world(directory: Path) -> Iterator[Place]:
    """A machine beyond the Host, which knows of the Host's address only."""
    place = Place(str(directory / "world"))
    place.make()
    name = f"w{os.getpid()}"
    HOST.shell(
        f"ip link add {name} type veth peer name up0 netns /proc/self/fd/0 < {place.path}"
        f" && ip addr add 198.18.0.1/24 dev {name} && ip link set {name} up"
    )
    place.shell("ip addr add 198.18.0.2/24 dev up0 && ip link set up0 up && ip link set lo up")
    try:
        yield place
    finally:
        HOST.shell(f"ip link del {name}")
        place.remove()


def test_sandboxes_of_every_vpc_reach_the_world_as_the_host(directory: Path) -> None:
    async def main(sandboxes: list[Place], outside: Place) -> None:
        first = default_range(config_in(directory))
        second = VpcRange("vpc-second", first.cidrs)
        outside.serve("world", 8080)
        async with agent(directory) as network:
            await network.ensure(state(vpcs=(first, second)))
            for number, vpc in enumerate((first.id, second.id, "vpc-nobody-described")):
                wanted = Network(vpc=vpc, address=address(0))
                await network.attach(sandboxes[number].path, wanted, f"uid-{number}")
            for sandbox in sandboxes:
                assert sandbox.call("198.18.0.2", 8080) == "world 198.18.0.1"

    with places(directory, 3) as sandboxes, world(directory) as outside:
        asyncio.run(main(sandboxes, outside))


def test_detached_addresses_may_be_attached_again_elsewhere(directory: Path) -> None:
    async def scene(network: LinuxNetwork, sandboxes: list[Place]) -> None:
        _, two = sandboxes
        await network.detach("uid-0")
        await network.detach("uid-1")
        await network.detach("never attached")
        wanted = Network(vpc=vpc_in(directory), address=address(0))
        await network.attach(two.path, wanted, "uid-2")
        two.serve("moved", 8080)
        assert HOST.call(address(0), 8080).startswith("moved")

    on_a_host(directory, 2, scene)


def test_attaching_twice_is_as_good_as_once(directory: Path) -> None:
    async def scene(network: LinuxNetwork, sandboxes: list[Place]) -> None:
        await attach(network, directory, sandboxes)
        sandboxes[0].serve("one", 8080)
        assert HOST.call(address(0), 8080).startswith("one")

    on_a_host(directory, 1, scene)


def test_the_host_answers_for_its_shared_instances_only_while_they_exist(directory: Path) -> None:
    async def scene(network: LinuxNetwork, sandboxes: list[Place]) -> None:
        HOST.serve("host", 18080)
        await network.ensure(state(shared_instance("10.213.0.11"), shared_instance("10.213.0.12")))
        assert sandboxes[0].call("10.213.0.11", 18080).startswith("host")
        await network.ensure(state(shared_instance("10.213.0.12")))
        assert sandboxes[0].call("10.213.0.12", 18080).startswith("host")
        sandboxes[0].serve("one", 8080)
        assert HOST.call(address(0), 8080) == "one 10.213.0.12"
        with pytest.raises(OSError):
            sandboxes[0].call("10.213.0.11", 18080)
        HOST.remove()

    on_a_host(directory, 1, scene)


def test_a_dedicated_instance_has_a_namespace_with_its_own_address(directory: Path) -> None:
    dedicated = Instance(
        id="i-own", host="h", cluster="/kube/c/", shared=False, address="10.213.0.50"
    )

    async def scene(network: LinuxNetwork, sandboxes: list[Place]) -> None:
        assert network.instance_namespace("i-own") == ""
        await network.ensure(state(shared_instance(), dedicated))
        await network.keep([])
        inside = Place(network.instance_namespace("i-own"))
        inside.serve("instance", 8080)
        assert HOST.call("10.213.0.50", 8080).startswith("instance")
        await network.ensure(state())
        assert network.instance_namespace("i-own") == ""
        inside.remove()

    on_a_host(directory, 0, scene)


def test_overlapping_vpcs_stay_apart(directory: Path) -> None:
    async def main(sandboxes: list[Place]) -> None:
        first = default_range(config_in(directory))
        second = VpcRange("vpc-second", first.cidrs)
        async with agent(directory) as network:
            await network.ensure(state(vpcs=(first, second)))
            for number, vpc in enumerate((first.id, first.id, "vpc-second", "vpc-second")):
                wanted = Network(vpc=vpc, address=address(number % 2))
                await network.attach(sandboxes[number].path, wanted, f"uid-{number}")
            sandboxes[1].serve("first", 8080)
            sandboxes[3].serve("second", 8080)
            HOST.serve("host", 18080)
            assert sandboxes[0].call(address(1), 8080).startswith("first")
            assert sandboxes[2].call(address(1), 8080).startswith("second")
            assert HOST.call(address(1), 8080).startswith("first")

    with places(directory, 4) as sandboxes:
        asyncio.run(main(sandboxes))
    HOST.remove()


def test_clusters_come_and_go_in_a_vpc(directory: Path) -> None:
    """Each brings a range of virtual addresses and a name server; both go with it."""
    first = default_range(config_in(directory))
    dns, address_of_web = "10.215.0.10", "10.215.0.99"
    both = VpcRange(first.id, first.cidrs, (*first.services, "10.215.0.0/20"), (*first.dns, dns))
    name = "web.a.svc.cluster.local"
    record = ZoneRecord(name, "A", (address_of_web,), server=dns)
    rule = Vip(first.id, address_of_web, 80, endpoints=(Endpoint(address(1), 8080),))

    async def main(sandboxes: list[Place]) -> None:
        client, server = sandboxes
        loop = asyncio.get_running_loop()

        async def asked(place: Place, at: str) -> str:
            look_up = f"timeout 5 busybox nslookup {name} {at} || true"
            return (await loop.run_in_executor(None, place.shell, look_up)).stdout

        async with agent(directory, names=DnsServer(Chance("dns"), lambda: ())) as network:
            await network.ensure(state(vpcs=(first,)))
            await attach(network, directory, sandboxes)
            server.serve("web", 8080)
            await network.ensure(state(vpcs=(both,)))
            await network.apply_rules(Rules((rule,)))
            await network.apply_zones(Zones((record,)))
            for place in (client, HOST):
                assert place.call(address_of_web, 80).startswith("web")
                assert address_of_web in await asked(place, dns)
                assert address_of_web not in await asked(place, first.dns[0])
            await network.apply_rules(Rules())
            await network.ensure(state(vpcs=(first,)))
            assert not HOST.shell("ip route show 10.215.0.0/20").stdout
            assert address_of_web not in await asked(client, dns)
            assert "NXDOMAIN" in await asked(client, first.dns[0])

    with places(directory, 2) as sandboxes:
        asyncio.run(main(sandboxes))


def test_forwarding_is_switched_on_and_back(directory: Path) -> None:
    if Path("/proc/sys/net/ipv4/ip_forward").read_text().strip() != "0":
        pytest.skip("this machine forwards anyway, or for another Proa")

    async def main() -> None:
        async with agent(directory) as network:
            await network.ensure(state())

    asyncio.run(main())
    assert read_sysctl("net.ipv4.ip_forward") == "1"
    found = leftovers(config_in(directory))
    assert [line.split()[0] for line in found] == ["link", "namespace", "nftables", "changed"]
    teardown_all(config_in(directory))
    assert read_sysctl("net.ipv4.ip_forward") == "0"


def test_a_range_that_is_routed_already_is_not_taken(directory: Path) -> None:
    async def main() -> None:
        async with agent(directory) as network:
            with pytest.raises(CallerFault, match="already routed"):
                await network.ensure(state())

    HOST.shell("ip route add unreachable 10.213.0.0/16")
    try:
        asyncio.run(main())
    finally:
        HOST.shell("ip route del unreachable 10.213.0.0/16")


ZONES = Zones(
    (
        ZoneRecord("web-service.production.svc.cluster.local", "A", (SERVICE,)),
        ZoneRecord("many.production.svc.cluster.local", "A", tuple(map(address, range(200)))),
    )
)
RESOLV_CONF = """\
nameserver 10.214.0.10
search default.svc.cluster.local svc.cluster.local cluster.local
options ndots:5
"""


def test_names_are_answered_inside_sandboxes_and_on_the_host(directory: Path) -> None:
    def run_with_our_dns(place: Place, command: str) -> str:
        (directory / "resolv.conf").write_text(RESOLV_CONF)
        bind = f"mount --bind {directory}/resolv.conf /etc/resolv.conf"
        return place.shell(f"unshare -m sh -c '{bind}; {command}'").stdout

    async def main(sandboxes: list[Place]) -> None:
        client, server = sandboxes
        names = DnsServer(Chance("dns"), lambda: ())
        async with agent(directory, names=names) as network:
            await network.ensure(state())
            await attach(network, directory, sandboxes)
            await network.apply_zones(ZONES)
            await network.apply_rules(Rules((vip(directory, address(1)),)))
            server.serve("HTTP/1.0 200 OK\r\n\r\nhello", 8080)
            loop = asyncio.get_running_loop()

            async def run(place: Place, command: str) -> str:
                return await loop.run_in_executor(None, run_with_our_dns, place, command)

            for place in (client, HOST):
                for at in ("10.214.0.10", "10.213.0.2"):
                    found = await run(
                        place, f"busybox nslookup web-service.production.svc.cluster.local {at}"
                    )
                    assert SERVICE in found
            glibc = "getent ahostsv4 web-service.production"
            assert SERVICE in await run(client, glibc)
            assert (await run(client, "getent ahostsv4 absent.production")) == ""
            over_tcp = await run(client, "getent ahostsv4 many.production")
            assert len({line.split()[0] for line in over_tcp.splitlines()}) == 200
            assert "hello" in await run(
                client, "busybox wget -q -O - http://web-service.production"
            )

    with places(directory, 2) as sandboxes:
        asyncio.run(main(sandboxes))


def test_a_containers_own_namespace_is_reached_and_outlives_the_agent(directory: Path) -> None:
    async def main(sandbox: Place) -> None:
        own = Network(vpc=vpc_in(directory), address=address(7))
        async with agent(directory) as network:
            await network.ensure(state())
            await attach(network, directory, [sandbox])
            container = Place(await network.isolate("uid-0", "a-container", own))
            lonely = Place(await network.isolate("uid-0", "lonely", Network(mode="none")))
        try:
            container.serve("container", 8080)
            lonely.serve("lonely", 8080)
            async with agent(directory) as network:
                await network.ensure(state())
                await network.keep(["uid-0"])
                assert sandbox.call(address(7), 8080) == f"container {address(0)}"
                assert container.call(address(7), 8080) == f"container {address(7)}"
                assert lonely.call("127.0.0.1", 8080) == "lonely 127.0.0.1"
                with pytest.raises(OSError, match="unreachable"):
                    lonely.call(address(0), 8080)
                await network.detach("uid-0")
                assert not Path(container.path).exists()
                assert not Path(lonely.path).exists()
                with pytest.raises(OSError):
                    sandbox.call(address(7), 8080)
        finally:
            container.remove()
            lonely.remove()

    with places(directory, 1) as (sandbox,):
        asyncio.run(main(sandbox))
