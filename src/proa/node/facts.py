"""What this machine is and has: read once by ``main`` when it makes an agent."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import socket
from pathlib import Path

from proa.base.config import Config
from proa.model.host import Host
from proa.model.resources import Resources

CPU_UNIT = 128_000
_PODS = 110  # a Node's default
_RESERVE_MEMORY = 512 << 20  # for Proa itself, under ``strict`` only


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _memory_bytes() -> int:
    """Physical memory, or what this container may use of it."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        text = _read(path)
        if text.isdigit():
            total = min(total, int(text))
    return total


def _os_image() -> str:
    for line in _read("/etc/os-release").splitlines():
        name, _, value = line.partition("=")
        if name == "PRETTY_NAME":
            return value.strip('"')
    return "Linux"


def _machine_id() -> str:
    known = _read("/etc/machine-id")
    return known or hashlib.sha256(socket.gethostname().encode()).hexdigest()[:32]


def _host_id(config: Config, machine_id: str) -> str:
    """The Host's id: of the machine it was first made on, so that a Proa that is restored on
    another machine is still the Host its tasks and pods were bound to."""
    file = config.data_dir / "host-id"
    try:
        return file.read_text().strip()
    except FileNotFoundError:
        made = f"h-{machine_id[:17]}"
    if config.data_dir.is_dir():
        partial = file.with_name("host-id.partial")
        partial.write_text(made + "\n")
        partial.rename(file)
    return made


def host_facts(config: Config, runtime_version: str = "", now: float = 0.0) -> Host:
    """This Host. CPU in 1/128,000 vCPU, memory and disk in bytes; the Pool is what is physical
    times the configuration's overcommit (DESIGN section 2)."""
    folder = config.data_dir if config.data_dir.exists() else Path("/")
    physical = Resources(
        cpu=len(os.sched_getaffinity(0)) * CPU_UNIT,
        memory=_memory_bytes(),
        disk=shutil.disk_usage(folder).total,
        sandboxes=_PODS,
    )
    times_cpu, times_memory = config.overcommit
    reserve = _RESERVE_MEMORY if config.strict and physical.memory > 2 * _RESERVE_MEMORY else 0
    machine_id = _machine_id()
    machine = platform.machine()
    return Host(
        id=_host_id(config, machine_id),
        hostname=socket.gethostname(),
        physical=physical,
        pool=Resources(
            cpu=physical.cpu * times_cpu,
            memory=(physical.memory - reserve) * times_memory,
            disk=physical.disk,
            sandboxes=_PODS * times_cpu,
        ),
        kernel=platform.release(),
        os_image=_os_image(),
        architecture={"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine),
        runtime_version=runtime_version,
        boot_id=_read("/proc/sys/kernel/random/boot_id"),
        machine_id=machine_id,
        seen_at=now,
    )
