"""up is idempotent; down leaves nothing in the kernel; the next up brings the same workloads back;
purge removes the data."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from proa.base.config import Config
from proa.node.containerd.config import layout_of
from tests.e2e.test_room import proa_flags
from tests.live import PROA, Proa, eventually, fetch, proa_at

PORTS = (24566, 26443, 24510)
FLAGS = ("--aws-port", "24566", "--kube-port", "26443", "--registry-port", "24510")


def kernel(data_dir: Path) -> dict[str, list[str]]:
    """What the Proa of a data directory may leave behind. Mounts and control groups are told from
    those of others by its path and name."""
    group = layout_of(Config(data_dir=data_dir)).cgroup.strip("/").split("/")[0]
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]

    def lines(*command: str) -> list[str]:
        shown = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        return sorted(line.strip() for line in shown.splitlines() if line.strip())

    return {
        "links": [line.split(":")[1] for line in lines("ip", "-o", "link")],
        "namespaces": lines("ip", "netns"),
        "routes": lines("ip", "route"),
        "rules": lines("nft", "list", "ruleset"),
        "mounts": [path for path in mounts if str(data_dir) in path or "netns" in path],
        "cgroups": sorted(map(str, Path("/sys/fs/cgroup").glob(f"**/{group}*"))),
        "forwarding": [Path("/proc/sys/net/ipv4/ip_forward").read_text()],
    }


def processes(data_dir: Path) -> list[str]:
    shown = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    return [line for line in shown.stdout.splitlines() if str(data_dir) in line]


@pytest.fixture(scope="module")
def alone(proa: Proa) -> Iterator[None]:
    """The machine without the shared Proa."""
    proa.down()
    try:
        yield
    finally:
        proa.up(*proa_flags(proa))


def test_life_of_a_proa(alone: None, tmp_path_factory: pytest.TempPathFactory) -> None:
    data_dir = tmp_path_factory.mktemp("life")
    before = kernel(data_dir)
    with proa_at(data_dir, PORTS) as made:
        made.kubectl("create deployment web --image=nginx:alpine --replicas=2")
        made.kubectl("rollout status deployment/web --timeout=60s")
        pods = {(pod["metadata"]["uid"], pod["status"]["podIP"]) for pod in made.objects("pods")}
        made.aws("logs create-log-group --log-group-name kept")
        running = kernel(data_dir)
        assert running["cgroups"] and running["mounts"] != before["mounts"]

        again = made.run([str(PROA), "up", "--detach", *FLAGS])
        assert "running already" in again.stdout

        assert made.down().returncode == 0
        assert processes(data_dir) == []
        assert kernel(data_dir) == before

        made.up(*FLAGS)
        assert made.aws("logs describe-log-groups")["logGroups"][0]["logGroupName"] == "kept"
        for _, address in pods:
            eventually(lambda ip=address: answers(ip), 60, f"{address} answers again")
        found = {(pod["metadata"]["uid"], pod["status"]["podIP"]) for pod in made.objects("pods")}
        assert found == pods, "the same pods, at the same addresses"
    assert not data_dir.exists(), "down --purge removes the data"
    assert kernel(data_dir) == before


def answers(address: str) -> bool:
    try:
        return "nginx" in fetch(f"http://{address}/", 2)
    except OSError:
        return False


def test_up_names_a_taken_port_in_one_line(alone: None, tmp_path: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 24566))
        taken.listen()
        done = subprocess.run(
            [str(PROA), "up", "--detach", "--data-dir", str(tmp_path / "d"), *FLAGS],
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.strip() == (
        "proa: port 24566 on 127.0.0.1: Address already in use: stop what uses it, "
        "or choose another with --aws-port"
    )


def test_up_without_root_says_so(alone: None) -> None:
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--clear-groups", str(PROA), "up", "--data-dir", "/tmp/none"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "not root" in done.stderr or "Permission denied" in done.stderr
