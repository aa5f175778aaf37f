"""What CRI has no words for, as a change of a container's OCI spec; pure.

``ContainerdRuntime`` asks ``patch_of`` for each container and, where the answer is not empty,
applies it between create and start. Sources: the OCI runtime specification (config, config-linux);
Docker's ``--init``, ``--shm-size``, ``--tmpfs`` and ``--memory-swap``, which ECS passes through.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from proa.model.sandbox import Container, Ulimit
from proa.node.ports import Bind, ContainerSpec

INIT_PATH = "/dev/proa-init"  # in the container: /dev is a tmpfs of its own, so nothing is left
_UNLIMITED = (1 << 64) - 1
_SHM = "/dev/shm"
_SHM_OPTIONS = ("nosuid", "noexec", "nodev", "mode=1777")
_TMPFS_DEFAULTS = ("nosuid", "noexec", "nodev")
_TMPFS_VALUES = ("mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol", "size")
_MEANINGLESS = ("defaults", "bind", "rbind", "remount")  # for a fresh tmpfs
_OPPOSITES = {"suid": "nosuid", "exec": "noexec", "dev": "nodev"}
Json = dict[str, Any]


@dataclass(slots=True, frozen=True)
class Patch:
    """What to change; empty fields leave the spec as CRI made it. ``network`` is the path of the
    namespace to be in, ``hostname`` that of a UTS namespace of its own; ``swap`` counts memory
    and swap together, in bytes, as the kernel does."""

    network: str = ""
    hostname: str = ""
    ulimits: tuple[Ulimit, ...] = ()
    sysctls: tuple[tuple[str, str], ...] = ()
    shm_size: int = 0
    tmpfs: tuple[Bind, ...] = ()
    swap: int | None = None
    swappiness: int | None = None
    init: str = ""  # the binary's path on the Host
    group: int | None = None  # of a user that is given by name

    def apply(self, spec: Json) -> None:
        """Change an OCI spec in place."""
        self._namespaces(spec)
        self._process(spec["process"])
        self._mounts(spec["mounts"])
        self._memory(spec["linux"])
        if self.sysctls:
            spec["linux"]["sysctl"] = {**(spec["linux"].get("sysctl") or {}), **dict(self.sysctls)}

    def _namespaces(self, spec: Json) -> None:
        fresh: dict[str, Json] = {}
        if self.network:
            fresh["network"] = {"type": "network", "path": self.network}
        if self.hostname:
            fresh["uts"] = {"type": "uts"}
            spec["hostname"] = self.hostname
            environment = spec["process"].get("env") or []
            kept = [item for item in environment if not item.startswith("HOSTNAME=")]
            spec["process"]["env"] = [*kept, f"HOSTNAME={self.hostname}"]
        kept = [item for item in spec["linux"]["namespaces"] if item["type"] not in fresh]
        spec["linux"]["namespaces"] = [*kept, *fresh.values()]

    def _process(self, process: Json) -> None:
        if self.group is not None:
            process["user"]["gid"] = self.group
        if self.ulimits:
            names = {_rlimit(item) for item in self.ulimits}
            kept = [item for item in process.get("rlimits") or [] if item["type"] not in names]
            process["rlimits"] = [
                *kept,
                *(
                    {"type": _rlimit(item), "soft": _value(item.soft), "hard": _value(item.hard)}
                    for item in self.ulimits
                ),
            ]
        if self.init:
            process["args"] = [INIT_PATH, "--", *process["args"]]

    def _mounts(self, mounts: list[Json]) -> None:
        if self.shm_size:
            options = [*_SHM_OPTIONS, f"size={self.shm_size}"]
            _mount(mounts, _SHM, {"type": "tmpfs", "source": "shm", "options": options})
        for bind in self.tmpfs:
            wanted = (*bind.tmpfs, "ro") if bind.read_only else bind.tmpfs
            options = list(tmpfs_options(wanted))
            _mount(mounts, bind.target, {"type": "tmpfs", "source": "tmpfs", "options": options})
        if self.init:
            options = ["bind", "ro", "nosuid", "nodev"]
            _mount(mounts, INIT_PATH, {"type": "bind", "source": self.init, "options": options})

    def _memory(self, linux: Json) -> None:
        if self.swap is None and self.swappiness is None:
            return
        memory = linux.setdefault("resources", {}).setdefault("memory", {})
        if self.swap is not None:
            memory["swap"] = self.swap
        if self.swappiness is not None:
            memory["swappiness"] = self.swappiness


def patch_of(spec: ContainerSpec, init: str) -> Patch:
    """The patch of a container; ``init`` is where the init binary lies on the Host."""
    container = spec.container
    own = container.network
    return Patch(
        network=spec.network_path or spec.sandbox.host_namespace,
        hostname=own.hostname if own is not None else "",
        ulimits=container.ulimits,
        sysctls=container.sysctls if own is not None else (),
        shm_size=container.shm_size,
        tmpfs=tuple(bind for bind in spec.binds if bind.tmpfs),
        swap=_swap(container),
        swappiness=container.swappiness,
        init=init if container.init_process else "",
        group=_group(container.user),
    )


def _group(user: str) -> int | None:
    name, _, group = user.partition(":")
    return int(group) if not name.isdigit() and group.isdigit() else None


def _swap(container: Container) -> int | None:
    """Swap alone cannot be limited on cgroup v1: without a memory limit there is none."""
    if container.swap_limit is None or not container.memory_limit:
        return None
    return container.memory_limit + container.swap_limit


def _rlimit(limit: Ulimit) -> str:
    return f"RLIMIT_{limit.name.upper()}"


def _value(number: int) -> int:
    return _UNLIMITED if number < 0 else number


def _mount(mounts: list[Json], target: str, mount: Json) -> None:
    """Put a mount in the place of another at its target, else before what lies below it."""
    entry = {"destination": target, **mount}
    for index, other in enumerate(mounts):
        if other["destination"] == target:
            mounts[index] = entry
            return
    below = target.rstrip("/") + "/"
    for index, other in enumerate(mounts):
        if other["destination"].startswith(below):
            mounts.insert(index, entry)
            return
    mounts.append(entry)


def tmpfs_options(wanted: tuple[str, ...]) -> tuple[str, ...]:
    """Docker's defaults under the user's options; what says nothing of a fresh tmpfs, and a name
    without its value, is left out."""
    given = []
    for option in wanted:
        name, equals, _ = option.partition("=")
        if name in _MEANINGLESS or (name in _TMPFS_VALUES and not equals):
            continue
        given.append(option)
    lifted = {_OPPOSITES[option] for option in given if option in _OPPOSITES}
    defaults = [option for option in _TMPFS_DEFAULTS if option not in lifted]
    return tuple(dict.fromkeys([*defaults, *given]))
