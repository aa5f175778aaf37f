"""A stock Debian 12 in QEMU: ``make up`` as a new user runs it, and a reboot of the machine.

``make test-vm`` runs this; nothing else does, as it takes a quarter of an hour. The guest has the
Debian packages that ``make up`` needs, and a disk of Python packages that its pip is pointed to;
with PROA_VM_BARE=1 it has neither and fetches all by itself, which takes an hour. Images are kept
in PROA_VM_DIR (/var/tmp/proa-vm).
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tools.clients import WHEEL
from tools.vm.image import build, wheels
from tools.vm.machine import Failed, Machine

pytestmark = pytest.mark.skipif("PROA_TEST_VM" not in os.environ, reason="make test-vm runs these")
TOP = Path(__file__).parent.parent.parent
CLIENTS = 'cd /root/proa; eval "$(.venv/bin/proa env)"\n'
INSTALL_S = 5400
PYTHON_PACKAGES = (".[build]", "setuptools", "wheel", WHEEL)
USE_WHEELS = """
mkdir /srv/wheels
mount -o ro /dev/vdb /srv/wheels
printf '[global]\\nno-index = true\\nfind-links = /srv/wheels\\n' >/etc/pip.conf
"""
READY = """
kubectl rollout status deployment/demo-web -n demo --timeout=30s
aws ecs describe-services --services demo-web --query services[0].runningCount
"""


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Booted from a fresh disk, with a clean copy of the repository in /root/proa."""
    bare = bool(os.environ.get("PROA_VM_BARE"))
    folder = Path(os.environ.get("PROA_VM_DIR", "/var/tmp/proa-vm"))
    copy = subprocess.run(["git", "archive", "HEAD"], cwd=TOP, capture_output=True, check=True)
    with step("images"):
        image = build(folder, None if bare else TOP / "tools/setup.sh")
        disks = () if bare else (wheels(folder, PYTHON_PACKAGES, TOP),)
    with contextlib.ExitStack() as stack:
        with step("boot"):
            machine = Machine(image, tmp_path_factory.mktemp("vm"), disks)
            running = stack.enter_context(machine)
        if disks:
            running.run(USE_WHEELS)
        running.run("mkdir /root/proa")
        running.send(copy.stdout, "/root/proa.tar")
        running.run("tar xf /root/proa.tar -C /root/proa")
        yield running


class step:
    """Prints what a part of the run took."""

    def __init__(self, name: str) -> None:
        self._name, self._start = name, time.monotonic()

    def __enter__(self) -> None: ...

    def __exit__(self, *_error: object) -> None:
        print(f"  {self._name}: {time.monotonic() - self._start:.0f} s", flush=True)


def eventually(check: Callable[[], bool], timeout_s: float, what: str) -> None:
    """Ask again until it holds; a command that fails meanwhile does not yet hold."""
    deadline = time.monotonic() + timeout_s
    said = ""
    while time.monotonic() < deadline:
        try:
            if check():
                return
        except (Failed, subprocess.TimeoutExpired) as error:
            said = str(error)
        time.sleep(2)
    raise AssertionError(f"{what}: not within {timeout_s:.0f} s; {said}")


def all_is_well(machine: Machine) -> bool:
    """All four sandboxes run and answer over HTTP."""
    shown = machine.run("cd /root/proa && .venv/bin/proa status --json")
    running = [
        item["address"]
        for item in json.loads(shown)["sandboxes"]
        if item["status"].upper() == "RUNNING" and item["address"]
    ]
    fetches = (f"curl -fsS -m 20 -o /dev/null http://{address}/" for address in running)
    return len(running) == 4 and machine.run(" && ".join(fetches)) == ""


def test_make_up_deploys_the_demo_on_a_new_machine(machine: Machine) -> None:
    assert "cgroup2" in machine.run("stat -fc %T /sys/fs/cgroup")
    with step("make up"):
        said = machine.run("cd /root/proa && make up 2>&1", INSTALL_S)
    assert "HOST" in said and "demo-web" in said
    eventually(lambda: all_is_well(machine), 300, "the demo answers under both APIs")


def test_unit_is_installed_and_its_restart_leaves_containers_alone(machine: Machine) -> None:
    machine.run("cd /root/proa && .venv/bin/proa systemd install --now")
    assert machine.run("systemctl is-enabled proa; systemctl is-active proa").split() == [
        *("enabled", "active")
    ]
    processes = "pgrep -f '^nginx: master' | sort"
    before = machine.run(processes)
    with step("restart"):
        machine.run("systemctl restart proa", 600)
        eventually(lambda: all_is_well(machine), 300, "everything answers after a restart")
    assert len(before.split()) == 4 and machine.run(processes) == before
    supervisor = "cat /var/lib/proa/run/supervisor.pid"
    killed = machine.run(supervisor)
    with step("crash"):
        machine.run(f"kill -9 {killed}")
        eventually(lambda: machine.run(supervisor) != killed, 120, "systemd starts it again")
        eventually(lambda: all_is_well(machine), 300, "everything answers after a crash")
    assert machine.run(processes) == before


def test_workloads_are_back_after_a_reboot(machine: Machine) -> None:
    with step("reboot"):
        machine.reboot()
    with step("all is back"):
        eventually(
            lambda: machine.run("systemctl is-active proa").strip() == "active", 600, "the unit"
        )
        eventually(lambda: all_is_well(machine), 600, "both workloads are back")
    assert machine.run(CLIENTS + READY, 300).split()[-1] == "2"
    assert machine.run("systemctl is-system-running --wait || true").strip() == "running"
    assert machine.run("systemctl is-active nginx containerd || true").split() == ["inactive"] * 2


def test_down_leaves_nothing_and_the_unit_goes(machine: Machine) -> None:
    machine.run("cd /root/proa && .venv/bin/proa systemd uninstall && .venv/bin/proa status", 120)
    said = machine.run("cd /root/proa && make down", 300)
    assert "4 sandboxes were stopped" in said
    assert machine.run("pgrep -fc 'containerd|nginx|proa.server' || true").strip() == "0"
    assert machine.run("ls -d /sys/fs/cgroup/proa-* 2>/dev/null || true") == ""
    assert machine.run("ip -br link; grep -c /var/lib/proa /proc/mounts || true").split()[-1] == "0"
