"""The CNI forwarder and the agent at its other end."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path

import pytest

from proa.base.errors import CallerFault, TryAgain
from proa.model.sandbox import Network
from proa.node.cni.build import build
from proa.node.cni.server import CniServer
from proa.node.linux.channel import drop_namespace, make_namespace
from proa.node.simhost import SimNetwork
from tests.conformance.network.machine import in_thread


@pytest.fixture(scope="module")
def forwarder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(binary, the socket it talks to)."""
    folder = tmp_path_factory.mktemp("cni")
    return build(folder / "bin", folder / "agent.sock"), folder / "agent.sock"


def call(binary: Path, command: str, uid: str = "u", container: str = "c1") -> tuple[int, str]:
    environment = {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": container,
        "CNI_NETNS": "/run/netns/x",
        "CNI_IFNAME": "eth0",
        "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAME=web;K8S_POD_UID={uid}",
    }
    done = subprocess.run([binary], env=environment, input=b"{}", capture_output=True, timeout=20)
    return done.returncode, done.stdout.decode()


def serve(socket: Path, network: SimNetwork, *calls: list[str]) -> list[tuple[int, str]]:
    """Answer these calls of the forwarder with one server."""

    async def main() -> list[tuple[int, str]]:
        server = CniServer(network)
        server.expect("u", Network(address="10.1.2.3"))
        await server.start(socket)
        try:
            binary = socket.parent / "bin" / "proa"
            return [await asyncio.to_thread(call, binary, *arguments) for arguments in calls]
        finally:
            await server.close()

    return asyncio.run(main())


def test_add_attaches_and_del_detaches(forwarder: tuple[Path, Path]) -> None:
    network = SimNetwork()
    (code, text), (gone, nothing) = serve(forwarder[1], network, ["ADD"], ["DEL"])
    answer = json.loads(text)
    assert code == 0
    assert answer["ips"][0]["address"] == "10.1.2.3/32"
    assert answer["interfaces"] == [{"name": "eth0", "sandbox": "/run/netns/x"}]
    assert (gone, nothing) == (0, "")
    assert network.attached == {}


def test_a_del_of_an_earlier_sandbox_is_ignored(forwarder: tuple[Path, Path]) -> None:
    network = SimNetwork()
    serve(forwarder[1], network, ["ADD", "u", "new"], ["DEL", "u", "old"])
    assert network.attached == {"u": "10.1.2.3"}


def test_an_unexpected_sandbox_is_refused_with_an_error_in_cni_form(
    forwarder: tuple[Path, Path],
) -> None:
    ((code, text),) = serve(forwarder[1], SimNetwork(), ["ADD", "stranger"])
    assert code == 1
    assert "stranger" in json.loads(text)["msg"]


def test_an_error_of_the_network_reaches_containerd(forwarder: tuple[Path, Path]) -> None:
    class Broken(SimNetwork):
        async def attach(self, netns_path: str, network: Network, uid: str) -> str:
            raise TryAgain("no route today")

    ((code, text),) = serve(forwarder[1], Broken(), ["ADD"])
    assert (code, json.loads(text)["msg"]) == (1, "no route today")


def test_without_an_agent_del_succeeds_and_add_fails(forwarder: tuple[Path, Path]) -> None:
    binary, socket = forwarder
    socket.unlink(missing_ok=True)
    assert call(binary, "DEL") == (0, "")
    code, text = call(binary, "ADD")
    assert code == 1
    assert "cannot connect" in json.loads(text)["msg"]


def test_the_forwarder_is_compiled_once_for_a_socket(forwarder: tuple[Path, Path]) -> None:
    binary, socket = forwarder
    before = binary.stat().st_mtime_ns
    build(binary.parent, socket)
    assert binary.stat().st_mtime_ns == before


def test_a_missing_compiler_is_named(tmp_path: Path) -> None:
    with pytest.raises(CallerFault, match="no C compiler"):
        build(tmp_path / "bin", tmp_path / "s", compiler="no-such-compiler")


@pytest.mark.root
def test_the_loopback_plugin_sets_lo_up(forwarder: tuple[Path, Path], tmp_path: Path) -> None:
    binary, namespace = forwarder[0].with_name("loopback"), tmp_path / "ns"
    in_thread(lambda: make_namespace(namespace))
    try:
        look = ["nsenter", f"--net={namespace}", "ip", "-br", "link", "show", "lo"]
        assert b"DOWN" in subprocess.run(look, capture_output=True, check=True).stdout
        environment = {"CNI_COMMAND": "ADD", "CNI_NETNS": str(namespace)}
        for _ in range(2):
            done = subprocess.run([binary], env=environment, capture_output=True, check=True)
            assert json.loads(done.stdout)["ips"][0]["address"] == "127.0.0.1/8"
        assert b"UP" in subprocess.run(look, capture_output=True, check=True).stdout
        environment["CNI_NETNS"] = str(tmp_path / "none")
        done = subprocess.run([binary], env=environment, capture_output=True, check=False)
        assert done.returncode == 1
        assert "No such file" in json.loads(done.stdout)["msg"]
    finally:
        in_thread(lambda: drop_namespace(namespace))
