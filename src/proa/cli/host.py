"""Checks of the machine: each finding says what is missing and what to do about it.

``up`` refuses to start on a finding that is an obstacle; ``doctor`` lists all.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from proa.base.config import Config
from proa.cli import ranges

PACKAGE_OF = {
    "containerd": "containerd",
    "runc": "runc",
    "nft": "nftables",
    "ip": "iproute2",
    "cc": "gcc libc6-dev",
    "busybox": "busybox-static",
    "nginx": "nginx-light",
}
_SYSTEM_PATH = ":/usr/sbin:/sbin"
_FILESYSTEMS = Path("/proc/filesystems")
_MOUNTS = Path("/proc/self/mountinfo")  # proc_pid_mountinfo(5)


@dataclass(slots=True, frozen=True)
class Finding:
    """``obstacle`` keeps Proa from starting; otherwise it is advice."""

    what: str
    remedy: str
    obstacle: bool = True


def check_platform() -> Iterator[Finding]:
    """Linux, as root."""
    if sys.platform != "linux":
        remedy = "run Proa in a Linux virtual machine, or simulate them with --runtime sim"
        yield Finding("containers need Linux", remedy)
    if os.geteuid() != 0:
        yield Finding("not root", "run it with sudo, or simulate containers with --runtime sim")


def check_programs() -> Iterator[Finding]:
    """Everything Proa starts or builds with."""
    path = os.environ.get("PATH", "") + _SYSTEM_PATH
    for program, package in PACKAGE_OF.items():
        if shutil.which(program, path=path) is None:
            yield Finding(f"no {program}", f"apt-get install {package}")


def check_kernel() -> Iterator[Finding]:
    """Overlay file systems, namespaces and control groups."""
    if not _FILESYSTEMS.exists():
        return
    if not _has_overlay():
        yield Finding("the kernel has no overlayfs", "use a kernel that has it")
    for name in ("net", "mnt", "pid", "ipc", "uts"):
        if not Path(f"/proc/self/ns/{name}").exists():
            yield Finding(f"the kernel has no {name} namespaces", "use another kernel")
    groups = Path("/sys/fs/cgroup")
    if not (groups / "cgroup.controllers").exists() and not (groups / "memory").is_dir():
        yield Finding("no control groups", "mount cgroup2 on /sys/fs/cgroup")


def _has_overlay() -> bool:
    """Many kernels have it as a module that nobody has loaded since they booted."""
    if "overlay" in _FILESYSTEMS.read_text():
        return True
    modprobe = shutil.which("modprobe", path=os.environ.get("PATH", "") + _SYSTEM_PATH)
    if modprobe is not None:
        subprocess.run([modprobe, "overlay"], capture_output=True, check=False)
    return "overlay" in _FILESYSTEMS.read_text()


def check_root() -> Iterator[Finding]:
    """runc changes how the root is mounted, which the root of a plain chroot is not at all."""
    if not _MOUNTS.exists():
        return
    mounts = _MOUNTS.read_bytes().splitlines()  # names of folders are any bytes
    if not any(line.split()[4] == b"/" for line in mounts):
        remedy = "before entering it, mount --rbind its folder elsewhere, and enter it there"
        yield Finding("this is a chroot whose root is no mount", remedy)


def check_ports(config: Config) -> Iterator[Finding]:
    """The ports the APIs will listen on."""
    ports = {"--aws-port": config.aws_port, "--kube-port": config.kube_port}
    if config.runtime != "sim":
        ports["--registry-port"] = config.registry_port
    for option, port in ports.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((config.listen, port))
            except OSError as error:
                yield Finding(
                    f"port {port} on {config.listen}: {error.strerror}",
                    f"stop what uses it, or choose another with {option}",
                )


def check_ranges(config: Config) -> Iterator[Finding]:
    """The address ranges, which the machine must not route elsewhere."""
    try:
        routes = ranges.ROUTES.read_text()
    except OSError:
        return
    for one in ranges.taken(config, routes):
        what = f"{one.route} is routed over {one.device} on this machine"
        yield Finding(what, f"choose another {one.option}", obstacle=one.inside)


def check_room(config: Config) -> Iterator[Finding]:
    """Disk and memory enough for a start."""
    where = config.data_dir
    while not where.exists():
        where = where.parent
    free = shutil.disk_usage(where).free
    if free < 1 << 30:
        yield Finding(f"only {free >> 20} MiB free below {where}", "free some, or use --data-dir")
    elif free < 5 << 30:
        yield Finding(f"only {free >> 30} GiB free below {where}", "free some", obstacle=False)


def findings(config: Config, *, running: bool) -> list[Finding]:
    """Every finding; the ports of a running Proa are its own."""
    checks: list[Callable[[], Iterator[Finding]]] = [
        check_platform,
        check_programs,
        check_kernel,
        check_root,
    ]
    simulated = config.runtime == "sim"
    found = [] if simulated else [finding for check in checks for finding in check()]
    found.extend(check_room(config))
    if not running:
        found.extend(check_ports(config))
        found.extend([] if simulated else check_ranges(config))
    return found
