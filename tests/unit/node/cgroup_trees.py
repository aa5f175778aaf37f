"""Control group trees of both layouts in a folder, as far as files behave as the kernel's.

On the unified tree a new folder has the controllers that the one above hands down, and files of
controllers that it does not have cannot be written; writing to ``cgroup.subtree_control`` changes
it and refuses what is not there. The split tree is plain folders.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PosixPath
from typing import Any

_FILES = {
    "cpu": ("cpu.max", "cpu.weight"),
    "memory": ("memory.max", "memory.swap.max", "memory.events"),
    "pids": ("pids.max",),
}
_EVENTS = "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\n"


class UnifiedPath(PosixPath):
    """A path below a root made by ``unified``."""

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        if self.exists():
            super().mkdir(mode, exist_ok=exist_ok)
            return
        if parents:
            self.parent.mkdir(mode, parents=True, exist_ok=True)
        super().mkdir(mode)
        handed = PosixPath(self.parent / "cgroup.subtree_control").read_text().split()
        fill(self, handed)

    def write_text(self, data: str, *args: Any, **fields: Any) -> int:
        plain = PosixPath(self)
        if not plain.exists():
            raise FileNotFoundError(2, "no such control file", str(self))
        if self.name != "cgroup.subtree_control":
            return plain.write_text(data)
        handed = plain.read_text().split()
        present = PosixPath(self.parent / "cgroup.controllers").read_text().split()
        for word in data.split():
            if word[0] != "+" or word[1:] not in present:
                raise FileNotFoundError(2, "no such controller", word)
            handed.append(word[1:])
        for folder in self.parent.iterdir():
            if folder.is_dir():
                fill(folder, handed)
        return plain.write_text(" ".join(dict.fromkeys(handed)))


def fill(folder: Path, controllers: Iterable[str]) -> None:
    """Give a cgroup its files."""
    names = list(dict.fromkeys(controllers))
    plain = PosixPath(folder)
    (plain / "cgroup.controllers").write_text(" ".join(names))
    control = plain / "cgroup.subtree_control"
    if not control.exists():
        control.write_text("")
    for name in names:
        for file in _FILES.get(name, ()):
            if not (plain / file).exists():
                (plain / file).write_text(_EVENTS if file == "memory.events" else "max")


def unified(folder: Path, *controllers: str) -> Path:
    """The root of a unified tree with these controllers."""
    root = UnifiedPath(folder)
    fill(root, controllers)
    for files in _FILES.values():
        for file in files:
            PosixPath(root / file).unlink(missing_ok=True)
    return root


def split(folder: Path, *, swap: bool = True) -> Path:
    """The root of a split tree."""
    for controller in ("cpu", "memory", "pids"):
        (folder / controller).mkdir()
    (folder / "unified").mkdir()  # the hybrid layout: without controllers
    (folder / "unified" / "cgroup.controllers").write_text("")
    if swap:
        (folder / "memory" / "memory.memsw.limit_in_bytes").write_text("max")
    return folder
