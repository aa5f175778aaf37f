"""A crowd that joins a running Proa: what ``proa sim hosts`` runs until it is stopped.

While it runs it answers at a socket of its own (``crowd_api``), and ``crowd-NAME.json`` in the run
directory says what it is. Stopped in order, its Hosts leave; killed, they fall silent, and the
control plane treats them as it treats machines that have died.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import yaml

from proa.base.chance import Chance
from proa.base.clock import SystemClock
from proa.base.config import Config
from proa.base.errors import CallerFault, TryAgain
from proa.base.quantity import CPU_PER_VCPU, MIB
from proa.cloud.compute import SANDBOXES_PER_INSTANCE
from proa.cloud.instance_types import instance_types
from proa.model.host import Host
from proa.model.resources import Resources
from proa.server.http import Shell
from proa.sim.crowd import Crowd
from proa.sim.crowd_api import CrowdApi
from proa.sim.crowd_behaviour import Manners, manners_from
from proa.sim.local_manners import LocalManners
from proa.sim.remote import RemoteLink

MAX_HOSTS = 20_000
ZONES = "abc"
LOOK_EVERY_S = 0.05
_DISK = 100 << 30
_ARCHITECTURES = {"x86_64": "amd64", "arm64": "arm64"}


@dataclass(slots=True, frozen=True)
class CrowdPlan:
    """What a crowd is. ``type`` is an EC2 instance type, whose size ``vcpu`` and ``memory_mib``
    replace where they are not 0."""

    name: str
    count: int
    zones: int = 3
    type: str = "m5.2xlarge"
    vcpu: float = 0.0
    memory_mib: int = 0
    pods: int = SANDBOXES_PER_INSTANCE
    labels: tuple[tuple[str, str], ...] = ()
    taints: tuple[tuple[str, str, str], ...] = ()
    clusters: tuple[str, ...] = ()
    behaviour: str = ""

    def ids(self) -> list[str]:
        """The Hosts' ids, in order."""
        return [f"{self.name}-{number:05d}" for number in range(self.count)]


def plan_file(config: Config, name: str) -> Path:
    """Where a crowd says what it is."""
    return config.run_dir / f"crowd-{name}.json"


def socket_of(config: Config, name: str) -> Path:
    """Where a crowd answers."""
    return config.run_dir / f"crowd-{name}.sock"


def saved_plan(file: Path) -> CrowdPlan:
    """A plan as ``run`` has left it."""
    return msgspec.json.decode(file.read_bytes(), type=CrowdPlan)


def hosts_of(plan: CrowdPlan, region: str, agent: str) -> list[Host]:
    """The machines of a plan, their zones in turn. Raises CallerFault for one that cannot be."""
    if not 1 <= plan.count <= MAX_HOSTS:
        raise CallerFault(f"--count {plan.count}: give 1 to {MAX_HOSTS}")
    if not 1 <= plan.zones <= len(ZONES):
        raise CallerFault(f"--zones {plan.zones}: a region has {len(ZONES)}")
    known = instance_types().get(plan.type)
    if known is None and not (plan.vcpu and plan.memory_mib):
        raise CallerFault(f"there is no instance type {plan.type}: give --vcpu and --memory")
    vcpu = plan.vcpu or (known.vcpus if known else 0)
    memory = (plan.memory_mib or (known.memory_mib if known else 0)) * MIB
    amounts = Resources(int(vcpu * CPU_PER_VCPU), memory, _DISK, plan.pods)
    return [
        Host(
            id=id,
            hostname=id,
            physical=amounts,
            pool=amounts,
            kernel="simulated",
            os_image="Simulated Linux",
            architecture=_ARCHITECTURES[known.architecture] if known else "amd64",
            runtime_version="sim://1",
            boot_id=id,
            machine_id=id,
            simulated=True,
            zone=region + ZONES[number % plan.zones],
            type=plan.type,
            clusters=plan.clusters,
            labels=plan.labels,
            taints=plan.taints,
            agent=agent,
        )
        for number, id in enumerate(plan.ids())
    ]


def manners_of(file: str) -> Manners:
    """The behaviour of containers, by a file (YAML with ``images`` and ``curves``) or as their
    commands say. Raises CallerFault for a file that cannot be read."""
    if not file:
        return LocalManners({})
    try:
        given: Any = yaml.safe_load(Path(file).read_text())
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise CallerFault(f"{file}: {error}") from error
    if not isinstance(given, dict) or set(given) - {"images", "curves"}:
        raise CallerFault(f"{file}: it holds images and curves")
    return manners_from(given.get("images"), given.get("curves"), LocalManners)


async def run(plan: CrowdPlan, config: Config, joined: Callable[[float], None]) -> None:
    """Be the crowd until SIGTERM or SIGINT, then leave; ``joined`` is told how long it took."""
    clock = SystemClock()
    link = RemoteLink(config.hull_socket)
    socket = socket_of(config, plan.name)
    hosts = hosts_of(plan, config.region, str(socket))
    crowd = Crowd(link, clock, Chance(), manners_of(plan.behaviour))
    shell = Shell(CrowdApi(crowd).handle)
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    await shell.start_unix(socket)
    plan_file(config, plan.name).write_bytes(msgspec.json.encode(asdict(plan)))
    started = clock.monotonic()
    crowd.add(hosts)
    try:
        while not stopping.is_set() and any(
            one.seen is not None for one in crowd.machines.values()
        ):
            await clock.sleep(LOOK_EVERY_S)
        if not stopping.is_set():
            joined(clock.monotonic() - started)
        await stopping.wait()
    finally:
        await crowd.close()
        await leave(link, config, plan.name, [host.id for host in hosts])
        await link.close()
        await shell.close()
        socket.unlink(missing_ok=True)


async def leave(link: RemoteLink, config: Config, name: str, hosts: Sequence[str]) -> None:
    """The Hosts are switched off for good; a control plane that is away keeps the plan's file, by
    which they can be removed later."""
    try:
        await link.leave(hosts)
    except TryAgain:
        return
    plan_file(config, name).unlink(missing_ok=True)
