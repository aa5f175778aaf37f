"""Volumes on the Host's disk: the Volumes port of real agents.

Directories, tmpfs mounts and rendered files (``node.files``) that containers see, and what they
find below /etc. Everything of a Sandbox but its ``shared`` volumes goes with it.
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
from proa.model.sandbox import Container, Mount, Network, Sandbox, Volume
from proa.node.files import write_files
from proa.node.mounts import mount_tmpfs, unmount
from proa.node.ports import Bind, MountError

_MESSAGE_LIMIT = 4096  # bytes of a termination message (kubelet)
_OWN_NAMES = ("hosts", "hostname", "resolv.conf")
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
    """A folder for each Sandbox below ``root``, whose ``files`` volumes lie on a tmpfs, so that
    secrets never reach the disk; ``shared`` volumes below ``shared``/<instance>."""

    def __init__(self, root: Path, shared: Path) -> None:
        self._root, self._shared = root, shared
        for folder in (root, shared):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def _files(self, uid: str) -> Path:
        """The tmpfs of a Sandbox's files."""
        return self._root / uid / "files"

    def _source(self, sandbox: Sandbox, volume: Volume) -> Path:
        """Where a volume lies on the Host."""
        if volume.kind == "host":
            return Path(volume.path)
        if volume.kind == "shared":
            return _inside(self._shared / (sandbox.instance or "local"), volume.path)
        if volume.kind == "files":
            return self._files(sandbox.uid) / volume.name
        return self._root / sandbox.uid / "volumes" / volume.name

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
        folder = self._source(sandbox, volume)
        if volume.kind == "files":
            self._write(sandbox, volume)
        elif volume.kind == "shared":
            _make_shared(folder, volume)
        else:
            self._make_empty(sandbox, volume, folder)

    def _write(self, sandbox: Sandbox, volume: Volume) -> None:
        top = self._files(sandbox.uid)
        top.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not os.path.ismount(top):
            mount_tmpfs(top, 0)
        folder = self._source(sandbox, volume)
        folder.mkdir(exist_ok=True)
        write_files(folder, volume.files, sandbox.fs_group)

    def _make_empty(self, sandbox: Sandbox, volume: Volume, folder: Path) -> None:
        new = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        on_tmpfs = volume.medium == "Memory" and not _own_tmpfs(sandbox, volume)
        if on_tmpfs and not os.path.ismount(folder):
            new = True
            mount_tmpfs(folder, volume.size_limit)
        if new:  # a user may have changed the rights of one that is there
            folder.chmod(0o777)
            if sandbox.fs_group is not None:
                os.chown(folder, -1, sandbox.fs_group)
                folder.chmod(0o2777)

    async def update(self, sandbox: Sandbox) -> None:
        if not self._files(sandbox.uid).exists():
            return
        for volume in sandbox.volumes:
            if volume.kind == "files":
                try:
                    self._write(sandbox, volume)
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
        names = self._names(sandbox, container, own, address)
        binds += [bind for bind in names if bind.target not in targets]
        return tuple(binds)

    def _bind(self, sandbox: Sandbox, volumes: dict[str, Volume], mount: Mount) -> Bind:
        volume = volumes.get(mount.volume)
        if volume is None:
            raise CallerFault(f'container mounts unknown volume "{mount.volume}"')
        if mount.options and volume.medium == "Memory":
            size = (f"size={volume.size_limit}",) if volume.size_limit else ()
            return Bind("tmpfs", mount.path, mount.read_only, tmpfs=(*mount.options, *size))
        source = self._source(sandbox, volume)
        read_only = mount.read_only or volume.kind == "files"
        if not mount.sub_path:
            return Bind(str(source), mount.path, read_only, mount.propagation)
        base = source.resolve()
        inside = (source / mount.sub_path).resolve()
        if not inside.is_relative_to(base):
            raise CallerFault(f"subPath {mount.sub_path!r} leaves its volume")
        if not inside.exists():
            inside.mkdir(parents=True)
        return Bind(str(inside), mount.path, read_only, mount.propagation)

    def _names(self, sandbox: Sandbox, container: Container, own: Path, address: str) -> list[Bind]:
        """/etc/hosts and, for a container with a network of its own, what else CRI would take
        from the Sandbox's."""
        network = container.network
        if network is None:
            top = self._root / sandbox.uid / "hosts"
            if sandbox.network.mode == "host" and not sandbox.network.hosts:
                return []  # the Host's
            _write(top, _hosts(sandbox.network, address, sandbox.name))
            return [Bind(str(top), "/etc/hosts")]
        _write(own / "hosts", _hosts(network, network.address, sandbox.name))
        _write(own / "hostname", f"{network.hostname or sandbox.name}\n")
        _write(own / "resolv.conf", _resolver(network))
        return [Bind(str(own / name), f"/etc/{name}") for name in _OWN_NAMES]

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
        for path in (self._files(uid), *sorted((folder / "volumes").glob("*"))):
            if os.path.ismount(path):
                unmount(path)
        await asyncio.to_thread(shutil.rmtree, folder, True)


def _inside(top: Path, name: str) -> Path:
    path = (top / name).resolve()
    if not path.is_relative_to(top.resolve()) or path == top.resolve():
        raise CallerFault(f"{name!r} is no name of a volume")
    return path


def _own_tmpfs(sandbox: Sandbox, volume: Volume) -> bool:
    """Whether each container that mounts it gets a tmpfs of its own, by mount options."""
    mounts = [
        mount
        for container in sandbox.containers
        for mount in container.mounts
        if mount.volume == volume.name
    ]
    return bool(mounts) and all(mount.options for mount in mounts)


def _make_shared(folder: Path, volume: Volume) -> None:
    """One that must be there already ("Directory") is not made (ECS, autoprovision)."""
    if volume.path_type == "Directory" and not folder.is_dir():
        raise OSError(f"shared volume {volume.path} does not exist")
    folder.mkdir(parents=True, exist_ok=True)


def _write(path: Path, text: str) -> None:
    """A file that containers may be reading: left alone when it says the same."""
    content = text.encode()
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        if file.read(len(content) + 1) == content:  # a container may have made it huge, or binary
            return
    path.write_bytes(content)
    path.chmod(0o644)


def _hosts(network: Network, address: str, name: str) -> str:
    lines = [_HOSTS_HEAD]
    if network.mode == "host":  # the Host's own, with additions
        with contextlib.suppress(OSError):
            lines = [Path("/etc/hosts").read_text().rstrip() + "\n"]
    elif address and network.mode == "vpc":
        short, dot, _ = network.hostname.partition(".")
        names = f"{network.hostname} {short}" if dot else network.hostname or name
        lines.append(f"{address}\t{names}\n")
    lines += [f"{entry}\t{' '.join(names)}\n" for entry, names in network.hosts]
    return "".join(lines)


def _resolver(network: Network) -> str:
    """resolv.conf(5); without servers the Host's own, and nothing where there is no network."""
    dns = network.dns
    if not dns.servers:
        if network.mode == "none":
            return ""
        try:
            return Path("/etc/resolv.conf").read_text()
        except OSError:
            return ""
    lines = [f"nameserver {server}" for server in dns.servers]
    if dns.searches:
        lines.append(f"search {' '.join(dns.searches)}")
    if dns.options:
        lines.append(f"options {' '.join(dns.options)}")
    return "\n".join(lines) + "\n"


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
