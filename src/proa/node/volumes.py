"""Volumes on the Host's disk: the Volumes port of real agents.

Each Sandbox has a folder; ``files`` volumes are replaced in one step by a symbolic link that
is swapped, the way the kubelet does it, so a reader sees the old files or the new ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

from proa.base.errors import CallerFault
from proa.model.sandbox import Container, File, Mount, Sandbox, Volume
from proa.node.mounts import mount_tmpfs, unmount
from proa.node.ports import Bind, MountError

_MESSAGE_LIMIT = 4096  # bytes of a termination message (kubelet)
_DATA = "..data"  # the link that is swapped; names that begin with ".." are never a user's
_HOSTS_HEAD = """# Managed by Proa: changes are lost.
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::\tip6-localnet
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
"""
_CHECKS: dict[str, tuple[Callable[[int], bool], str]] = {
    "Directory": (stat.S_ISDIR, "is not a directory"),
    "File": (stat.S_ISREG, "is not a file"),
    "Socket": (stat.S_ISSOCK, "is not a socket file"),
    "CharDevice": (stat.S_ISCHR, "is not a character device"),
    "BlockDevice": (stat.S_ISBLK, "is not a block device"),
}


class DiskVolumes:
    """Everything below ``root``/<uid>."""

    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir(parents=True, exist_ok=True, mode=0o700)

    def _volume(self, uid: str, name: str) -> Path:
        return self._root / uid / "volumes" / name

    async def prepare(self, sandbox: Sandbox) -> None:
        for volume in sandbox.volumes:
            try:
                self._prepare(sandbox, volume)
            except OSError as error:
                text = f'MountVolume.SetUp failed for volume "{volume.name}": {error}'
                raise MountError(text) from error

    def _prepare(self, sandbox: Sandbox, volume: Volume) -> None:
        if volume.kind == "host":
            _check_host_path(volume)
            return
        folder = self._volume(sandbox.uid, volume.name)
        folder.mkdir(parents=True, exist_ok=True)
        if volume.kind == "files":
            _write_files(folder, volume.files)
            return
        if volume.medium == "Memory" and not os.path.ismount(folder):
            mount_tmpfs(folder, volume.size_limit)
        folder.chmod(0o777)

    async def update(self, sandbox: Sandbox) -> None:
        for volume in sandbox.volumes:
            folder = self._volume(sandbox.uid, volume.name)
            if volume.kind == "files" and folder.exists():
                try:
                    _write_files(folder, volume.files)
                except OSError as error:
                    raise MountError(f'volume "{volume.name}": {error}') from error

    def binds(
        self, sandbox: Sandbox, container: Container, attempt: int, address: str
    ) -> tuple[Bind, ...]:
        volumes = {volume.name: volume for volume in sandbox.volumes}
        binds = [self._bind(sandbox, volumes, mount) for mount in container.mounts]
        targets = {bind.target for bind in binds}
        own = self._root / sandbox.uid / "containers" / container.name
        own.mkdir(parents=True, exist_ok=True)
        if container.termination_message_path not in targets:
            written = own / f"termination-{attempt}"
            written.touch()
            written.chmod(0o666)
            binds.append(Bind(str(written), container.termination_message_path))
        if sandbox.network.mode != "host" and "/etc/hosts" not in targets:
            binds.append(Bind(str(self._hosts(sandbox, address)), "/etc/hosts"))
        return tuple(binds)

    def _bind(self, sandbox: Sandbox, volumes: dict[str, Volume], mount: Mount) -> Bind:
        volume = volumes.get(mount.volume)
        if volume is None:
            raise CallerFault(f'container mounts unknown volume "{mount.volume}"')
        if volume.kind == "host":
            source = Path(volume.path)
        else:
            source = self._volume(sandbox.uid, mount.volume)
        read_only = mount.read_only or volume.kind == "files"
        if not mount.sub_path:
            return Bind(str(source), mount.path, read_only)
        base = source.resolve()
        inside = (source / mount.sub_path).resolve()
        if not inside.is_relative_to(base):
            raise CallerFault(f"subPath {mount.sub_path!r} leaves its volume")
        if not inside.exists():
            inside.mkdir(parents=True)
        return Bind(str(inside), mount.path, read_only)

    def _hosts(self, sandbox: Sandbox, address: str) -> Path:
        network = sandbox.network
        lines = [_HOSTS_HEAD]
        if address and network.mode == "vpc":
            short, dot, _ = network.hostname.partition(".")
            names = f"{network.hostname} {short}" if dot else network.hostname or sandbox.name
            lines.append(f"{address}\t{names}\n")
        lines += [f"{entry}\t{' '.join(names)}\n" for entry, names in network.hosts]
        path = self._root / sandbox.uid / "hosts"
        path.write_text("".join(lines))
        path.chmod(0o644)
        return path

    def termination_message(self, uid: str, container: str, attempt: int) -> str:
        path = self._root / uid / "containers" / container / f"termination-{attempt}"
        try:
            with path.open("rb") as file:
                return file.read(_MESSAGE_LIMIT).decode(errors="replace")
        except OSError:
            return ""

    async def remove(self, uid: str) -> None:
        folder = self._root / uid
        if not folder.exists():
            return
        for path in sorted((folder / "volumes").glob("*")):
            if os.path.ismount(path):
                unmount(path)
        await asyncio.to_thread(shutil.rmtree, folder, True)


def _check_host_path(volume: Volume) -> None:
    """hostPath types ("Volumes", hostPath): "" checks nothing, …OrCreate makes what is absent."""
    path, kind = Path(volume.path), volume.path_type
    if kind == "DirectoryOrCreate":
        path.mkdir(parents=True, exist_ok=True, mode=0o755)
        kind = "Directory"
    elif kind == "FileOrCreate":
        if not path.exists():
            path.touch(0o644)
        kind = "File"
    check = _CHECKS.get(kind)
    if check is not None and not (path.exists() and check[0](path.stat().st_mode)):
        raise OSError(f"hostPath type check failed: {path} {check[1]}")


def _write_files(folder: Path, files: tuple[File, ...]) -> None:
    """Write a new generation, swap the link, drop the old one. Unchanged content does nothing."""
    link = folder / _DATA
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
    old = os.readlink(link) if link.is_symlink() else ""
    fresh = folder / "..data_tmp"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(generation.name)
    fresh.rename(link)
    _expose(folder, {file.path.split("/")[0] for file in files})
    if old:
        shutil.rmtree(folder / old, ignore_errors=True)


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
