"""Files of a volume that change in one step, the way the kubelet does it.

Each generation is a folder of its own; the names that users see lead through the link ``..data``,
which is swapped, so that a reader sees the old files or the new ones. Called by ``DiskVolumes``.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from pathlib import Path

import msgspec

from proa.model.sandbox import File

_DATA = "..data"  # the link that is swapped; names that begin with ".." are never a user's
_GROUP_READS, _GROUP_ENTERS = 0o440, 0o050  # what fsGroup adds (kubelet, SetVolumeOwnership)


def write_files(folder: Path, files: tuple[File, ...], group: int | None = None) -> None:
    """Write a new generation, swap the link, drop the old one; unchanged content does nothing.
    With a ``group`` everything belongs to it and is readable by it. Raises OSError."""
    link = folder / _DATA
    files = tuple(_for_group(file, group) for file in files)
    if link.is_symlink() and _same(link, files):
        return
    number = int(os.readlink(link).removeprefix("..v")) + 1 if link.is_symlink() else 0
    generation = folder / f"..v{number}"
    shutil.rmtree(generation, ignore_errors=True)
    generation.mkdir(mode=0o755)
    for file in files:
        path = generation / file.path
        if not path.resolve().is_relative_to(generation.resolve()):
            raise OSError(f"file {file.path!r} leaves its volume")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content)
        path.chmod(file.mode)
    if group is not None:
        own_tree(folder, generation, group)
    old = os.readlink(link) if link.is_symlink() else ""
    fresh = folder / "..data_tmp"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(generation.name)
    fresh.rename(link)
    _expose(folder, {file.path.split("/")[0] for file in files})
    if old:
        shutil.rmtree(folder / old, ignore_errors=True)


def _for_group(file: File, group: int | None) -> File:
    if group is None:
        return file
    return msgspec.structs.replace(file, mode=file.mode | _GROUP_READS)


def own_tree(top: Path, below: Path, group: int) -> None:
    """Give ``top`` and all of ``below`` to a group; folders pass it on (setgid)."""
    for path in (top, below, *below.rglob("*")):
        os.chown(path, -1, group, follow_symlinks=False)
        if path.is_dir() and not path.is_symlink():
            path.chmod(stat.S_IMODE(path.stat().st_mode) | stat.S_ISGID | _GROUP_ENTERS)


def _same(link: Path, files: tuple[File, ...]) -> bool:
    present = sorted(str(path.relative_to(link)) for path in link.rglob("*") if path.is_file())
    if present != sorted(file.path for file in files):
        return False
    return all(
        (link / file.path).read_bytes() == file.content
        and stat.S_IMODE((link / file.path).stat().st_mode) == file.mode
        for file in files
    )


def _expose(folder: Path, names: set[str]) -> None:
    """Top-level names point into the current generation; those no longer there vanish."""
    for path in sorted(folder.iterdir()):
        if not path.name.startswith("..") and path.name not in names:
            path.unlink()
    for name in sorted(names):
        with contextlib.suppress(FileExistsError):
            (folder / name).symlink_to(f"{_DATA}/{name}")
