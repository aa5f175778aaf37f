"""The cgroup that holds one Sandbox, on cgroup v1 (one folder per controller) and v2.

runc makes the containers' cgroups below it; limits of the Sandbox as a whole (an ECS task's
memory and CPU) are written here, and the empty folder is removed after the last container.
Called by ``ContainerdRuntime``. Every function takes the root of the tree, so that both layouts
can be told apart and tried on a machine that has only one of them.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from proa.model.resources import Resources
from proa.node.containerd.spec import CPU_PERIOD_US, CPU_UNIT, quota_us

ROOT = Path("/sys/fs/cgroup")
_SHARES_OF_CPU, _MIN_SHARES, _MAX_SHARES = 1024, 2, 262_144
_CONTROLLERS = ("cpu", "memory", "pids")  # handed down on v2; runc adds what it needs besides


def is_unified(root: Path = ROOT) -> bool:
    """Whether this is cgroup v2; the hybrid layout is v1, because its controllers are there."""
    return (root / "cgroup.controllers").exists()


def accounts_swap(root: Path = ROOT) -> bool:
    """Whether swap can be limited (v1: the kernel was started with swapaccount=1). On v2 the
    root has no such file, so any cgroup below it is asked."""
    if not is_unified(root):
        return (root / "memory" / "memory.memsw.limit_in_bytes").exists()
    with os.scandir(root) as entries:
        below = [Path(entry.path) for entry in entries if entry.is_dir()]
    with_memory = [path for path in below if (path / "memory.max").exists()]
    return not with_memory or any((path / "memory.swap.max").exists() for path in with_memory)


def _enable(root: Path, folder: Path) -> None:
    """v2: a controller works in a folder only if every folder above hands it down. One that the
    kernel lacks is passed over."""
    path = root
    for part in folder.relative_to(root).parts:
        present = (path / "cgroup.controllers").read_text().split()
        control = path / "cgroup.subtree_control"
        handed = control.read_text().split() if control.exists() else []
        missing = [name for name in _CONTROLLERS if name in present and name not in handed]
        if missing:
            control.write_text(" ".join(f"+{name}" for name in missing))
        path /= part


def _folder(root: Path, parent: str) -> Path:
    """v2: the folder of ``parent``, made, with its controllers."""
    folder = root / parent.lstrip("/")
    folder.mkdir(parents=True, exist_ok=True)
    _enable(root, folder)
    return folder


def make(parent: str, memory_limit: int, cpu_quota: int, root: Path = ROOT) -> None:
    """Create ``parent`` with a memory limit in bytes and a CPU limit in 1/128,000 vCPU;
    0 means none. Raises OSError."""
    quota = quota_us(cpu_quota)
    if not memory_limit and not quota:
        return
    if is_unified(root):
        folder = _folder(root, parent)
        if memory_limit:
            (folder / "memory.max").write_text(str(memory_limit))
        if quota:
            (folder / "cpu.max").write_text(f"{quota} {CPU_PERIOD_US}")
        return
    if memory_limit:
        folder = root / "memory" / parent.lstrip("/")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "memory.use_hierarchy").write_text("1")
        (folder / "memory.limit_in_bytes").write_text(str(memory_limit))
    if quota:
        folder = root / "cpu" / parent.lstrip("/")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cpu.cfs_period_us").write_text(str(CPU_PERIOD_US))
        (folder / "cpu.cfs_quota_us").write_text(str(quota))


def make_instance(parent: str, capacity: Resources, root: Path = ROOT) -> None:
    """The cgroup of a dedicated Instance: at most its memory, and CPU by weight only, because
    a quota above its parent's would not start. Raises OSError."""
    make(parent, capacity.memory, 0, root)
    weigh(parent, shares_of(capacity.cpu), root)


def shares_of(cpu: int) -> int:
    """CPU shares that stand for so many 1/128,000 vCPU."""
    return cpu * _SHARES_OF_CPU // CPU_UNIT


def weigh(parent: str, shares: int, root: Path = ROOT) -> None:
    """Give ``parent`` its part of a busy processor beside its neighbours. Raises OSError."""
    shares = min(max(shares, _MIN_SHARES), _MAX_SHARES)
    if is_unified(root):
        weight = 1 + (shares - _MIN_SHARES) * 9999 // (_MAX_SHARES - _MIN_SHARES)  # runc's rule
        (_folder(root, parent) / "cpu.weight").write_text(str(weight))
        return
    folder = root / "cpu" / parent.lstrip("/")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cpu.shares").write_text(str(shares))


def oom_kills(parent: str, root: Path = ROOT) -> int:
    """v2: how many processes below ``parent`` the kernel has killed for memory so far; the
    containers' own counts vanish with their cgroups. 0 on v1, which does not count upwards."""
    with contextlib.suppress(OSError):
        for line in (root / parent.lstrip("/") / "memory.events").read_text().splitlines():
            name, _, number = line.partition(" ")
            if name == "oom_kill":
                return int(number)
    return 0


def _roots(root: Path) -> list[Path]:
    if is_unified(root):
        return [root]
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.is_symlink())


def remove(parent: str, root: Path = ROOT) -> None:
    """Remove the empty folder. Those above it stay: a neighbour may be starting in them."""
    for controller in _roots(root):
        with contextlib.suppress(OSError):  # absent
            (controller / parent.lstrip("/")).rmdir()


def sweep(below: str, root: Path = ROOT) -> None:
    """Remove every empty cgroup from ``below`` down; called when everything is down."""
    for controller in _roots(root):
        for folder, _, _ in os.walk(controller / below.lstrip("/"), topdown=False):
            with contextlib.suppress(OSError):  # in use
                os.rmdir(folder)
